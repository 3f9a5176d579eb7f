"""``rowseal keygen``, and private keys for the other commands."""

from __future__ import annotations

import getpass
import json
import os
import stat
import sys
from base64 import b64encode
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .. import client
from ..client import keys
from ..client.text import printable
from ..form.signature import HASHES, NoProvider
from .options import AsJson
from .terminal import fail, warn


class Algorithm(str, Enum):
    ed25519 = "ed25519"
    ml_dsa_65 = "ml-dsa-65"
    ml_dsa_87 = "ml-dsa-87"


KeyFile = Annotated[
    Path,
    typer.Argument(
        help="File to write: PKCS#8 PEM, mode 0600. The public key goes beside it, into FILE.pub."
    ),
]
AlgorithmOption = Annotated[
    Algorithm, typer.Option("--algorithm", "-a", help="ml-dsa: cryptography 47 or later.")
]
Encrypt = Annotated[
    bool,
    typer.Option("--encrypt", "-e", help="Encrypt it: with ROWSEAL_PASSPHRASE, or ask for one."),
]


def keygen(
    file: KeyFile,
    algorithm: AlgorithmOption = Algorithm.ed25519,
    encrypt: Encrypt = False,
    as_json: AsJson = False,
) -> None:
    """Make a key pair, and show its public key and fingerprints."""
    public_file = file.with_name(file.name + ".pub")
    for path in (file, public_file):
        if path.exists():
            fail(f"{path} is there already")
    try:
        key = keys.generate(algorithm.value)
    except NoProvider as e:
        fail(str(e), "pip install 'cryptography>=47'")
    keys.save(key, file, _passphrase(confirm=True) if encrypt else None)
    public_file.write_text(keys.public_pem(key))
    raw = client.public_key(key)
    fingerprints = {name: digest(raw).hex() for name, digest in HASHES.items()}
    answer = {
        "algorithm": algorithm.value,
        "private_key_file": str(file),
        "public_key_file": str(public_file),
        "public_key": b64encode(raw).decode(),
    }
    if as_json:
        print(json.dumps({**answer, "fingerprints": fingerprints}))
    else:
        for name, value in {**answer, **fingerprints}.items():
            print(f"{name.replace('_', ' '):18}{printable(value, 1000)}")


def load_key(path: Path) -> client.Key:
    """The private key in a file; asks for its passphrase when it has one."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        warn(f"others can read {printable(str(path), 200)}: chmod 600")
    try:
        return keys.load(path)
    except keys.PassphraseNeeded:
        return keys.load(path, _passphrase())


def _passphrase(confirm: bool = False) -> str:
    given = os.environ.get("ROWSEAL_PASSPHRASE")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        problem = "the key needs a passphrase, and there is no terminal to ask for it"
        fail(problem, "set ROWSEAL_PASSPHRASE")
    first = getpass.getpass("Passphrase: ")
    if confirm and getpass.getpass("Again: ") != first:
        fail("the two passphrases differ")
    return first

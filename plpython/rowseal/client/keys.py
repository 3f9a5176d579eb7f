"""Keys in files.

    save(generate(), "ann.pem")            # PKCS#8 PEM, mode 0600: what `openssl genpkey -algorithm ed25519` writes
    save(generate("ml-dsa-65"), "bob.pem") # needs cryptography 47
    key = load("ann.pem")                  # the file says which algorithm; ssh-keygen's files are read, too

Nothing here is a format of ours: ``cryptography`` reads and writes, so that keys move between rowseal, OpenSSL, Node and
whatever else knows RFC 5958, RFC 8410 and RFC 9881.
"""

from __future__ import annotations

import os
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from nacl.signing import SigningKey

from ..form.signature import ALGORITHMS, BY_KEY, ED25519, NoProvider, ml_dsa_keys

if TYPE_CHECKING:
    from . import Key

__all__ = ["KeyFileError", "PassphraseNeeded", "generate", "load", "load_public", "public_pem", "save"]

StrPath = Union[str, "os.PathLike[str]"]


class KeyFileError(ValueError):
    """A file that holds no key that could sign rows, or a wrong passphrase."""


class PassphraseNeeded(KeyFileError):
    """The file is encrypted, and no passphrase was given."""


def generate(algorithm: str = ED25519.name) -> Key:
    """A new key from the system's random source: ed25519, ml-dsa-65 or ml-dsa-87; KeyError, signature.NoProvider.

    ``client.public_key(key)`` is its public key.
    """
    if algorithm == ED25519.name:
        return SigningKey.generate()
    return ml_dsa_keys(ALGORITHMS[algorithm])[0].generate()  # type: ignore[no-any-return]


def _raw(key: Key) -> Any:
    return Ed25519PrivateKey.from_private_bytes(bytes(key)) if isinstance(key, SigningKey) else key


def _is_ml_dsa(key: Any, public: bool) -> bool:
    try:
        return any(isinstance(key, ml_dsa_keys(a)[public]) for a in ALGORITHMS.values() if a is not ED25519)
    except NoProvider:
        return False


def save(key: Key, path: StrPath, passphrase: str | None = None) -> None:
    """Write a private key as PKCS#8 PEM, readable by its user alone (mode 0600); FileExistsError rather than overwrite.

    A passphrase encrypts it (PBES2, AES-256-CBC) after few rounds of PBKDF2, as openssl does: docs/client.md says how to
    harden that.
    """
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        if not passphrase:
            raise KeyFileError("the passphrase is empty")
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    pem = _raw(key).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)


def load(path: StrPath, passphrase: str | None = None) -> Key:
    """The private key in a file (PKCS#8 or OpenSSH); OSError, KeyFileError, PassphraseNeeded."""
    data = Path(path).read_bytes()
    read = serialization.load_ssh_private_key if b"OPENSSH PRIVATE KEY" in data else serialization.load_pem_private_key
    try:
        try:
            key = read(data, None if passphrase is None else passphrase.encode())
        except TypeError:
            if passphrase is None:
                raise PassphraseNeeded(f"{path} is encrypted") from None
            key = read(data, None)  # it is not, and a passphrase is no mistake
    except PassphraseNeeded:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        # a wrong passphrase shows as padding that does not fit
        wrong = " (or the passphrase is wrong)" if passphrase is not None else ""
        raise KeyFileError(f"{path} holds no private key in PKCS#8 or OpenSSH format{wrong}: {_sentence(e)}") from None
    if isinstance(key, Ed25519PrivateKey):
        return SigningKey(key.private_bytes_raw())
    if _is_ml_dsa(key, public=False):
        return key  # type: ignore[return-value]
    raise KeyFileError(f"{path} holds a key of another kind than {' or '.join(ALGORITHMS)}: it cannot sign rows")


def public_pem(key: Key) -> str:
    """The public key as PEM (SubjectPublicKeyInfo), for whoever verifies."""
    pem: bytes = _raw(key).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def load_public(source: str) -> bytes:
    """The raw public key (Ed25519: 32 bytes) in a PEM file, or written as base64 or hex; OSError, KeyFileError."""
    for decode in (bytes.fromhex, lambda text: b64decode(text, validate=True)):
        try:
            raw = decode(source)
        except ValueError:
            continue
        if len(raw) in BY_KEY:
            return raw
    if len(source) > 255 or not Path(source).exists():
        raise KeyFileError(f"{source[:100]!r} is neither a file nor a public key of {' or '.join(map(str, BY_KEY))} bytes in base64 or hex")
    data = Path(source).read_bytes()
    read = serialization.load_ssh_public_key if data.startswith(b"ssh-") else serialization.load_pem_public_key
    try:
        key = read(data)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise KeyFileError(f"{source} holds no public key in PEM or OpenSSH format: {_sentence(e)}") from None
    if isinstance(key, Ed25519PublicKey) or _is_ml_dsa(key, public=True):
        return key.public_bytes_raw()  # type: ignore[union-attr]
    raise KeyFileError(f"{source} holds a key of another kind than {' or '.join(ALGORITHMS)}: it signs no rows")


def _sentence(error: Exception) -> str:
    """The first line of a library's message, without what it suggests to its programmers."""
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".")

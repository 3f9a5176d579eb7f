"""Keys in files.

    save(generate(), "ann.pem")             # PKCS#8 PEM, mode 0600, as `openssl genpkey` writes it
    save(generate("ml-dsa-65"), "bob.pem")  # needs cryptography 47
    key = load("ann.pem")                   # the file says which algorithm; ssh-keygen's, too

Nothing here is a format of ours: ``cryptography`` reads and writes, so that keys move between
rowseal, OpenSSL, Node and whatever else knows RFC 5958, RFC 8410 and RFC 9881.
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
    from .signing import Key

__all__ = [
    "KeyFileError",
    "PassphraseNeeded",
    "generate",
    "load",
    "load_public",
    "public_pem",
    "save",
]

StrPath = Union[str, "os.PathLike[str]"]


class KeyFileError(ValueError):
    """A file that holds no key that could sign rows, or a wrong passphrase."""


class PassphraseNeeded(KeyFileError):
    """The file is encrypted, and no passphrase was given."""


def generate(algorithm: str = ED25519.name) -> Key:
    """A new key from the system's random source; ``client.public_key(key)`` is its public key.

    ``algorithm``: ed25519, ml-dsa-65 or ml-dsa-87, else KeyError.  NoProvider when cryptography is
    too old for ML-DSA.
    """
    if algorithm == ED25519.name:
        return SigningKey.generate()
    private, _ = ml_dsa_keys(ALGORITHMS[algorithm])
    return private.generate()  # type: ignore[no-any-return]


def save(key: Key, path: StrPath, passphrase: str | None = None) -> None:
    """Write a private key as PKCS#8 PEM, readable by its user alone (mode 0600).

    A passphrase encrypts it (PBES2, AES-256-CBC) after few rounds of PBKDF2, as openssl does:
    docs/client.md says how to harden that.  FileExistsError rather than overwrite; OSError;
    KeyFileError for an empty passphrase.
    """
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        if not passphrase:
            raise KeyFileError("the passphrase is empty")
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    pem = _raw(key).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)


def load(path: StrPath, passphrase: str | None = None) -> Key:
    """The private key in a file (PKCS#8 or OpenSSH).

    OSError; PassphraseNeeded when it is encrypted and none is given; KeyFileError for a wrong one,
    and for what is no key that could sign rows.
    """
    data = Path(path).read_bytes()
    try:
        key = _private(data, passphrase)
    except _Encrypted:
        raise PassphraseNeeded(f"{path} is encrypted") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        # a wrong passphrase shows as padding that does not fit
        wrong = " (or the passphrase is wrong)" if passphrase is not None else ""
        what = f"{path} holds no private key in PKCS#8 or OpenSSH format{wrong}"
        raise KeyFileError(f"{what}: {_sentence(e)}") from None
    if isinstance(key, Ed25519PrivateKey):
        return SigningKey(key.private_bytes_raw())
    if _is_ml_dsa(key, public=False):
        return key  # type: ignore[no-any-return]
    raise KeyFileError(f"{path} holds {_ANOTHER_KIND}: it cannot sign rows")


def public_pem(key: Key) -> str:
    """The public key as PEM (SubjectPublicKeyInfo), for whoever verifies."""
    pem: bytes = (
        _raw(key)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return pem.decode()


def load_public(source: str) -> bytes:
    """The raw public key (Ed25519: 32 bytes) in a file, or written as base64 or hex.

    The file is PEM or OpenSSH.  OSError; KeyFileError for anything else.
    """
    raw = _written_out(source)
    if raw is not None:
        return raw
    if len(source) > 255 or not Path(source).exists():
        lengths = " or ".join(map(str, BY_KEY))
        expected = f"neither a file nor a public key of {lengths} bytes in base64 or hex"
        raise KeyFileError(f"{source[:100]!r} is {expected}")
    data = Path(source).read_bytes()
    try:
        if data.startswith(b"ssh-"):
            key: Any = serialization.load_ssh_public_key(data)
        else:
            key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as e:
        what = f"{source} holds no public key in PEM or OpenSSH format"
        raise KeyFileError(f"{what}: {_sentence(e)}") from None
    if isinstance(key, Ed25519PublicKey) or _is_ml_dsa(key, public=True):
        return key.public_bytes_raw()  # type: ignore[no-any-return]
    raise KeyFileError(f"{source} holds {_ANOTHER_KIND}: it signs no rows")


# ------------------------------------------------------------------------------------- cryptography
_ANOTHER_KIND = f"a key of another kind than {' or '.join(ALGORITHMS)}"


class _Encrypted(Exception):
    """A file that needs a passphrase."""


def _private(data: bytes, passphrase: str | None) -> Any:
    """Whatever private key is in the bytes of a file; _Encrypted, or an error of cryptography."""
    ssh = b"OPENSSH PRIVATE KEY" in data
    read = serialization.load_ssh_private_key if ssh else serialization.load_pem_private_key
    try:
        return read(data, None if passphrase is None else passphrase.encode())
    except TypeError:
        if passphrase is None:
            raise _Encrypted from None
        return read(data, None)  # it is not encrypted, and a passphrase is no mistake


def _written_out(text: str) -> bytes | None:
    """A public key in hex or base64; None for what is neither."""
    for decode in (bytes.fromhex, lambda base64: b64decode(base64, validate=True)):
        try:
            raw = decode(text)
        except ValueError:
            continue
        if len(raw) in BY_KEY:
            return raw
    return None


def _raw(key: Key) -> Any:
    """The key as cryptography has it."""
    if isinstance(key, SigningKey):
        return Ed25519PrivateKey.from_private_bytes(bytes(key))
    return key


def _is_ml_dsa(key: Any, public: bool) -> bool:
    algorithms = [algorithm for algorithm in ALGORITHMS.values() if algorithm is not ED25519]
    try:
        return any(isinstance(key, ml_dsa_keys(algorithm)[public]) for algorithm in algorithms)
    except NoProvider:
        return False


def _sentence(error: Exception) -> str:
    """The first line of a library's message, without what it suggests to its programmers."""
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".")

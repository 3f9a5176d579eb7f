"""The Python client without a server: timestamps, keys in files, envelopes there and back."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
import venv
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit import ROOT
from kit.values import COLUMNS, KINDS, oracle, quick
from rowseal import client
from rowseal.client import (
    CanonicalError,
    Form,
    SigningKey,
    decode,
    envelope,
    keys,
    next_timestamp,
    sign,
    verify,
)

KEY = SigningKey(bytes(range(32)))
PUBLIC_KEY = bytes(KEY.verify_key)


# -------------------------------------------------------------------------------------- timestamps
def test_timestamps_are_microseconds_and_never_the_same_twice() -> None:
    before = time.time_ns() // 1000
    made: list[int] = []
    threads = [
        threading.Thread(target=lambda: made.extend(next_timestamp() for _ in range(5000)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20000 and min(made) >= before
    assert abs(next_timestamp() - time.time_ns() // 1000) < 10_000_000


def test_timestamps_are_above_the_last_version_and_never_behind_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far = next_timestamp() + 10**12
    assert next_timestamp(far) == far + 1
    assert next_timestamp() < far  # one key dated in the future does not take the others along
    assert next_timestamp(-(2**63)) > 0
    first = next_timestamp()
    monkeypatch.setattr(client.clock.time, "time_ns", lambda: 0)  # the clock is set back
    assert next_timestamp() == first + 1
    assert next_timestamp(2**63 - 2) == 2**63 - 1
    with pytest.raises(OverflowError):
        next_timestamp(2**63 - 1)


# --------------------------------------------------------------------------------------- envelopes
@quick
@given(data=st.data(), column=st.sampled_from(list(KINDS)))
def test_what_was_signed_is_decoded_and_signed_the_same(data: st.DataObject, column: str) -> None:
    form = Form("t", {column: KINDS[column]})
    value = data.draw(COLUMNS[column][1])
    row = {column: value.client}
    sealed = envelope(form, row, KEY)
    assert sealed["row"] == json.loads(oracle("t", {column: value.json}))["row"]
    again = decode(form, json.loads(json.dumps(sealed["row"])))
    assert envelope(form, again, KEY) == sealed
    assert sealed["sign_b64"] == b64encode(sign(form, again, KEY)).decode()
    assert verify(sealed, PUBLIC_KEY) and not verify(
        sealed, bytes(SigningKey.generate().verify_key)
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bytea", "AA"),
        ("bytea", "_w=="),
        ("bytea", 5),
        ({"array": "bytea"}, ["AB=="]),
        ({"array": "text"}, {"a": 1}),
        ({"composite": [["a", "text"]]}, {"b": "x"}),
        ({"composite": [["a", "text"]]}, ["x"]),
        ("float", "1.5"),
        ("boolean", "t"),
    ],
)
def test_what_is_no_value_of_the_kind_is_never_signed(kind: object, value: object) -> None:
    form = Form("t", {"x": kind})
    with pytest.raises(CanonicalError):
        sign(form, decode(form, {"x": value}), KEY)


def test_what_is_nested_too_deep_is_refused_without_a_crash() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for kind in ("json", {"array": "text"}):
        with pytest.raises(CanonicalError, match="deep"):
            decode(Form("t", {"x": kind}), {"x": deep})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(CanonicalError, match="unknown field 'y'"):
        decode(Form("t", {"x": "text"}), {"x": "a", "y": "b"})


# -------------------------------------------------------------------------------------------- keys
def openssl(*args: str) -> str:
    return subprocess.run(["openssl", *args], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("passphrase", [None, "Grüße an Bob"])
def test_a_key_survives_its_file_which_is_its_users_alone(
    tmp_path: Path, passphrase: str | None
) -> None:
    path = tmp_path / "key.pem"
    umask = os.umask(0)
    try:
        keys.save(KEY, path, passphrase)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.load(path, passphrase) == KEY
    assert (bytes(KEY) in path.read_bytes()) is False and ("ENCRYPTED" in path.read_text()) == (
        passphrase is not None
    )
    with pytest.raises(FileExistsError):
        keys.save(keys.generate(), path)
    assert keys.load(path, passphrase) == KEY


@pytest.mark.parametrize("algorithm", ["ml-dsa-65", "ml-dsa-87"])
def test_post_quantum_keys_survive_their_files_too(algorithm: str, tmp_path: Path) -> None:
    try:
        key = keys.generate(algorithm)
    except client.NoProvider as e:
        pytest.skip(str(e))
    form = Form("t", {"x": "text"})
    for passphrase in (None, "geheim"):
        path = tmp_path / f"key{passphrase}"
        keys.save(key, path, passphrase)
        again = keys.load(path, passphrase)
        public = client.public_key(again)
        (tmp_path / "public").write_text(keys.public_pem(key))
        assert (
            public
            == client.public_key(key)
            == keys.load_public(str(tmp_path / "public"))
            == keys.load_public(public.hex())
        )
        assert client.verify(client.envelope(form, {"x": "y"}, again), public)


def test_openssl_reads_our_file_and_we_read_its(tmp_path: Path) -> None:
    keys.save(KEY, tmp_path / "ours.pem", "secret")
    assert PUBLIC_KEY.hex() in openssl(
        "pkey", "-in", str(tmp_path / "ours.pem"), "-passin", "pass:secret", "-noout", "-text"
    ).replace(":", "").replace("\n", "").replace(" ", "")
    openssl("genpkey", "-algorithm", "ed25519", "-out", str(tmp_path / "theirs.pem"))
    openssl(
        "pkey", "-in", str(tmp_path / "theirs.pem"), "-pubout", "-out", str(tmp_path / "theirs.pub")
    )
    theirs = keys.load(tmp_path / "theirs.pem")
    assert keys.public_pem(theirs) == (tmp_path / "theirs.pub").read_text()
    assert keys.load_public(str(tmp_path / "theirs.pub")) == bytes(theirs.verify_key)
    # as docs/client.md recommends
    openssl(
        "pkcs8",
        "-topk8",
        "-scrypt",
        "-in",
        str(tmp_path / "theirs.pem"),
        "-passout",
        "pass:x",
        "-out",
        str(tmp_path / "hard.pem"),
    )
    assert keys.load(tmp_path / "hard.pem", "x") == theirs


OPENSSH = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACADoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuAAAAIgAAAAAAAAA
AAAAAAtzc2gtZWQyNTUxOQAAACADoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA
AAAEAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHwOhB7/zzhC+HXDdGOdLwJln
5NYwm6UNXx3chmQSVTG4AAAAAAECAwQF
-----END OPENSSH PRIVATE KEY-----
"""
OPENSSH_PUBLIC = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4 ann@home\n"
)


def test_ssh_keygens_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "id").write_text(OPENSSH)
    (tmp_path / "id.pub").write_text(OPENSSH_PUBLIC)
    assert keys.load(tmp_path / "id") == KEY
    assert keys.load_public(str(tmp_path / "id.pub")) == PUBLIC_KEY


def test_public_keys_are_read_as_base64_and_hex() -> None:
    assert (
        keys.load_public(b64encode(PUBLIC_KEY).decode())
        == PUBLIC_KEY
        == keys.load_public(PUBLIC_KEY.hex())
    )


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    keys.save(KEY, tmp_path / "key.pem", "secret")
    openssl("genpkey", "-algorithm", "x25519", "-out", str(tmp_path / "other.pem"))
    (tmp_path / "note").write_bytes(b"\xff\0 no key")
    (tmp_path / "key.pub").write_text(keys.public_pem(KEY))
    for name, passphrase, message in [
        ("key.pem", None, "is encrypted"),
        ("key.pem", "wrong", "passphrase is wrong"),
        ("key.pem", "", "passphrase is wrong"),
        ("other.pem", None, "another kind"),
        ("note", None, "no private key"),
        ("key.pub", None, "no private key"),
    ]:
        with pytest.raises(keys.KeyFileError, match=message) as error:
            keys.load(tmp_path / name, passphrase)
        assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)
        assert isinstance(error.value, keys.PassphraseNeeded) == (message == "is encrypted")
    for source in (tmp_path / "key.pem", tmp_path / "note", tmp_path / "absent", "AAAA"):
        with pytest.raises(keys.KeyFileError):
            keys.load_public(str(source))
    with pytest.raises(keys.KeyFileError, match="empty"):
        keys.save(KEY, tmp_path / "new.pem", "")
    assert not (tmp_path / "new.pem").exists()


# ----------------------------------------------------------------------------------------- package
def test_the_package_signs_and_is_typed_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """pip install ./plpython, nothing else: no psycopg, no server,
    no variables that could lead to one.
    """
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PG", "PYTHON", "ROWSEAL"))
    }
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        str(ROOT / "plpython"),
    ]
    done = subprocess.run(pip, capture_output=True, text=True, env=environment)
    if "NewConnectionError" in done.stderr or "Temporary failure in name resolution" in done.stderr:
        pytest.skip("pip reaches no package index")
    assert done.returncode == 0, done.stderr
    code = f"""
import importlib.util, rowseal, pathlib
from rowseal.client import keys
from rowseal.client import Form, envelope, verify
assert {str(tmp_path)!r} in rowseal.__file__
assert (pathlib.Path(rowseal.__file__).parent / "py.typed").exists()
assert importlib.util.find_spec("psycopg") is None
keys.save(keys.generate(), "key.pem")
key = keys.load("key.pem")
sealed = envelope(Form("t", {{"x": "text"}}), {{"x": "ü"}}, key)
assert verify(sealed, bytes(key.verify_key))
assert not verify({{**sealed, "row": {{"x": "u"}}}}, bytes(key.verify_key))
"""
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    # the command says what it lacks
    done = subprocess.run(
        [str(tmp_path / "venv/bin/rowseal"), "--help"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 3 and "pip install" in done.stderr and "Traceback" not in done.stderr
    assert sys.executable != python

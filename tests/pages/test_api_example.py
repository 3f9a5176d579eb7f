"""examples/api.py: a client signs and POSTs, the API writes SQL,
and its answers say what a client has to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from kit import ROOT
from kit.db import Db
from kit.example import Owner
from kit.node import node

KEY = uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")


@pytest.fixture
def api(example: Db) -> Iterator[str]:
    """Its URL."""
    info = example.connection.info
    command = [
        sys.executable,
        str(ROOT / "examples/api.py"),
        "0",
        f"host={info.host} port={info.port} user={info.user} dbname={info.dbname}",
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "plpython")},
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def post(url: str, body: Any) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data)) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def test_what_a_client_posts_is_stored_and_what_it_must_do_is_told(api: str, example: Db) -> None:
    ann = Owner()
    card, note = example.form("user_cards"), example.form("user_storage")

    def sealed(value: bytes | None, **more: Any) -> dict[str, Any]:
        return ann.envelope(note, ann.value(value, KEY, **more))

    first = sealed(b"milk")
    status, answer = post(api, first)
    assert (status, answer["sqlstate"], answer["hint"]) == (
        424,
        "RS002",
        "Store the owner's row in the identity table first.",
    )
    assert post(api, ann.envelope(card, ann.card()))[0] == 200
    assert post(api, first) == (
        200,
        {"current": True, "owner_timestamp": first["row"]["owner_timestamp"]},
    )
    second = sealed(b"tea", parent_sign_b64=None)
    # a retry after a lost answer
    assert post(api, second)[1]["current"] and post(api, second)[1]["current"]
    assert example.one("SELECT value_b64 FROM user_storage") == b"tea"
    old = sealed(b"gin", owner_timestamp=5)
    assert post(api, old) == (
        200,
        {"current": False, "owner_timestamp": second["row"]["owner_timestamp"]},
    )
    assert sorted(example.all("SELECT value_b64 FROM user_storage_versions")) == [b"gin", b"milk"]
    assert post(api, sealed(None, deleted_flag=True))[1]["current"] and example.one(
        "SELECT deleted_flag FROM user_storage"
    )
    assert example.all("SELECT * FROM rowseal.verify('user_storage')") == []


def test_refusals_become_the_status_that_the_docs_promise(
    api: str, example: Db, ann: Owner, bob: Owner, admin: Db
) -> None:
    note = example.form("user_storage")
    good = ann.envelope(note, ann.value(b"milk", KEY))

    def refused(body: Any) -> tuple[int, str | None]:
        status, answer = post(api, body)
        assert answer["error"] and "Traceback" not in json.dumps(answer)
        return status, answer.get("sqlstate")

    assert refused({**good, "row": {**good["row"], "value_b64": "Z2lu"}}) == (403, "RS001")
    assert refused(bob.envelope(note, ann.value(b"milk", KEY))) == (403, "RS001")
    mallory = Owner("Mallory")
    assert refused(
        mallory.envelope(example.form("user_cards"), mallory.card(user_hash=bytes(32)))
    ) == (403, "RS005")
    assert refused(
        mallory.envelope(example.form("user_cards"), mallory.card(user_hash=ann.hash))
    ) == (409, "RS003")
    assert refused({**good, "row": {**good["row"], "uuid": "no uuid"}}) == (422, "22P02")
    card = ann.envelope(example.form("user_cards"), ann.card())
    assert refused({**card, "row": {**card["row"], "name": "\0"}}) == (422, "22000")
    for body in (
        b"",
        b"[]",
        b"{",
        b"{}",
        {**good, "table": "pg_class"},
        {**good, "sign_b64": 5},
        {**good, "row": 5},
        {**good, "row": {"nothing": 1}},
    ):
        assert refused(body) == (400, None), body
    admin.run(
        "ALTER DATABASE "
        + example.connection.info.dbname
        + (
            " SET statement_timeout = 1; ALTER TABLE user_storage ADD CHECK (pg_sleep(1) IS NOT"
            " NULL) NOT VALID"
        )
    )
    assert refused(good) == (503, "57014")


def test_two_devices_that_write_a_fresh_key_at_once_both_get_through(
    api: str, example: Db, ann: Owner
) -> None:
    note = example.form("user_storage")
    rows = [ann.envelope(note, ann.value(str(n).encode(), KEY)) for n in range(12)]
    answers: list[tuple[int, dict[str, Any]]] = []
    threads = [threading.Thread(target=lambda r=r: answers.append(post(api, r))) for r in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    retried = [post(api, r) for r in rows if any(status == 503 for status, _ in answers)]
    assert {status for status, _ in answers} <= {200, 503} and {
        status for status, _ in retried
    } <= {200}
    assert example.one("SELECT value_b64 FROM user_storage") == b"11"
    assert example.one("SELECT count(*) FROM user_storage_versions") == 11


def test_javascript_signs_and_posts(api: str, example: Db, ann: Owner) -> None:
    spec = example.one("SELECT spec FROM rowseal.declarations WHERE tag = 'user_storage'")
    code = """
        const row = {
          user_hash: Buffer.from(given.owner, 'hex'), uuid: given.uuid,
          value_b64: Buffer.from('buy milk'), deleted_flag: false,
          owner_timestamp: BigInt(Date.now()) * 1000n,
        }
        const sealed = sign(given.spec, row, Buffer.from(given.seed, 'hex'))
        const answer = await fetch(given.url, { method: 'POST', body: JSON.stringify(sealed) })
        console.log(JSON.stringify([answer.status, await answer.json()]))"""
    given = {
        "spec": spec,
        "owner": ann.hash.hex(),
        "uuid": str(KEY),
        "seed": bytes(ann.key).hex(),
        "url": api,
    }
    status, answer = node(code, given)
    assert status == 200 and answer["current"] is True
    assert example.one("SELECT value_b64 FROM user_storage") == b"buy milk"

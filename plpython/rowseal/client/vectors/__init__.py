"""Test vectors of a declared table, for signers and verifiers in any language.

Rows that the table must accept, each with one value worth a test, and what signers and attackers
get wrong, which it must refuse.  The server says what each row looks like in canonical form,
``rowseal.payload``; nothing is stored.  The same declaration gives the same vectors.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, TypedDict

import psycopg

from ...form.spec import Spec
from ..signing import Envelope
from .accepted import accepted
from .key import PUBLIC_KEY, SEED, Vector, signature, vector
from .refused import refused
from .table import Table

__all__ = ["Document", "Vector", "vectors"]

ABOUT = (
    "Test vectors of a declared table. Accept each envelope of 'accept' and refuse each one of "
    "'refuse', for an owner with this public key. A signer must make the signatures of 'accept' "
    "from seed and row. 'signed_base64': the bytes that were signed by mistake. The seed is "
    "published: never store these rows in a table that is in use."
)


class OwnerRow(TypedDict):
    """The owner's row in the identity table."""

    spec: Spec
    envelope: Envelope


class Document(TypedDict):
    """All vectors of a table; docs/client.md describes the members."""

    about: str
    spec: Spec
    seed: str
    public_key: str
    owner: OwnerRow | None
    without_value: list[str]
    accept: list[Vector]
    refuse: list[Vector]


def vectors(connection: psycopg.Connection[Any], relation: str) -> Document:
    """The vectors of a declared table as one JSON document; docs/client.md describes it.

    Needs no right but to connect.  ValueError when the table is not declared, or a field has no
    value that could be made up; psycopg.Error.
    """
    table = Table(connection, relation)
    return {
        "about": ABOUT,
        "spec": table.spec,
        "seed": SEED.hex(),
        "public_key": b64encode(PUBLIC_KEY).decode(),
        "owner": None if table.identity is None else _owner(table.identity),
        "without_value": table.missing,
        "accept": accepted(table),
        "refuse": refused(table),
    }


def _owner(identity: Table) -> OwnerRow:
    row = vector("", identity.canonical, signature(identity.canonical.encode()))
    return {"spec": identity.spec, "envelope": row["envelope"]}

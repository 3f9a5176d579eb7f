"""What a declaration says of signing: for type checkers, and for clients.

Sessions of the server do not load it: a TypedDict takes time when it is made.
"""

from __future__ import annotations

from typing import TypedDict

from .canonical import Kind


class VersionName(TypedDict):
    """The field that holds the name of a version.

    That is the hash of its signature: as bytes, or in text as hex after a prefix.
    """

    column: str
    hash: str
    prefix: str


class Spec(TypedDict, total=False):
    """What must be known of a table to sign and to check its rows: ``rowseal.declarations.spec``.

    ``algorithms`` is there in identity tables only, ``form`` when it is not rowseal/1, ``name``
    where versions have one.
    """

    tag: str
    fields: dict[str, Kind]
    owner: list[str]
    required: list[str]  # the key, the timestamp, the deletion flag: never NULL
    algorithms: list[str]
    form: str
    name: VersionName
    fingerprint: str | None
    fingerprint_prefix: str | None
    certificates: dict[str, str]  # {certificate: the field that it certifies}

"""Signs rows for the tables of kit/combinations.py, and tells the models what they say."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import mldsa
from nacl.signing import SigningKey

from kit.combinations import KEYS, Combination
from kit.expected import Item
from kit.model import Version
from kit.writers_model import Row
from rowseal.client import Form, Key, public_key, sign, sign_many
from rowseal.client.signing import with_signature

MAKE: dict[str, Any] = {
    "ed25519": SigningKey,
    "ml-dsa-65": mldsa.MLDSA65PrivateKey.from_seed_bytes,
    "ml-dsa-87": mldsa.MLDSA87PrivateKey.from_seed_bytes,
}
GRANT_COLUMNS = {"tables": None, "keys": None, "tombstones": None, "until": None, "may_grant": None}
TOP = -1  # of a writer's chain


class Person(NamedTuple):
    """An owner, or one who writes for him."""

    name: str
    key: Key

    @property
    def public_key(self) -> bytes:
        return public_key(self.key)

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(self.public_key).digest()


def person(name: str, algorithm: str) -> Person:
    return Person(name, MAKE[algorithm](hashlib.sha256(name.encode()).digest()))


class Book:
    """What has been signed, and by whom, for tables of one combination."""

    def __init__(self, c: Combination, forms: dict[str, Form]):
        self.c, self.forms = c, forms
        self.ann, self.bob, self.device, self.mallory = (
            person(name, c.algorithm) for name in ("Ann", "Bob", "device", "Mallory")
        )
        self.items = [self.card(owner) for owner in (self.ann, self.bob)]

    # -- what is said
    def card(self, owner: Person) -> Item:
        columns = {"pkey": owner.public_key, "owner_timestamp": 1}
        return self.signed("cards", owner, owner, columns, {"kind": "card"})

    def data(self, owner: Person, by: Person, fields: dict[str, Any], place: int = TOP) -> Item:
        """A version of a row; ``k`` of the fields is a place in KEYS.  What stands at ``place``
        of the rows of a writer is its previous one.
        """
        group, spelling = fields["k"]
        spellings = KEYS[self.c.key][group]
        columns = {**fields, "k": spellings[spelling % len(spellings)]}
        if self.c.digests == "no":
            del columns["photo"]
        columns["parent_sign_b64"] = self.parent(columns["parent_sign_b64"])
        writes = self.continued(owner, by, place)
        about = {"kind": "data", "key": str(group), **writes.pop("about")}
        return self.signed("t", owner, by, {**columns, **writes}, about)

    def grant(self, until: int, tombstones: bool) -> Item:
        """Ann lets the device write."""
        about = {"until": until, "tombstones": tombstones, "may_grant": 0}
        return self._said("grant", {**GRANT_COLUMNS, **about, "upto": None}, about)

    def revocation(self, upto: list[Row]) -> Item:
        links = [row.link for row in upto]
        return self._said(
            "revocation", {**GRANT_COLUMNS, "upto": links}, {"upto": frozenset(links)}
        )

    def _said(self, kind: str, columns: dict[str, Any], about: dict[str, Any]) -> Item:
        columns = {**columns, "grantee_pkey": self.device.public_key, "owner_timestamp": 1}
        grantee = self.device.hash.hex()
        about = {"kind": kind, "grantee": grantee, **about}
        return self.signed("grants", self.ann, self.ann, columns, about)

    def continued(self, owner: Person, by: Person, place: int) -> dict[str, Any]:
        if by is owner:
            return {"about": {}}
        before = self.written()
        last = before[place] if before else None
        number = 1 if last is None else (last.number or 0) + 1
        previous = last and last.link
        about = {"writer": by.hash.hex(), "number": number, "previous": previous}
        columns = {"writer_pkey": by.public_key, "writer_seq": number, "writer_prev": previous}
        return {**columns, "about": about}

    def written(self) -> list[Row]:
        """The rows of the device."""
        return [i.row for i in self.items if i.row.writer and i.row.authentic]

    def parent(self, place: int | None) -> Any:
        """The signature or the name of an earlier row."""
        rows = [i for i in self.items if i.table == "t"]
        if place is None or not rows:
            return None
        signature = rows[place % len(rows)].version.sign
        return self.name(signature) if self.c.names == "yes" else self.stored(signature)

    # -- how it is signed
    def signed(
        self,
        table: str,
        owner: Person,
        by: Person,
        columns: dict[str, Any],
        about: dict[str, Any],
    ) -> Item:
        """The row, signed by ``by``; ``about`` is what the model of writers shall know of it."""
        columns = {"user_hash": owner.hash, "deleted_flag": False, **columns}
        return self.sealed(table, columns, self.signature(table, columns, by), about)

    def signature(self, table: str, columns: dict[str, Any], by: Person) -> bytes:
        form = self.forms[table]
        if self.c.signed == "alone":
            return sign(form, columns, by.key)
        other = {**columns, "owner_timestamp": 99}  # nobody ever sees the other row of the batch
        return next(sign_many([(form, columns), (form, other)], by.key))

    def sealed(
        self, table: str, columns: dict[str, Any], signature: bytes, about: dict[str, Any]
    ) -> Item:
        form = self.forms[table]
        envelope = with_signature(form, columns, form.payload_of(columns), signature)
        at, deleted = columns["owner_timestamp"], columns["deleted_flag"]
        said = {"owner": columns["user_hash"].hex(), "at": at, "deleted": deleted, "table": table}
        row = Row(sign=signature, **said, **about)
        version = Version((row.owner, row.key or row.grantee), at, deleted, signature, ())
        stored = {**columns, "sign_b64": self.stored(signature)}
        if table == "t" and self.c.names == "yes":
            stored["name"] = self.name(signature)
        return Item(table, stored, envelope, row, version)

    def stored(self, signature: bytes) -> Any:
        return signature if self.c.signature == "bytea" else b64encode(signature).decode()

    @staticmethod
    def name(signature: bytes) -> str:
        return "v_" + hashlib.sha3_512(signature).hexdigest()

    # -- what others make of it
    def bare(self, item: Item) -> Item:
        """The same row without its photo, as a relay may pass it on."""
        envelope = {k: v for k, v in item.envelope.items() if k != "content"}
        digest = hashlib.sha256(item.columns["photo"]).digest()
        columns = {**item.columns, "photo": None, "photo_sha256": digest}
        return item._replace(columns=columns, envelope=envelope, bare=True)

    def forged(self, item: Item, **changes: Any) -> Item:
        """The row with other content under the same signature or, without changes, with that of
        somebody else.
        """
        columns = {k: v for k, v in item.columns.items() if k not in ("sign_b64", "name")}
        columns.update(changes)
        signature = item.version.sign if changes else self.signature("t", columns, self.mallory)
        kept = ("kind", "key", "writer", "number", "previous")
        about = {name: getattr(item.row, name) for name in kept}
        return self.sealed("t", columns, signature, {**about, "authentic": False})

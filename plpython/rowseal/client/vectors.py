"""Test vectors of a declared table, for signers and verifiers in any language.

Rows that the table must accept, each with one value worth a test, and what signers and attackers get wrong, which it must refuse.
The server says what each row looks like in canonical form, ``rowseal.payload``; nothing is stored.  The same declaration
gives the same vectors.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from nacl.signing import SigningKey
from psycopg.types.json import Jsonb

from ..form.canonical import Kind, jcs
from ..form.signature import FINGERPRINTS

Json = dict[str, Any]

SEED = bytes(range(32))  # that of docs/specification.md: published, so worth nothing
START = 1_700_000_000_000_000
NOT_THE_ROW = ("42501", "RS007", "RS014")
ABOUT = (
    "Test vectors of a declared table. Accept each envelope of 'accept' and refuse each one of 'refuse', for an owner with this public "
    "key. A signer must make the signatures of 'accept' from seed and row. 'signed_base64': the bytes that were signed by mistake. The "
    "seed is published: never store these rows in a table that is in use."
)
ABSENT = object()  # a field that is left out: NULL.  None is a JSON null
L = 2**252 + 27742317777372353535851937790883648493  # the order of Ed25519's group (RFC 8032, 5.1)

# The first value of each kind is the plain one.  The table's types decide which of the others fit.
EDGES: dict[str, list[Any]] = {
    "boolean": [False, True],
    "integer": ["7", "0", "-1", "32767", "-32768", "2147483648", "9007199254740993", "9223372036854775807", "-9223372036854775808"],
    "numeric": ["1.50", "0", "-0.50", "0.000001", "12345678901234567890.123456789", "NaN", "Infinity", "-Infinity"],
    "float": [1.5, 0, "-0", 0.1, -2.5, 1e20, 1e21, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308, 9007199254740992,
              "NaN", "Infinity", "-Infinity"],
    "text": ["text", "", " ", "Zoë", "e\u0301", "\"\\/\b\f\n\r\t\u0001\u001f\u007f", "\u2028€", "😀 \ufb33", "NULL", "{}", "\\u0041"],
    "bytea": ["dGV4dA==", "", "AA==", "+/+/", b64encode(bytes(range(256))).decode()],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "timestamptz": ["2026-11-21T09:00:00.000000Z", "2026-11-21T09:00:00.000001Z", "1969-12-31T23:59:59.500000Z",
                    "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "infinity", "-infinity"],
    "timestamp": ["2026-11-21T09:00:00.000000", "1969-12-31T23:59:59.500000", "0001-01-01T00:00:00.000000", "9999-12-31T23:59:59.999999",
                  "infinity", "-infinity"],
    "date": ["2026-11-21", "0001-01-01", "9999-12-31", "2024-02-29", "infinity", "-infinity"],
    "time": ["09:00:00.000000", "00:00:00.000000", "23:59:59.999999", "24:00:00.000000"],
    "json": [{"b": [1, 1.5, "x", True, None], "a": {}}, None, [], "text", 0, 1e21, -1e-7, 9007199254740992,
             {"": "", "😀": 1, "\ufb33": 2, "é": 3}, {"nested": [[{"deep": [None]}]]}],
    "other": ["P1Y2M-3DT4H5M6.5S", "PT0S", "10.0.0.1/8", "2001:db8::1", "10.0.0.0/8", "08:00:2b:01:02:03", "08:00:2b:01:02:03:04:05",
              "0101", "01011", "10000", "(1.5,-2)", "(-0,1e+300)", "[1,5)", "empty", "[\"2026-01-01 00:00:00+00\",)",
              "[2026-01-01,2026-02-01)", "{[1,3),[5,7)}", "09:00:00+00", "'a' 'b'", "\"a\"=>\"1\"", "\"a\"=>NULL, \"b\"=>\"\"",
              "{1,2,3}", "[(0,0),(1,1)]", "((0,0),(1,1))", "<(0,0),1>", "text"],
}  # fmt: skip


def vectors(connection: psycopg.Connection[Any], relation: str) -> Json:
    """The vectors of a declared table as one JSON document; docs/client.md describes it.

    Needs no right but to connect.  ValueError when the table is not declared, or a field has no value that could be made up.
    """
    return _Maker(connection, relation).document()


class _Maker:
    def __init__(self, connection: psycopg.Connection[Any], relation: str):
        self.connection = connection
        self.key = SigningKey(SEED)
        self.public_key = bytes(self.key.verify_key)
        query = """SELECT relation::text, spec, fields ->> public_key, fields ->> parent_column, identity::text, fields
                     FROM rowseal.declarations WHERE relation = %s::regclass"""
        found = connection.execute(query, (relation,)).fetchone()
        if found is None:
            raise ValueError(f"table {relation} is not declared; rowseal.declarations lists those that are")
        self.relation, self.spec, self.public_key_field, self.parent_field, identity, columns = found
        self.fields: dict[str, Kind] = self.spec["fields"]
        self.timestamp, self.deleted = self.spec["required"][-2:]
        query = """SELECT a.attname, a.attnotnull,
                          ARRAY(SELECT l.enumlabel::text FROM pg_enum l WHERE l.enumtypid IN (t.oid, t.typelem) ORDER BY l.enumsortorder)
                     FROM pg_attribute a JOIN pg_type t ON t.oid = rowseal._base_type(a.atttypid)
                    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped"""
        facts = {columns.get(name): (required, labels) for name, required, labels in connection.execute(query, (self.relation,))}
        self.required = {f for f in self.fields if facts[f][0]} | set(self.spec["required"]) | {self.public_key_field}
        self.labels = {f: facts[f][1] for f in self.fields}
        self.card = None if identity is None else _Maker(connection, identity)
        self.plain = self._plain()

    # -- values
    def _payload(self, row: Json) -> str | None:
        """The canonical form of a row without its ABSENT fields; None when it has none."""
        given = Jsonb({f: v for f, v in row.items() if v is not ABSENT})
        try:
            with self.connection.transaction():
                found = self.connection.execute("SELECT rowseal.payload(%s::regclass, %s)", (self.relation, given)).fetchall()
        except psycopg.DatabaseError as e:
            # no connection, right, declaration or provider: that is not the row's fault
            if e.sqlstate is None or e.sqlstate[:2] in ("08", "25", "40", "53", "55", "57", "58") or e.sqlstate in NOT_THE_ROW:
                raise
            return None
        return str(found[0][0])

    def _edges(self, field: str) -> list[Any]:
        """Values of a field, canonical or nearly so: the server settles them."""
        if field == self.timestamp:
            return [str(START), "0", "-9223372036854775808", "9223372036854775807", "9007199254740993"]
        if field == self.parent_field:
            return [b64encode(self.key.sign(version).signature).decode() for version in (b"a first version", b"another one")]
        return list(_edges(self.fields[field], self.labels[field]))

    def _plain(self) -> Json:
        """A row with every field, as the server has it in canonical form."""
        row: Json = {self.timestamp: str(START), self.deleted: False}
        if self.card is not None:
            row |= {ours: self.card.plain[theirs] for ours, theirs in zip(self.spec["owner"], self.card.spec["owner"])}
        if self.public_key_field:
            row[self.public_key_field] = b64encode(self.public_key).decode()
        if self.spec["fingerprint"]:
            digest = FINGERPRINTS[self.spec["fingerprint"]](self.public_key)
            owner = self.spec["owner"][0]
            text = (self.spec["fingerprint_prefix"] or "") + digest.hex()
            row[owner] = b64encode(digest).decode() if self.fields[owner] == "bytea" else text
        for certificate, certified in self.spec["certificates"].items():
            of = b64decode(row.setdefault(certified, b64encode(b"a certified key").decode()))
            row[certificate] = b64encode(self.key.sign(of).signature).decode()
        self.missing = []
        for field in self.fields:
            if field not in row:
                value = next((v for v in self._edges(field) if self._payload({field: v}) is not None), None)
                if value is not None:
                    row[field] = value
                elif field in self.required:
                    raise ValueError(f"field {field} of {self.relation} is NOT NULL, and none of the values at hand fits its type")
                else:
                    self.missing.append(field)
        payload = self._payload(row)
        if payload is None:
            raise ValueError(f"a plain row of {self.relation} has no canonical form: {json.dumps(row)}")
        self.canonical = payload
        return dict(json.loads(payload)["row"])

    def _fixed(self) -> set[str]:
        """Fields that carry a rule between them: not to be varied one by one."""
        certificates: Json = self.spec["certificates"]
        return {*self.spec["owner"], self.public_key_field, *certificates, *certificates.values()} - {None}

    # -- vectors
    def _vector(self, what: str, payload: str, signature: bytes | None = None, signed: bytes | None = None) -> Json:
        signature = self.key.sign(payload.encode() if signed is None else signed).signature if signature is None else signature
        sealed = {**json.loads(payload), "sign_b64": b64encode(signature).decode()}
        return {"what": what, "envelope": sealed} | ({} if signed is None else {"signed_base64": b64encode(signed).decode()})

    def accepted(self) -> list[Json]:
        """Oldest first, so that each one becomes the current version of its key."""
        rows: list[tuple[str, Json]] = [("every field has a value", {})]
        if optional := {f: ABSENT for f in self.fields if f not in self.required}:
            rows.append(("NULL in every column that may be NULL", optional))
            rows.append(("a deletion with nothing but what must be there", {**optional, self.deleted: True}))
        for field in self.fields:
            if field not in self._fixed():
                rows += [(f"{field}: {json.dumps(v, ensure_ascii=False)[:60]}", {field: v}) for v in self._edges(field)]
        made: dict[str, tuple[int, bool, str, str]] = {}
        for n, (what, changes) in enumerate(rows):
            payload = self._payload({**self.plain, self.timestamp: str(START + n), **changes})
            if payload is not None:
                row = json.loads(payload)["row"]
                made.setdefault(payload, (int(row[self.timestamp]), row[self.deleted], what, payload))
        return [{**self._vector(what, payload), "payload": payload} for *_, what, payload in sorted(made.values())]

    def refused(self) -> list[Json]:
        """What was changed on its way, what signers get wrong, what is no signature."""
        good = self.canonical
        genuine = self.key.sign(good.encode()).signature
        document = json.loads(good)
        row: Json = document["row"]
        out: list[Json] = []

        def altered(what: str, changes: Json) -> bool:
            payload = self._payload({**row, **changes})
            if payload is None or payload == good:
                return False
            out.append(self._vector(what, payload, signature=genuine))
            return True

        def mistaken(what: str, signed: str | bytes, payload: str = good) -> None:
            signed = signed.encode() if isinstance(signed, str) else signed
            if signed != payload.encode():
                out.append(self._vector(f"signed: {what}", payload, signed=signed))

        for field in row:
            any(altered(f"{field} altered after it was signed", {field: v}) for v in self._edges(field))
            if field not in self.required:
                altered(f"{field} taken away after it was signed", {field: ABSENT})
        altered("dated later after it was signed", {self.timestamp: str(START + 1)})

        mistaken("for another table", jcs({**document, "table": document["table"] + "2"}))
        mistaken("for another version of the form", jcs({**document, "rowseal": 2}))
        mistaken("the row alone, for no table", jcs(row))
        mistaken("members in another order", json.dumps(_reversed(document), ensure_ascii=False, separators=(",", ":")))
        mistaken("with blanks", json.dumps(document, ensure_ascii=False, sort_keys=True))
        mistaken("with a line break at the end", good + "\n")
        mistaken("with a byte order mark", "\ufeff" + good)
        mistaken("its SHA-256 instead of the bytes", hashlib.sha256(good.encode()).digest())
        mistaken("its SHA-512 instead of the bytes", hashlib.sha512(good.encode()).digest())
        mistaken("in UTF-16", good.encode("utf-16-le"))
        mistaken("the timestamp as a number", jcs({**document, "row": {**row, self.timestamp: int(row[self.timestamp])}}))
        mistaken("the deletion flag as a string", jcs({**document, "row": {**row, self.deleted: "false"}}))
        for field, kind in self.fields.items():
            value = row.get(field)
            for what, wrong in _misspelled(kind, value) if value is not None else ():
                mistaken(f"{field} {what}", jcs({**document, "row": {**row, field: wrong}}))
        for field, kind in self.fields.items():
            if kind != "json" and field not in self.required and (payload := self._payload({**row, field: ABSENT})):
                mistaken(f"{field} as null", jcs({**document, "row": {**row, field: None}}), payload)
            if kind == "text" and field not in self._fixed() and (payload := self._payload({**row, field: "Zoë"})):
                mistaken(f"{field} escaped to ASCII", payload.replace("ë", "\\u00eb"), payload)
                mistaken(f"{field} in Latin-1", payload.encode("latin-1", "replace"), payload)
                mistaken(f"{field} in decomposed Unicode", payload.replace("ë", "e\u0301"), payload)

        r, s = genuine[:32], int.from_bytes(genuine[32:], "little")
        secret = int.from_bytes(hashlib.sha512(SEED).digest()[:32], "little") & (1 << 254) - 8 | 1 << 254
        neutral = (1).to_bytes(32, "little")
        h = int.from_bytes(hashlib.sha512(neutral + self.public_key + good.encode()).digest(), "little") % L
        for what, signature in (
            ("by another key", SigningKey(bytes(32)).sign(good.encode()).signature),
            ("malleable: S + L", r + (s + L).to_bytes(32, "little")),
            ("R and S exchanged", genuine[32:] + r),
            ("one bit turned", genuine[:-1] + bytes([genuine[-1] ^ 1])),
            ("one byte short", genuine[:-1]),
            ("one byte long", genuine + b"\0"),
            ("zeros", bytes(64)),
            ("empty", b""),
            ("R of small order, S that fits: some libraries take it", neutral + (h * secret % L).to_bytes(32, "little")),
        ):
            out.append(self._vector(f"signature: {what}", good, signature=signature))
        return out

    def document(self) -> Json:
        return {
            "about": ABOUT,
            "spec": self.spec,
            "seed": SEED.hex(),
            "public_key": b64encode(self.public_key).decode(),
            "owner": self.card and {"spec": self.card.spec, "envelope": self.card._vector("", self.card.canonical)["envelope"]},
            "without_value": self.missing,
            "accept": self.accepted(),
            "refuse": self.refused(),
        }


def _edges(kind: Kind, labels: Sequence[str] = ()) -> Iterator[Any]:
    if isinstance(kind, str):
        yield from labels or EDGES[kind]
    elif "array" in kind:
        element = kind["array"]
        values = [v for v in _edges(element, labels) if v is not None]
        yield from ([values[0]], [], [None], [values[0], None])
        yield from ([v] for v in values[1:])
        if element != "json":  # arrays of JSON have one dimension
            yield [[values[0], None], [values[-1], values[0]]]
    else:
        for name, k in kind["composite"]:
            yield from ({name: v} for v in _edges(k) if v is not None)
        yield {}
        # every attribute at once, where the first value fits its type
        yield {name: next(v for v in _edges(k) if v is not None) for name, k in kind["composite"]}


def _misspelled(kind: Kind, value: Any) -> Iterator[tuple[str, Any]]:
    """Canonical JSON that somebody could write instead of this value."""
    if kind == "bytea":
        yield "as hex", "\\x" + b64decode(value).hex()
        yield "in base64 without padding", value.rstrip("=")
        yield "in the URL's base64", value.replace("+", "-").replace("/", "_")
    elif kind == "uuid":
        yield "in upper case", value.upper()
        yield "without hyphens", value.replace("-", "")
    elif kind == "integer":
        yield "as a number", float(value)
    elif kind == "numeric":
        yield "as a number", float(value)
        yield "with another scale", value + ("0" if "." in value else ".0")
    elif kind == "float" and isinstance(value, (int, float)):
        yield "as a string", str(value)
    elif kind in ("timestamptz", "timestamp", "time"):
        yield "without its six digits", value.replace(".000000", "")
        yield "as PostgreSQL shows it", value.replace("T", " ").replace(".000000", "").replace("Z", "+00")
    elif kind == "boolean":
        yield "as PostgreSQL shows it", "t" if value else "f"
    elif kind == "json" or isinstance(kind, dict):
        yield "as a string", json.dumps(value)


def _reversed(value: Any) -> Any:
    return {k: _reversed(value[k]) for k in sorted(value, reverse=True)} if isinstance(value, dict) else value

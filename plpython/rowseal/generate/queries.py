"""The queries that are kept with a declaration.

They run with the rights of who asks, under a search path of pg_catalog.
"""

from __future__ import annotations

from collections.abc import Iterable

from .decode import Decoding, canonical, contents, given_key, given_owner
from .feature import Feature
from .filled import rendered
from .guard import long_key, owners_card
from .subject import Row, Subject
from .words import field, ident

# once in each process of a parallel plan, before its first row
READY = "rowseal._load(true) IS NOT NULL"
UNION = "\nUNION ALL\n"


def queries(subject: Subject, features: Iterable[Feature]) -> dict[str, str]:
    """The queries by their names; objects are of canonical values by field.

    payload ($1: row), locked ($1: stored row), decoded ($1: row, $2: format), verify ($1: oid[] of
    partitions), versions ($1: key), parents ($1: key, $2: signature), graph, digest, envelopes,
    prune, and what features add.

    digest_owner and envelopes_owner: the same of one owner ($1: owner).
    """
    rows = [subject.row(alias, place) for alias, place in zip("tv", subject.places)]
    every, of_owner = _all(rows), _of_owner(rows)
    return {
        "payload": payload(subject),
        "locked": locked(subject),
        "decoded": f"SELECT rowseal._decode_{subject.id}($1, $2)",
        "parents": UNION.join(_parents(row, rows) for row in rows) if subject.parent else "",
        "versions": versions(subject, rows),
        "graph": UNION.join(
            f"SELECT {row.key_json} AS key, {_edges(row)} FROM {_from(row)}" for row in rows
        ),
        "verify": verify(subject, rows),
        "digest": UNION.join(_digest(row, source) for row, source in every),
        "digest_owner": UNION.join(_digest(row, source) for row, source in of_owner),
        "envelopes": UNION.join(_envelopes(row, source) for row, source in every),
        "envelopes_owner": UNION.join(_envelopes(row, source) for row, source in of_owner),
        "prune": prune(subject),
        "erase": "",
        "erase_versions": "",
        **{name: text for feature in features for name, text in feature.queries().items()},
    }


def _from(row: Row) -> str:
    return f"{row.place.table} {row.alias}"


def _all(rows: list[Row]) -> list[tuple[Row, str]]:
    return [(row, f"{_from(row)} WHERE {READY}") for row in rows]


def _of_owner(rows: list[Row]) -> list[tuple[Row, str]]:
    """Rows of the owner $1."""
    subject = rows[0].subject
    given, g = given_owner(subject), subject.row("g")
    return [
        (row, f"{_from(row)}, {given} g WHERE {READY} AND {row.same_key(g, subject.owner)}")
        for row in rows
    ]


def payload(subject: Subject) -> str:
    """What is signed of the row $1, which a client gives: an object of fields."""
    given = canonical(subject, [s.name for s in subject.signed], "$1")
    decoding = Decoding(given.definitions, {**given.values, **contents(subject, "$1", "$1")})
    function = "payload" if subject.wish.form == "rowseal/1" else "signed"
    arguments = ", ".join(subject.row("r").arguments)
    record = f"pg_catalog.jsonb_to_record($1) x({decoding.definitions})"
    return (
        f"SELECT rowseal._{function}_{subject.id}({arguments})"
        f" FROM (SELECT {decoding.named()} FROM {record}) r"
    )


def locked(subject: Subject) -> str:
    """Whether the key of the row $1, of the main table, is there to be locked."""
    t, row = subject.row("t"), subject.row("($1)")
    return f"SELECT true FROM {_from(t)} WHERE {t.same_key(row)} FOR UPDATE"


# ------------------------------------------------------------------------------------------ history
def _name_bytes(row: Row, column: str) -> str:
    """What names a version: its signature, or its name."""
    subject = row.subject
    if subject.name_column and subject.column(column).base != "bytea":
        return f"pg_catalog.convert_to({row.ref(column)}, 'UTF8')"
    return row.bytes(column)


def _edges(row: Row) -> str:
    """A version and those that it was written on top of."""
    subject = row.subject
    name = _name_bytes(row, subject.name_column) if subject.name_column else row.signature
    parent = _name_bytes(row, subject.parent) if subject.parent else "NULL::bytea"
    merges = subject.column_of.get("merged_sign_b64")  # a version may name further parents
    there = merges is not None and subject.column(merges).type == "bytea[]"
    merged = row.ref(merges) if there and merges else "NULL::bytea[]"
    return f"{name} AS name, {row.signature} AS sign, {parent} AS parent, {merged} AS merged"


def versions(subject: Subject, rows: list[Row]) -> str:
    """All versions of the key $1."""
    parts = UNION.join(_version(row) for row in rows)
    if not subject.name_column:
        return parts
    # parents are named: their signatures in place of the names, as far as they are here
    columns = (
        "v.sign, coalesce(p.sign, v.parent) AS parent, v.merged, v.writer, v.owner_timestamp,"
        " v.deleted, v.payload, v.content"
    )
    return f"WITH v AS ({parts})\nSELECT {columns} FROM v LEFT JOIN v p ON p.name = v.parent"


def _version(row: Row) -> str:
    subject = row.subject
    writer = subject.column_of.get("writer_pkey") if subject.wish.has_writers else None
    return (
        f"SELECT {_edges(row)}, {row.ref(writer) if writer else 'NULL::bytea'} AS writer,\n"
        f"       {row.ref(subject.timestamp)} AS owner_timestamp,"
        f" {row.ref(subject.deleted)} AS deleted,\n"
        f"       {row.payload} AS payload, {row.content or 'NULL::json'} AS content\n"
        f"  FROM {_from(row)}, {given_key(subject)} g\n"
        f" WHERE {READY} AND {row.same_key(subject.row('g'))}"
    )


# ------------------------------------------------------------------------------------------- verify
def verify(subject: Subject, rows: list[Row]) -> str:
    """Key, signature and problem of every stored row: judged anew, and set in order."""
    parts = [_judged(row) for row in rows]
    if subject.versions is not None:
        main, archived = rows
        holes = {
            "key": archived.key_json,
            "signature": archived.signature,
            "no_tip": f"t.{field(subject.sign)} IS NULL",
            "order_v": archived.order,
            "order_t": main.order,
            "same_time": f"{archived.ref(subject.timestamp)} = {main.ref(subject.timestamp)}",
            "versions": _from(archived),
            "main": _from(main),
            "same_key": main.same_key(archived),
        }
        parts.append(rendered("verify_order", holes))
    return UNION.join(parts)


def _judged(row: Row) -> str:
    """The verdict on stored rows.

    Keys are joined: parallel plans know no correlated subqueries.
    """
    subject = row.subject
    only = (
        ""
        if row.place is subject.versions
        else f" AND ($1 IS NULL OR {row.alias}.tableoid = ANY ($1))"
    )
    problem, join = _problem(row)
    if long := long_key(row):
        problem = f"coalesce({problem}, {long})"
    return (
        f"SELECT {row.key_json} AS key, {row.signature} AS sign, {problem} AS problem\n"
        f"  FROM {_from(row)}{join} WHERE {READY}{only}"
    )


def _problem(row: Row) -> tuple[str, str]:
    """The verdict on a stored row, and the join that brings its owner's card."""
    subject = row.subject
    card = owners_card(row)
    if card is None:
        return row.judged_by(row.bytes(subject.public_key or "")), ""
    table, where, key = card
    identity = subject.identity
    if subject.public_key is None and len(identity.owner) < len(identity.table.key):
        # several versions, all with the same key
        owner = ", ".join(f"c.{field(o)}" for o in identity.owner)
        table = f"(SELECT DISTINCT ON ({owner}) c.* FROM {table} c)"
    verdict = subject.wrapped("problem", row, row.judged_by(key))
    return verdict, f" LEFT JOIN {table} k ON {where}"


def _parents(row: Row, rows: list[Row]) -> str:
    """Which other parent would make the signature of the version $2 of the key $1 valid.

    None, or another version of the key: a server may have put its own there.
    """
    subject, parent = row.subject, row.subject.parent or ""
    stored, others, g = row.called("s"), (r.called("o") for r in rows), subject.row("g")
    named = subject.name_column or subject.sign
    bases = [subject.column(c).base == "bytea" for c in (parent, named)]
    as_ = {(True, False): "rowseal._unbase64({})", (False, True): "rowseal._encoded({})"}
    candidate = as_.get((bases[0], bases[1]), "{}")
    type_ = subject.column(parent).type
    candidates = UNION.join(
        [
            f"SELECT NULL::{type_}",
            *(
                f"SELECT {candidate.format(o.ref(named))}::{type_} FROM {_from(o)}"
                f" WHERE {o.same_key(stored)}"
                for o in others
            ),
        ]
    )
    columns = ", ".join(
        f"p.candidate AS {ident(row.place.columns[c])}" if c == parent else stored.ref(c)
        for c in subject.stored
    )
    problem, join = _problem(row)
    return (
        f"SELECT coalesce({row.ref(parent)}::text, 'NULL') AS parent FROM (SELECT {columns}\n"
        f"  FROM {_from(stored)}, {given_key(subject)} g, LATERAL ({candidates}) p(candidate)\n"
        f" WHERE {stored.same_key(g)} AND {stored.signature} = $2 AND {READY}) {row.alias}{join}\n"
        f" WHERE {problem} IS NULL"
    )


# --------------------------------------------------------------------------------- state and travel
def _digest(row: Row, source: str) -> str:
    hashed = f"pg_catalog.convert_to({row.payload}, 'UTF8') || coalesce({row.signature}, '')"
    return (
        f"SELECT {row.key_json} AS key, {row.signature} AS sign, sha256({hashed}) AS hash"
        f" FROM {source}"
    )


def _envelopes(row: Row, source: str) -> str:
    return f"SELECT {row.envelope_if_any} AS envelope FROM {source}"


def tips(subject: Subject) -> str:
    """The view of a one-table layout that shows the current version of each key."""
    t = subject.row("t")
    key = t.refs(subject.key)
    table = subject.main.table
    return f"AS SELECT DISTINCT ON ({key}) t.* FROM {table} t ORDER BY {key}, {t.newest}"


def prune(subject: Subject) -> str:
    """Deletes superseded versions.

    $1 keeps so many newest of each key besides the tip, $2 those from a timestamp on.
    """
    if subject.declaration.layout == "unversioned" or subject.wish.grants:
        return ""
    x = subject.row("x", subject.versions)
    partition = f"PARTITION BY {x.refs(subject.key)} ORDER BY {x.newest}"
    holes = {
        "table": x.place.table,
        "at": x.ref(subject.timestamp),
        "spare": subject.slot("spare", x, partition) or "true",
        "partition": partition,
        "tips": "0" if subject.versions else "1",  # how many of a key's rows here are current
    }
    return rendered("prune", holes)

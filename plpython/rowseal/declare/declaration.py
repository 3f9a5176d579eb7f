"""From a table's catalog facts to its declaration.

``plan`` checks a wish (the arguments of ``rowseal.declare``) against the facts (``rowseal._facts``) and returns the
completed declaration.  A pure function of JSON-like values: it runs without a server.
"""

from __future__ import annotations

from typing import Any

from ..form import concatenated
from ..form.canonical import Kind
from ..form.signature import ALGORITHMS, ED25519, FINGERPRINTS

Json = dict[str, Any]

GUARD = "zzz_rowseal_guard"  # BEFORE triggers fire in the order of their names (CREATE TRIGGER, PostgreSQL manual)
COLUMNS = {"writer_pkey": "bytea", "writer_seq": "bigint", "writer_prev": "bytea"}  # who signed, when it was not the owner
GRANT_COLUMNS = {
    "grantee_pkey": "bytea", "tables": "text[]", "keys": "jsonb", "tombstones": "boolean", "until": "bigint", "may_grant": "smallint",
    "upto": "bytea[]",
}  # fmt: skip
MAX_FIELDS = 95  # a PostgreSQL function takes 100 arguments


class Refused(Exception):
    """A wrong declaration: SQLSTATE, message, hint."""

    def __init__(self, message: str, hint: str = "", sqlstate: str = "RS007"):
        super().__init__(message)
        self.sqlstate, self.message, self.hint = sqlstate, message, hint


def _column(facts: Json, name: str, what: str) -> Json:
    for column in facts["columns"]:
        if column["name"] == name:
            return column  # type: ignore[no-any-return]
    raise Refused(
        f"table {facts['label']} has no {what} column {name!r}",
        f"Add it, or name another one: its columns are {', '.join(c['name'] for c in facts['columns'])}.",
    )


def _typed(facts: Json, name: str, what: str, types: tuple[str, ...]) -> None:
    type_ = _column(facts, name, what)["base"]
    if type_ not in types:
        raise Refused(f"the {what} column {name!r} of {facts['label']} has type {type_}", f"It must be {' or '.join(types)}.")


def _table(facts: Json) -> None:
    label, kind = facts["label"], facts["relkind"]
    if kind not in "rp":
        name = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}.get(kind, "no table")
        raise Refused(f"{label} is {name}", "Only ordinary and partitioned tables can be declared.")
    if facts["persistence"] != "p":
        name = {"t": "a temporary", "u": "an unlogged"}[facts["persistence"]]
        raise Refused(f"{label} is {name} table", "Its rows are not kept; only permanent tables can be declared.")
    if facts["partition"]:
        raise Refused(f"{label} is a partition", "Declare its partitioned table; the partitions follow.")
    if facts["inherits"]:
        raise Refused(
            f"{label} takes part in table inheritance",
            "Triggers are not inherited: rows of a child would show in the parent unchecked. Use declarative partitions.",
        )
    if facts["rules"]:
        raise Refused(f"{label} has rewrite rules: {', '.join(facts['rules'])}", "A rule diverts rows before any trigger sees them.")
    if facts["late_triggers"]:
        raise Refused(
            f"trigger {facts['late_triggers'][0]!r} on {label} fires after rowseal's and could change a verified row",
            f"Give it a name that sorts before {GUARD!r}.",
        )


def _refused_kind(kind: Kind) -> str | None:
    if isinstance(kind, str):
        return None
    if "refused" in kind:
        return str(kind["refused"])
    if "array" in kind:
        return _refused_kind(kind["array"])
    return next((r for _, k in kind["composite"] if (r := _refused_kind(k))), None)


def large(d: Json, identity: Json | None) -> bool:
    """Whether signatures may be longer than what fits into an index (2704 bytes, btree)."""
    return (d["algorithms"] or (identity or {}).get("algorithms") or [ED25519.name]) != [ED25519.name]


_HASHED = (
    "Of ML-DSA it does not fit into an index. Put a column like sign_sha256 bytea GENERATED ALWAYS AS (sha256({0})) STORED "
    "into the primary key in its place (of text: sha256(decode({0}, 'base64')))."
)


def _version_key(facts: Json, names: list[str], signature: str, name: str | None, large_: bool) -> str | None:
    """Which of these columns tells versions apart: the name, the generated hash of the signature, or that itself."""
    if name in names:
        return name
    hashes = [c["name"] for c in facts["columns"] if c["hash_of"] == signature and c["name"] in names]
    return hashes[0] if hashes else signature if signature in names and not large_ else None


def plan(wish: Json, facts: Json, versions: Json | None, identity: Json | None) -> Json:
    """The completed declaration: the wish plus layout, key, fields, spec and version_columns; Refused otherwise.

    ``fields`` (column -> field) in the wish is kept for the columns that are still there: a field's name outlives
    renames of its column.
    """
    d = dict(wish)
    for option in ("tag", "owner", "timestamp_column", "deleted_column", "signature_column"):
        if not d[option] or (isinstance(d[option], list) and not all(d[option])):
            raise Refused(f"{option} of {facts['label']} is empty", f"{option} => '…' is expected.")
    if not all(isinstance(name, str) for name in d["unsigned"]):
        raise Refused(f"unsigned of {facts['label']} is no list of columns", "unsigned => '{one,another}' is expected.")
    for option in ("certificates", "version_columns"):
        value = {} if d[option] is None else d[option]
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise Refused(f"{option} is no JSON object of strings", f'{option} => \'{{"column": "column"}}\' is expected.')
        d[option] = value
    _table(facts)
    label = facts["label"]
    if not facts["key"]:
        raise Refused(f"table {label} has no primary key", "Add one that contains the owner column.")
    if facts["key_deferrable"]:
        raise Refused(f"the primary key of {label} is deferrable", "Make it NOT DEFERRABLE: rows are merged by it at once.")
    owner = d["owner"]
    key = [k["name"] for k in facts["key"]]
    hashes = [c["name"] for c in facts["columns"] if c["hash_of"] == d["signature_column"]] + [d["name_column"]]
    d["key"] = [k for k in key if k not in (d["signature_column"], *hashes)]
    for name in owner:
        _column(facts, name, "owner")
        if name not in key:
            raise Refused(
                f"the owner column {name!r} is not part of the primary key of {label}",
                "Otherwise somebody else could claim a key first. Add it to the primary key.",
            )
    _typed(facts, d["timestamp_column"], "timestamp", ("bigint",))
    _typed(facts, d["deleted_column"], "deletion flag", ("boolean",))
    _typed(facts, d["signature_column"], "signature", ("bytea", "text"))
    if d["grants"]:
        d["parent_column"] = None  # of grants none supersedes another
    if all(c["name"] != d["parent_column"] for c in facts["columns"]):
        d["parent_column"] = None  # a table without history has no parent column
    else:
        _typed(facts, d["parent_column"], "parent", ("bytea", "text"))
    if d["deleted_column"] in key or d["timestamp_column"] in key:
        raise Refused(f"the primary key of {label} contains the timestamp or the deletion flag", "They differ between versions of a row.")

    # fields: what is signed
    unsigned = set(d["unsigned"])
    for name in unsigned:
        _column(facts, name, "unsigned")
    essential = {*d["key"], *owner, d["timestamp_column"], d["deleted_column"], d["parent_column"], d["public_key"]} - {None}
    essential |= {d["signature_column"]} | set(d["certificates"]) | set(d["certificates"].values())
    if unsigned & essential:
        raise Refused(f"column {min(unsigned & essential)!r} of {label} cannot be unsigned", "Only columns that carry no rule can.")
    for name, kept in d["digests"].items():
        _typed(facts, name, "digest", ("bytea", "text", "character varying"))
        if name in essential | unsigned or _column(facts, name, "digest")["required"]:
            raise Refused(f"column {name!r} of {label} cannot be signed by digest", "Only a nullable column without a rule can be erased.")
        _typed(facts, kept, "digest", ("bytea",))
    if d["name_column"] is not None:
        _name(d, facts, essential | unsigned)
    unsigned |= {*d["digests"].values()} | {d["name_column"]} - {None}
    if unsigned & essential:
        raise Refused(f"column {min(unsigned & essential)!r} of {label} carries a rule", "It cannot hold the digest of another column.")
    known = d.get("fields") or {}
    signed = [c for c in facts["columns"] if c["name"] not in unsigned | {d["signature_column"]} and not c["generated"]]
    for column in signed:
        if refused := _refused_kind(column["kind"]):
            raise Refused(
                f"column {column['name']!r} of {label} has type {refused}, which has no canonical form",
                "Its text depends on the server or leaves something out. Use another type, or list the column as unsigned.",
            )
        if column["identity"] == "a":
            raise Refused(
                f"column {column['name']!r} of {label} is GENERATED ALWAYS AS IDENTITY",
                "The owner chooses signed values. Make it BY DEFAULT, or list the column as unsigned.",
            )
    for column in facts["columns"]:
        if column["name"] in unsigned - {d["name_column"]} and column["required"]:
            raise Refused(
                f"unsigned column {column['name']!r} of {label} is NOT NULL without a default",
                "Rows from elsewhere do not have it. Give it a default.",
            )
    for name in essential - {d["signature_column"]} - {c["name"] for c in signed}:
        _column(facts, name, "declared")
        raise Refused(f"column {name!r} of {label} is generated", "A generated column cannot be signed.")
    d["fields"] = {c["name"]: known.get(c["name"], c["name"]) for c in signed}
    if len(set(d["fields"].values())) < len(signed):
        raise Refused(f"two columns of {label} stand for the same signed field", "Rename the column that was added last.")
    if len(signed) > MAX_FIELDS:
        raise Refused(f"table {label} has {len(signed)} signed columns", f"At most {MAX_FIELDS} are supported.")

    if d["form"] == "concatenated":
        _concatenated(d, label, signed)
    elif d["form"] != "rowseal/1":
        raise Refused(f"form {d['form']!r} of {label} is not known", "rowseal/1, or concatenated for the rows of one older system.")

    # owner and keys
    if (d["public_key"] is None) == (d["identity"] is None):
        raise Refused(
            f"the declaration of {label} names {'neither' if d['identity'] is None else 'both'} public_key and identity",
            "public_key makes it an identity table; identity names the identity table of its owners.",
        )
    if d["public_key"] is not None:
        _typed(facts, d["public_key"], "public key", ("bytea", "text"))
        if d["algorithms"] is None:
            d["algorithms"] = [ED25519.name]
        if not d["algorithms"] or not set(d["algorithms"]) <= ALGORITHMS.keys():
            raise Refused(
                f"algorithms of {label} are none that is known: {', '.join(map(str, d['algorithms']))}",
                f"algorithms => '{{{','.join(ALGORITHMS)}}}' lists what public keys may be.",
            )
        if sorted(owner) != sorted(d["key"]):
            raise Refused(
                f"the primary key of the identity table {label} is not its owner column",
                "An owner has one public key: the primary key must be the owner.",
            )
    else:
        if d["algorithms"] is not None:
            raise Refused(f"algorithms are for identity tables, not for {label}", "That of its owners says what their keys may be.")
        if identity is None or identity["public_key"] is None:
            raise Refused(f"{d['identity_label']} is not declared as an identity table", "Declare it first, with public_key.")
        if {k["name"] for k in identity["facts"]["key"] or ()} < set(identity["owner"]):
            raise Refused(f"the identity table {d['identity_label']} has lost its primary key", "Put it back.")
        theirs, ours = (
            [_column(f, n, "owner")["base"] for n in o] for f, o in ((identity["facts"], identity["owner"]), (facts, owner))
        )
        if theirs != ours:
            raise Refused(f"the owner of {label} has type {ours}, in the identity table {theirs}", "They must be the same.")
    for cert, of in d["certificates"].items():
        _typed(facts, cert, "certificate", ("bytea", "text"))
        _typed(facts, of, "certified", ("bytea", "text"))
    if d["fingerprint"] is not None:
        if d["public_key"] is None or len(owner) != 1:
            raise Refused(f"fingerprint needs an identity table with one owner column, not {label}", "Declare it there.")
        if d["fingerprint"] not in FINGERPRINTS:
            raise Refused(f"fingerprint {d['fingerprint']!r} is not known", f"Choose one of {', '.join(FINGERPRINTS)}.")
        _typed(facts, owner[0], "owner", ("bytea", "text", "character varying"))
    elif d["fingerprint_prefix"]:
        raise Refused("fingerprint_prefix without fingerprint", "Name the hash as well.")

    # layout
    d["version_key"] = _version_key(facts, key, d["signature_column"], d["name_column"], large(d, identity))
    if d["version_key"] is None and d["signature_column"] in key:
        raise Refused(f"the primary key of {label} contains the signature itself", _HASHED.format(d["signature_column"]))
    if d["version_key"] is not None:
        d["layout"] = "one table"
        if versions is not None:
            raise Refused(
                f"{label} keeps its versions itself: the signature is part of its primary key",
                "Leave versions out, or take the signature out of the primary key.",
            )
        if d["public_key"] is not None and d["fingerprint"] is None:
            raise Refused(
                f"identity table {label} keeps all versions in one table, without fingerprint",
                "Nothing would stop two keys for one new owner. Add fingerprint, or use another layout.",
            )
    else:
        d["layout"] = "two tables" if versions is not None else "unversioned"
    d["version_columns"] = _version_columns(d, facts, versions, large(d, identity)) if versions is not None else None
    _writers(d, facts)
    if d["layout"] != "unversioned" and d["parent_column"] is None and not d["grants"]:
        raise Refused(f"table {label} is versioned, without a parent column", "Add parent_sign_b64, or name it with parent_column.")
    d["spec"] = {
        "tag": d["tag"],
        "fields": {d["fields"][c["name"]]: {"digest": c["kind"]} if c["name"] in d["digests"] else c["kind"] for c in signed},
        "owner": [d["fields"][o] for o in owner],
        "required": [d["fields"][c] for c in (*d["key"], d["timestamp_column"], d["deleted_column"])],
        **({"algorithms": d["algorithms"]} if d["public_key"] is not None else {}),
        **({"form": d["form"]} if d["form"] != "rowseal/1" else {}),
        **({"name": {"column": d["name_column"], "hash": d["name_hash"], "prefix": d["name_prefix"]}} if d["name_column"] else {}),
        "fingerprint": d["fingerprint"],
        "fingerprint_prefix": d["fingerprint_prefix"],
        "certificates": {d["fields"][c]: d["fields"][o] for c, o in d["certificates"].items()},
    }
    return d


def _name(d: Json, facts: Json, taken: set[str]) -> None:
    """The column that holds a version's name, and its parent's."""
    name, label = d["name_column"], facts["label"]
    _typed(facts, name, "name", ("bytea", "text", "character varying"))
    if name in taken or _column(facts, name, "name")["generated"]:
        raise Refused(f"column {name!r} of {label} cannot hold the name of a version", "It carries another rule, or is generated.")
    if d["name_hash"] not in FINGERPRINTS:
        raise Refused(f"name_hash {d['name_hash']!r} is not known", f"Choose one of {', '.join(FINGERPRINTS)}.")
    bases = [_column(facts, c, "name")["base"] for c in (name, d["parent_column"]) if c]
    if len({b == "bytea" for b in bases}) > 1 or (bases[0] == "bytea" and d["name_prefix"]):
        raise Refused(f"names of versions of {label} are bytes in one place and text in another", "A prefix, too, needs text.")


def _concatenated(d: Json, label: str, signed: list[Json]) -> None:
    """Whether these columns can be signed so; and in full knowledge of what that means."""
    for column in signed:
        if not concatenated.supported(column["kind"]):
            raise Refused(f"column {column['name']!r} of {label} has type {column['type']}, which the form concatenated does not know", "")
    if d["digests"]:
        raise Refused(f"columns of {label} cannot be signed by digest in the form concatenated", "rowseal/1 can.")
    order = sorted(signed, key=lambda c: str(d["fields"][c["name"]]).encode("utf-16-be"))
    problems = concatenated.ambiguities([(d["fields"][c["name"]], c["kind"], not c["notnull"]) for c in order])
    if problems and not d["accept_ambiguity"]:
        raise Refused(
            f"rows of {label} in the form concatenated can be turned into others with the same signature: {', '.join(problems)}",
            "Content can be shifted between these. See docs/specification.md; accept_ambiguity => true takes such rows over as they are.",
        )


def _writers(d: Json, facts: Json) -> None:
    """What a table with writers, or a grants table, needs besides."""
    if not d["grants"] and d["writers"] is None:
        return
    label, column_of = facts["label"], {f: c for c, f in d["fields"].items()}
    what = "grants table" if d["grants"] else "table with writers"
    if d["public_key"] is not None:
        raise Refused(f"identity table {label} can be no {what}", "Only an owner speaks about his own keys. Use a table of its own.")
    if d["form"] != "rowseal/1" or d["digests"] or d["name_column"]:
        raise Refused(f"{what} {label} cannot have another form, digests or names of versions", "They go without writers.")
    if d["writers"] is not None:
        grants = d["grants_table"]
        if grants is None or not grants["grants"]:
            raise Refused(f"the grants table of {label} is not declared as one", "Declare it first, with grants => true.")
        if str(grants["identity"]) != str(d["identity"]):
            raise Refused(f"{label} and its grants table {grants['label']} have different identity tables", "Owners must be the same.")
        if d["layout"] == "unversioned":
            raise Refused(
                f"{label} has writers, but keeps no versions",
                "When a writer is revoked, the version before his comes back. Name a versions table.",
            )
    if d["grants"] and (d["layout"] != "one table" or d["key"] != [*d["owner"], column_of.get("grantee_pkey")]):
        raise Refused(
            f"the primary key of the grants table {label} is not its owner, grantee_pkey and the signature", "All rows of it count."
        )
    for field, type_ in ({**COLUMNS, **GRANT_COLUMNS} if d["grants"] else COLUMNS).items():
        have = next((c for c in facts["columns"] if c["name"] == column_of.get(field)), None)
        if have is None or have["type"] != type_ or (field in COLUMNS and have["required"]):
            raise Refused(
                f"the {what} {label} has no signed{', nullable' if field in COLUMNS else ''} column {field} of type {type_}",
                f"ALTER TABLE {label} ADD COLUMN {field} {type_};",
            )


def _version_columns(d: Json, facts: Json, versions: Json, large_: bool) -> dict[str, str]:
    """Which column of the versions table holds which column of the main table."""
    label = versions["label"]
    _table(versions)
    if versions["relkind"] != "r":
        raise Refused(f"the versions table {label} is partitioned", "Its primary key, the signature alone, does not allow that.")
    given = d["version_columns"] or {}
    have = {c["name"]: c["type"] for c in versions["columns"] if not c["generated"]}
    types = {c["name"]: c["type"] for c in facts["columns"]}
    found: dict[str, str] = {}
    missing = []
    for name in [*d["fields"], *d["digests"].values(), *([d["name_column"]] if d["name_column"] else []), d["signature_column"]]:
        match = given.get(name, name)
        if match in have and match not in found.values():
            found[name] = match
        else:
            missing.append(name)
    for name in missing:  # a column that goes by another name there, when only one can be meant
        free = [c for c in have if c not in found.values() and have[c] == types[name]]
        if len(free) != 1:
            raise Refused(
                f"the versions table {label} has no column for {name!r}",
                f'Add it, or say which one holds it: version_columns => \'{{"{name}": "…"}}\'.',
            )
        found[name] = free[0]
    for column in versions["columns"]:
        if column["required"] and column["name"] not in found.values():
            raise Refused(f"column {column['name']!r} of {label} is NOT NULL without a default", "Nothing is archived into it.")
    for name, match in found.items():
        if have[match] != types[name]:
            raise Refused(f"column {match!r} of {label} has type {have[match]}, {name!r} has {types[name]}", "They must be the same.")
    signature = found[d["signature_column"]]
    unique = [u[0] for u in versions["unique"] if len(u) == 1]
    d["version_key"] = _version_key(versions, unique, signature, found.get(d["name_column"]), large_)
    if d["version_key"] is None:
        raise Refused(
            f"the versions table {label} has no primary key on the signature{' but its hash' if large_ else ''}",
            _HASHED.format(signature) if large_ else "A version is identified by its signature alone.",
        )
    return found

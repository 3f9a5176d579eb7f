"""The commands that a table's owner can give, and what the table is after each (kit/states.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kit import model
from kit.states import ELSEWHERE, ESSENTIAL, MAIN, SIGNATURE, VERSIONS, Part, Table

NEW = {"x0": "integer", "x1": "integer", "x2": "text", "x3": "domain", "value": "text",
       "parent_sign_b64": "bytea"}  # fmt: skip
CASCADE = "cascade"  # a command about something else, that takes from the table what it needs


def key_of(kind: str) -> str:
    return "user_hash, n" + ", sign_b64" * (kind == model.ONE_TABLE)


class Op(NamedTuple):
    """A command of the owner: what it says, and what the table is after it."""

    sql: str
    after: Table
    about: str = MAIN
    brings: tuple[Part, ...] = ()


def renamed(columns: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if c == old else c: v for c, v in columns.items()}


def main(t: Table) -> str:
    return f"{t.schema}.{t.name}"


def archive(t: Table) -> str:
    return f"{t.archive_schema}.{t.archive_name}"


def place(p: Part) -> str:
    return f"{p.schema}.{p.name}"


def extra(columns: dict[str, str]) -> list[str]:
    return [c for c in columns if c not in ESSENTIAL and c != SIGNATURE]


def columns_come(t: Table, fresh: str) -> Iterator[Op]:
    for c, kind in NEW.items():
        kind = t.domain if kind == "domain" else kind
        if c not in t.columns:
            after = t.copy()
            after.columns[c], after.fields[c] = kind, c
            after.fresh = t.fresh | {c}
            yield Op(f"ALTER TABLE {main(t)} ADD {c} {kind}", after)
        if t.two and c not in t.archive:
            after = t.copy()
            after.archive[c] = kind
            after.fresh = t.fresh | {c}
            yield Op(f"ALTER TABLE {archive(t)} ADD {c} {kind}", after, VERSIONS)


def columns_go(t: Table, fresh: str) -> Iterator[Op]:
    for c in extra(t.columns):
        if not t.filled(c):
            after = t.copy()
            del after.columns[c], after.fields[c]
            after.places.pop(c, None)
            yield Op(f"ALTER TABLE {main(t)} DROP {c}", after)
            after, kind = after.copy(), t.columns[c]
            after.columns[c] = kind
            if c in NEW and not any(c == f for d, f in t.fields.items() if d != c):
                after.fields[c] = c
                after.fresh = t.fresh | {c}
                yield Op(f"ALTER TABLE {main(t)} DROP {c}, ADD {c} {kind}", after)
    yield from type_goes(t)
    for p in extra(t.archive):
        if not any(t.filled(c) for c in t.columns if t.places.get(c, c) == p):
            after = t.copy()
            leave_archive(after, p)
            yield Op(f"ALTER TABLE {archive(t)} DROP {p}", after, VERSIONS)


def leave_archive(t: Table, p: str) -> None:
    """What was kept there is kept, from then on, by its own name."""
    del t.archive[p]
    t.places = {c: q for c, q in t.places.items() if q != p}


def type_goes(t: Table) -> Iterator[Op]:
    """With its columns; another one takes its name."""
    own = [c for c, kind in t.columns.items() if kind == t.domain]
    if "domain" in t.strangers or any(t.filled(c) for c in own):
        return
    after = t.copy()
    for c in own:
        del after.columns[c], after.fields[c]
        after.places.pop(c, None)
    places = [t.places.get(c, c) for c in t.columns if t.filled(c)]
    for p in [p for p, kind in t.archive.items() if kind == t.domain]:
        if p in places:
            return
        leave_archive(after, p)
    sql = f"DROP DOMAIN {t.domain} CASCADE; CREATE DOMAIN {t.domain} AS text"
    yield Op(sql, after, CASCADE)


def columns_renamed(t: Table, fresh: str) -> Iterator[Op]:
    for c in extra(t.columns):
        if c != "parent_sign_b64":
            after = t.copy()
            after.columns = renamed(t.columns, c, fresh)
            after.fields = renamed(t.fields, c, fresh)
            after.places = renamed({c: c, **t.places}, c, fresh) if t.two else {}
            yield Op(f"ALTER TABLE {main(t)} RENAME {c} TO {fresh}", after)
    for p in extra(t.archive):
        if p != "parent_sign_b64":
            after = t.copy()
            after.archive = renamed(t.archive, p, fresh)
            after.places = {c: fresh if q == p else q for c, q in t.places.items()}
            yield Op(f"ALTER TABLE {archive(t)} RENAME {p} TO {fresh}", after, VERSIONS)


def types_change(t: Table, fresh: str) -> Iterator[Op]:
    other = {"integer": "bigint", "bigint": "integer"}
    for c in extra(t.columns):
        if t.columns[c] in other:
            after = t.copy()
            after.columns[c] = other[t.columns[c]]
            yield Op(f"ALTER TABLE {main(t)} ALTER {c} TYPE {after.columns[c]}", after)
    for p in extra(t.archive):
        if t.archive[p] in other:
            after = t.copy()
            after.archive[p] = other[t.archive[p]]
            yield Op(f"ALTER TABLE {archive(t)} ALTER {p} TYPE {after.archive[p]}", after, VERSIONS)


DROP_KEY = """DO $$ BEGIN EXECUTE format('ALTER TABLE {0} DROP CONSTRAINT %I {1}', (SELECT conname
    FROM pg_constraint WHERE conrelid = '{0}'::regclass AND contype = 'p')); END $$"""


def keys_change(t: Table, fresh: str) -> Iterator[Op]:
    after, other = t.copy(), t.copy()
    after.key = not t.key
    if t.key:
        yield Op(DROP_KEY.format(main(t), ""), after)
        other.turned = not t.turned
        key = ", ".join(key_of(t.layout).split(", ")[:: -1 if other.turned else 1])
        yield Op(DROP_KEY.format(main(t), f", ADD PRIMARY KEY ({key})"), other)
    else:
        after.turned = False
        yield Op(f"ALTER TABLE {main(t)} ADD PRIMARY KEY ({key_of(t.layout)})", after)
    if t.two:
        after = t.copy()
        after.archive_key = not t.archive_key
        if t.archive_key:
            yield Op(DROP_KEY.format(archive(t), ""), after, VERSIONS)
        else:
            yield Op(f"ALTER TABLE {archive(t)} ADD PRIMARY KEY (sign_b64)", after, VERSIONS)


def names_change(t: Table, fresh: str) -> Iterator[Op]:
    after = t.copy()
    after.name = fresh
    yield Op(f"ALTER TABLE {main(t)} RENAME TO {fresh}", after)
    after = t.copy()
    after.schema = "s" if t.schema == "public" else "public"
    if "schema" not in t.strangers:
        yield Op(f"ALTER TABLE {main(t)} SET SCHEMA {after.schema}", after)
    if t.two and "versions" not in t.strangers:
        after = t.copy()
        after.archive_name = fresh
        yield Op(f"ALTER TABLE {archive(t)} RENAME TO {fresh}", after, VERSIONS)
        after = t.copy()
        after.archive_schema = "s" if t.archive_schema == "public" else "public"
        if "schema" not in t.strangers:
            yield Op(f"ALTER TABLE {archive(t)} SET SCHEMA {after.archive_schema}", after, VERSIONS)
    if "domain" not in t.strangers:
        after = t.copy()
        after.domain = fresh
        for columns in (after.columns, after.archive):
            columns.update({c: fresh for c, kind in columns.items() if kind == t.domain})
        yield Op(f"ALTER DOMAIN {t.domain} RENAME TO {fresh}", after, VERSIONS)  # her own, too


FORGED = (
    "INSERT INTO {} (user_hash, n, deleted_flag, owner_timestamp, sign_b64)"
    " VALUES ('x', {}, false, 1, 'x')"
)


def partitions_come(t: Table, fresh: str) -> Iterator[Op]:
    for n in range(3):
        if t.parts is None or n in t.parts:
            continue
        after = t.copy()
        nested = "PARTITION BY HASH (user_hash)"
        assert after.parts is not None
        after.parts[n] = Part(fresh, n, t.schema)
        create = f"CREATE TABLE {t.schema}.{fresh}"
        grant = f"GRANT SELECT, INSERT, UPDATE ON {t.schema}.{fresh} TO mallory"
        of = f"PARTITION OF {main(t)} FOR VALUES IN ({n})"
        yield Op(f"{create} {of}; {grant}", after)
        like = f"{create} (LIKE {main(t)})"
        attach = f"ALTER TABLE {main(t)} ATTACH PARTITION {t.schema}.{fresh} FOR VALUES IN ({n})"
        yield Op(f"{like}; {attach}; {grant}", after.copy())
        inner = (
            f"{create}i PARTITION OF {t.schema}.{fresh} FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        )
        after = after.copy()
        assert after.parts is not None
        after.parts[n].nested = True
        yield Op(f"{create} {of} {nested}; {grant}; {inner}", after)
        yield Op(f"{like} {nested}; {inner}; {attach}; {grant}", after.copy())
        bad = Part(fresh, n, t.schema, used=True, forged=True)
        forged = FORGED.format(f"{t.schema}.{fresh}", n)
        after = t.copy()
        after.forged = True
        if t.declared:
            yield Op(f"{like}; {forged}; {attach}", after, MAIN, (bad,))
            yield Op(f"{like} {nested}; {inner}; {forged}; {attach}", after, MAIN, (bad,))


def partitions_go(t: Table, fresh: str) -> Iterator[Op]:
    for n, p in (t.parts or {}).items():
        after = t.copy()
        assert after.parts is not None
        q = after.parts[n]
        inside = [r for r in t.received if r.n == n]
        q.name = fresh
        yield Op(f"ALTER TABLE {place(p)} RENAME TO {fresh}", after)
        after = t.copy()
        assert after.parts is not None
        q = after.parts[n]
        if p.attached:
            q.attached, q.shape = False, t.shape
            q.known = False
            q.rows = inside
            yield Op(f"ALTER TABLE {main(t)} DETACH PARTITION {place(p)}", after)
            if not inside:
                after = t.copy()
                assert after.parts is not None
                del after.parts[n]
                yield Op(f"DROP TABLE {place(p)}", after)
        elif p.shape == t.shape:
            q.attached, q.rows = True, []
            attach = f"ALTER TABLE {main(t)} ATTACH PARTITION {place(p)} FOR VALUES IN ({n})"
            if not p.forged or t.declared:
                yield Op(attach, after, MAIN, (p,))
        if not p.attached:
            after = t.copy()
            assert after.parts is not None
            after.parts[n].forged, after.parts[n].used = not p.forged, True
            yield Op(
                f"DELETE FROM {place(p)} WHERE sign_b64 = 'x'" if p.forged else
FORGED.format(place(p), n), after, ELSEWHERE,
            )  # fmt: skip


LATE = "CREATE TRIGGER {} BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION nothing()"


def triggers_change(t: Table, fresh: str) -> Iterator[Op]:
    after = t.copy()
    after.late = not t.late
    if t.late:
        yield Op(f"DROP TRIGGER zzzz ON {main(t)}", after)
    else:
        yield Op(LATE.format("zzzz", main(t)), after)
    early = f"{LATE.format(fresh, main(t))}; DROP TRIGGER {fresh} ON {main(t)}"
    yield Op(early, t.copy())
    if t.declared and t.guarded:
        off = "ALTER TABLE {0} DISABLE TRIGGER {1}; ALTER TABLE {0} ENABLE ALWAYS TRIGGER {1}"
        yield Op(off.format(main(t), "zzz_rowseal_guard"), t.copy())
        after = t.copy()
        after.guarded = False
        yield Op(f"DROP TRIGGER zzz_rowseal_guard ON {main(t)}", after)


def nothing_changes(t: Table, fresh: str) -> Iterator[Op]:
    yield Op(f"ALTER TABLE {main(t)} ALTER n SET STATISTICS 10", t.copy())
    yield Op(f"CREATE INDEX ON {main(t)} (owner_timestamp)", t.copy())
    check = f"ALTER TABLE {main(t)} ADD CONSTRAINT c_{fresh} CHECK (n < 9)"
    yield Op(f"{check}; ALTER TABLE {main(t)} DROP CONSTRAINT c_{fresh}", t.copy())
    if t.two:
        yield Op(f"ALTER TABLE {archive(t)} ALTER sign_b64 SET STATISTICS 10", t.copy(), VERSIONS)


COMMANDS: list[Callable[[Table, str], Iterator[Op]]] = [
    columns_come, columns_come, columns_go, columns_renamed, types_change, types_change,
    keys_change, names_change, partitions_come, partitions_go, partitions_go, triggers_change,
    nothing_changes,
]  # fmt: skip


def repair(t: Table) -> Op | None:
    """The next command by which the owner puts right what keeps the table from being open."""
    if t.fits or not t.identity:
        return None
    after = t.copy()
    parent = "parent_sign_b64"
    if parent not in t.fields.values() and t.layout != model.UNVERSIONED:
        if t.two and parent not in t.archive:
            after.archive[parent] = "bytea"
            after.fresh = t.fresh | {parent}
            return Op(f"ALTER TABLE {archive(t)} ADD {parent} bytea", after, VERSIONS)
        after.columns[parent], after.fields[parent] = "bytea", parent
        after.fresh = t.fresh | {parent}
        return Op(f"ALTER TABLE {main(t)} ADD {parent} bytea", after)
    if t.late:
        return next(o for o in triggers_change(t, "") if o.sql.startswith("DROP TRIGGER zzzz"))
    if not t.key:
        return next(o for o in keys_change(t, "") if o.about == MAIN)
    if t.two and not t.archive_key:
        return next(o for o in keys_change(t, "") if o.about == VERSIONS)
    seen: set[str] = set()
    for c, f in t.fields.items():
        if f in seen:
            del after.columns[c], after.fields[c]
            after.places.pop(c, None)
            return Op(f"ALTER TABLE {main(t)} DROP {c}", after)
        seen.add(f)
    for c, kind in t.columns.items():
        p = t.places.get(c, c)
        if p not in t.archive:
            after.archive[p] = kind
            after.fresh = t.fresh | {p}
            return Op(f"ALTER TABLE {archive(t)} ADD {p} {kind}", after, VERSIONS)
        if t.archive[p] != kind:
            after.archive[p] = kind
            return Op(f"ALTER TABLE {archive(t)} ALTER {p} TYPE {kind}", after, VERSIONS)
    return None

"""Writers other than the owner: the SQL that asks for their licences (docs/writers.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..declare.declaration import COLUMNS, GRANT_COLUMNS
from .enforcement import CAT, EQ, GE, GET, NE, ident, literal, refusal

if TYPE_CHECKING:
    from .enforcement import Sql

LEDGER, RETRACT, SETTLE = "zzz_rowseal_ledger", "zzz_rowseal_retract", "zzz_rowseal_settle"


# -- the SQL of a table with writers
class Writers:
    """What the statements of a table with writers, or of a grants table, have besides."""

    def __init__(self, sql: Sql, grants: int):
        self.sql, self.grants = sql, grants
        self.is_grants = bool(sql.d["grants"])

    def ref(self, alias: str, field: str, versions: bool = False) -> str:
        return f"{alias}.{ident(self.sql._map(versions)[self.sql.column_of[field]])}"

    def owner(self, alias: str, versions: bool = False) -> str:
        columns = self.sql.d["owner"]
        if len(columns) == 1 and (text := self.sql.canonical(alias, columns[0], versions)):
            return text
        return self.sql._owner_text(f"{self.sql.payload(alias, versions)}::pg_catalog.jsonb")

    def key(self, alias: str, versions: bool) -> str:
        """The primary key by field, canonical; NULL for a row of the grants table: it has no scope of keys."""
        if self.is_grants:
            return "NULL"
        fields = {k: self.sql.field_of[k] for k in self.sql.d["key"]}
        texts = {f: self.sql.canonical(alias, k, versions) for k, f in fields.items()}
        if all(texts.values()):
            return f"pg_catalog.jsonb_build_object({', '.join(f'{literal(f)}, {t}' for f, t in texts.items())})"
        names = ", ".join(map(literal, fields.values()))
        return f"rowseal._only({self.sql.payload(alias, versions)}::pg_catalog.jsonb {GET} 'row', ARRAY[{names}])"

    def link(self, alias: str, versions: bool) -> str:
        sign = self.sql.bytes(f"{alias}.{ident(self.sql._map(versions)[self.sql.sign])}", self.sql.sign)
        # rowseal.link, written out: PostgreSQL inlines no function with a search_path
        number, previous = self.ref(alias, "writer_seq", versions), self.ref(alias, "writer_prev", versions)
        return f"pg_catalog.sha256(pg_catalog.int8send({number}) {CAT} coalesce({previous}, '') {CAT} {sign})"

    def licensed(self, alias: str, versions: bool = False, function: str = "_licensed") -> str:
        """NULL when the writer's row stands under a chain of grants, else why not."""
        m = self.sql._map(versions)
        values = [
            str(self.grants), self.owner(alias, versions), *(self.ref(alias, f, versions) for f in ("writer_pkey", "writer_seq")),
            self.link(alias, versions), literal(self.sql.d["tag"]), *(f"{alias}.{ident(m[c])}" for c in (self.sql.ts, self.sql.deleted)),
            self.key(alias, versions),
        ]  # fmt: skip
        return f"rowseal.{function}({', '.join(values)})"

    def malformed(self, alias: str, versions: bool = False) -> str:
        """A verdict on what the columns say about each other; NULL when it is well formed."""
        writer, number, previous = (self.ref(alias, f, versions) for f in COLUMNS)
        cases = (
            f"WHEN CASE WHEN {writer} IS NULL THEN {number} IS NULL AND {previous} IS NULL\n"
            f"                  ELSE {number} {GE} 1 AND ({previous} IS NULL) {EQ} ({number} {EQ} 1) END IS NOT TRUE\n"
            f"      THEN {refusal('RS013', 'writer, number and previous link do not fit each other')}"
        )
        if self.is_grants:
            upto, until, deleted = self.ref(alias, "upto"), self.ref(alias, "until"), f"{alias}.{ident(self.sql.deleted)}"
            cases += f"\n      WHEN {deleted} THEN {refusal('RS013', 'a grant is ended by a revocation, not deleted')}"
            cases += f"\n      WHEN {upto} IS NULL AND {until} IS NULL THEN {refusal('RS013', 'a grant needs a last timestamp (until)')}"
        return f"CASE {cases} END"

    def seal(self, alias: str, versions: bool, public_key: str) -> str:
        """The verdict on what the row itself says."""
        return f"coalesce({self.malformed(alias, versions)}, {self.sql.seal(alias, public_key, versions)})"

    def judge(self, versions: bool) -> str:
        holder = self.sql.holder("NEW", versions)
        assert holder is not None  # no identity table has writers
        table, where, key = holder
        writer = self.ref("NEW", "writer_pkey", versions)
        if self.is_grants:  # its lock is held
            judged = f"verdict := coalesce({self.seal('NEW', versions, writer)}, {self.licensed('NEW', versions)});"
        else:
            judged = f"""verdict := coalesce({self.seal("NEW", versions, writer)}, {self.licensed("NEW", versions, "_admit")});
      news := verdict IS NOT NULL AND verdict.sqlstate {EQ} '00000';  -- successful, but look again
      IF news THEN
        verdict := NULL;
      END IF;"""
        return f"""IF {writer} IS NULL THEN
      SELECT {key} INTO public_key FROM {table} k WHERE {where} LIMIT 1;
      verdict := {self.seal("NEW", versions, "public_key")};
    ELSE
      {judged}
    END IF;"""

    def problem(self, alias: str, key: str, versions: bool) -> str:
        """The verdict of judge as an expression, for verify; ``key``: the owner's."""
        writer = self.ref(alias, "writer_pkey", versions)
        return (
            f"CASE WHEN {writer} IS NULL THEN {self.seal(alias, versions, key)}\n"
            f"       ELSE coalesce({self.seal(alias, versions, writer)}, {self.licensed(alias, versions)}) END"
        )

    def lock(self, versions: bool = False) -> str:
        """An expression: true when the lock was not held before, so that others may just have changed what was read."""
        return f"rowseal._lock_writers({self.grants}, {self.owner('NEW', versions)}, {str(self.is_grants).lower()})"

    def lock_tip(self, find: str, same: str) -> str:
        """Where there is a tip, the lock before anything is done about it, and a second look: it may just have been retracted."""
        return f"""
    IF FOUND AND NOT {same} AND {self.lock()} THEN
      {find}
    END IF;"""

    def lock_or_refuse(self) -> str:
        """For what only happens with the lock held: whoever comes without it is somebody else."""
        return f"""
    IF {self.lock(True)} THEN
      RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'a current version is archived by its table alone';
    END IF;"""

    def lock_tip_of_version(self, find: str) -> str:
        return f"""
    IF {self.lock(True)} THEN
      {find}
      current := FOUND;
    END IF;"""

    def accept(self, find: str) -> str:
        """A writer's row took the lock when it was judged: if that was new, what was read before is looked up again."""
        return f"""IF news IS NOT TRUE THEN
        RETURN NEW;
      END IF;
      {find}
      IF NOT FOUND THEN
        RETURN NEW;
      END IF;"""

    def keep(self, versions: bool) -> str:
        """Refuses DELETE, but of what counts no longer (and of what has moved into the main table): whoever deletes that does no harm."""
        goes = f"{self.ref('OLD', 'writer_pkey', versions)} IS NOT NULL AND {self.licensed('OLD', versions)} IS NOT NULL"
        if versions:
            goes = f"rowseal._is_tip_{self.sql.id}({self.sql.refs('OLD', [*self.sql.d['key'], self.sql.sign], True)}) OR {goes}"
        body = f"""
BEGIN
  IF {goes} THEN
    RETURN OLD;
  END IF;
  PERFORM rowseal._refuse_delete(TG_RELID, TG_OP, pg_catalog.to_jsonb(OLD));
  RETURN NULL;
END"""
        name = f"_keep_versions_{self.sql.id}" if versions else f"_keep_{self.sql.id}"
        return self.sql._function(name, "", "trigger", "LANGUAGE plpgsql", body)

    def spare(self, key: str, newest: str, archived: bool) -> str:
        """Whether prune may take version x: not what may come back when writers are revoked, down to a version of the owner's."""
        above = f"(PARTITION BY {key} ORDER BY {newest} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
        out = f"coalesce(pg_catalog.bool_or({self.ref('x', 'writer_pkey', archived)} IS NULL) OVER {above}, false)"
        if archived:
            tip = f"{self.sql.same_key('t', 'x', right_versions=True)} AND {self.ref('t', 'writer_pkey')} IS NULL"
            out = f"({out} OR EXISTS (SELECT FROM {self.sql.main} t WHERE {tip}))"
        return out

    # -- functions and triggers
    def ledger(self, versions: bool) -> list[str]:
        """Enters stored rows into the ledger, and takes retracted ones out of the tables into the quarantine.

        SECURITY DEFINER, owner rowseal_internal, as the functions of the feed, and as bound to their table as those.
        """
        sql = self.sql
        writer, number, previous = (self.ref("NEW", f, versions) for f in COLUMNS)
        owner, old_owner, link = self.owner("NEW", versions), self.owner("OLD", versions), self.link("NEW", versions)
        old = self.ref("OLD", "writer_pkey", versions)
        enter = f"PERFORM rowseal._enter({self.grants}, {owner}, {writer}, {number}, {previous}, {link}, NULL);"
        ungrant = ""
        if self.is_grants:
            g = {f: self.ref("NEW", f) for f in GRANT_COLUMNS}
            sign = {a: sql.bytes(f"{a}.{ident(sql.sign)}", sql.sign) for a in ("NEW", "OLD")}
            enter = f"""IF {writer} IS NOT NULL THEN
    {enter}
  END IF;
  PERFORM rowseal._grant(ROW(NULL, NULL, {sign["NEW"]}, NEW.{ident(sql.ts)}, {writer},
    CASE WHEN {writer} IS NOT NULL THEN {link} END, {", ".join(g.values())})::rowseal._grants, {self.grants}, {owner});"""
            ungrant = f"PERFORM rowseal._ungrant({self.grants}, {old_owner}, {sign['OLD']});"
        else:  # most often this does; _enter knows new owners, rows that are there, and walks that wait for this one
            enter = f"""SELECT x.id, x.revocations INTO authority, revocations FROM rowseal._authority x
   WHERE x.grants {EQ} {self.grants} AND x.owner {EQ} {owner};
  IF NOT revocations THEN
    INSERT INTO rowseal._writer_rows (authority, writer, seq, link, prev) VALUES (authority, {writer}, {number}, {link}, {previous})
      ON CONFLICT DO NOTHING;
    IF FOUND THEN
      RETURN NULL;
    END IF;
  END IF;
  IF rowseal._enter({self.grants}, {owner}, {writer}, {number}, {previous}, {link}, NULL)
     AND coalesce(pg_catalog.current_setting('rowseal.revoked', true), '') {NE} 'on' THEN
    RAISE EXCEPTION USING ERRCODE = '40001',
      MESSAGE = 'a revocation that waits for this row came in the same statement, or a trigger has interfered';
  END IF;"""
        body = f"""
DECLARE
  verdict rowseal.verdict;
  authority pg_catalog.int4;
  revocations pg_catalog.bool;
BEGIN
  {sql.only_after(versions)}
  IF TG_OP {EQ} 'DELETE' THEN
    verdict := {self.licensed("OLD", versions)};
    IF verdict IS NOT NULL THEN
      {ungrant}
      PERFORM rowseal._retracted({self.grants}, {old_owner}, {old},
        {self.ref("OLD", "writer_seq", versions)}, {self.link("OLD", versions)}, {literal(sql.d["tag"])},
        rowseal._writer_text({self.grants}, {old_owner}, {old}), verdict,
        {sql._envelope(versions, "OLD")});
    END IF;
    RETURN NULL;
  END IF;
  {enter}
  RETURN NULL;
END"""
        name = f"_ledger_versions_{sql.id}" if versions else f"_ledger_{sql.id}"
        return [
            sql._function(name, "", "trigger", "LANGUAGE plpgsql SECURITY DEFINER", body, path=False),
            f"ALTER FUNCTION rowseal.{name}() OWNER TO rowseal_internal",
        ]

    def settle(self, versions: bool) -> str:
        """After the ledger: the tables follow, with the rights of who writes."""
        link, number, writer = self.link("NEW", versions), self.ref("NEW", "writer_seq", versions), self.ref("NEW", "writer_pkey", versions)
        grantee = self.ref("NEW", "grantee_pkey") if self.is_grants else "NULL"
        retracts = f"{self.ref('NEW', 'upto')} IS NOT NULL OR {self._revoked(versions)}" if self.is_grants else "true"
        # what is let in by _settle itself arrived before: no walk moves by it
        inner = "pg_catalog.current_setting('rowseal.settling', true) = 'on'"
        only_news = "" if self.is_grants else f"IF {inner} OR NOT {self._revoked(versions)} THEN\n    RETURN NULL;\n  END IF;\n  "
        body = f"""
BEGIN
  {only_news}PERFORM rowseal._settle({self.grants}, {self.owner("NEW", versions)}, {writer}, CASE WHEN {inner} THEN NULL ELSE {number} END,
    CASE WHEN {writer} IS NOT NULL THEN {link} END, {grantee}, {retracts});
  RETURN NULL;
END"""
        name = f"_settle_versions_{self.sql.id}" if versions else f"_settle_{self.sql.id}"
        return self.sql._function(name, "", "trigger", "LANGUAGE plpgsql", body)

    def _revoked(self, versions: bool) -> str:
        return f"rowseal._revoked({self.grants}, {self.owner('NEW', versions)}, {self.ref('NEW', 'writer_pkey', versions)})"

    def retract(self) -> str:
        """Takes rows that count no longer out of the tables; where a tip goes, the greatest valid version takes its place."""
        sql, d = self.sql, self.sql.d
        definitions, owners = sql._decoded(d["owner"], "canonical", "owner_object")
        columns = ", ".join(f"{owners[o]} AS {ident(o)}" for o in d["owner"])
        owner = f"(SELECT {columns} FROM pg_catalog.jsonb_to_record(owner_object) x({definitions}))"

        def gone(alias: str, table: str, versions: bool) -> str:
            m = sql._map(versions)
            of_owner = " AND ".join(f"{alias}.{ident(m[o])} {sql.key_ops[o]} g.{ident(o)}" for o in d["owner"])
            return (
                f"DELETE FROM {table} {alias} USING {owner} g\n"
                f"   WHERE {of_owner} AND {self.ref(alias, 'writer_pkey', versions)} = ANY ($2)\n"
                f"     AND {self.licensed(alias, versions)} IS NOT NULL"
            )

        body = f"{gone('t', sql.main, False)};"
        if sql.versions:
            key = ", ".join(f"v.{ident(sql._map(True)[k])}" for k in d["key"])
            newest = sql.order("v", True)
            body = f"""{gone("v", sql.versions, True)};
  WITH gone AS (
    {gone("t", sql.main, False)}
    RETURNING {sql.refs("t", d["key"])}
  ), tips AS (
    INSERT INTO {sql.main} ({", ".join(map(ident, sql.stored))})
      SELECT DISTINCT ON ({key}) {sql.refs("v", sql.stored, True)}
        FROM gone JOIN {sql.versions} v ON {sql.same_key("gone", "v", right_versions=True)}
       WHERE {self.ref("v", "writer_pkey", True)} IS NULL OR {self.licensed("v", True)} IS NULL
       ORDER BY {key}, {newest} DESC
      RETURNING {ident(sql.sign)} AS sign
  ) DELETE FROM {sql.versions} v USING tips WHERE v.{ident(sql._map(True)[sql.sign])} = tips.sign;"""
        return sql._function(
            f"_retract_{sql.id}",
            "owner text, writers bytea[]",
            "void",
            "LANGUAGE plpgsql",
            f"""
DECLARE
  owner_object jsonb := rowseal._owner_object(ARRAY[{", ".join(map(literal, sql.d["spec"]["owner"]))}], $1);
BEGIN
  IF {" OR ".join(f"pg_catalog.row_security_active({literal(t)}::regclass)" for t in (sql.main, sql.versions) if t)} THEN
    RAISE insufficient_privilege USING MESSAGE = 'row security hides rows of ' || {literal(sql.main)} || ' that a revocation may take back',
      HINT = 'Whoever stores revocations needs BYPASSRLS, or to own the table.';
  END IF;
  {body}
END""",
        )

    def functions(self) -> tuple[list[str], list[str]]:
        """Statements, and the names of the functions that everybody may execute."""
        out = [self.retract()]
        names = ["_retract"]
        for versions in [False, True] if self.sql.versions else [False]:
            out += [self.keep(versions), *self.ledger(versions), self.settle(versions)]
            names += [f"_{name}_versions" if versions else f"_{name}" for name in ("keep", "ledger", "settle")]
        return out, [f"{name}_{self.sql.id}" for name in names]

    def triggers(self) -> list[tuple[str, str, str, str, str]]:
        """Name, event, table, function, condition; they fire after the row is stored, in the order of their names."""
        out = []
        for versions, table in [(False, self.sql.main), *([(True, self.sql.versions)] if self.sql.versions else [])]:
            which = f"versions_{self.sql.id}" if versions else str(self.sql.id)
            writes = f"NEW.{ident(self.sql._map(versions)[self.sql.column_of['writer_pkey']])} IS NOT NULL"
            revoked = f"{writes} AND pg_catalog.current_setting('rowseal.revoked', true) {EQ} 'on'"  # as _admit has seen it
            row = "FOR EACH ROW"
            out.append((LEDGER, "AFTER INSERT OR UPDATE", table, f"_ledger_{which}()", row if self.is_grants else f"{row} WHEN ({writes})"))
            out.append((RETRACT, "AFTER DELETE", table, f"_ledger_{which}()", f"{row} WHEN ({writes.replace('NEW.', 'OLD.', 1)})"))
            event = "AFTER INSERT" if self.is_grants or versions else "AFTER INSERT OR UPDATE"
            out.append((SETTLE, event, table, f"_settle_{which}()", row if self.is_grants else f"{row} WHEN ({revoked})"))
        return out

"""From a declaration to the SQL that enforces it: functions, triggers, queries.

The generated trigger functions follow rules 1-5 of docs/rules.md.  Written per table, they hold typed, plannable
SQL: looking a tip up and answering a duplicate costs no Python call and no transaction id.  A pure function of JSON-like
values, as declaration.py; identifiers are quoted by ``ident``, values by ``literal``, bodies by ``dollar``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..declare.declaration import GUARD, Json
from ..form.canonical import Form, Kind, json_string
from ..form.verdict import UNSIGNED, Verdict

if TYPE_CHECKING:
    from .writers import Writers

KEEP = "zzz_rowseal_keep"
FEED = "zzz_rowseal_feed"
CURE = "zzz_rowseal_then_cure"  # after the feed: owners enter it before what waited for them
PINNED = {  # what the text form of a value depends on
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}
EQ, NE, LE, GT, GE, CAT, GET, GET_TEXT = (f"OPERATOR(pg_catalog.{o})" for o in ("=", "<>", "<=", ">", ">=", "||", "->", "->>"))
BUILT_IN = {"text", "character varying", "bytea", "uuid", "smallint", "integer", "bigint", "numeric", "boolean", "date"}
READY = "rowseal._load(true) IS NOT NULL"  # once in each process of a parallel plan, before its first row
PACKAGE = __name__.partition(".")[0]
RECORD = "(e.v -> 'row')"
BASE64 = "pg_catalog.replace(pg_catalog.encode({}, 'base64'), E'\\n', '')"
IN_SQL = {"uuid": "{}::pg_catalog.text", "integer": "{}::pg_catalog.text", "numeric": "{}::pg_catalog.text", "bytea": BASE64}
SELF_CONTAINED = {"boolean", "integer", "numeric", "float", "text", "bytea", "uuid", "json"}


def ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def generated_hash(column: str, facts: Json) -> str:
    """The expression of a column that is the hash of another one's bytes (facts: hash_of)."""
    base = next(c["base"] for c in facts["columns"] if c["name"] == column)
    bytes_ = ident(column) if base == "bytea" else f"pg_catalog.decode({ident(column)}, 'base64')"
    return f"pg_catalog.sha256({bytes_})"


def literal(text: str) -> str:
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def refusal(sqlstate: str, reason: str) -> str:
    """A verdict as an SQL expression."""
    return f"ROW({literal(sqlstate)}, {literal(reason)})::rowseal.verdict"


def dollar(body: str) -> str:
    """The body, dollar-quoted with a delimiter that it does not contain."""
    tag = "$rowseal$"
    while tag in body:
        tag = tag[:-1] + "_$"
    return f"{tag}\n{body}\n{tag}"


def _raw(text: str) -> str:
    """The bytes of base64 or of PostgreSQL's hex (never base64: it begins with a backslash); in line, a function costs 5 µs."""
    return f"CASE WHEN pg_catalog.starts_with({text}, E'\\\\x') THEN ({text})::bytea ELSE pg_catalog.decode({text}, 'base64') END"


def _simple(kind: Kind) -> bool:
    """Whether the value reaches Python without passing through text that depends on settings."""
    if isinstance(kind, str):
        return kind in SELF_CONTAINED
    if "array" in kind:
        return _simple(kind["array"])
    return all(_simple(k) for _, k in kind["composite"])


def _has(kind: Kind, leaf: str) -> bool:
    """Whether a nested kind contains that leaf, or an array where leaf is 'array'."""
    if isinstance(kind, str):
        return kind == leaf
    if "array" in kind:
        return leaf == "array" or _has(kind["array"], leaf)
    return any(_has(k, leaf) for _, k in kind["composite"])


def _one_based(value: str, kind: Kind, depth: int = 0) -> list[str]:
    """Conditions under which every array inside the value has lower bounds of 1 (they are not signed)."""
    if isinstance(kind, str):
        return []
    if "composite" in kind:
        return [c for name, k in kind["composite"] for c in _one_based(f"({value}).{ident(name)}", k, depth)]
    out = [f"rowseal._one_based({value})"]
    inner = _one_based(f"u{depth}", kind["array"], depth + 1)
    if inner:  # its elements, in all dimensions, are composite
        out.append(f"NOT EXISTS (SELECT FROM pg_catalog.unnest({value}) u{depth} WHERE NOT ({' AND '.join(inner)}))")
    return out


class Sql:
    """The statements of one completed declaration ``d``; ``facts`` describes the main table."""

    def __init__(self, d: Json, facts: Json, versions: Json | None, identity: Json | None):
        self.d, self.facts, self.identity = d, facts, identity
        self.id = d["id"]
        self.bodies: dict[str, str] = {}
        self.main = facts["qualified"]
        self.versions = versions["qualified"] if versions else None
        self.column = {c["name"]: c for c in facts["columns"]}
        self.field_of = d["fields"]
        self.column_of = {f: c for c, f in self.field_of.items()}
        self.signed = [self.column_of[f] for f in Form(d["tag"], d["spec"]["fields"]).names]  # in payload order
        self.digests = {c: d["digests"][c] for c in self.signed if c in d["digests"]}  # content column -> where its digest stays
        self.name = d["name_column"]
        self.stored = [*self.signed, *self.digests.values(), *([self.name] if self.name else []), d["signature_column"]]
        self.key_ops = {k["name"]: k["equal"] for k in facts["key"]}
        self.kinds = {c: self.column[c]["kind"] for c in self.signed}
        self.ts, self.deleted, self.sign = d["timestamp_column"], d["deleted_column"], d["signature_column"]
        self.writers: Writers | None = None  # what a table with writers has besides
        if d["grants"] or d["writers"]:
            from .writers import Writers  # it needs what is defined above

            self.writers = Writers(self, d["id"] if d["grants"] else d["grants_table"]["id"])

    # -- expressions; a mapping says under which name a table has a column
    def _map(self, versions: bool) -> dict[str, str]:
        return self.d["version_columns"] if versions else {c: c for c in self.stored}

    def refs(self, alias: str, columns: list[str], versions: bool = False) -> str:
        mapped = self._map(versions)
        return ", ".join(f"{alias}.{ident(mapped[c])}" for c in columns)

    def same(self, left: str, right: str, left_versions: bool = False, right_versions: bool = False) -> str:
        """Same signature and signed columns, byte for byte: = would let 1.0 pass for 1.00.  Most often the signature settles it."""

        def row(alias: str, versions: bool) -> str:
            rest = self.refs(alias, [self.name, self.sign] if self.name else [self.sign], versions)
            return f"ROW({', '.join([*self._signed_values(alias, versions), rest])})"

        signs = f"{self.refs(left, [self.sign], left_versions)} {EQ} {self.refs(right, [self.sign], right_versions)}"
        return f"({signs} AND pg_catalog.record_image_eq({row(left, left_versions)}, {row(right, right_versions)}))"

    def _signed_values(self, alias: str, versions: bool = False) -> list[str]:
        """What is signed of each column, in payload order: the column, or its digest."""
        return [self._digest(alias, c, versions) if c in self.digests else self.refs(alias, [c], versions) for c in self.signed]

    def _content(self, alias: str, column: str, versions: bool = False) -> str:
        """The bytes of a column that is signed by digest."""
        ref = self.refs(alias, [column], versions)
        return f"{ref}::pg_catalog.bytea" if self.column[column]["base"] == "bytea" else f"pg_catalog.convert_to({ref}, 'UTF8')"

    def _digest(self, alias: str, column: str, versions: bool = False) -> str:
        content, kept = self.refs(alias, [column], versions), self.refs(alias, [self.digests[column]], versions)
        return f"CASE WHEN {content} IS NULL THEN {kept} ELSE pg_catalog.sha256({self._content(alias, column, versions)}) END"

    def content(self, alias: str, versions: bool = False) -> str:
        """The contents that an envelope has beside the signed row, or nothing where no column is signed by digest."""
        if not self.digests:
            return ""
        fields = ", ".join(literal(self.field_of[c]) for c in self.digests)
        return f"rowseal._content(ARRAY[{fields}], ARRAY[{', '.join(self._content(alias, c, versions) for c in self.digests)}])"

    def bytes(self, ref: str, column: str) -> str:
        return ref if self.column[column]["base"] == "bytea" else f"rowseal._unbase64({ref})"

    def _name_bytes(self, ref: str, column: str) -> str:
        """What names a version: its signature, or its name."""
        return f"pg_catalog.convert_to({ref}, 'UTF8')" if self.name and self.column[column]["base"] != "bytea" else self.bytes(ref, column)

    def order(self, alias: str, versions: bool = False) -> str:
        m = self._map(versions)
        signature = self.bytes(f"{alias}.{ident(m[self.sign])}", self.sign)
        return f"ROW({alias}.{ident(m[self.ts])}, {alias}.{ident(m[self.deleted])}, {signature})"

    def same_version(self, table: str, row: str, versions: bool = False) -> str:
        """Whether ``table``, which keeps versions, has the version ``row`` there; by its key."""
        key, m = self.d["version_key"], self._map(versions)
        if key == m.get(self.name):
            return f"{table}.{ident(key)} {EQ} {row}.{ident(key)}"
        sign = m[self.sign]
        value = f"{row}.{ident(sign)}"
        return f"{table}.{ident(key)} {EQ} {value if key == sign else f'pg_catalog.sha256({self.bytes(value, self.sign)})'}"

    def same_key(self, left: str, right: str, right_versions: bool = False, left_versions: bool = False) -> str:
        lm, rm = self._map(left_versions), self._map(right_versions)
        return " AND ".join(
            f"{self._base(f'{left}.{ident(lm[k])}', k)} {self.key_ops[k]} {self._base(f'{right}.{ident(rm[k])}', k)}" for k in self.d["key"]
        )

    def _base(self, ref: str, column: str) -> str:
        """Without its domain: an operator that somebody made for the domain would win over the index's."""
        c = self.column[column]
        return f"{ref}::{c['base_qualified']}" if c["domain"] else ref

    def holder(self, alias: str, versions: bool = False) -> tuple[str, str, str] | None:
        """Where the public key stands that must have signed a row: a table, the condition for its row k, the key; None: in the row.

        That is the owner's card, and for old versions of an identity row the current one, which pins the key.
        """
        own, m = self.d["public_key"], self._map(versions)
        if own is not None:
            if not versions:
                return None
            return self.main, self.same_key("k", alias, right_versions=True), self.bytes(f"k.{ident(own)}", own)
        assert self.identity is not None
        i = self.identity
        key = "k." + ident(i["public_key"])
        if next(c for c in i["facts"]["columns"] if c["name"] == i["public_key"])["base"] != "bytea":
            key = f"rowseal._unbase64({key})"
        ops = {k["name"]: k["equal"] for k in i["facts"]["key"]}
        where = " AND ".join(
            f"k.{ident(theirs)} {ops[theirs]} {alias}.{ident(m[ours])}" for theirs, ours in zip(i["owner"], self.d["owner"])
        )
        return i["facts"]["qualified"], where, key

    def seal(self, alias: str, public_key: str, versions: bool = False) -> str:
        signature = self.bytes(f"{alias}.{ident(self._map(versions)[self.sign])}", self.sign)
        name = [self.refs(alias, [self.name], versions)] if self.name else []
        verdict = f"rowseal._seal_{self.id}({', '.join([public_key, signature, *self._values(alias, versions), *name])})"
        authentic = self._authentic(alias, public_key, signature, versions)
        return f"CASE WHEN {authentic} THEN NULL ELSE {verdict} END" if authentic else verdict

    def _authentic(self, alias: str, public_key: str, signature: str, versions: bool) -> str:
        """Where that says all, a condition for what most rows are: complete, and signed by Ed25519; what does not meet it is judged."""
        spec, payload = self.d["spec"], self.payload(alias, versions)
        more = any(spec.get(k) for k in ("name", "fingerprint", "certificates")) or "ed25519" not in (spec.get("algorithms") or ["ed25519"])
        if more or payload.startswith("rowseal.") or self.d["form"] != "rowseal/1":
            return ""
        complete = [f"{self.refs(alias, [self.column_of[f]], versions)} IS NOT NULL" for f in spec["required"]]
        sizes = [f"pg_catalog.octet_length({x}) {EQ} {n}" for x, n in ((signature, 64), (public_key, 32))]
        # of large values, Python writes base64 and JSON five times as fast
        small = [
            f"coalesce(pg_catalog.octet_length({self.refs(alias, [c], versions)}), 0) {LE} 4000" for c in self.signed
            if self.kinds[c] in ("bytea", "text") and self.field_of[c] not in spec["required"] and c not in self.digests
        ]  # fmt: skip
        # an erased content is as canonical as its digest is long
        for content, digest in self.digests.items():
            there, kept = self.refs(alias, [content], versions), self.refs(alias, [digest], versions)
            small.append(f"({there} IS NOT NULL OR coalesce(pg_catalog.octet_length({kept}), 32) {EQ} 32)")
        verified = f"rowseal._verified({signature}, pg_catalog.convert_to({payload}, 'UTF8'), {public_key})"
        return " AND ".join([*complete, *sizes, *small, verified])

    def _own_key(self, alias: str) -> str:
        return self.bytes(f"{alias}.{ident(self.d['public_key'])}", self.d["public_key"])

    def judge(self, versions: bool = False) -> str:
        """Statements that set verdict for NEW."""
        if self.writers:
            return self.writers.judge(versions)
        holder = self.holder("NEW", versions)
        if holder is None:
            return f"verdict := {self.seal('NEW', self._own_key('NEW'))};"
        table, where, key = holder
        return f"""SELECT {key} INTO public_key FROM {table} k WHERE {where} LIMIT 1;
    verdict := {self.seal("NEW", "public_key", versions)};"""

    def judged(self, alias: str, versions: bool = False) -> tuple[str, str]:
        """The verdict on stored rows, and the join it needs (not a subquery: parallel plans know no correlated ones)."""
        holder = self.holder(alias, versions)
        if holder is None:
            return self.seal(alias, self._own_key(alias)), ""
        table, where, key = holder
        if self.d["public_key"] is None:
            assert self.identity is not None
            if len(self.identity["owner"]) < len(self.identity["facts"]["key"]):  # several versions, all with the same key
                owner = ", ".join("c." + ident(o) for o in self.identity["owner"])
                table = f"(SELECT DISTINCT ON ({owner}) c.* FROM {table} c)"
        verdict = self.writers.problem(alias, key, versions) if self.writers else self.seal(alias, key, versions)
        return verdict, f" LEFT JOIN {table} k ON {where}"

    def _called(self, function: str, alias: str, versions: bool = False) -> str:
        return f"rowseal._{function}_{self.id}({', '.join(self._values(alias, versions))})"

    def payload(self, alias: str, versions: bool = False) -> str:
        """The canonical text of a stored row: written by SQL where that can, which saves three quarters of a Python call."""
        members = [self._member(alias, c, versions) for c in self.signed]
        if None in members or len(members) > 90:  # a function takes 100 arguments
            return self._called("payload", alias, versions)
        head, tail = literal('{"row":{'), literal('},"rowseal":1,"table":' + json_string(self.d["tag"]) + "}")
        return f"pg_catalog.concat({head}, pg_catalog.concat_ws(',', {', '.join(map(str, members))}), {tail})"

    def canonical(self, alias: str, column: str, versions: bool = False) -> str | None:
        """The canonical value of a column as text, without quotes, where SQL can say it."""
        c = self.column[column]
        value = self._base(self.refs(alias, [column], versions), column)
        if c["base"] not in BUILT_IN:
            return None
        if c["base"] in ("text", "character varying"):
            return f"{value}::pg_catalog.text"
        return IN_SQL[c["kind"]].format(value) if c["kind"] in IN_SQL else None

    def _member(self, alias: str, column: str, versions: bool) -> str | None:
        """Name and value of a column in the canonical text, NULL where it is NULL; None where Python has to write it."""
        name = json_string(self.field_of[column]) + ":"
        before, after = name + '"', '"'
        if column in self.digests:
            before, after = name + '{"sha256":"', '"}'
            text: str | None = BASE64.format(f"({self._digest(alias, column, versions)})")
        elif self.kinds[column] == "boolean":
            value = self._base(self.refs(alias, [column], versions), column)
            return f"CASE WHEN {value} THEN {literal(name + 'true')} WHEN NOT {value} THEN {literal(name + 'false')} END"
        else:
            text = self.canonical(alias, column, versions)
            if text and self.kinds[column] == "text":
                before, after, text = name, "", f"pg_catalog.to_json({text})::pg_catalog.text"
        return text and f"({literal(before)} {CAT} {text} {CAT} {literal(after)})"

    def _values(self, alias: str, versions: bool) -> list[str]:
        m = self._map(versions)
        bounds = [b for c in self.signed for b in _one_based(f"{alias}.{ident(m[c])}", self.kinds[c])]
        return ([" AND ".join(bounds)] if bounds else []) + self._signed_values(alias, versions)

    def key_json(self, alias: str, versions: bool = False) -> str:
        m = self._map(versions)

        def shown(k: str) -> str:
            # of other people's types the text: to_jsonb would call a cast that their owner can define
            ref = f"{alias}.{ident(m[k])}"
            return ref if self.column[k]["base"] in BUILT_IN else f"pg_catalog.format('%s', {ref})"

        return f"pg_catalog.jsonb_build_object({', '.join(f'{literal(self.field_of[k])}, {shown(k)}' for k in self.d['key'])})"

    # -- functions
    def _function(self, name: str, args: str, returns: str, attributes: str, body: str, path: bool = True) -> str:
        """A SET of the search path costs a call some 4 µs before PostgreSQL 16: what runs for every row goes without.

        Its body then names the schema of every type, function and operator (a test reads it).
        """
        set_path = "SET search_path = pg_catalog, pg_temp " if path else ""
        if "plpgsql" in attributes:
            body = "#variable_conflict use_column\n" + body.strip()
        self.bodies[name] = "\n" + body.strip() + "\n"  # as pg_proc.prosrc has it: health() compares
        return f"CREATE OR REPLACE FUNCTION rowseal.{name}({args}) RETURNS {returns} {attributes}\n{set_path}AS {dollar(body.strip())}"

    def python_functions(self) -> list[str]:
        pins = "" if all(_simple(k) for k in self.kinds.values()) else "".join(f" SET {n} = {literal(v)}" for n, v in PINNED.items())
        values = [f"v{i} {'bytea' if c in self.digests else self.column[c]['base']}" for i, c in enumerate(self.signed)]
        bounds = ["one_based boolean"] if any(_has(k, "array") for k in self.kinds.values()) else []
        unbound = Verdict("RS006", "an array has a lower bound other than 1")
        tuple_ = "(" + "".join(f"v{i}, " for i in range(len(values))) + "{})"
        spec = json.dumps(self.d["spec"], sort_keys=True)
        out = []
        naming = [f"name {self.column[self.name]['base']}"] if self.name else []
        functions = [  # a unit of cost is some 10 ns
            ("seal", 8000, ["public_key bytea", "signature bytea"], "public_key, signature, ", naming, "rowseal.verdict"),
            ("payload", 1000, [], "", [], "text"),
        ]
        if self.d["form"] != "rowseal/1":
            functions.append(("signed", 1000, [], "", [], "text"))
        for name, cost, extra, call, more, returns in functions:
            refused = unbound.text() if returns == "text" else tuple(unbound)
            check = f"if not one_based: return {refused!r}\n" if bounds else ""
            body = (
                f"try:\n    call = SD['call']\n"
                f"except KeyError:\n"
                f"    if GD.get('rowseal_package') != {PACKAGE!r}: plpy.execute('SELECT rowseal._load()')\n"
                f"    call = SD['call'] = GD['rowseal']('server').{name}(plpy, {spec!r})\n"
                f"{check}return call({call}{tuple_.format('name' if more else '')})"
            )
            out.append(f"DROP FUNCTION IF EXISTS rowseal._{name}_{self.id} CASCADE")
            attributes = f"LANGUAGE plpython3u STABLE PARALLEL SAFE COST {cost}{pins}"
            args = ", ".join([*extra, *bounds, *values, *more])
            out.append(self._function(f"_{name}_{self.id}", args, returns, attributes, body, path=False))
        return out

    def _lock(self) -> str:
        return f"\n    PERFORM {self.writers.lock()};" if self.writers else ""

    @property
    def _news(self) -> str:
        return "\n  news pg_catalog.bool;" if self.writers else ""

    def _refuse(self, verdict: str, versions: bool = False) -> str:
        m = self._map(versions)
        content = "".join(f", {c}" for c in (self.content("NEW", versions),) if c)
        return (
            f"PERFORM rowseal._refuse(TG_RELID, {literal(self.main)}::pg_catalog.regclass, {verdict}, {self.key_json('NEW', versions)},\n"
            f"        {self._called('payload', 'NEW', versions)}, {self.bytes('NEW.' + ident(m[self.sign]), self.sign)}, NEW{content});\n"
            f"      RETURN NULL;"
        )

    def _complete(self, versions: bool = False) -> str:
        """Without timestamp, deletion flag or signature there is no order (a NULL key finds no tip; the verdict sees to it)."""
        m = self._map(versions)
        signature = self.bytes(f"NEW.{ident(m[self.sign])}", self.sign)
        tests = [f"NEW.{ident(m[c])} IS NULL" for c in (self.ts, self.deleted)] + [f"{signature} IS NULL"]
        return f"""
    IF {' OR '.join(tests)} THEN
      {self._refuse(refusal(*UNSIGNED), versions)}
    END IF;"""

    def _unsigned_update(self, versions: bool = False) -> str:
        """An UPDATE that leaves every signed column alone; replicated, an identical row ends its journey."""
        return f"""
    IF {self.same("NEW", "OLD", versions, versions)} THEN{self._kept_content(versions)}
      IF pg_catalog.record_image_eq(NEW, OLD) AND pg_catalog.current_setting('session_replication_role') {EQ} 'replica' THEN
        RETURN NULL;
      END IF;
      {self._report("'duplicate'")}
      RETURN NEW;
    END IF;"""

    def _kept_content(self, versions: bool) -> str:
        """Content that is signed by digest goes by rowseal.erase alone, and comes back where the declaration says heal."""
        out = []
        for c in self.digests:
            new, old = self.refs("NEW", [c], versions), self.refs("OLD", [c], versions)
            changes = f"{new} IS NULL AND {old} IS NOT NULL" if self.d["heal"] else f"({new} IS NULL) {NE} ({old} IS NULL)"
            out.append(f"""
      IF {changes} THEN
        {self._refuse(refusal("RS004", f"column {c} is erased by rowseal.erase alone, and stays so"), versions)}
      END IF;""")
        return "".join(out)

    def _one_of_both(self, versions: bool = False) -> str:
        """A content needs no digest beside it."""
        out = []
        for c, kept in self.digests.items():
            content, digest = self.refs("NEW", [c], versions), self.refs("NEW", [kept], versions)
            out.append(f"\n  IF {content} IS NOT NULL THEN\n    {digest} := NULL;\n  END IF;")
        return "".join(out)

    def _named(self, versions: bool = False) -> str:
        """A version that comes without its name gets it; the verdict compares one that was given."""
        if not self.name:
            return ""
        m = self._map(versions)
        name = f"NEW.{ident(m[self.name])}"
        value = f"rowseal._hash({literal(self.d['name_hash'])}, {self.bytes('NEW.' + ident(m[self.sign]), self.sign)})"
        if self.column[self.name]["base"] != "bytea":
            value = f"{literal(self.d['name_prefix'])} OPERATOR(pg_catalog.||) pg_catalog.encode({value}, 'hex')"
        return f"\n  IF {name} IS NULL THEN\n    {name} := {value};\n  END IF;"

    def _healed(self, table: str, alias: str, where: str, versions: bool = False) -> str:
        """When NEW, known as ``alias``, has content that was erased: restore it by an UPDATE, whose trigger decides."""
        if not self.d["heal"] or not self.digests:
            return ""
        missing = [f"{self.refs(alias, [c], versions)} IS NULL AND {self.refs('NEW', [c], versions)} IS NOT NULL" for c in self.digests]
        m = self._map(versions)
        sets = ", ".join(
            f"{ident(m[c])} = coalesce({self.refs('t', [c], versions)}, {self.refs('NEW', [c], versions)}), {ident(m[kept])} = "
            f"CASE WHEN {self.refs('NEW', [c], versions)} IS NULL THEN {self.refs('t', [kept], versions)} END"
            for c, kept in self.digests.items()
        )
        return f"""
      IF {" OR ".join(missing)} THEN
        UPDATE {table} t SET {sets} WHERE {where};
      END IF;"""

    def _report(self, outcome: str) -> str:
        return (
            f"IF pg_catalog.current_setting('rowseal.mode', true) {EQ} 'apply' THEN\n"
            f"      outcome := pg_catalog.set_config('rowseal.outcome', {outcome}, true);\n    END IF;"
        )

    def _pinned(self, rekeyed: str) -> str:
        if self.d["public_key"] is None:
            return ""
        return f"""
    IF {rekeyed} THEN
      {self._refuse(refusal("RS003", "the public key of an owner never changes"))}
    END IF;"""

    def _merge(self, rows: str) -> str:
        """Hand versions, VALUES (…) or a SELECT, to the main table, whatever is there."""
        columns = ", ".join(ident(c) for c in self.stored)
        key = ", ".join(ident(k["name"]) for k in self.facts["key"])
        do = "NOTHING" if self.d["layout"] == "one table" else f"UPDATE SET {self._set('EXCLUDED')}"
        return f"INSERT INTO {self.main} ({columns}) {rows}\n      ON CONFLICT ({key}) DO {do};"

    def _set(self, alias: str) -> str:
        return ", ".join(f"{ident(c)} = {alias}.{ident(c)}" for c in self.stored)

    def _archive(self, alias: str) -> str:
        if self.versions is None:
            return ""
        m = self._map(True)
        return (
            f"INSERT INTO {self.versions} ({', '.join(ident(m[c]) for c in self.stored)})\n"
            f"      VALUES ({self.refs(alias, self.stored)}) ON CONFLICT ({ident(self.d['version_key'])}) DO NOTHING;"
        )

    @property
    def _archived_once(self) -> str:
        """Archive NEW; when another session was faster, it is a duplicate."""
        return f"""{self._archive("NEW")}
        IF NOT FOUND AND pg_catalog.current_setting('rowseal.outcome', true) {EQ} 'archived' THEN
          {self._report("'duplicate'")}
        END IF;"""

    def _whole(self) -> str:
        """Send out-of-line values whole: an unchanged one would be missing in what a subscriber gets.

        A composite value holds no pointers into the TOAST table, so a detour through one fetches them.
        """
        toastable = [c for c in self.signed if self.column[c]["toastable"]]
        if not toastable:
            return ""
        kept = " OR ".join(
            f"pg_catalog.pg_column_size(NEW.{c}) {GT} 100 AND pg_catalog.pg_column_size(NEW.{c}) {EQ} pg_catalog.pg_column_size(OLD.{c})"
            f"\n       AND pg_catalog.record_image_eq(ROW(NEW.{c}), ROW(OLD.{c}))"
            for c in map(ident, toastable)
        )
        row = ", ".join(f"NEW.{ident(c['name'])}" for c in self.facts["columns"])
        copies = " ".join(f"NEW.{ident(c)} := whole.{ident(c)};" for c in toastable)
        return f"""
    IF {kept} THEN
      whole := ROW({row});
      {copies}
    END IF;"""

    def guard(self) -> str:
        two, pk = self.versions is not None, self.d["public_key"]
        verify = f"""
    {self.judge()}
    IF verdict IS NOT NULL THEN
      {self._refuse("verdict")}
    END IF;"""
        not_newer = f"""
    IF {self.order("NEW")} {LE} {self.order("tip")} THEN
      IF NEW.{ident(self.sign)} {NE} tip.{ident(self.sign)} THEN
        {self._archived_once if two else self._report("'stale'")}
        RETURN NULL;
      END IF;
      -- the same signature on other content is a forgery, unless only its spelling differs{verify}
      {self._report("'duplicate'")}
      RETURN NULL;
    END IF;"""
        pinned = self._pinned(f"(NEW.{ident(pk)} {EQ} tip.{ident(pk)}) IS NOT TRUE") if pk else ""
        find = f"SELECT * INTO tip FROM {self.main} t WHERE {self.same_key('t', 'NEW')};"
        body = f"""
DECLARE
  tip pg_catalog.record;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;{self._news}
  whole {self.main};
BEGIN{self._named()}{self._one_of_both()}
  IF TG_OP {EQ} 'INSERT' THEN
    {find}{self.writers.lock_tip(find, self.same("tip", "NEW")) if self.writers else ""}
    IF NOT FOUND THEN{verify}
      {self.writers.accept(find) if self.writers else "RETURN NEW;"}
    END IF;
    IF {self.same("tip", "NEW")} THEN{self._healed(self.main, "tip", self.same_key("t", "NEW"))}
      {self._report("'duplicate'")}
      RETURN NULL;
    END IF;{self._complete()}{pinned}{not_newer}
    -- the UPDATE's own trigger decides, on the row as locked and read again
    UPDATE {self.main} t SET {self._set("NEW")} WHERE {self.same_key("t", "NEW")};
    RETURN NULL;
  END IF;
  tip := OLD;{self._unsigned_update()}{self._complete()}{self._lock()}
    IF ({self.same_key("NEW", "tip")}) IS NOT TRUE THEN
      {self._refuse(refusal("RS003", "primary key and owner never change"))}
    END IF;{pinned}{not_newer}{verify}
    {self._archive("tip")}{self._whole()}
    {self._report("'superseded'")}
    RETURN NEW;
END"""
        return self._function(f"_guard_{self.id}", "", "trigger", "LANGUAGE plpgsql", body, path=False)

    def guard_one_table(self) -> str:
        pinned, pk = "", self.d["public_key"]
        if pk is not None:
            ops = {k["name"]: k["equal"] for k in self.facts["key"]}
            where = " AND ".join(f"t.{ident(o)} {ops[o]} NEW.{ident(o)}" for o in self.d["owner"])
            other = f"(t.{ident(pk)} {EQ} NEW.{ident(pk)}) IS NOT TRUE"
            pinned = self._pinned(f"EXISTS (SELECT FROM {self.main} t WHERE {where} AND {other})")
        heal = self._healed(self.main, "stored", f"{self.same_key('t', 'NEW')} AND {self.same_version('t', 'NEW')}")
        body = f"""
DECLARE
  stored {self.main};
  known pg_catalog.bool;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;{self._news}
BEGIN{self._named()}{self._one_of_both()}
  IF TG_OP {EQ} 'UPDATE' THEN{self._unsigned_update()}
    {self._refuse(refusal("RS009", "history is append-only"))}
  END IF;
  SELECT * INTO stored FROM {self.main} t
   WHERE {self.same_key("t", "NEW")} AND {self.same_version("t", "NEW")};
  known := FOUND;
  IF known AND {self.same("stored", "NEW")} THEN{heal}
    {self._report("'duplicate'")}
    RETURN NULL;
  END IF;{self._lock() if self.d["grants"] else ""}{pinned}
  {self.judge()}
  IF verdict IS NOT NULL THEN
    {self._refuse("verdict")}
  END IF;
  IF known THEN  -- only its spelling differs
    {self._report("'duplicate'")}
    RETURN NULL;
  END IF;
  IF pg_catalog.current_setting('rowseal.mode', true) {EQ} 'apply' THEN
    SELECT CASE WHEN pg_catalog.bool_or({self.order("t")} {GT} {self.order("NEW")}) THEN 'archived'
                WHEN pg_catalog.count(*) {GT} 0 THEN 'superseded' ELSE 'inserted' END
      INTO outcome FROM {self.main} t WHERE {self.same_key("t", "NEW")};
    outcome := pg_catalog.set_config('rowseal.outcome', outcome, true);
  END IF;
  RETURN NEW;
END"""
        return self._function(f"_guard_{self.id}", "", "trigger", "LANGUAGE plpgsql", body, path=False)

    def guard_versions(self) -> str:
        sign, pk = ident(self._map(True)[self.sign]), self.d["public_key"]
        find = f"SELECT * INTO tip FROM {self.main} t WHERE {self.same_key('t', 'NEW', right_versions=True)};"
        # that guard holds the lock of writers; somebody else's trigger would archive what is just being revoked
        locked = self.writers.lock_or_refuse() if self.writers else ""
        body = f"""
DECLARE
  stored pg_catalog.record;
  tip pg_catalog.record;
  current pg_catalog.bool;
  known pg_catalog.bool;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;{self._news}
BEGIN{self._named(True)}{self._one_of_both(True)}
  IF TG_OP {EQ} 'UPDATE' THEN{self._unsigned_update(True)}
    {self._refuse(refusal("RS009", "history is append-only"), True)}
  END IF;{self._complete(True)}
  {find}
  current := FOUND;
  IF current AND pg_catalog.pg_trigger_depth() {GT} 1 AND {self.same("tip", "NEW", False, True)} THEN{locked}
    RETURN NEW;  -- its table's guard, about to replace it, archives it (it was verified when it came)
  END IF;
  SELECT * INTO stored FROM {self.versions} v WHERE {self.same_version("v", "NEW", True)};
  known := FOUND;
  IF known THEN
    IF {self.same("stored", "NEW", True, True)} THEN{self._healed(self.versions or "", "stored", self.same_version("t", "NEW", True), True)}
      {self._report("'duplicate'")}
      RETURN NULL;
    END IF;
  ELSE{self.writers.lock_tip_of_version(find) if self.writers else ""}
    IF NOT current OR {self.order("NEW", True)} {GT} {self.order("tip")} THEN
      -- not superseded by anything yet: it belongs into the main table
      {self._merge(f"VALUES ({self.refs('NEW', self.stored, True)})")}
      RETURN NULL;
    END IF;
    IF {self.same("tip", "NEW", False, True)} THEN
      {self._report("'duplicate'")}
      RETURN NULL;
    END IF;{self._pinned(f"(NEW.{ident(self._map(True)[pk])} {EQ} tip.{ident(pk)}) IS NOT TRUE") if pk else ""}
    known := NEW.{sign} {EQ} tip.{ident(self.sign)};
  END IF;
  {self.judge(True)}
  IF verdict IS NOT NULL THEN
    {self._refuse("verdict", True)}
  END IF;
  IF known THEN  -- only its spelling differs
    {self._report("'duplicate'")}
    RETURN NULL;
  END IF;
  {self._report("'archived'")}
  RETURN NEW;
END"""
        return self._function(f"_guard_versions_{self.id}", "", "trigger", "LANGUAGE plpgsql", body, path=False)

    def _decoded(self, columns: list[str], format_: str, element: str = "$1", store: bool = False) -> tuple[str, dict[str, str]]:
        """How to read columns from a JSON object: the columns of jsonb_to_record(element) x, and an expression for each.

        Only what is to be stored is converted to domains: their constraints are somebody's code.
        """
        definitions, values = [], {}
        for c in columns:
            kind = self.column[c]["kind"]
            type_ = self.column[c]["type" if store or not self.column[c]["domain"] else "base"]
            name = ident(self.field_of[c] if format_ == "canonical" and c in self.field_of else c)
            as_, value = type_, f"x.{name}"
            member = f"({element} -> {literal(self.field_of.get(c, c))})"
            if format_ == "canonical" and c in self.digests:
                as_ = "jsonb"  # see _contents
            elif format_ == "canonical" and kind == "json":
                as_, value = "jsonb", f"{member}::{type_}"  # of a record, a JSON null would be NULL
            elif format_ == "canonical" and kind == {"array": "json"}:
                # of a record, elements that are arrays would be taken for dimensions
                items = f"SELECT nullif(i.v, 'null') FROM pg_catalog.jsonb_array_elements({member}) WITH ORDINALITY i(v, n) ORDER BY i.n"
                as_, value = "jsonb", f"CASE WHEN pg_catalog.jsonb_typeof({member}) <> 'null' THEN ARRAY({items})::{type_} END"
            elif format_ == "canonical" and kind == "bytea":
                as_, value = "text", f"{_raw(value)}::{type_}"
            elif format_ == "canonical" and _has(kind, "bytea"):
                as_ = "jsonb"
                member = f"pg_catalog.jsonb_build_object({literal(c)}, rowseal._hex({literal(json.dumps(kind))}, {value}))"
                value = f"(pg_catalog.jsonb_populate_record(NULL::{self.main}, {member})).{ident(c)}"
            elif format_ == "pgtext" and kind == "json":
                as_, value = "text", f"{value}::{type_}"
            definitions.append(f"{name} {as_}")
            values[c] = value
        return ", ".join(definitions), values

    def _contents(self, contents: str, row: str) -> dict[str, str]:
        """How to read columns signed by digest from JSON: the content, where one is given, and the digest that stands for it."""
        out = {}
        for c, kept in self.digests.items():
            field = literal(self.field_of[c])
            text = f"CASE WHEN pg_catalog.jsonb_typeof({contents} -> {field}) = 'string' THEN {contents} ->> {field} END"
            out[c] = _raw(f"({text})")
            if self.column[c]["base"] != "bytea":
                out[c] = f"pg_catalog.convert_from({out[c]}, 'UTF8')::{self.column[c]['type']}" if contents != row else text
            out[kept] = _raw(f"({row} -> {field} ->> 'sha256')")
        return out

    def _element(self, format_: str) -> tuple[str, list[str]]:
        """How to read the stored columns from a JSON element e.v: the columns of jsonb_to_record, and their expressions."""
        if format_ == "pgtext":
            definitions, values = self._decoded(self.stored, format_, store=True)
        else:  # envelopes: the signature stands beside the row
            definitions, values = self._decoded(self.signed, format_, RECORD, store=True)
            if self.name:
                values[self.name] = f"NULL::{self.column[self.name]['type']}"
            values |= self._contents("(e.v -> 'content')", RECORD)
            sign = "e.v ->> 'sign_b64'"
            values[self.sign] = sign if self.column[self.sign]["base"] == "text" else _raw(sign)
        return definitions, [values[c] for c in self.stored]

    def take(self) -> str:
        """Merge one envelope, as apply does: without array, order and loop, which cost more than the row; an error is raised."""
        definitions, values = self._element("canonical")
        select = f"SELECT {', '.join(values)}\n      FROM (SELECT $1 AS v) e, LATERAL pg_catalog.jsonb_to_record({RECORD}) x({definitions})"
        body = f"""
DECLARE
  outcome text := pg_catalog.set_config('rowseal.outcome', 'inserted', true);
BEGIN
  {self._merge(select)}
  RETURN pg_catalog.current_setting('rowseal.outcome');
END"""
        return self._function(f"_take_{self.id}", "envelope jsonb", "text", "LANGUAGE plpgsql SET rowseal.mode = 'apply'", body)

    def apply(self) -> str:
        """Merge rows given as JSON; returns an outcome per row, in the order of the rows."""

        def source(format_: str) -> str:
            definitions, values = self._element(format_)
            return (
                f"SELECT e.n, {', '.join(f'{v} AS c{i}' for i, v in enumerate(values))}\n"
                f"        FROM pg_catalog.jsonb_array_elements($1) WITH ORDINALITY e(v, n),\n"
                f"             LATERAL pg_catalog.jsonb_to_record({'e.v' if format_ == 'pgtext' else RECORD}) x({definitions})\n"
                f"       WHERE $2 = {literal(format_)}"
            )

        newest = ", ".join(f"{2 + self.stored.index(c)} DESC" for c in (self.ts, self.deleted, self.sign))
        key = sorted(self.d["key"], key=lambda k: bool(self.writers) and k not in self.d["owner"])  # locks go by owner
        order = ", ".join(str(2 + self.stored.index(k)) for k in key) + ", " + newest
        body = f"""
DECLARE
  r record;
  outcome text;
  outcomes text[] := pg_catalog.array_fill(NULL::text, ARRAY[pg_catalog.jsonb_array_length($1)]);
BEGIN
  FOR r IN
      {source("canonical")}
      UNION ALL
      {source("pgtext")}
      ORDER BY {order}, 1  -- every session takes its locks in this order: by key, the newest version first
  LOOP
    outcome := pg_catalog.set_config('rowseal.outcome', 'inserted', true);
    {self._merge(f"VALUES ({', '.join(f'r.c{i}' for i in range(len(self.stored)))})")}
    outcomes[r.n] := pg_catalog.current_setting('rowseal.outcome');
  END LOOP;
  RETURN outcomes;
END"""
        return self._function(f"_apply_{self.id}", "rows jsonb, format text", "text[]", "LANGUAGE plpgsql", body)

    def prune(self) -> str:
        """Deletes superseded versions: $1 keeps that many newest of each key besides the tip, $2 those from a timestamp on."""
        archived = self.versions is not None
        table, m = (self.versions, self._map(True)) if archived else (self.main, self._map(False))
        key = ", ".join(f"x.{ident(m[k])}" for k in self.d["key"])
        sign = self.bytes(f"x.{ident(m[self.sign])}", self.sign)
        newest = f"x.{ident(m[self.ts])} DESC, x.{ident(m[self.deleted])} DESC, {sign} DESC"
        spare = self.writers.spare(key, newest, archived) if self.writers else "true"
        return (
            f"DELETE FROM {table} d USING (SELECT x.ctid, x.tableoid, x.{ident(m[self.ts])} AS at, {spare} AS spare,\n"
            f"    pg_catalog.row_number() OVER (PARTITION BY {key} ORDER BY {newest}) - {0 if archived else 1} AS n FROM {table} x) o\n"
            f" WHERE d.ctid = o.ctid AND d.tableoid = o.tableoid AND o.n > 0 AND o.n > $1 AND o.at < $2 AND o.spare"
        )

    def erase(self, given: str, versions: bool) -> str:
        """Empties the columns $2 in all versions of the key $1; returns their payloads."""
        if not self.digests:
            return ""
        m, sets, there = self._map(versions), [], []
        for c, kept in self.digests.items():
            chosen, ref = f"{literal(c)} = ANY ($2)", self.refs("t", [c], versions)
            sets.append(f"{ident(m[c])} = CASE WHEN NOT {chosen} THEN {ref} END")
            digest, before = self._digest("t", c, versions), self.refs("t", [kept], versions)
            sets.append(f"{ident(m[kept])} = CASE WHEN {chosen} THEN {digest} ELSE {before} END")
            there.append(f"{chosen} AND {ref} IS NOT NULL")
        return (
            f"UPDATE {self.versions if versions else self.main} t SET {', '.join(sets)} FROM {given}\n"
            f" WHERE {self.same_key('t', 'g', left_versions=versions)} AND ({' OR '.join(there)}) RETURNING {self.payload('t', versions)}"
        )

    # -- queries; they run with the rights of who asks
    def queries(self) -> dict[str, str]:
        """Texts for payload ($1: row jsonb), verify ($1: oid[] of partitions), versions ($1: key jsonb), digest and envelopes
        (their _owner forms: $1 owner jsonb)."""
        definitions, values = self._decoded(self.signed, "canonical")
        values |= self._contents("$1", "$1")
        columns = ", ".join(f"{v} AS {ident(c)}" for c, v in values.items())
        text = self._called("payload" if self.d["form"] == "rowseal/1" else "signed", "r")
        payload = f"SELECT {text} FROM (SELECT {columns} FROM pg_catalog.jsonb_to_record($1) x({definitions})) r"

        definitions, values = self._decoded(self.d["key"], "canonical")
        columns = ", ".join(f"{values[k]} AS {ident(k)}" for k in self.d["key"])
        given = f"(SELECT {columns} FROM pg_catalog.jsonb_to_record($1) x({definitions})) g"
        parts = [("t", self.main, False)] + ([("v", self.versions, True)] if self.versions else [])
        definitions, owners = self._decoded(self.d["owner"], "canonical")
        columns = ", ".join(f"{owners[k]} AS {ident(k)}" for k in self.d["owner"])
        only_owner = f"(SELECT {columns} FROM pg_catalog.jsonb_to_record($1) x({definitions})) g"
        # a version may name further parents, which it merges
        also = next((c for c, f in self.field_of.items() if f == "merged_sign_b64" and self.column[c]["type"] == "bytea[]"), None)
        versions, graph, verify, digest, envelopes = [], [], [], [], []
        for alias, table, archived in parts:
            m = self._map(archived)
            sign = self.bytes(f"{alias}.{ident(m[self.sign])}", self.sign)
            parent = self._name_bytes(f"{alias}.{ident(m[p])}", p) if (p := self.d["parent_column"]) else "NULL::bytea"
            key = self.key_json(alias, archived)
            name = self._name_bytes(f"{alias}.{ident(m[self.name])}", self.name) if self.name else sign
            merged = f"{alias}.{ident(m[also])}" if also else "NULL::bytea[]"
            writer = self.writers.ref(alias, "writer_pkey", archived) if self.writers else "NULL::bytea"
            edges = f"{name} AS name, {sign} AS sign, {parent} AS parent, {merged} AS merged"
            graph.append(f"SELECT {key} AS key, {edges} FROM {table} {alias}")
            versions.append(
                f"SELECT {edges}, {writer} AS writer, {alias}.{ident(m[self.ts])} AS owner_timestamp,\n"
                f"       {alias}.{ident(m[self.deleted])} AS deleted, {self.payload(alias, archived)} AS payload,\n"
                f"       {self.content(alias, archived) or 'NULL::pg_catalog.jsonb'} AS content\n"
                f"  FROM {table} {alias}, {given} WHERE {READY} AND {self.same_key(alias, 'g', left_versions=archived)}"
            )
            verdict, join = self.judged(alias, archived)
            only = f" WHERE {READY}" + ("" if archived else " AND ($1 IS NULL OR t.tableoid = ANY ($1))")
            verify.append(f"SELECT {key} AS key, {sign} AS sign, {verdict} AS problem FROM {table} {alias}{join}{only}")
            of_owner = " AND ".join(f"{alias}.{ident(m[o])} {self.key_ops[o]} g.{ident(o)}" for o in self.d["owner"])
            for every, one in (("", f" WHERE {READY}"), (f", {only_owner}", f" WHERE {READY} AND {of_owner}")):
                digest.append(
                    f"SELECT {key} AS key, {sign} AS sign,"
                    f" pg_catalog.sha256(pg_catalog.convert_to({self.payload(alias, archived)}, 'UTF8') || coalesce({sign}, '')) AS hash"
                    f" FROM {table} {alias}{every}{one}"
                )
                envelope = self._sealed(self.payload(alias, archived), sign, self.content(alias, archived))
                envelopes.append(f"SELECT {envelope} AS envelope FROM {table} {alias}{every}{one}")
        if self.versions:
            alone = refusal("RS009", "an archived version without a current one")
            twice = refusal("RS009", "the current version is archived, too")
            newer = refusal("RS009", "an archived version is newer than the current one")
            verify.append(
                f"SELECT {self.key_json('v', True)}, {self.bytes('v.' + ident(self._map(True)[self.sign]), self.sign)},\n"
                f"       CASE WHEN t.{ident(self.sign)} IS NULL THEN {alone}\n"
                f"            WHEN {self.order('v', True)} = {self.order('t')} THEN {twice}\n"
                f"            ELSE {newer} END\n"
                f"  FROM {self.versions} v LEFT JOIN {self.main} t ON {self.same_key('t', 'v', right_versions=True)}\n"
                f" WHERE ({self.order('v', True)} < {self.order('t')}) IS NOT TRUE"
            )
        union = "\nUNION ALL\n"
        return {
            "payload": payload,
            "versions": self._by_signature(union.join(versions)),
            "graph": union.join(graph),
            "verify": union.join(verify),
            "digest": union.join(digest[0::2]),
            "digest_owner": union.join(digest[1::2]),
            "envelopes": union.join(envelopes[0::2]),
            "envelopes_owner": union.join(envelopes[1::2]),
            "erase": self.erase(given, False),
            "erase_versions": self.erase(given, True) if self.versions else "",
            "prune": "" if self.d["layout"] == "unversioned" or self.d["grants"] else self.prune(),
        }

    def _by_signature(self, versions: str) -> str:
        """Where parents are named, the signature of the parent in place of its name, as far as it is here."""
        if not self.name:
            return versions
        columns = "v.sign, coalesce(p.sign, v.parent) AS parent, v.merged, v.writer, v.owner_timestamp, v.deleted, v.payload, v.content"
        return f"WITH v AS ({versions})\nSELECT {columns} FROM v LEFT JOIN v p ON p.name = v.parent"

    def tips(self) -> str:
        """The view of a one-table layout that shows the current version of each key."""
        key = ", ".join("t." + ident(k) for k in self.d["key"])
        sign = self.bytes(f"t.{ident(self.sign)}", self.sign)
        return (
            f"AS SELECT DISTINCT ON ({key}) t.* FROM {self.main} t"
            f" ORDER BY {key}, t.{ident(self.ts)} DESC, t.{ident(self.deleted)} DESC, {sign} DESC"
        )

    def _envelope(self, versions: bool = False, alias: str = "NEW") -> str:
        signature = self.bytes(f"{alias}.{ident(self._map(versions)[self.sign])}", self.sign)
        return self._sealed(self.payload(alias, versions), signature, self.content(alias, versions))

    def only_after(self, versions: bool) -> str:
        """The statement by which a definer function refuses to be anything but an AFTER ROW trigger of this very table."""
        table, partitioned = (f"{literal(t)}::pg_catalog.regclass" for t in ((versions and self.versions) or self.main, self.main))
        return f"""IF TG_WHEN {NE} 'AFTER' OR TG_RELID {NE} {table}
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(TG_RELID) a WHERE a.relid {EQ} {partitioned}) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS009', MESSAGE = 'the feed takes what its tables have accepted, and nothing else';
  END IF;"""

    def _sealed(self, payload: str, signature: str, content: str) -> str:
        """rowseal._envelope(payload, signature, content), in line."""
        envelope = f"({payload})::pg_catalog.jsonb {CAT} pg_catalog.jsonb_build_object('sign_b64', {BASE64.format(signature)})"
        if not content:
            return envelope
        return f"{envelope} {CAT} pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('content', {content}))"

    def feed(self) -> list[str]:
        """What appends accepted versions to the feed: an AFTER trigger sees the row as it is stored.

        SECURITY DEFINER, owner rowseal_internal: whoever may write the table adds to the feed, and in no other way: the
        function refuses to be anything but an AFTER ROW trigger of this very table.
        """
        out = []
        for versions in [False, True] if self.versions else [False]:
            m = self._map(versions)
            body = f"""
DECLARE
  envelope pg_catalog.jsonb;
BEGIN
  {self.only_after(versions)}
  IF TG_OP {EQ} 'UPDATE' THEN
    IF NEW.{ident(m[self.sign])} {EQ} OLD.{ident(m[self.sign])} THEN
      RETURN NULL;
    END IF;
  END IF;
  envelope := {self._envelope(versions)};
  INSERT INTO rowseal.feed (tag, owner, envelope, role, subscription)
    VALUES ({literal(self.d["tag"])}, {self._owner_text("envelope")}, envelope, session_user,
      CASE WHEN pg_catalog.current_setting('session_replication_role') {EQ} 'replica' THEN rowseal._subscription() END);
  RETURN NULL;
END"""
            name = f"_feed_versions_{self.id}" if versions else f"_feed_{self.id}"
            out.append(self._function(name, "", "trigger", "LANGUAGE plpgsql SECURITY DEFINER", body, path=False))
            out.append(f"ALTER FUNCTION rowseal.{name}() OWNER TO rowseal_internal")
        return out

    def is_tip(self) -> list[str]:
        """Whether a version is the current one: archiving a tip says nothing new; a version that came late enters the feed."""
        types = ", ".join(f"k{i} {self.column[k]['base']}" for i, k in enumerate(self.d["key"]))
        where = " AND ".join(f"t.{ident(k)} {self.key_ops[k]} k{i}" for i, k in enumerate(self.d["key"]))
        body = f"""
BEGIN
  RETURN EXISTS (SELECT FROM {self.main} t WHERE {where} AND t.{ident(self.sign)} = signature);
END"""
        args = f"{types}, signature {self.column[self.sign]['base']}"
        return [
            f"DROP FUNCTION IF EXISTS rowseal._is_tip_{self.id} CASCADE",
            self._function(f"_is_tip_{self.id}", args, "boolean", "LANGUAGE plpgsql STABLE", body),
        ]

    def _owner_text(self, envelope: str) -> str:
        """rowseal._owner_text(spec, envelope), in line."""
        first, *more = fields = [literal(f) for f in self.d["spec"]["owner"]]
        row = f"({envelope}) {GET} 'row'"
        if more:
            return f"pg_catalog.jsonb_build_array({', '.join(f'({row} {GET} {f})' for f in fields)})::pg_catalog.text"
        return f"({row} {GET_TEXT} {first})"

    def cure(self) -> str:
        """On an identity table: rows that waited for this owner are tried again, with the rights of who brought the owner."""
        body = f"""
BEGIN
  PERFORM rowseal._retry({literal(self.d["tag"] + " ")} || ({self._owner_text(self._envelope())}));
  RETURN NULL;
END"""
        return self._function(f"_cure_{self.id}", "", "trigger", "LANGUAGE plpgsql", body)

    def triggers(self) -> list[str]:
        out = []

        def always(name: str, event: str, table: str, function: str, when: str = "FOR EACH ROW") -> None:
            out.append(f"CREATE OR REPLACE TRIGGER {name} {event} ON {table} {when} EXECUTE FUNCTION rowseal.{function}")
            out.append(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")

        always(GUARD, "BEFORE INSERT OR UPDATE", self.main, f"_guard_{self.id}()")
        always(KEEP, "BEFORE DELETE", self.main, f"_keep_{self.id}()" if self.writers else "_keep()")
        for table in [self.main, *self.facts["partitions"]]:
            always(f"{KEEP}_all", "BEFORE TRUNCATE", table, "_keep()", "")
        if self.d["feed"]:
            always(FEED, "AFTER INSERT OR UPDATE", self.main, f"_feed_{self.id}()")
        if self.d["public_key"] is not None:
            always(CURE, "AFTER INSERT", self.main, f"_cure_{self.id}()")
        if self.versions:
            always(GUARD, "BEFORE INSERT OR UPDATE", self.versions, f"_guard_versions_{self.id}()")
            always(KEEP, "BEFORE DELETE", self.versions, f"_keep_versions_{self.id}()" if self.writers else "_keep()")
            always(f"{KEEP}_all", "BEFORE TRUNCATE", self.versions, "_keep()", "")
            if self.d["feed"]:
                late = f"(NOT rowseal._is_tip_{self.id}({self.refs('NEW', [*self.d['key'], self.sign], True)}))"
                always(FEED, "AFTER INSERT", self.versions, f"_feed_versions_{self.id}()", f"FOR EACH ROW WHEN {late}")
        for name, event, table, function, when in self.writers.triggers() if self.writers else ():
            always(name, event, table, function, when)
        return out

    def install(self) -> list[str]:
        guard = self.guard_one_table() if self.d["layout"] == "one table" else self.guard()
        out = [*self.python_functions(), guard, self.apply(), self.take()]
        # Triggers, too: cloning one to a new partition asks its creator for EXECUTE.  A guard that somebody attaches to a
        # table of his own finds and merges nothing but authentic rows.
        public = [f"_{name}_{self.id}" for name in ("seal", "payload", "apply", "take", "guard")]
        if self.d["form"] != "rowseal/1":
            public.append(f"_signed_{self.id}")
        if self.versions:
            out.append(self.guard_versions())
            public.append(f"_guard_versions_{self.id}")
        if self.d["public_key"] is not None:
            out.append(self.cure())
            public.append(f"_cure_{self.id}")
        if self.d["feed"]:
            out += self.feed()
            public.append(f"_feed_{self.id}")
            if self.versions:
                public.append(f"_feed_versions_{self.id}")
        if self.versions and (self.d["feed"] or self.writers):
            out += self.is_tip()
            public.append(f"_is_tip_{self.id}")
        if self.writers:
            functions, names = self.writers.functions()
            out += functions
            public += names
        return out + [f"GRANT EXECUTE ON FUNCTION rowseal.{name} TO PUBLIC" for name in public]

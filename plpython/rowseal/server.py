"""What PL/Python functions call: the Python package meets the server here, through ``plpy``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from .form import signature, verdict
from .form.canonical import ELEMENTS, CanonicalError, without_strings
from .form.verdict import Verdict

NO_PROVIDER = Verdict(
    "RS014",
    "no provider of signatures: neither the extension pgsodium "
    "nor the Python package PyNaCl is there",
)

_verify: signature.Verify | None = None


def _pgsodium(plpy: Any) -> signature.Verify | None:
    """Ed25519 over the extension pgsodium; None when the database does not have it."""
    try:
        if not plpy.execute("SELECT version FROM rowseal._pgsodium()")[0]["version"]:
            return None
        plan = plpy.prepare(
            "SELECT rowseal._verified($1, $2, $3) AS ok", ["bytea", "bytea", "bytea"]
        )
    except plpy.SPIError:
        return None

    def verify(sign: bytes, message: bytes, public_key: bytes) -> bool:
        ok = plan.execute([sign, message, public_key])[0]["ok"]
        if ok is None:  # the extension has been dropped in the meantime, and there is no PyNaCl
            raise signature.NoProvider(NO_PROVIDER.reason)
        return bool(ok)

    return verify


def provider(plpy: Any) -> signature.Verify:
    """The session's verifier, chosen at its first use.

    ImportError when there is none of Ed25519.
    """
    global _verify
    if _verify is None:
        _verify = signature.verifier(_pgsodium(plpy) or signature.pynacl())
    return _verify


def without_sql() -> bool:
    """Whether verifying needs no SQL.

    PyNaCl is there, and the session's provider unless it had one before.
    """
    global _verify
    try:
        _verify = _verify or signature.verifier(signature.pynacl())
    except ImportError:
        return False
    return True


def provider_name(plpy: Any, algorithm: str) -> str | None:
    """The library that checks signatures of an algorithm, with its version."""
    if algorithm != signature.ED25519.name:
        try:
            signature.ml_dsa(signature.ALGORITHMS[algorithm])
        except (signature.NoProvider, KeyError):
            return None
        import cryptography

        return f"cryptography {cryptography.__version__}"
    version = plpy.execute("SELECT version FROM rowseal._pgsodium()")[0]["version"]
    if version:
        return f"pgsodium {version}"
    try:
        import nacl
    except ImportError:
        return None
    return f"PyNaCl {nacl.__version__}"


def judge(plpy: Any, spec: str) -> verdict.Judge:
    """The verdict function of a declaration's spec; without provider it refuses every row."""
    try:
        return verdict.judging(json.loads(spec), provider(plpy))
    except ImportError:
        return lambda public_key, sign, values: NO_PROVIDER


def payload(plpy: Any, spec: str) -> Callable[[Any], str]:
    """Values to canonical text, which begins with a brace, or to the text form of a verdict."""
    form = verdict.form(json.loads(spec))

    def call(values: Any) -> str:
        try:
            return form.payload(values).decode()
        except CanonicalError as e:
            return Verdict("RS006", str(e)).text()

    return call


def signed(plpy: Any, spec: str) -> Callable[[Any], str]:
    """Values to the text that is signed, after "=", or to the text form of a verdict.

    For other forms.
    """
    form = verdict.signed_form(json.loads(spec))

    def call(values: Any) -> str:
        try:
            return "=" + form.payload(values).decode()
        except CanonicalError as e:
            return Verdict("RS006", str(e)).text()

    return call


def hexed(kind: Any, value: Any) -> Any:
    """A canonical JSON value with every bytea in it as PostgreSQL's hex.

    What does not fit is left for PostgreSQL to refuse.
    """
    if isinstance(value, str) and kind == "bytea":
        raw = verdict.unbase64(value)
        return value if raw is None else "\\x" + raw.hex()
    if isinstance(value, list) and isinstance(kind, dict) and "array" in kind:
        # an array's dimensions are not in its kind: descend until something is not a list
        return [hexed(kind if isinstance(v, list) else kind["array"], v) for v in value]
    if isinstance(value, dict) and isinstance(kind, dict) and "composite" in kind:
        kinds = dict(kind["composite"])
        return {name: hexed(kinds.get(name), v) for name, v in value.items()}
    return value


def structured(kind: Any) -> Callable[[Any], bool] | None:
    """Whether arrays are arrays and composites objects, at all depths, where there is a value.

    None for a kind that has neither.
    """
    if isinstance(kind, str):
        return None
    if "composite" in kind:
        inner = {name: check for name, k in kind["composite"] if (check := structured(k))}
        return lambda v: (
            v is None
            or (isinstance(v, dict) and all(inner[n](x) for n, x in v.items() if n in inner))
        )
    element = structured(kind["array"])

    def array(v: Any) -> bool:
        if v is None or not isinstance(v, list) or element is None:
            return v is None or isinstance(v, list)
        return all((array if isinstance(x, list) else element)(x) for x in v)

    return array


def hexed_json(kind: str, value: str) -> str:
    """The same of JSON texts, unless there is too much of it for any row (ELEMENTS)."""
    if without_strings(value).count(",") > ELEMENTS * 8:  # attributes
        return value
    return json.dumps(hexed(json.loads(kind), json.loads(value)))


_read_spoken: Any = None


def licences(plpy: Any, authority: int, keys: list[bytes] | None) -> Iterator[tuple[Any, ...]]:
    """rowseal._derived: rows of rowseal._licences."""
    from . import licences as rules

    global _read_spoken
    if _read_spoken is None:
        _read_spoken = plpy.prepare("SELECT * FROM rowseal._spoken($1, $2)", ["integer", "bytea[]"])

    def spoken() -> Iterator[rules.Spoken]:
        cursor = plpy.cursor(_read_spoken, [authority, keys])
        while rows := cursor.fetch(1000):
            for row in rows:
                yield rules.Spoken(**{**row, "under": frozenset(row["under"])})

    for writer, found in rules.licences(spoken()).items():
        if keys is None or writer in keys:
            for x in found:
                yield (
                    authority, writer, list(x.chain), x.until, x.tombstones, x.may_grant,
                    sorted(x.frontiers),
                )  # fmt: skip


def options(columns: str | None, legacy: str | None) -> str:
    """rowseal._options: two arguments of declare in, columns of declarations or {"refused"} out."""
    from .declare.arguments import options as chosen
    from .declare.case import Refused

    try:
        given = (None if text is None else json.loads(text) for text in (columns, legacy))
        return json.dumps(chosen(*given))
    except Refused as e:
        return json.dumps({"refused": e.json()})


def plan(wish: str, facts: str, versions: str | None, identity: str | None) -> str:
    """rowseal._plan: JSON in, {"declaration", "functions", "triggers", …} or {"refused"} out."""
    # compiled when first imported: a session that only stores rows does without
    from .declare.case import Refused
    from .declare.decide import decide
    from .declare.model import Identity, Table, Wish
    from .generate.assemble import assemble

    table = Table.of(json.loads(facts))
    history = Table.of(json.loads(versions)) if versions else None
    card = Identity.of(json.loads(identity)) if identity else None
    try:
        declaration = decide(Wish.of(json.loads(wish)), table, history, card)
    except Refused as e:
        return json.dumps({"refused": e.json()})
    made = assemble(declaration, table, history, card)
    out = {
        "declaration": {
            **declaration.json(),
            **{k: getattr(made, k) for k in ("queries", "names", "manifest")},
        },
        "functions": [s for f in made.functions for s in f.statements()],
        "triggers": [s for t in made.triggers for s in t.statements()],
        "tips": made.tips,
        "version_hash": made.version_hash,
    }
    return json.dumps({k: v for k, v in out.items() if v is not None})


class Arrivals:
    """Envelopes that a transaction of a worker has brought and nobody has merged yet."""

    ROWS, CHARACTERS = 500, 1 << 20  # so many are merged together, and the worker goes on answering

    def __init__(self, worker: bool):
        self.worker = worker  # whether whole transactions are applied here, without savepoints
        self.transaction = ""
        self.envelopes: list[str] = []
        self.owners: list[str] = []  # as whoever sent them says
        self.characters = 0

    def add(self, transaction: str, envelope: str, owner: str) -> str | None:
        """What the caller has to do: see rowseal._collect."""
        if not self.worker:
            return None
        if transaction != self.transaction:
            self.take(transaction)
        self.envelopes.append(envelope)
        self.owners.append(owner)
        self.characters += len(envelope)
        if len(self.envelopes) >= self.ROWS or self.characters >= self.CHARACTERS:
            return "full"
        return "first" if len(self.envelopes) == 1 else "more"

    def take(self, transaction: str) -> tuple[list[str], list[str]]:
        """All envelopes of a transaction, and their owners; none is left."""
        taken = self.envelopes, self.owners
        if transaction != self.transaction:  # the one before may have been rolled back
            self.transaction, taken = transaction, ([], [])
        self.envelopes, self.owners, self.characters = [], [], 0
        return taken


_arrivals: Arrivals | None = None


def arrivals(plpy: Any) -> Arrivals:
    """Those of this session."""
    global _arrivals
    if _arrivals is None:
        # one that applies a transaction in parallel, while it is still going on, knows savepoints
        workers = plpy.execute(
            "SELECT FROM pg_catalog.pg_stat_get_subscription(NULL) s"
            " WHERE s.pid = pg_catalog.pg_backend_pid()"
            " AND pg_catalog.to_jsonb(s) ->> 'leader_pid' IS NULL"
        )
        _arrivals = Arrivals(bool(workers.nrows()))
    return _arrivals

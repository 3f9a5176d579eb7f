"""What PL/Python functions call: the Python package meets the server here, through ``plpy``."""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Callable
from typing import Any

from . import declaration, enforcement, signature, verdict
from .canonical import CanonicalError

NO_PROVIDER = "RS014 no provider of signatures: neither the extension pgsodium nor the Python package PyNaCl is there"

_verify: signature.Verify | None = None


def _pgsodium(plpy: Any) -> signature.Verify | None:
    """The provider over the extension pgsodium; None when the database does not have it."""
    try:
        if not plpy.execute("SELECT rowseal._pgsodium() AS version")[0]["version"]:
            return None
        plan = plpy.prepare("SELECT rowseal._pgsodium_verify($1, $2, $3) AS ok", ["bytea", "bytea", "bytea"])
    except plpy.SPIError:
        return None

    def verify(sign: bytes, message: bytes, public_key: bytes) -> bool:
        if not signature.well_formed(sign, public_key):
            return False
        return bool(plan.execute([sign, message, public_key])[0]["ok"])

    return verify


def provider(plpy: Any) -> signature.Verify:
    """The session's provider, chosen at its first use; ImportError when there is none."""
    global _verify
    if _verify is None:
        _verify = _pgsodium(plpy) or signature.pynacl()
    return _verify


def provider_name(plpy: Any) -> str | None:
    version = plpy.execute("SELECT rowseal._pgsodium() AS version")[0]["version"]
    if version:
        return f"pgsodium {version}"
    try:
        import nacl
    except ImportError:
        return None
    return f"PyNaCl {nacl.__version__}"


def seal(plpy: Any, spec: str) -> verdict.Seal:
    """The verdict function of a declaration's spec; without provider it refuses every row."""
    try:
        return verdict.seal(json.loads(spec), provider(plpy))
    except ImportError:
        return lambda public_key, sign, settled, values: NO_PROVIDER


def payload(plpy: Any, spec: str) -> Callable[[Any], str]:
    """Values to canonical text, or to a refusal (which begins with RS, a payload with a brace)."""
    form = verdict.form(json.loads(spec))

    def call(values: Any) -> str:
        try:
            return form.payload(values).decode()
        except CanonicalError as e:
            return f"RS006 {e}"

    return call


def hexed(kind: Any, value: Any) -> Any:
    """A canonical JSON value with every bytea in it as PostgreSQL's hex."""
    if value is None:
        return None
    if kind == "bytea":
        return value if value.startswith("\\x") else "\\x" + a2b_base64(value).hex()
    if isinstance(kind, dict) and "array" in kind:
        # an array's dimensions are not in its kind: descend until something is not a list
        return [hexed(kind if isinstance(v, list) else kind["array"], v) for v in value]
    if isinstance(kind, dict):
        return {name: hexed(k, value[name]) for name, k in kind["composite"] if name in value}
    return value


def plan(wish: str, facts: str, versions: str | None, identity: str | None) -> str:
    """rowseal._plan: JSON in, JSON out: {"declaration", "statements", "triggers"} or {"refused"}."""
    main = json.loads(facts)
    history, card = (json.loads(x) if x else None for x in (versions, identity))
    try:
        d = declaration.plan(json.loads(wish), main, history, card)
    except declaration.Refused as e:
        return json.dumps({"refused": {"sqlstate": e.sqlstate, "message": e.message, "hint": e.hint}})
    if d["public_key"] is not None:
        card = {"facts": main, "public_key": d["public_key"], "owner": d["owner"]}
    sql = enforcement.Sql(d, main, history, card)
    d["queries"] = sql.queries()
    out = {"declaration": d, "functions": sql.install(), "triggers": sql.triggers()}
    if d["layout"] == "one table":
        out["tips"] = sql.tips("%s")
    return json.dumps(out)

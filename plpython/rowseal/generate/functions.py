"""The functions of every declared table.

They are the verdict and the canonical text in Python, and the doors apply and take.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from ..form.canonical import too_large, too_many
from ..form.verdict import Verdict
from .decode import arrived, envelope, pgtext
from .filled import rendered
from .guard import merge
from .plan import PINNED, SEARCH_PATH, UNSET, Function
from .subject import Subject
from .values import self_contained

PACKAGE = __name__.partition(".")[0]

# a plan made for one value copies it, and the value is all the rows
GENERIC = {"plan_cache_mode": "force_generic_plan", **SEARCH_PATH}


def in_python(subject: Subject) -> Iterator[Function]:
    """_judge_ID, the verdict on a row; _payload_ID, its canonical text.

    And _signed_ID, what another form signs.
    """
    settings = UNSET if all(self_contained(s.kind) for s in subject.signed) else PINNED
    checks = _checks(subject)
    values = [f"v{n} {s.argument}" for n, s in enumerate(subject.signed)]
    name = [f"name {subject.column(subject.name_column).base}"] if subject.name_column else []
    functions = [
        ("judge", "rowseal.verdict", 8000, ["public_key bytea", "signature bytea"], name),
        ("payload", "text", 1000, [], []),
    ]
    if subject.wish.form != "rowseal/1":
        functions.append(("signed", "text", 1000, [], []))
    for function, returns, cost, first, last in functions:
        given = "".join(f"{a.split()[0]}, " for a in first)
        tuple_ = "".join(f"v{n}, " for n in range(len(values))) + ("name" if last else "")
        body = _python_body(function, subject, checks, f"{given}({tuple_})")
        arguments = ", ".join([*first, *(f"{check} boolean" for check in checks), *values, *last])
        language = "plpython3u"
        name_ = f"_{function}_{subject.id}"
        yield Function(
            name_, arguments, returns, language, body, settings, "STABLE", cost, parallel=True
        )


def _checks(subject: Subject) -> dict[str, Verdict]:
    """What SQL has to look at, because a value does not show it to Python or is too much for it.

    Names of arguments, in the order of Row.arguments, and the verdict when one is not true.
    """
    row = subject.row("t")
    checks = {}
    if any(s.bounds(row) for s in subject.signed):
        checks["one_based"] = Verdict("RS006", "an array has a lower bound other than 1")
        checks["few"] = Verdict("RS006", str(too_many()))
    if any(True for s in subject.signed for _ in s.brief(row)):
        checks["brief"] = Verdict("RS006", str(too_large()))
    return checks


def _python_body(
    function: str, subject: Subject, checks: dict[str, Verdict], arguments: str
) -> str:
    """What PL/Python runs: the function of rowseal.server, made once in a session."""
    spec = json.dumps(subject.spec.json(), sort_keys=True)
    refusals = (
        f"if not {name}: return {tuple(v)!r}"
        if function == "judge"
        else f"if not {name}: return {v.text()!r}"
        for name, v in checks.items()
    )
    return "\n".join(
        [
            "try:",
            "    call = SD['call']",
            "except KeyError:",
            (
                f"    if GD.get('rowseal_package') != {PACKAGE!r}: "
                "plpy.execute('SELECT rowseal._load()')"
            ),
            f"    call = SD['call'] = GD['rowseal']('server').{function}(plpy, {spec!r})",
            *refusals,
            f"return call({arguments})",
        ]
    )


def take(subject: Subject) -> Function:
    """Merges one envelope, as apply does; an error is raised.

    It goes without array, order and loop, which cost more than the row.
    """
    decoding = envelope(subject)
    body = rendered(
        "take",
        {
            "hear": subject.hear,
            "moved": subject.moved,
            "canonical": _numbered(decoding.values.values()),
            "canonical_source": decoding.source,
            "relation": subject.main.oid,
            "merge": merge(subject, _of_r(subject)),
        },
    )
    settings = {"rowseal.mode": "apply", **GENERIC}
    return Function(f"_take_{subject.id}", "envelope json", "text", "plpgsql", body, settings)


def apply(subject: Subject) -> Function:
    """Merges rows; returns an outcome per row, in the order of the rows."""
    canonical, text = envelope(subject), pgtext(subject)
    body = rendered(
        "apply",
        {
            "hear": subject.hear,
            "moved": subject.moved,
            "canonical": _numbered(canonical.values.values()),
            "canonical_source": canonical.source,
            "pgtext": _numbered(text.values.values()),
            "pgtext_source": text.source,
            "order": _order(subject),
            "relation": subject.main.oid,
            "merge": merge(subject, _of_r(subject)),
        },
    )
    return Function(
        f"_apply_{subject.id}", "rows json[], format text", "text[]", "plpgsql", body, GENERIC
    )


def decode(subject: Subject) -> Function:
    """A row as the guard reads it, as an envelope."""
    r, query = subject.row("r"), arrived(subject)
    content = f", {r.content}" if r.content else ""
    body = rendered(
        "decode",
        {
            "hear": subject.hear,
            "moved": subject.moved,
            "columns": f"SELECT * INTO r FROM ({query}) x;",
            "payload": r.payload,
            "envelope": f"rowseal._envelope(payload, {r.signature}{content})",
        },
    )
    return Function(
        f"_decode_{subject.id}",
        "element json, format text",
        "json",
        "plpgsql",
        body,
        GENERIC,
        "STABLE",
    )


def _of_r(subject: Subject) -> str:
    return f"VALUES ({', '.join(f'r.c{n}' for n in range(len(subject.stored)))})"


def _numbered(values: Iterable[str]) -> str:
    return ", ".join(f"{v} AS c{n}" for n, v in enumerate(values))


def _order(subject: Subject) -> str:
    """Every session takes its locks in this order: by owner, by key, the newest version first."""
    place = {c: str(2 + n) for n, c in enumerate(subject.stored)}
    key = sorted(subject.key, key=lambda k: k not in subject.owner)
    newest = (f"{place[c]} DESC" for c in (subject.timestamp, subject.deleted, subject.sign))
    return ", ".join([*(place[k] for k in key), *newest, "1"])

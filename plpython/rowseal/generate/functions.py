"""The functions of every declared table.

They are the verdict and the canonical text in Python, and the doors apply and take.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from .decode import RECORD, envelope, pgtext
from .filled import rendered
from .guard import merge
from .plan import PINNED, SEARCH_PATH, UNSET, Function
from .subject import Subject
from .values import contains, self_contained

PACKAGE = __name__.partition(".")[0]


def in_python(subject: Subject) -> Iterator[Function]:
    """_seal_ID, the verdict on a row; _payload_ID, its canonical text.

    And _signed_ID, what another form signs.
    """
    kinds = [s.kind for s in subject.signed]
    settings = UNSET if all(self_contained(k) for k in kinds) else PINNED
    bounded = any(contains(k, "array") for k in kinds)
    bounds = ["one_based boolean"] if bounded else []
    values = [f"v{n} {s.argument}" for n, s in enumerate(subject.signed)]
    name = [f"name {subject.column(subject.name_column).base}"] if subject.name_column else []
    functions = [
        ("seal", "rowseal.verdict", 8000, ["public_key bytea", "signature bytea"], name),
        ("payload", "text", 1000, [], []),
    ]
    if subject.wish.form != "rowseal/1":
        functions.append(("signed", "text", 1000, [], []))
    for function, returns, cost, first, last in functions:
        given = "".join(f"{a.split()[0]}, " for a in first)
        tuple_ = "".join(f"v{n}, " for n in range(len(values))) + ("name" if last else "")
        body = _python_body(function, subject, bounded, f"{given}({tuple_})")
        arguments = ", ".join([*first, *bounds, *values, *last])
        language = "plpython3u"
        name_ = f"_{function}_{subject.id}"
        yield Function(
            name_, arguments, returns, language, body, settings, "STABLE", cost, parallel=True
        )


def _python_body(function: str, subject: Subject, bounded: bool, arguments: str) -> str:
    """What PL/Python runs: the function of rowseal.server, made once in a session."""
    spec = json.dumps(subject.spec.json(), sort_keys=True)
    refused = ("RS006", "an array has a lower bound other than 1")
    answer = repr(refused) if function == "seal" else repr(f'({refused[0]},"{refused[1]}")')
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
            *([f"if not one_based: return {answer}"] if bounded else []),
            f"return call({arguments})",
        ]
    )


def take(subject: Subject) -> Function:
    """Merges one envelope, as apply does; an error is raised.

    It goes without array, order and loop, which cost more than the row.
    """
    decoding = envelope(subject)
    select = (
        f"SELECT {decoding}\n    FROM (SELECT $1 AS v) e,"
        f" LATERAL pg_catalog.jsonb_to_record({RECORD}) x({decoding.definitions})"
    )
    body = rendered("take", {"merge": merge(subject, select)})
    settings = {"rowseal.mode": "apply", **SEARCH_PATH}
    return Function(f"_take_{subject.id}", "envelope jsonb", "text", "plpgsql", body, settings)


def apply(subject: Subject) -> Function:
    """Merges rows given as JSON; returns an outcome per row, in the order of the rows."""
    columns = ", ".join(f"r.c{n}" for n in range(len(subject.stored)))
    canonical, text = envelope(subject), pgtext(subject)
    body = rendered(
        "apply",
        {
            "canonical": _numbered(canonical.values.values()),
            "record": RECORD,
            "canonical_columns": canonical.definitions,
            "pgtext": _numbered(text.values.values()),
            "pgtext_columns": text.definitions,
            "order": _order(subject),
            "merge": merge(subject, f"VALUES ({columns})"),
        },
    )
    return Function(f"_apply_{subject.id}", "rows jsonb, format text", "text[]", "plpgsql", body)


def _numbered(values: Iterable[str]) -> str:
    return ", ".join(f"{v} AS c{n}" for n, v in enumerate(values))


def _order(subject: Subject) -> str:
    """Every session takes its locks in this order: by owner, by key, the newest version first."""
    place = {c: str(2 + n) for n, c in enumerate(subject.stored)}
    key = sorted(subject.key, key=lambda k: k not in subject.owner)
    newest = (f"{place[c]} DESC" for c in (subject.timestamp, subject.deleted, subject.sign))
    return ", ".join([*(place[k] for k in key), *newest, "1"])

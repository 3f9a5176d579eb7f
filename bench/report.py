"""Results as JSON, Markdown and SVG, and the README's section made from them."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

Result = dict[str, Any]
LAST = "by hand", "application", "no check"
WHO = {"rowseal": "rowseal", "hand": "by hand", "application": "application"}
# the README quotes these alone
FEW = (
    "fresh rows, INSERT … SELECT",
    "superseding a versioned row, by INSERT",
    "fresh rows, apply in batches of ",
    "a link, fresh rows in one transaction",
    "duplicate of the current version",
)
OF = {
    "verify + plain": "",
    "verify + plain + plain archive": " (UPDATE + INSERT)",
    "fresh": " (a fresh row)",
}


def _ratios(work: Result, who: str) -> list[float]:
    """Of the server's CPU; the application verifies in the client, so of both."""
    costs = (server + client * (who == "application") for server, client in work["times"][who])
    return [cost / limit for cost, limit in zip(costs, work["limit"])]


def _median(work: Result, who: str) -> str:
    return f"{statistics.median(_ratios(work, who)):.2f}" if who in work["times"] else ""


def _unchecked(work: Result) -> str:
    """The plain table alone."""
    plain = [v for k, v in work["times"].items() if k.startswith("plain")]
    rounds = zip(work["limit"], *plain)
    ratios = [sum(server for server, _ in costs) / limit for limit, *costs in rounds]
    return f"{statistics.median(ratios):.2f}" if plain else ""


def _spread(values: list[float], digits: int = 2) -> str:
    """Quartiles."""
    if len(values) < 2:
        return "one round"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{low:.{digits}f}-{high:.{digits}f}"


def _goal(measured: Result, value: float) -> str:
    """The goal, and whether it is met."""
    if measured["goal"] is None:
        return ""
    least = measured.get("least", False)
    met = value >= measured["goal"] if least else value <= measured["goal"]
    return f"{'≥' if least else '≤'} {measured['goal']:g} {'met' if met else '**not met**'}"


def _before(measured: Result) -> str:
    return "" if measured["before"] is None else f"{measured['before']:g}"


def works_table(result: Result) -> str:
    names = ("work", "limit, µs", "c015b84", "rowseal", "spread", "goal", "client, µs", *LAST)
    out = [f"| {' | '.join(names)} |", "| --- | ---: | ---: | ---: | --- | --- |" + " ---: |" * 4]
    for work in result["works"]:
        ours = _ratios(work, "rowseal")
        client = statistics.median(client for _, client in work["times"]["rowseal"])
        cells = [
            work["work"],
            f"{statistics.median(work['limit']):.1f}{OF[work['of']]}",
            _before(work),
            f"**{statistics.median(ours):.2f}**",
            _spread(ours),
            _goal(work, statistics.median(ours)),
            f"{client:.1f}",
            _median(work, "hand"),
            _median(work, "application"),
            _unchecked(work),
        ]
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def few_table(result: Result) -> str:
    """What the README quotes."""
    out = [
        "| | limit, µs a row | rowseal | by hand | application |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    of_each = ([w for w in result["works"] if w["work"].startswith(name)][-1:] for name in FEW)
    for work in (w for some in of_each for w in some):
        limit = f"{statistics.median(work['limit']):.0f}{OF[work['of']]}"
        cells = [work["work"], limit, *(_median(work, who) for who in WHO)]
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def figures_table(result: Result) -> str:
    out = ["| figure | | spread | c015b84 | goal | |", "| --- | ---: | --- | ---: | --- | --- |"]
    for f in result["figures"]:
        value = statistics.median(f["values"])
        digits = 0 if f["unit"] == "" else 1 if f["unit"] in ("ms", "MB") else 2
        spread = _spread(f["values"], digits) if len(f["values"]) > 1 else ""
        measured = f"**{value:.{digits}f}** {f['unit']}"
        cells = [f["name"], measured, spread, _before(f), _goal(f, value), f["note"]]
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def _conditions(result: Result) -> str:
    a = result["about"]
    return (
        f"{a['machine']}; {a['server']}, {a['provider']}, Python {a['python']};"
        f" by hand with {a['hand']}. {a['rows']:,} rows of 7 columns with a value of "
        f"{a['size']} B where nothing else is said, {a['rounds']} rounds; fsync off,"
        " one machine for clients and server."
    )


LEGEND = """CPU time of the session's backend, as the scheduler counts it; over a link that of the
apply worker. *Limit*: one bare Ed25519 check per row (libsodium, in a loop) and the same rows
written in the same way to a plain table; the columns *c015b84* (the state for which the goals were
set), *rowseal*, *by hand*, *application* and *no check* are multiples of it, medians of the rounds,
each ratio taken within a round; *spread*: quartiles. *Client*: CPU time beside that for rowseal,
over a link the walsender's. *By hand*: one PL/pgSQL trigger over a verify function, `jsonb::text`
as canonical form. *Application*: Python that verifies with PyNaCl and writes with psycopg 3
(pipelined `INSERT … ON CONFLICT … WHERE` newer, archiving what it supersedes; for COPY a staging
table), backend and client together. *No check*: the plain table alone."""


def plot(result: Result, path: Path) -> bool:
    """Bars per work as SVG; False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    # the same names in every run; text as text
    matplotlib.rcParams.update({"svg.hashsalt": "rowseal", "svg.fonttype": "none"})
    import matplotlib.pyplot as plt

    works = [w for w in result["works"] if w["of"] != "fresh"]
    figure, axes = plt.subplots(figsize=(9, 0.62 * len(works) + 1.2), layout="constrained")
    colours = {"rowseal": "#1f6f8b", "hand": "#c9a227", "application": "#b5546a"}
    for j, (who, label) in enumerate(WHO.items()):
        rows = [(i, _ratios(w, who)) for i, w in enumerate(works) if who in w["times"]]
        middle = [statistics.median(r) for _, r in rows]
        low = [m - min(r) for m, (_, r) in zip(middle, rows)]
        high = [max(r) - m for m, (_, r) in zip(middle, rows)]
        axes.barh(
            [i + (j - 1) * 0.27 for i, _ in rows],
            middle,
            0.25,
            xerr=[low, high],
            label=label,
            color=colours[who],
            error_kw={"elinewidth": 0.8},
        )
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(works)), [w["work"] for w in works])
    axes.invert_yaxis()
    axes.set_xlabel(
        "CPU as a multiple of the limit: bare signature check + the same on a plain"
        " table\n(median, and all rounds)"
    )
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return True


def write(result: Result, folder: Path) -> str:
    """Write FORM.json, FORM.md and FORM.svg into the folder; the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    form = result["about"]["form"]
    drawn = plot(result, folder / f"{form}.svg")
    parts = [
        f"# Benchmark, {form} form",
        _conditions(result),
        LEGEND,
        works_table(result),
        figures_table(result),
    ]
    text = "\n\n".join(parts) + "\n"
    text += f"\n![CPU per work as multiples of the limit]({form}.svg)\n" if drawn else ""
    (folder / f"{form}.md").write_text(text)
    (folder / f"{form}.json").write_text(json.dumps(result, ensure_ascii=False) + "\n")
    return text + ("" if drawn else "\nNo plot: pip install 'plpython[bench]'\n")


def pages(readme: Path, performance: Path, folder: Path) -> None:
    """Write the newest results between the markers: few in the README, all in the other page."""
    found = [path for form in ("full", "short") if (path := folder / f"{form}.json").exists()]
    result = json.loads(found[0].read_text())
    between(readme, f"{few_table(result)}\n\n{_conditions(result)}")
    parts = [LEGEND, works_table(result), figures_table(result), _conditions(result)]
    between(performance, "\n\n".join(parts))


def between(page: Path, section: str) -> None:
    text = page.read_text()
    new = re.sub(
        r"(?<=<!-- make bench-pages writes this -->\n).*?(?=<!-- until here -->)",
        lambda m: section + "\n",
        text,
        flags=re.DOTALL,
    )
    if new == text and section not in text:
        raise SystemExit(f"{page}: the markers of the performance section are missing")
    page.write_text(new)

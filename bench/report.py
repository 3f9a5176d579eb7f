"""Results as JSON, Markdown and SVG, and the README's section made from them."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

Result = dict[str, Any]
WHO = {"rowseal": "rowseal", "hand": "by hand", "application": "application"}


def _ratios(work: Result, who: str) -> list[float]:
    return [t / limit for t, limit in zip(work["times"][who], work["limit"])]


def _spread(values: list[float], digits: int = 2) -> str:
    """Quartiles."""
    if len(values) < 2:
        return "one round"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{low:.{digits}f}-{high:.{digits}f}"


def _goals(work: Result) -> str:
    """Each goal of a work, and whether it is met."""
    ratio = {who: statistics.median(_ratios(work, who)) for who in WHO if who in work["times"]}
    out = (
        [f"≤ {work['goal']:.2f} {'met' if ratio['rowseal'] <= work['goal'] else '**not met**'}"]
        if work["goal"]
        else []
    )
    for who in "hand", "application":
        if who in ratio:
            factor = work["beat"] if who == "application" else 1.0
            name = WHO[who] + (f" by {factor:.1f} ×" if factor > 1 else "")
            out.append(
                f"{name} {'beaten' if ratio[who] > factor * ratio['rowseal'] else '**not beaten**'}"
            )
    return "; ".join(out)


def works_table(result: Result) -> str:
    out = [
        "| work | limit, µs | rowseal | spread | by hand | application | no check | goals |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | --- |",
    ]
    for work in result["works"]:
        cells = [
            f"{statistics.median(_ratios(work, who)):.2f}" if who in work["times"] else ""
            for who in ("rowseal", "hand", "application")
        ]
        limit = statistics.median(work["limit"])
        plain = [
            sum(p) for p in zip(*(v for k, v in work["times"].items() if k.startswith("plain")))
        ]
        none = (
            f"{statistics.median([p / x for p, x in zip(plain, work['limit'])]):.2f}"
            if plain
            else ""
        )
        of = {
            "verify + plain": "",
            "verify + plain + plain feed": " (with feed entry)",
            "verify + plain + plain archive": " (verify + UPDATE + INSERT)",
            "fresh": " (a fresh row)",
        }[work["of"]]
        out.append(
            f"| {work['work']} | {limit:.1f}{of} | **{cells[0]}** |"
            f" {_spread(_ratios(work, 'rowseal'))} | {cells[1]} | {cells[2]} | {none} |"
            f" {_goals(work)} |"
        )
    return "\n".join(out)


def figures_table(result: Result) -> str:
    out = ["| figure | | spread | goal | |", "| --- | ---: | --- | --- | --- |"]
    for f in result["figures"]:
        value = statistics.median(f["values"])
        digits = 0 if f["unit"] == "" else 1 if f["unit"] in ("ms", "MB") else 2
        goal = ""
        if f["goal"] is not None:
            met = value >= f["goal"] if f["least"] else value <= f["goal"]
            goal = f"{'≥' if f['least'] else '≤'} {f['goal']:g} {'met' if met else '**not met**'}"
        spread = _spread(f["values"], digits) if len(f["values"]) > 1 else ""
        out.append(
            f"| {f['name']} | **{value:.{digits}f}** {f['unit']} | {spread} | {goal} |"
            f" {f['note']} |"
        )
    return "\n".join(out)


def _conditions(result: Result) -> str:
    a = result["about"]
    return (
        f"{a['machine']}; {a['server']}, {a['provider']}, Python {a['python']};"
        f" by hand with {a['hand']}. {a['rows']:,} rows of 7 columns with a value of "
        f"{a['size']} B where nothing else is said, {a['rounds']} rounds; fsync off,"
        " one machine for clients and server."
    )


LEGEND = """CPU time of client and backend together. *Limit*: one bare Ed25519 check per row
(libsodium, in a loop) and the same rows written in the same way to a plain table, in µs per row;
all other columns are multiples of it, medians of the rounds, each ratio taken within a round;
*spread*: quartiles.
*By hand*: one PL/pgSQL trigger over a verify function,
`jsonb::text` as canonical form. *Application*: Python that verifies with PyNaCl and writes with
psycopg 3 (pipelined `INSERT … ON CONFLICT … WHERE` newer, archiving what it supersedes;
for COPY a staging table). *No check*: the plain table alone."""


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


def readme(page: Path, folder: Path) -> None:
    """Write the newest full (else short) results between the markers in the README."""
    path = next(p for p in (folder / "full.json", folder / "short.json") if p.exists())
    result = json.loads(path.read_text())
    section = (
        f"{LEGEND}\n\n{works_table(result)}\n\n{_conditions(result)}\n[All"
        f" figures](bench/results/{path.stem}.md), memory, WAL, growth, replication among them."
    )
    if path.with_suffix(".svg").exists():
        section += f" [Drawn](bench/results/{path.stem}.svg)."
    text = page.read_text()
    new = re.sub(
        r"(?<=<!-- make bench-readme writes this -->\n).*?(?=<!-- until here -->)",
        lambda m: section + "\n",
        text,
        flags=re.DOTALL,
    )
    if new == text and section not in text:
        raise SystemExit(f"{page}: the markers of the performance section are missing")
    page.write_text(new)

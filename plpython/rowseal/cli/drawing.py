"""The versions of a key, drawn: in the terminal, and for Graphviz.

What is drawn comes from rows that anybody may have signed, so nothing of it reaches a terminal or a
DOT file unescaped.
"""

from __future__ import annotations

import datetime
import shutil
import subprocess
from collections.abc import Sequence

from rich.text import Text
from rich.tree import Tree

from ..client.text import printable
from .versions import Version, heads


def short(sign: bytes) -> str:
    """The beginning of a signature in hex, as psql shows it."""
    return sign.hex()[:8]


def _marks(version: Version, ends: set[bytes]) -> list[str]:
    marks = ["current"] if version.tip else []
    if version.sign in ends and not version.tip:
        marks.append("open end")
    return marks + (["deleted"] if version.deleted else [])


def _when(timestamp: int) -> str:
    """The number; beside it the time, when it looks like microseconds (2001 to 2100)."""
    if 10**15 < timestamp < 4_102_444_800_000_000:
        moment = datetime.datetime.fromtimestamp(timestamp / 1e6, datetime.timezone.utc)
        return f"{timestamp} {moment:%Y-%m-%d %H:%M:%S}Z"
    return str(timestamp)


def _shown(version: Version, fields: Sequence[str]) -> list[str]:
    row = version.row or {}
    return [f"{printable(field)}: {printable(row[field])}" for field in fields if field in row]


# ---------------------------------------------------------------------------------- in the terminal
def tree(versions: Sequence[Version], title: str, show: Sequence[str] = ()) -> Tree:
    """Versions under one another, each written on top of the one above it.

    Where two were written on top of one, each has a branch.  ``show``: fields to show beside each.
    """
    ends, children = heads(versions), _children(versions)
    starts = children.get(None, [])
    root = Tree(Text(printable(title, 200), style="bold"), guide_style="dim")
    # A chain stays in its column: only a fork goes deeper.  No recursion: histories are long.
    todo = [(root, start, len(starts) > 1) for start in reversed(starts)]
    known = {version.sign for version in versions}
    while todo:
        place, version, forked = todo.pop()
        if forked:
            place = place.add(
                Text("branch" if version.parent in known else "on its own", style="dim")
            )
        while True:
            if version.gap and version.parent:
                place.add(Text(f"{short(version.parent)}  not here", style="dim"))
            node = place.add(_label(version, ends, show))
            following = children.get(version.sign, [])
            if len(following) != 1:
                todo += [(node, child, True) for child in reversed(following)]
                break
            version = following[0]
    return root


def _children(versions: Sequence[Version]) -> dict[bytes | None, list[Version]]:
    """Versions by their parent; under None, those whose parent is not here."""
    known = {version.sign for version in versions}
    children: dict[bytes | None, list[Version]] = {}
    for version in versions:
        parent = version.parent if version.parent in known else None
        children.setdefault(parent, []).append(version)
    return children


def _label(version: Version, ends: set[bytes], show: Sequence[str]) -> Text:
    label = Text(short(version.sign), style="yellow")
    label.append(f"  {_when(version.owner_timestamp)}", style="default")
    for mark in _marks(version, ends):
        label.append(f"  {mark}", style="red" if mark == "deleted" else "green")
    for text in _shown(version, show):
        label.append(f"  {text}", style="cyan")
    return label


# ------------------------------------------------------------------------------------- for Graphviz
def dot(versions: Sequence[Version], title: str, show: Sequence[str] = ()) -> str:
    """The same as a Graphviz graph: an arrow from each version to those written on top of it."""
    ends = heads(versions)
    known = {version.sign for version in versions}
    with_parent = [(version, version.parent) for version in versions if version.parent]
    missing = dict.fromkeys(parent for _, parent in with_parent if parent not in known)
    return "\n".join(
        [
            "digraph history {",
            f"  label={_quoted(printable(title, 200))}; labelloc=t; fontname=monospace;",
            "  node [shape=box, fontname=monospace, fontsize=10]; edge [arrowsize=0.7];",
            *(_node(version, ends, show) for version in versions),
            *(_missing_node(parent) for parent in missing),
            *(_arrow(parent, version) for version, parent in with_parent),
            "}",
        ]
    )


def _node(version: Version, ends: set[bytes], show: Sequence[str]) -> str:
    words = [short(version.sign), _when(version.owner_timestamp)]
    words += [*_shown(version, show), *_marks(version, ends)]
    label = "\\n".join(_quoted(word)[1:-1] for word in words)  # \n: Graphviz's own line break
    style = "style=solid"
    if version.tip:
        style = 'style=filled, fillcolor="#d5f0d5"'
    elif version.sign in ends:
        style = 'style=filled, fillcolor="#fff3c4"'
    color = ', color="#c00000"' if version.deleted else ""
    return f'  "{version.sign.hex()}" [label="{label}", {style}{color}];'


def _missing_node(sign: bytes) -> str:
    return f'  "{sign.hex()}" [label="{short(sign)}\\nnot here", style=dashed];'


def _arrow(parent: bytes, version: Version) -> str:
    dashed = " [style=dashed]" if version.gap else ""
    return f'  "{parent.hex()}" -> "{version.sign.hex()}"{dashed};'


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def svg(graph: str) -> str:
    """A DOT graph as SVG, by Graphviz's ``dot``.

    FileNotFoundError when it is not installed; OSError when it fails.
    """
    program = shutil.which("dot")
    if program is None:
        remedy = "apt install graphviz"
        raise FileNotFoundError(
            f"drawing SVG takes Graphviz's program dot ({remedy}); --format dot works without"
        )
    done = subprocess.run(
        [program, "-Tsvg"],
        input=graph,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    if done.returncode:
        raise OSError(f"dot failed: {printable(done.stderr, 200)}")
    return done.stdout

"""The versions of a key, drawn: in the terminal, and for Graphviz.

What is drawn comes from rows that anybody may have signed, so nothing of it reaches a terminal or a DOT file unescaped.
"""

from __future__ import annotations

import datetime
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb
from rich.text import Text
from rich.tree import Tree

from ..client.text import printable


class Version(NamedTuple):
    """A row of ``rowseal.history``, without its depth."""

    sign: bytes
    parent: bytes | None
    owner_timestamp: int
    deleted: bool
    tip: bool
    gap: bool
    row: dict[str, Any] | None


def read(connection: psycopg.Connection[Any], relation: str, key: dict[str, Any]) -> list[Version]:
    """All versions of a key, oldest first; psycopg.Error."""
    query = 'SELECT sign, parent, owner_timestamp, deleted, tip, gap, "row" FROM rowseal.history(%s::regclass, %s)'
    return [Version(*row) for row in connection.execute(query, (relation, Jsonb(key)))]


def heads(versions: Iterable[Version]) -> set[bytes]:
    """Signatures of the versions that no other one names as its parent."""
    versions = list(versions)
    return {v.sign for v in versions} - {v.parent for v in versions if v.parent}


def as_json(versions: Sequence[Version]) -> list[dict[str, Any]]:
    ends = heads(versions)
    return [
        {"sign_b64": b64encode(v.sign).decode(), "parent_sign_b64": b64encode(v.parent).decode() if v.parent else None,
         "owner_timestamp": v.owner_timestamp, "deleted": v.deleted, "current": v.tip, "head": v.sign in ends, "gap": v.gap, "row": v.row}
        for v in versions
    ]  # fmt: skip


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


def _shown(version: Version, show: Sequence[str]) -> list[str]:
    return [f"{printable(name)}: {printable((version.row or {})[name])}" for name in show if name in (version.row or {})]


def tree(versions: Sequence[Version], title: str, show: Sequence[str] = ()) -> Tree:
    """Versions under one another, each written on top of the one above it; where two were written on one, a branch each."""
    ends = heads(versions)
    known = {v.sign for v in versions}
    children: dict[bytes | None, list[Version]] = {}
    for v in versions:
        children.setdefault(v.parent if v.parent in known else None, []).append(v)
    root = Tree(Text(printable(title, 200), style="bold"), guide_style="dim")
    # a chain stays in its column: only a fork goes deeper.  No recursion: histories are long
    todo = [(root, start, len(children[None]) > 1) for start in reversed(children.get(None, []))]
    while todo:
        place, version, forked = todo.pop()
        if forked:
            place = place.add(Text("on its own" if version.parent is None or version.parent not in known else "branch", style="dim"))
        while True:
            if version.gap and version.parent:
                place.add(Text(f"{short(version.parent)}  not here", style="dim"))
            label = Text(short(version.sign), style="yellow")
            label.append(f"  {_when(version.owner_timestamp)}", style="default")
            for mark in _marks(version, ends):
                label.append(f"  {mark}", style="red" if mark == "deleted" else "green")
            for text in _shown(version, show):
                label.append(f"  {text}", style="cyan")
            node = place.add(label)
            following = children.get(version.sign, [])
            if len(following) != 1:
                todo += [(node, child, True) for child in reversed(following)]
                break
            version = following[0]
    return root


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dot(versions: Sequence[Version], title: str, show: Sequence[str] = ()) -> str:
    """The same as a Graphviz graph: an arrow from each version to those written on top of it."""
    ends = heads(versions)
    known = {v.sign for v in versions}
    lines = [
        "digraph history {",
        f"  label={_quoted(printable(title, 200))}; labelloc=t; fontname=monospace;",
        "  node [shape=box, fontname=monospace, fontsize=10]; edge [arrowsize=0.7];",
    ]
    for v in versions:
        words = [short(v.sign), _when(v.owner_timestamp), *_shown(v, show), *_marks(v, ends)]
        style = 'style=filled, fillcolor="#d5f0d5"' if v.tip else 'style=filled, fillcolor="#fff3c4"' if v.sign in ends else "style=solid"
        color = ', color="#c00000"' if v.deleted else ""
        label = "\\n".join(_quoted(w)[1:-1] for w in words)  # \n: Graphviz's own line break
        lines.append(f'  "{v.sign.hex()}" [label="{label}", {style}{color}];')
    for parent in dict.fromkeys(v.parent for v in versions if v.parent and v.parent not in known):
        lines.append(f'  "{parent.hex()}" [label="{short(parent)}\\nnot here", style=dashed];')
    lines += [f'  "{v.parent.hex()}" -> "{v.sign.hex()}"{" [style=dashed]" if v.gap else ""};' for v in versions if v.parent]
    return "\n".join([*lines, "}"])


def svg(graph: str) -> str:
    """A DOT graph as SVG, by Graphviz's ``dot``; FileNotFoundError when it is not installed."""
    program = shutil.which("dot")
    if program is None:
        raise FileNotFoundError("drawing SVG takes Graphviz's program dot (apt install graphviz); --format dot works without")
    done = subprocess.run([program, "-Tsvg"], input=graph, capture_output=True, text=True, encoding="utf-8", timeout=300)
    if done.returncode:
        raise OSError(f"dot failed: {printable(done.stderr, 200)}")
    return done.stdout

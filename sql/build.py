"""Assemble the extension script from the files of this folder, the Python package inlined.

usage: build.py VERSION

The order is that of PARTS, in a folder that of the names.  Files of schema run once per version and
are frozen when it is released; those of functions can run again and again.  Functions may stand in
any order, although those in SQL call others: CREATE EXTENSION turns check_function_bodies off.

Of plpython/rowseal everything runs in the server but the rooms of CLIENT.  What only declaring a
table needs (the rooms of DECLARING) goes into the function that does it, the rest into _load; and
what every row needs without pgsodium, into the function that verifies, too.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("begin.sql", "schema/*.sql", "functions/*.sql", "attach.sql", "privileges.sql")
PACKAGE = ROOT / "plpython/rowseal"
CLIENT = {"client", "electric", "cli", "__main__.py", "__init__.py"}
DECLARING = {"declare", "generate"}
TEMPLATES = "generate.templates"


def templates() -> str:
    """What stands in for the module that reads sql/guards: its constant."""
    texts = {p.stem: p.read_text() for p in sorted((ROOT / "sql/guards").glob("*.sql"))}
    return f"TEMPLATES = {texts!r}\n"


def module(path: Path) -> str:
    """The dotted name of a file of the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def inlined(rooms: set[str], indent: str) -> str:
    """A Python literal of the modules in these rooms: dotted name to source."""
    paths = sorted(p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] in rooms)
    sources = {module(p): templates() if module(p) == TEMPLATES else p.read_text() for p in paths}
    lines = "".join(f"{indent}    {name!r}: {source!r},\n" for name, source in sources.items())
    literal = f"{indent}SOURCES = {{\n{lines}{indent}}}"
    assert "$_load$" not in literal
    return literal


def main(version: str) -> None:
    rooms = {p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    script = "\n".join(p.read_text() for part in PARTS for p in sorted((ROOT / "sql").glob(part)))
    holes = {
        "@SERVER@": inlined(rooms - CLIENT - DECLARING, "    "),
        "@DECLARING@": inlined(DECLARING, ""),
        "@PYNACL@": repr((PACKAGE / "form/pynacl.py").read_text()),
        "@VERSION@": version,
    }
    for hole, text in holes.items():
        script = script.replace(hole, text)
    print(script, end="")


main(*sys.argv[1:])

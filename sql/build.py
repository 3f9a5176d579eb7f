"""Assemble the extension script: sql/*.sql in the order of their names, the Python package inlined.

usage: build.py VERSION
"""

import sys
from pathlib import Path

MODULES = ("canonical", "signature", "batch", "concatenated", "verdict", "declaration", "enforcement", "writers", "server")


def main(version: str) -> None:
    root = Path(__file__).parent.parent
    sources = {name: (root / f"plpython/rowseal/{name}.py").read_text() for name in MODULES}
    inlined = "    SOURCES = {\n" + "".join(f"        {n!r}: {s!r},\n" for n, s in sources.items()) + "    }"
    assert "$_load$" not in inlined
    script = "\n".join(p.read_text() for p in sorted((root / "sql").glob("*.sql")))
    print(script.replace("@PYTHON@", inlined).replace("@VERSION@", version), end="")


main(*sys.argv[1:])

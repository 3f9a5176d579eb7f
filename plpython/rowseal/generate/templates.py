"""The templates of sql/guards.

In the server this module is one constant: sql/build.py inlines the files.
"""

from __future__ import annotations

from pathlib import Path

TEMPLATES = {
    p.stem: p.read_text() for p in (Path(__file__).parents[3] / "sql/guards").glob("*.sql")
}

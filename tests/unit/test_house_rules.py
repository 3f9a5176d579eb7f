"""The house rules are checked: each rule finds what breaks it, and leaves alone what does not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = next(p for p in Path(__file__).resolve().parents if (p / "META.json").exists())


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", ROOT / ".ci/house.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module
    spec.loader.exec_module(module)
    return module


house = load()
PACKAGE = "plpython/rowseal/"


def broken(root: Path, tree: dict[str, str]) -> list[str]:
    """What the check says of a repository with these files: path, line and rule."""
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [f"{f.path}:{f.line}: {f.rule}" for f in sorted(set(house.findings(root)))]


def function(lines: int, docstring: str = "") -> str:
    body = "    x = 1\n" * (lines - 1)
    return f"@decorator\n@decorator\ndef f():\n{docstring}{body}"


def class_(lines: int) -> str:
    methods = "    def f(self):\n        pass\n" * ((lines - 1) // 2)
    return "class C:\n" + methods + ("    x = 1\n" if (lines - 1) % 2 else "")


def sql_function(lines: int) -> str:
    return "CREATE FUNCTION f(a text, b text DEFAULT 'x') RETURNS text LANGUAGE plpgsql\n" + (
        "SET search_path = pg_catalog AS $$\n" + "-- a line\n" * lines + "$$;\n"
    )


SHORT_SQL = "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1';\n"
DOCSTRING = '    """One.\n\n    Two.\n    """\n'

BROKEN = {
    "a Python line of 101": (
        {"tests/a.py": "x = 1\n#" + "é" * 100 + "\n"},
        ["tests/a.py:2: width"],
    ),
    "in the build": ({"sql/build.py": "#" * 101 + "\n"}, ["sql/build.py:1: width"]),
    "in the checks": ({".ci/a.py": "#" * 101 + "\n"}, [".ci/a.py:1: width"]),
    "a SQL line of 121": ({"sql/schema/a.sql": "-" * 121 + "\n"}, ["sql/schema/a.sql:1: width"]),
    "in a golden file": (
        {"tests/unit/golden/b/a.sql": "-" * 121 + "\n"},
        ["tests/unit/golden/b/a.sql:1: width"],
    ),
    "a tab": ({"sql/a.sql": "SELECT\t1;\n"}, ["sql/a.sql:1: tab"]),
    "blanks at the end": ({"bench/a.py": "x = 1 \n"}, ["bench/a.py:1: trailing"]),
    "no newline": ({"examples/a.py": "x = 1"}, ["examples/a.py:1: newline"]),
    "an empty line at the end": ({"examples/a.py": "x = 1\n\n"}, ["examples/a.py:3: newline"]),
    "a function of 61 lines": ({"tests/a.py": function(61)}, ["tests/a.py:3: function"]),
    "a method of 61 lines": (
        {"tests/a.py": "class C:\n    async def f(self):\n" + "        x = 1\n" * 60},
        ["tests/a.py:2: function"],
    ),
    "a class of 201 lines": ({"tests/a.py": class_(201)}, ["tests/a.py:1: class"]),
    "a SQL function of 61 lines": (
        {"sql/a.sql": SHORT_SQL + sql_function(61)},
        ["sql/a.sql:2: sql function"],
    ),
    "a handler that an ASSERT passes by": (
        {"sql/a.sql": "EXCEPTION WHEN OTHERS THEN\nEXCEPTION WHEN others OR query_canceled THEN\n"},
        ["sql/a.sql:1: handler", "sql/a.sql:2: handler"],
    ),
    "a cycle of two": (
        {PACKAGE + "a.py": "from . import b\n", PACKAGE + "b.py": "from .a import x\n"},
        [PACKAGE + "a.py:1: cycle"],
    ),
    "a cycle for type checking and inside a function": (
        {
            PACKAGE + "a/one.py": "if TYPE_CHECKING:\n    from ..b.two import x\n",
            PACKAGE + "b/two.py": "def f():\n    import rowseal.c\n",
            PACKAGE + "c.py": "from rowseal.a import one\n",
        },
        [PACKAGE + "a/one.py:2: cycle"],
    ),
    "two cycles": (
        {PACKAGE + f"{a}.py": f"from . import {b}\n" for a, b in ("ab", "ba", "xy", "yx")},
        [PACKAGE + "a.py:1: cycle", PACKAGE + "x.py:1: cycle"],
    ),
    "a cycle by way of a package": (
        {
            PACKAGE + "cli/__init__.py": "from .pull import pull\n",
            PACKAGE + "cli/pull.py": "from ..electric import Follower\n",
            PACKAGE + "cli/history.py": "",
            PACKAGE + "electric.py": "from .cli.history import printable\n",
        },
        [PACKAGE + "cli/__init__.py:1: cycle"],
    ),
    "a module that imports itself": (
        {PACKAGE + "a.py": "from .a import x\n"},
        [PACKAGE + "a.py:1: cycle"],
    ),
    "the server imports the client": (
        {
            PACKAGE + "client/keys.py": "",
            PACKAGE + "electric/__init__.py": "",
            PACKAGE + "cli/__init__.py": "",
            PACKAGE + "form/a.py": "from ..client import keys\n",
            PACKAGE + "declare/a.py": "def f():\n    from .. import electric\n",
            PACKAGE + "generate/a.py": "import rowseal.cli\n",
            PACKAGE + "licences.py": "from rowseal.client.keys import load\n",
            PACKAGE + "server.py": "from .electric import Follower\n",
        },
        [
            PACKAGE + "declare/a.py:2: room",
            PACKAGE + "form/a.py:1: room",
            PACKAGE + "generate/a.py:1: room",
            PACKAGE + "licences.py:1: room",
            PACKAGE + "server.py:1: room",
        ],
    ),
    "JSON for a type": (
        {
            PACKAGE + "declare/a.py": "def f(x: dict[str, Any]) -> None: ...\n",
            PACKAGE + "generate/a.py": "x: Dict[str, typing.Any] = {}\ny: 'dict[str, Any]' = x\n",
        },
        [
            PACKAGE + "declare/a.py:1: type",
            PACKAGE + "generate/a.py:1: type",
            PACKAGE + "generate/a.py:2: type",
        ],
    ),
    "JSON by another name": (
        {
            PACKAGE + "form/a.py": "Json = dict[str, Any]\n",
            PACKAGE
            + "declare/a.py": "from ..form.a import Json as J\n\n\ndef f() -> list[J]: ...\n",
        },
        [PACKAGE + "declare/a.py:4: type"],
    ),
    "Any in a signature": (
        {
            PACKAGE + "declare/a.py": "def f(*x: Any) -> None: ...\n",
            PACKAGE
            + "generate/a.py": "class C:\n    def f(self, x: int | None) -> Optional[Any]: ...\n",
        },
        [PACKAGE + "declare/a.py:1: type", PACKAGE + "generate/a.py:2: type"],
    ),
}

SOUND = {
    "lines as wide as they may be": {
        "tests/a.py": "#" * 100 + "\n",
        "sql/a.sql": "-" * 120 + "\n",
        "tests/unit/golden/a.sql": "-" * 120 + "\n",
    },
    "other people's files and empty ones": {
        "tests/electric/node_modules/a.py": "#" * 200,
        "tests/unit/__init__.py": "",
        "tests/notes.md": "#" * 200,
        "tests/fixtures/a.sql": "-" * 200,
    },
    "a function of 60 lines and a docstring": {"tests/a.py": function(60, DOCSTRING)},
    "a class of 200 lines": {"tests/a.py": class_(200)},
    "a SQL function of 60 lines": {"sql/a.sql": SHORT_SQL + sql_function(60) + sql_function(60)},
    "handlers that catch all, or what they name": {
        "sql/a.sql": "EXCEPTION WHEN OTHERS OR assert_failure OR query_canceled THEN\n"
        "EXCEPTION WHEN data_exception THEN  -- when others stay\n"
    },
    "a rendered function of 61 lines": {"tests/unit/golden/a.sql": sql_function(61)},
    "imports one way": {
        PACKAGE + "__init__.py": "",
        PACKAGE + "form/__init__.py": "",
        PACKAGE + "form/a.py": "import json\nfrom json import rowseal\n",
        PACKAGE + "form/b.py": "from . import a\nfrom .a import json\n",
        PACKAGE + "server.py": "from .form import a, b\n",
        PACKAGE + "client/__init__.py": "from ..form.a import x\n",
        PACKAGE + "cli/__init__.py": "from ..client import y\nfrom .pull import z\n",
        PACKAGE + "cli/pull.py": "from .. import electric\n",
        PACKAGE + "electric/__init__.py": "",
        PACKAGE + "__main__.py": "from .cli import main\n",
    },
    "types": {
        PACKAGE
        + "declare/a.py": "def f(x: list[Any], y: 'str | None') -> dict[str, object]: ...\n",
        PACKAGE + "generate/a.py": "ROWS: Mapping[str, Row] = {}\n",
        PACKAGE + "server.py": "def f(plpy: Any) -> dict[str, Any]: ...\n",
    },
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_a_rule_is_found(case: str, tmp_path: Path) -> None:
    tree, expected = BROKEN[case]
    assert broken(tmp_path, tree) == expected


@pytest.mark.parametrize("case", SOUND)
def test_what_keeps_the_rules_is_left_alone(case: str, tmp_path: Path) -> None:
    assert broken(tmp_path, SOUND[case]) == []


def test_an_entrance_of_json_is_listed_and_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {PACKAGE + "declare/a.py": "class D:\n    def read(x: Any): ...\n"}
    assert broken(tmp_path, tree) == [PACKAGE + "declare/a.py:2: type"]
    monkeypatch.setattr(house, "JSON_ENTRANCES", {"declare/a.py: D.read"})
    assert broken(tmp_path, tree) == []
    monkeypatch.setattr(house, "JSON_ENTRANCES", {"declare/a.py: D.read", "declare/a.py: gone"})
    assert broken(tmp_path, tree) == [".ci/house.py:1: type"]


def test_findings_are_printed_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house.main(str(tmp_path)) == 0
    broken(tmp_path, {"tests/a.py": "x = 1 \n"})
    assert house.main(str(tmp_path)) == 1
    assert capsys.readouterr().out == "tests/a.py:1: trailing: blanks at the end of the line\n"


def test_the_check_keeps_its_own_rules() -> None:
    assert [str(f) for f in house.findings(ROOT) if f.path.startswith(".ci/")] == []

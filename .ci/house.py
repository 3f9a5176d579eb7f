"""The house rules, as far as a machine can see them.

usage: house.py [ROOT]

Prints ``file:line: rule: what``; the exit code is 1 when there is anything.  It needs nothing but
the standard library, so that it runs before anything is installed.  CONTRIBUTING.md says what the
rules are for.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Union

PYTHON_TREES = ("plpython", "tests", "examples", "bench", "sql", ".ci")
SQL_TREES = ("sql",)
PACKAGE = "plpython/rowseal"
PYTHON_WIDTH, SQL_WIDTH = 100, 120
FUNCTION_LINES, CLASS_LINES, SQL_FUNCTION_LINES = 60, 200, 60

# Everything else in the package runs inside PostgreSQL; sql/build.py leaves these out.
CLIENT_ROOMS = ("client", "electric", "cli", "__main__")
TYPED_ROOMS = ("declare", "generate")
# Where JSON comes in from SQL and has no type yet: "declare/declaration.py: Declaration.from_json".
JSON_ENTRANCES: frozenset[str] = frozenset()

NOT_OURS = ("node_modules", "__pycache__", "build", "dist")
Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]


class Finding(NamedTuple):
    path: str
    line: int
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.what}"


class Module(NamedTuple):
    """A Python file and its syntax tree."""

    path: str
    text: str
    tree: ast.Module


# ------------------------------------------------------------------------------------------ files
def files(root: Path, trees: Iterable[str], suffix: str) -> list[Path]:
    """The files under these folders, without what others put there."""
    found = (path for tree in trees for path in (root / tree).rglob(f"*{suffix}"))
    return sorted(path for path in found if not foreign(path.relative_to(root)))


def foreign(path: Path) -> bool:
    inner = path.parts[1:-1]
    return any(part in NOT_OURS or part.startswith(".") for part in inner)


def is_golden(path: str) -> bool:
    """Whether it holds what the templates of sql/ make of a table."""
    return path.startswith("tests/") and "/golden/" in path


def sql_files(root: Path) -> Iterator[tuple[str, str]]:
    """Paths and texts."""
    for path in files(root, (*SQL_TREES, "tests"), ".sql"):
        name = path.relative_to(root).as_posix()
        if is_golden(name) or not name.startswith("tests/"):
            yield name, path.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------- text
def text_findings(path: str, text: str, width: int) -> Iterator[Finding]:
    """Width, tabs, blanks at the end of lines, the newline at the end of the file."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > width:
            yield Finding(path, number, "width", f"{len(line)} characters, at most {width}")
        if "\t" in line:
            yield Finding(path, number, "tab", "a tab; indent with blanks, write \\t in strings")
        if line != line.rstrip():
            yield Finding(path, number, "trailing", "blanks at the end of the line")
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield Finding(path, len(lines), "newline", "the file does not end with one newline")


# ------------------------------------------------------------------------------------------ sizes
def lines_of(node: Function | ast.ClassDef) -> int:
    """From def or class to the end, without decorators and docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def size_findings(module: Module) -> Iterator[Finding]:
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            what, most = "function", FUNCTION_LINES
        elif isinstance(node, ast.ClassDef):
            what, most = "class", CLASS_LINES
        else:
            continue
        if lines_of(node) > most:
            said = f"{node.name} has {lines_of(node)} lines, at most {most}"
            yield Finding(module.path, node.lineno, what, said)


# The header holds no semicolon, so that a body between quotes is not taken for the next function's.
SQL_FUNCTION = re.compile(
    r"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s+([^\s(]+)\s*\([^;]*?"
    r"\bAS\s+(\$\w*\$)(.*?)\2",
    re.DOTALL | re.IGNORECASE,
)


def sql_size_findings(path: str, text: str) -> Iterator[Finding]:
    for found in SQL_FUNCTION.finditer(text):
        lines = found.group(3).strip("\n").count("\n") + 1
        if lines > SQL_FUNCTION_LINES:
            said = f"{found.group(1)} has {lines} lines, at most {SQL_FUNCTION_LINES}"
            yield Finding(path, text.count("\n", 0, found.start()) + 1, "sql function", said)


BARE_HANDLER = re.compile(r"\bWHEN\s+OTHERS\b(?!\s+OR\s+assert_failure\b)", re.IGNORECASE)


def handler_findings(path: str, text: str) -> Iterator[Finding]:
    """OTHERS leaves ASSERT out: somebody's trigger that says it would stop what handles errors."""
    for number, line in enumerate(text.split("\n"), 1):
        if BARE_HANDLER.search(line.partition("--")[0]):
            yield Finding(path, number, "handler", "say WHEN OTHERS OR assert_failure")


# ---------------------------------------------------------------------------------------- imports
class Import(NamedTuple):
    """A module of the package imports another one; both without the package's name."""

    importer: Module
    line: int
    imported: str


def module_name(path: str) -> str:
    """The dotted name inside the package; of the package itself it is empty."""
    parts = Path(path).relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def joined(*names: str) -> str:
    return ".".join(name for name in names if name)


def base_of(module: Module, node: ast.ImportFrom) -> str | None:
    """Which module of the package ``from … import`` names; None for other packages."""
    if node.level == 0:
        package, _, rest = (node.module or "").partition(".")
        return rest if package == Path(PACKAGE).name else None
    parts = module_name(module.path).split(".")
    inside = parts if module.path.endswith("__init__.py") else parts[:-1]
    # one dot is the folder itself, each further dot one above it
    return joined(*inside[: len(inside) - node.level + 1], node.module or "")


def named_in(
    package: dict[str, Module], module: Module, node: ast.Import | ast.ImportFrom
) -> Iterator[str]:
    """The modules of the package that an import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name.partition(".") for alias in node.names]
        yield from (rest for name, _, rest in names if name == Path(PACKAGE).name)
        return
    base = base_of(module, node)
    if base is None:
        return
    for alias in node.names:
        # a name is a module of its own, or something that stands in one
        inner = joined(base, alias.name)
        yield inner if inner in package else base


def imports(package: dict[str, Module], module: Module) -> Iterator[Import]:
    """What it imports of the package, wherever: inside functions and for type checking, too."""
    own = f"{module_name(module.path)}."
    for node in ast.walk(module.tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        for name in named_in(package, module, node):
            yield Import(module, node.lineno, name)
            # before a module its packages are run, but for those that are being run already
            while name := name.rpartition(".")[0]:
                if not own.startswith(name + "."):
                    yield Import(module, node.lineno, name)


def path_between(edges: dict[str, set[str]], start: str, end: str) -> list[str] | None:
    """The shortest way along the edges, at least one edge long."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for name in sorted(edges.get(way[-1], ())):
            if name == end:
                return [*way, name]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return None


def cycle_findings(all_imports: list[Import]) -> Iterator[Finding]:
    """One finding for each group of modules that need each other."""
    edges: dict[str, set[str]] = {}
    for step in all_imports:
        edges.setdefault(module_name(step.importer.path), set()).add(step.imported)
    told: set[str] = set()
    for start in sorted(edges):
        way = None if start in told else path_between(edges, start, start)
        if way is None:
            continue
        told.update(name for name in edges if together(edges, start, name))
        first = next(
            step
            for step in all_imports
            if (module_name(step.importer.path), step.imported) == (start, way[1])
        )
        shown = " -> ".join(joined(Path(PACKAGE).name, name) for name in way)
        yield Finding(first.importer.path, first.line, "cycle", shown)


def together(edges: dict[str, set[str]], one: str, other: str) -> bool:
    return bool(path_between(edges, one, other) and path_between(edges, other, one))


def room(name: str) -> str:
    return name.partition(".")[0]


def room_findings(all_imports: list[Import]) -> Iterator[Finding]:
    """The server has no client: what runs in it imports nothing that does not."""
    for step in all_imports:
        inside = room(module_name(step.importer.path)) not in CLIENT_ROOMS
        if inside and room(step.imported) in CLIENT_ROOMS:
            said = f"runs in the server and imports something of {room(step.imported)}"
            yield Finding(step.importer.path, step.line, "room", said)


# ------------------------------------------------------------------------------------------ types
def last_name(node: ast.AST | None) -> str:
    """``Any`` of ``Any`` and of ``typing.Any``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def unquoted(node: ast.AST | None) -> ast.AST | None:
    """An annotation that is written as a string, read."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "Any" in node.value:
        try:
            return ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return None
    return node


def is_json(node: ast.AST | None) -> bool:
    """``dict[str, Any]`` in any of its spellings."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple):
        return False
    names = [last_name(part) for part in node.slice.elts]
    return last_name(node.value) in ("dict", "Dict") and names == ["str", "Any"]


def is_any(node: ast.AST | None) -> bool:
    """``Any``, alone or as one of several: the others then say nothing."""
    node = unquoted(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return is_any(node.left) or is_any(node.right)
    if isinstance(node, ast.Subscript) and last_name(node.value) in ("Optional", "Union"):
        inner = node.slice
        return any(map(is_any, inner.elts)) if isinstance(inner, ast.Tuple) else is_any(inner)
    return last_name(node) == "Any"


def json_aliases(modules: Iterable[Module]) -> set[tuple[str, str]]:
    """Modules of the package and the names that stand for ``dict[str, Any]`` there."""
    out = set()
    for module in modules:
        for node in module.tree.body:
            if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not is_json(
                unquoted(node.value)
            ):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            out |= {(module_name(module.path), last_name(target)) for target in targets}
    return out


def scopes(tree: ast.AST, name: str = "") -> Iterator[tuple[str, ast.AST]]:
    """All nodes, each with the dotted name of the functions and classes around it."""
    for node in ast.iter_child_nodes(tree):
        defines = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        inner = joined(name, getattr(node, "name", "")) if defines else name
        yield inner, node
        yield from scopes(node, inner)


def annotated(function: Function) -> Iterator[tuple[str, ast.expr | None]]:
    given = function.args
    named = (*given.posonlyargs, *given.args, *given.kwonlyargs)
    for arg in (*named, given.vararg, given.kwarg):
        if arg is not None:
            yield arg.arg, arg.annotation
    yield "return", function.returns


def untyped(node: ast.AST, names: set[str]) -> Iterator[str]:
    """What a node has against the rule; names: those of ``dict[str, Any]`` here."""
    if is_json(node) or (isinstance(node, ast.Constant) and is_json(unquoted(node))):
        yield "dict[str, Any]"
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        yield f"{node.id} is dict[str, Any]"
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for name, annotation in annotated(node):
            if is_any(annotation):
                yield f"{name} of {node.name} is Any"


def type_findings(package: dict[str, Module]) -> Iterator[Finding]:
    """Where tables are declared and SQL is generated, values have types."""
    aliases = json_aliases(package.values())
    used = set()
    for name, module in package.items():
        if room(name) not in TYPED_ROOMS:
            continue
        names = {alias for where, alias in aliases if where == name}
        names |= {
            known.asname or known.name
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ImportFrom)
            for known in node.names
            if (base_of(module, node), known.name) in aliases
        }
        for scope, node in scopes(module.tree):
            entrance = f"{Path(module.path).relative_to(PACKAGE).as_posix()}: {scope}"
            for what in untyped(node, names):
                if entrance in JSON_ENTRANCES:
                    used.add(entrance)
                else:
                    yield Finding(module.path, getattr(node, "lineno", 1), "type", what)
    for entrance in sorted(JSON_ENTRANCES - used):
        yield Finding(".ci/house.py", 1, "type", f"the entrance {entrance!r} needs no exception")


# -------------------------------------------------------------------------------------------- all
def read(root: Path, path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    return Module(path.relative_to(root).as_posix(), text, ast.parse(text, str(path)))


def findings(root: Path) -> Iterator[Finding]:
    modules = [read(root, path) for path in files(root, PYTHON_TREES, ".py")]
    for module in modules:
        yield from text_findings(module.path, module.text, PYTHON_WIDTH)
        yield from size_findings(module)
    for path, text in sql_files(root):
        yield from text_findings(path, text, SQL_WIDTH)
        if not is_golden(path):
            yield from sql_size_findings(path, text)
            yield from handler_findings(path, text)
    inside = [module for module in modules if module.path.startswith(PACKAGE + "/")]
    package = {module_name(module.path): module for module in inside}
    all_imports = [step for module in inside for step in imports(package, module)]
    yield from cycle_findings(all_imports)
    yield from room_findings(all_imports)
    yield from type_findings(package)


def main(root: str = "") -> int:
    place = Path(root or Path(__file__).parent.parent)
    found = sorted(set(findings(place)))
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

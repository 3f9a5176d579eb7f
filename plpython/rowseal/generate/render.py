"""Templates to SQL: holes are filled, names and operators get their schema, long lines are broken.

A template is a ``.sql`` file of ``sql/guards``.  Its head, the comment that it begins with,
explains its holes, one to a line: ``--   @hole@  what stands there``.  The body is plain SQL or
PL/pgSQL:

- ``@hole@`` is replaced by its text.  A line that consists of a hole alone goes when the text is
  empty; else all lines of the text are indented like the hole.
- ``--: if NAME`` … ``--: else`` … ``--: end`` keep one of two blocks of lines; NAME is a hole of
  the type bool.
- Keywords are in capitals, everything else is not.  A function is called without a blank before its
  parenthesis.

A hole without a text, a text without a hole, and a hole that the head does not explain are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Union

Holes = Mapping[str, Union[str, bool]]

WIDTH = 118
# What generated code calls; a name more is added here on purpose.
FUNCTIONS = frozenset(
    """
    bool_or concat concat_ws convert_to count current_setting decode encode format
    has_table_privilege int8send jsonb_build_array jsonb_build_object jsonb_typeof num_nonnulls
    octet_length pg_column_size pg_partition_ancestors pg_trigger_depth pg_typeof record_image_eq
    set_config sha256 starts_with sum to_json to_jsonb to_regoperator to_regtype
    """.split()
)
TYPES = {
    name: name for name in "bytea date json jsonb name record regclass regtype text uuid".split()
} | {
    "boolean": "bool",
    "bigint": "int8",
    "integer": "int4",
    "smallint": "int2",
}
# They look like functions and are grammar.
GRAMMAR = frozenset({"coalesce"})
# They look operators up by their bare names, so no schema can be given; nor can it for CASE x WHEN.
FORBIDDEN = frozenset("BETWEEN DISTINCT ILIKE IN LIKE NULLIF OVERLAPS SIMILAR".split())
_TOKEN = re.compile(
    r"""(?P<space>\s+) | (?P<comment>--[^\n]*) | (?P<string>[Ee]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*") | (?P<number>[0-9]+(?:\.[0-9]+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>\$[0-9]+|<<\w+>>|:=|=>|::|\.\.|[#][a-z_]+[ ][a-z_]+|[.,;:()\[\]])
      | (?P<operator>[-+*/<>=~!@\#%^&|`?]+)""",
    re.X,
)
# An operator ends here: what follows is another expression.
_SEPARATORS = frozenset(
    """
    AND OR NOT IF ELSIF THEN WHEN ELSE END CASE IS IN AS ON SET FROM WHERE SELECT RETURNING VALUES
    USING INTO LIMIT ORDER BY GROUP HAVING WITH JOIN LATERAL DELETE UPDATE INSERT CONFLICT DO RETURN
    PERFORM RAISE EXECUTE LOOP
    """.split()
)


class TemplateError(Exception):
    """A mistake in a template or in what it is given."""


class Token(NamedTuple):
    """A lexical element of SQL; ``kind`` is a group of the expression above."""

    kind: str
    text: str


def tokens(sql: str) -> Iterator[Token]:
    """The lexical elements of SQL text, blanks and comments included."""
    at = 0
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        if match is None:
            raise TemplateError(f"cannot read: {sql[at : at + 40]!r}")
        yield Token(str(match.lastgroup), match[0])
        at = match.end()


def lines(sql: str) -> list[str]:
    """The lines of SQL text; a line break in a name or a constant does not count."""
    out: list[list[str]] = [[]]
    for token in tokens(sql):
        if token.kind == "space" and "\n" in token.text:
            first, *more = token.text.split("\n")
            out[-1].append(first)
            out += ([part] for part in more)
        else:
            out[-1].append(token.text)
    return ["".join(parts) for parts in out]


# ------------------------------------------------------------------------------------------- holes
def split(text: str) -> tuple[dict[str, str], str]:
    """A template's explained holes, and its body."""
    lines = text.split("\n")
    end = next(n for n, line in enumerate(lines) if not re.match(r"--(?!:)", line))
    explained = dict(re.findall(r"^--   @(\w+)@\s+(\S.*)$", "\n".join(lines[:end]), re.M))
    return explained, "\n".join(lines[end:]).strip("\n")


def _chosen(body: str, holes: Holes) -> Iterator[str]:
    """The lines that the directives leave."""
    kept = [True]
    for line in body.split("\n"):
        directive = line.strip()
        if not directive.startswith("--:"):
            if all(kept):
                yield line
        elif directive.startswith("--: if "):
            kept.append(bool(holes[directive[len("--: if ") :]]))
        elif directive == "--: else" and len(kept) > 1:
            kept[-1] = not kept[-1]
        elif directive == "--: end" and len(kept) > 1:
            kept.pop()
        else:
            raise TemplateError(f"not a directive: {directive}")
    if len(kept) > 1:
        raise TemplateError("a block without --: end")


def _filled(line: str, holes: Holes) -> Iterator[str]:
    """A line with its holes filled."""
    indent = line[: len(line) - len(line.lstrip())]
    alone = re.fullmatch(r"\s*@(\w+)@", line)
    text = (
        str(holes[alone[1]])
        if alone
        else re.sub(r"@(\w+)@", lambda m: str(holes[m[1]]), line[len(indent) :])
    )
    if not alone or text:
        yield from ((indent + part if part else part) for part in lines(text))


def fill(template: str, holes: Holes) -> str:
    """The template's body with its holes filled: what is left when nothing has to be qualified."""
    explained, body = split(template)
    used = set(re.findall(r"@(\w+)@", body)) | set(re.findall(r"^\s*--: if (\w+)$", body, re.M))
    if used != explained.keys():
        raise TemplateError(
            f"holes and their explanations differ: {sorted(used ^ explained.keys())}"
        )
    if holes.keys() != used:
        raise TemplateError(f"holes unknown or not filled: {sorted(used ^ holes.keys())}")
    return "\n".join(part for line in _chosen(body, holes) for part in _filled(line, holes))


# -------------------------------------------------------------------------------------- qualifying
class _Qualifier:
    """Gives schemas to the names of one body; knows what it needs of the tokens before."""

    def __init__(self) -> None:
        self.last = Token("mark", ";")  # the last token that means something
        self.before = self.last
        self.operators: list[str] = [""]  # one a nesting level: what a further one must be equal to
        self.setting: list[bool] = [False]  # one a nesting level: whether = assigns there
        self.locking = False  # LOCK TABLE … IN … MODE

    def operator(self, token: Token) -> str:
        name = token.text
        if name == "*" and self.last.text in (".", "(", ",", "SELECT"):
            return name
        if name == "-" and (self.last.kind == "operator" or self.last.text in "(,:="):
            return name  # a sign
        assigned = self.last.kind in ("word", "quoted") and self.before.text in (
            "SET",
            "USING",
            ",",
        )
        if name == "=" and self.setting[-1] and assigned:
            return name
        if self.operators[-1] not in ("", name):
            raise TemplateError(
                f"{self.operators[-1]} and {name} need parentheses: "
                "spelled in full, all operators bind alike"
            )
        self.operators[-1] = name
        return f"OPERATOR(pg_catalog.{name})"

    def word(self, token: Token, following: str) -> str:
        name = token.text
        if name == "IN" and self.locking:
            return name
        if name.upper() in FORBIDDEN or (self.last.text == "CASE" and name != "WHEN"):
            raise TemplateError(f"{name} looks for an operator by its bare name")
        if name.isupper():
            if name in ("WHERE", "FROM", "RETURNING"):
                self.setting[-1] = False
            elif name in ("SET", "RAISE"):
                self.setting[-1] = True
            return name
        if self.last.text == "." or following == ".":
            return name
        if following == "(":
            if name in FUNCTIONS:
                return f"pg_catalog.{name}"
            if name in GRAMMAR:
                return name
            raise TemplateError(f"the function {name} has no schema")
        return f"pg_catalog.{TYPES[name]}" if name in TYPES else name

    def seen(self, token: Token) -> None:
        text = token.text
        self.locking = text == "LOCK" or (self.locking and text != ";")
        if text == "(":
            self.operators.append("")
            self.setting.append(False)
        elif text == ")":
            self.operators.pop()
            self.setting.pop()
        elif text in (",", ";", ":=", "=>") or text in _SEPARATORS:
            self.operators[-1] = ""
        if text == ";":
            self.setting[-1] = False
        self.before, self.last = self.last, token


def qualify(sql: str) -> str:
    """The same SQL with pg_catalog before every function, type and operator.

    It raises for what it does not know.  Operators of other schemas are given as
    OPERATOR(schema.name).
    """
    out: list[str] = []
    state = _Qualifier()
    todo = list(tokens(sql))
    n = 0
    while n < len(todo):
        token = todo[n]
        if token.kind in ("space", "comment"):
            out.append(token.text)
        elif token.text == "OPERATOR":
            end = next(k for k in range(n, len(todo)) if todo[k].text == ")")
            given = "".join(t.text for t in todo[n : end + 1])
            out.append(given)
            state.seen(Token("operator", given))
            n = end
        else:
            following = todo[n + 1].text if n + 1 < len(todo) else ""
            out.append(
                state.operator(token)
                if token.kind == "operator"
                else state.word(token, following)
                if token.kind == "word"
                else token.text
            )
            state.seen(token)
        n += 1
    return "".join(out)


# ---------------------------------------------------------------------------------------- breaking
_BEFORE = frozenset("AND OR THEN ELSE WHEN FROM WHERE VALUES ON SET RETURNING USING INTO".split())


def _breaks(line: str) -> Iterator[tuple[int, int]]:
    """Where a line may be broken: how bad that is, and the position of the blank."""
    depth, at, last = 0, 0, ""
    parts = list(tokens(line))
    for n, token in enumerate(parts):
        if token.text in ("(", "["):
            depth += 1
        elif token.text in (")", "]"):
            depth -= 1
        elif token.kind == "space" and 0 < n < len(parts) - 1:
            following = parts[n + 1]
            if last == "," or following.text in _BEFORE:
                yield depth, at
            elif following.text == "OPERATOR":
                yield 100 + depth, at
        if token.kind != "space":
            last = token.text
        at += len(token.text)


def broken(line: str, indent: str) -> Iterator[str]:
    """A line in pieces of at most WIDTH characters, broken where the nesting is lowest.

    It is read once: it may have a megabyte.
    """
    breaks = list(_breaks(line)) if len(line) > WIDTH else []
    begin, prefix, n = 0, "", 0  # of a piece: its place in the line, its indent, its first break
    while len(prefix) + len(line) - begin > WIDTH:
        here = begin - len(prefix)
        while n < len(breaks) and breaks[n][1] <= max(begin - 1, here + WIDTH * 0.2):
            n += 1
        end = n
        while end < len(breaks) and breaks[end][1] <= here + WIDTH:
            end += 1
        if n == end:
            break
        at = min(breaks[n:end], key=lambda b: (b[0], -b[1]))[1]
        yield prefix + line[begin:at]
        begin, prefix = at + 1, indent
    yield prefix + line[begin:]


def wrap(sql: str) -> str:
    """The same SQL without long lines, comments apart."""
    out: list[str] = []
    for line in lines(sql):
        if line.lstrip().startswith("--"):
            out.append(line)
        else:
            out += broken(line, line[: len(line) - len(line.lstrip())] + "    ")
    return "\n".join(out)


def render(template: str, holes: Holes, qualified: bool) -> str:
    """A template filled in.

    ``qualified``: for a function that runs with its caller's search path.
    """
    text = fill(template, holes)
    return wrap(qualify(text) if qualified else text)

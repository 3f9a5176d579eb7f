"""The renderer of the guards' templates: holes, blocks, schemas, line breaks."""

from __future__ import annotations

import time

import pytest

from rowseal.generate.render import WIDTH, TemplateError, fill, lines, qualify, render, wrap
from rowseal.generate.templates import TEMPLATES
from rowseal.generate.words import field, ident, literal

HEAD = "-- A template.\n--\n--   @name@  a name\n--   @many@  statements\n--   @some@  a choice\n"
BODY = """BEGIN
  @many@
  --: if some
  a := @name@;
  --: else
  b := @name@;
  --: end
END"""


def filled(**holes: str | bool) -> str:
    return fill(HEAD + BODY, {"name": "x", "many": "", "some": True, **holes})


def test_holes_are_filled_and_blocks_chosen() -> None:
    assert filled() == "BEGIN\n  a := x;\nEND"
    assert filled(some=False, name="y") == "BEGIN\n  b := y;\nEND"
    assert filled(many="one;\n  two;") == "BEGIN\n  one;\n    two;\n  a := x;\nEND"
    assert filled(name="'@many@ --: end'") == "BEGIN\n  a := '@many@ --: end';\nEND"


@pytest.mark.parametrize(
    ("template", "holes", "what"),
    [
        (HEAD + BODY, {"name": "x", "many": ""}, "not filled"),
        (HEAD + BODY, {"name": "x", "many": "", "some": True, "more": ""}, "unknown"),
        (HEAD + "@name@", {"name": "x"}, "explanations differ"),
        ("-- None.\n@name@", {"name": "x"}, "explanations differ"),
        ("--   @a@  a choice\n--: if a\nx", {"a": True}, "without --: end"),
        ("--   @a@  a choice\n--: if a\nx\n--: end\n--: end", {"a": True}, "not a directive"),
    ],
)
def test_a_mistake_in_a_template_is_an_error(
    template: str, holes: dict[str, str | bool], what: str
) -> None:
    with pytest.raises(TemplateError, match=what):
        fill(template, holes)


@pytest.mark.parametrize(
    ("given", "qualified"),
    [
        ("a.b = 'x = y'", "a.b OPERATOR(pg_catalog.=) 'x = y'"),
        (
            "encode(a, 'hex') || E'\\'='",
            "pg_catalog.encode(a, 'hex') OPERATOR(pg_catalog.||) E'\\'='",
        ),
        ("a::text", "a::pg_catalog.text"),
        ("known boolean := false;", "known pg_catalog.bool := false;"),
        ("UPDATE t SET a = b.c, d = e.f WHERE g = h", None),
        ("coalesce(a, 1) <= -1", "coalesce(a, 1) OPERATOR(pg_catalog.<=) -1"),
        ('a OPERATOR(public.=) "text"', 'a OPERATOR(public.=) "text"'),
        ("SELECT * FROM t x (a text)", "SELECT * FROM t x (a pg_catalog.text)"),
        ("count(*) > 0 -- a = b", "pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 -- a = b"),
        ("RAISE EXCEPTION USING ERRCODE = 'x', HINT = 'y';", None),
    ],
)
def test_every_name_gets_its_schema(given: str, qualified: str | None) -> None:
    if given.startswith("UPDATE"):
        qualified = "UPDATE t SET a = b.c, d = e.f WHERE g OPERATOR(pg_catalog.=) h"
    assert qualify(given) == (qualified or given)


@pytest.mark.parametrize(
    "given",
    [
        "md5(a)",
        "left(a, 1)",
        "nullif(a, b)",
        "a = b || c",
        "a IN (b, c)",
        "a IS DISTINCT FROM b",
        "a LIKE b",
        "a BETWEEN 1 AND 2",
        "CASE a WHEN b THEN c END",
        "§",
    ],
)
def test_what_could_be_looked_up_elsewhere_is_an_error(given: str) -> None:
    with pytest.raises(TemplateError):
        qualify(given)


def test_names_and_constants_are_one_token_whatever_they_contain() -> None:
    for evil in ("a\nb", 'a"b', "a'b", "@main@", "--", "a\\", "$rowseal$", "uuid", "user", "ü"):
        assert lines(f"x := NEW.{field(evil)};\ny := {literal(evil)};") == [
            f"x := NEW.{field(evil)};",
            f"y := {literal(evil)};",
        ]
        assert qualify(f"SET {ident(evil)} = 1") == f"SET {ident(evil)} = 1"


def test_long_lines_are_broken_between_words() -> None:
    names = ", ".join(f"NEW.column_{n}" for n in range(40))
    statement = f"    VALUES (concat({names}), 'a  b')"
    broken = wrap(statement)
    assert all(len(line) <= WIDTH for line in broken.split("\n"))
    assert " ".join(broken.split()) == " ".join(statement.split())


def test_a_line_is_broken_in_one_pass() -> None:
    """Composites in composites make a line of a megabyte, in everybody's DDL and health."""
    line = "VALUES (" + ", ".join(f"NEW.column_{n} = a.b" for n in range(3000)) + ")"
    begun = time.process_time()
    assert len(wrap(line).split("\n")) > 500
    assert time.process_time() - begun < 2


def test_every_template_explains_its_holes() -> None:
    for name, template in TEMPLATES.items():
        assert template.startswith("-- "), name
        with pytest.raises(TemplateError, match="not filled"):
            render(template, {}, qualified=True)

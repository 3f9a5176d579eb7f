"""The words of generated SQL: identifiers, literals, bodies."""

from __future__ import annotations

import re

# What PostgreSQL (15 to 19) does not take as a bare name of a column everywhere: its reserved words
# and those of type and function names (pg_get_keywords).  A few more of any age do no harm, they
# are only quoted.
RESERVED = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit
    boolean both case cast char character check coalesce collate collation column concurrently
    constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user dec decimal default deferrable desc distinct do else end except
    exists extract false fetch float for foreign freeze from full grant greatest group grouping
    having ilike in initially inner inout int integer intersect interval into is isnull join
    json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar
    json_serialize json_table json_value lateral leading least left like limit localtime
    localtimestamp merge_action national natural nchar none normalize not notnull null nullif
    numeric offset on only or order out outer overlaps overlay placing position precision primary
    real references returning right row select session_user setof similar smallint some substring
    symmetric system_user table tablesample then time timestamp to trailing treat trim true union
    unique user using values varchar variadic verbose when where window with xmlattributes
    xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize
    xmltable
    """.split()
)


def field(name: str) -> str:
    """An identifier behind a dot, quoted where it must be."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def ident(name: str) -> str:
    """An identifier that stands alone.

    With a _ in it, no keyword, type or function has its name.
    """
    return field(name) if "_" in name else '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string constant in one line, whatever standard_conforming_strings says."""
    quoted = "'" + text.replace("'", "''") + "'"
    if not re.search(r"[\\\r\n]", text):
        return quoted
    return "E" + quoted.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def dollar(body: str) -> str:
    """The body, dollar-quoted with a delimiter that it does not contain."""
    tag = "$rowseal$"
    while tag in body:
        tag = tag[:-1] + "_$"
    return f"{tag}\n{body}\n{tag}"

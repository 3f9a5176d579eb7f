"""The examples of docs/specification.md, as the page shows them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from kit import ROOT

PAGE = (ROOT / "docs/specification.md").read_text(encoding="utf-8")
SEED, PUBLIC_KEY = (
    bytes.fromhex(x) for x in re.findall(r"^    ([0-9a-f]{64})$", PAGE, re.MULTILINE)
)


class Example(NamedTuple):
    title: str
    tag: str
    types: str
    row: dict[str, tuple[str, str | None]]  # column: type, text
    payload: str
    octets: bytes
    signature: str
    envelope: dict[str, Any]


def examples() -> Iterator[Example]:
    for section in PAGE.split("\n### ")[1:]:
        tag = re.search(r"^\*Table\* `(.*)`, \*row\*$", section, re.MULTILINE)
        blocks = re.findall(r"```(\w+)\n(.*?)\n```", section, re.DOTALL)
        row: dict[str, tuple[str, str | None]] = {}
        for column, type_, text in re.findall(
            r"^\| `(.*?)` \| `(.*?)` \| (.*) \|$", section, re.MULTILINE
        ):
            row[column] = (
                type_,
                None
                if text == "NULL"
                else ""
                if text == "(empty)"
                else text.removeprefix("`").removesuffix("`"),
            )
        types = "".join(text for language, text in blocks if language == "sql")
        assert tag and [language for language, _ in blocks if language != "sql"] == [
            "json",
            "hex",
            "base64",
            "json",
        ], section
        payload, octets, signature, envelope = (
            text for language, text in blocks if language != "sql"
        )
        yield Example(
            section.split("\n")[0],
            tag[1],
            types,
            row,
            payload,
            bytes.fromhex(octets),
            signature,
            json.loads(envelope),
        )


EXAMPLES = list(examples())
every = pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.title)

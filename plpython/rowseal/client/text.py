"""Text that strangers wrote, made fit to be shown."""

from __future__ import annotations

import json
from typing import Any


def printable(value: Any, most: int = 60) -> str:
    """One line of text that no terminal obeys.

    Control, format and other invisible characters are escaped; what is longer than ``most``
    characters is cut, before the escaping.  What is no text is shown as JSON.
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > most:
        text = text[: most - 1] + "…"
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def compact_json(value: Any) -> str:
    """JSON as the server writes it, no longer than what was signed.

    Other letters stand for themselves: as escapes they would take twice or three times as much.
    Half a surrogate pair is no letter, and stays an escape, which PostgreSQL refuses.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text

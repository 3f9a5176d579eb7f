"""What Electric answers: status, headers, messages in pieces.  Nothing of it is believed."""

from __future__ import annotations

import codecs
import json
import re
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import httpx

MESSAGE_LIMIT = 16 * 1024 * 1024  # characters of one message: one row and what stands around it
LONGEST_RETRY_AFTER = 600.0  # s
START = "-1"  # the offset before all rows

_OFFSET = re.compile(r"-1|[0-9]{1,20}_(?:[0-9]{1,20}|inf)", re.ASCII)
_VISIBLE = re.compile(r"[!-~]{1,200}", re.ASCII)
_BLANK = re.compile(r"[ \t\r\n]*")

Message = dict[str, Any]
"""A JSON object of Electric: {"headers": {…}, "value": {COLUMN: TEXT}, …}, if it is honest."""


class Trouble(Exception):
    """What may pass: ask again, later.  ``retry_after``: seconds that the server asked for."""

    def __init__(self, reason: str, retry_after: float = 0.0):
        super().__init__(reason)
        self.retry_after = retry_after


class Refusal(Trouble):
    """What probably will not pass: at the start an error, in a running stream an outage."""


class Refetch(Exception):
    """The log that was followed is no more; the shape must be read from its beginning."""


# ------------------------------------------------------------------------------- status and headers
class Head(NamedTuple):
    """What the headers of a good answer say."""

    handle: str  # the log's name
    offset: str  # of the answer's end
    cursor: str | None  # to be sent back in the next live request
    is_stream: bool  # of server-sent events


def head(answer: httpx.Response) -> Head:
    """The headers of a good answer; Refusal when Electric would not write them so."""
    handle = _header(answer, "electric-handle", _VISIBLE)
    offset = _header(answer, "electric-offset", _OFFSET)
    cursor = answer.headers.get("electric-cursor", "")
    content_type = answer.headers.get("content-type", "")
    is_stream = content_type.startswith("text/event-stream")
    return Head(handle, offset, cursor if _VISIBLE.fullmatch(cursor) else None, is_stream)


def _header(answer: httpx.Response, name: str, form: re.Pattern[str]) -> str:
    value: str = answer.headers.get(name, "")
    if not form.fullmatch(value):
        raise Refusal(f"not an answer of Electric: its header {name} is {value[:100]!r}")
    return value


async def check_status(answer: httpx.Response, from_start: bool) -> None:
    """Nothing for 200; else Refetch, Trouble or Refusal.

    ``from_start``: the shape was asked for from its beginning.
    """
    status = answer.status_code
    if status == 200:
        return
    if status == 409:
        raise Refetch("the server has a new log of this shape (409)")
    reason = f"{status} {answer.reason_phrase}"
    async for chunk in answer.aiter_bytes():  # the first piece, Electric's messages are short
        reason += ": " + chunk[:300].decode(errors="replace")
        break
    if status == 400 and not from_start:
        raise Refetch(reason)  # an offset that this server does not have
    if status == 429 or status >= 500:
        raise Trouble(reason, _retry_after(answer.headers.get("retry-after", "")))
    raise Refusal(reason)


def _retry_after(value: str) -> float:
    """Seconds; 0 for what is no Retry-After."""
    try:
        seconds = _seconds(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _seconds(value: str) -> float:
    """A number of seconds, or the date until which to wait."""
    if value.strip().isdigit():
        return float(value)
    return parsedate_to_datetime(value).timestamp() - time.time()


def position(offset: str) -> tuple[int, float]:
    """An offset as something that can be compared: its place in the log, and within that."""
    if offset == START:
        return -1, 0
    log, operation = offset.split("_")
    return int(log), float(operation)


def message_offset(headers: Message) -> str | None:
    """The offset of an operation, by the headers of its message; None when they name none."""
    offset = f"{headers.get('lsn')}_{headers.get('op_position')}"
    return offset if _OFFSET.fullmatch(offset) else None


# ------------------------------------------------------------------------------ messages, in pieces
def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_no_number)
_EXPECTED_AFTER = {"[": "{]", ",": "{", "]": ""}


async def elements(
    chunks: AsyncIterator[bytes], limit: int = MESSAGE_LIMIT
) -> AsyncIterator[tuple[Message, int]]:
    """The objects of a JSON array that comes in pieces, each with its size in characters.

    Not more than some ``limit`` characters are kept.  Trouble: no JSON, no array of objects, an
    object too large, an end in the middle.
    """
    decode = codecs.getincrementaldecoder("utf-8")().decode
    text, tried = "", 0  # what is not read yet; how much of it was too little for an object
    expected = "["
    try:
        async for chunk in _and_last(chunks):
            last = chunk is None
            text += decode(chunk or b"", final=last)
            at = 0
            while True:
                at = _BLANK.match(text, at).end()  # type: ignore[union-attr]
                if at == len(text):
                    break
                if text[at] not in expected:
                    found = repr(text[at : at + 40])
                    instead = f"{found} instead of a JSON array of objects"
                    raise Trouble(f"not an answer of Electric: {instead}")
                if text[at] != "{":
                    expected = _EXPECTED_AFTER[text[at]]
                    at += 1
                    continue
                # An object that is not there in whole looks like one that is damaged.  It is
                # tried again when twice as much has come: so the whole costs only its length.
                size = len(text) - at
                if not last and size < 2 * tried and size <= limit:
                    break
                element, end = _element(text, at, limit, last)
                if element is None:
                    tried = size
                    break
                yield element, end - at
                at, tried, expected = end, 0, ",]"
            text = text[at:]
    except (RecursionError, UnicodeDecodeError, ValueError) as e:
        raise Trouble(f"damaged JSON: {e}") from None
    if expected:
        raise Trouble("the answer ends in the middle")


def _element(text: str, at: int, limit: int, last: bool) -> tuple[Message | None, int]:
    """The object that begins in a text, and where it ends; None while more of it may come."""
    too_large = f"a message of more than {limit} characters"
    try:
        element, end = _decoder.raw_decode(text, at)
    except json.JSONDecodeError as e:
        if last or len(text) - at > limit:
            raise Trouble(f"damaged JSON, or {too_large}: {e}") from None
        return None, at
    if end - at > limit:
        raise Trouble(too_large)
    return element, end


async def _and_last(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes | None]:
    async for chunk in chunks:
        yield chunk
    yield None


async def events(
    chunks: AsyncIterator[bytes], limit: int = MESSAGE_LIMIT
) -> AsyncIterator[tuple[Message, int]]:
    """The same for a stream of server-sent events, each with one object as its data.

    Its end is no error.
    """
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    # The line and the event that are not over yet; httpx-sse would let them grow without end.
    line = data = ""
    async for chunk in chunks:
        begun, *rest = decode(chunk).split("\n")
        line += begun
        for begun in rest:
            whole, line = line.rstrip("\r"), begun
            if whole.startswith("data:"):
                data += whole[5:] + "\n"
            elif not whole and data:
                message, size, data = _event(data), len(data), ""
                yield message, size
            if len(data) > limit:
                break
        if len(line) + len(data) > limit:
            raise Trouble(f"a message of more than {limit} characters")


def _event(data: str) -> Message:
    try:
        message = _decoder.decode(data)
    except (RecursionError, ValueError) as e:
        raise Trouble(f"damaged JSON: {e}") from None
    if not isinstance(message, dict):
        raise Trouble("an event that is no JSON object")
    return message

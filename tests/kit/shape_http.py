"""The shape server's answers over HTTP."""

from __future__ import annotations

import contextlib
import json
import random
import re
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from kit.shapes import INFINITE, Offset, Refused, Shape, encode, invalid, shown

if TYPE_CHECKING:
    from kit.shape_server import ShapeServer

UP_TO_DATE = "up-to-date"
EXPOSED = (
    "electric-cursor,electric-handle,electric-has-data,electric-offset,electric-schema,"
    "electric-up-to-date,electric-internal-known-error,retry-after"
)
JSON = {"content-type": "application/json; charset=utf-8"}
ELSEWHERE = {
    "cache-control": "max-age=0, private, must-revalidate",
    "access-control-allow-methods": "GET, HEAD",
}
FIRST = "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"


def checked(p: dict[str, str]) -> None:
    """Refuse a request whose parameters do not go together."""
    live = p.get("live") == "true"
    if "offset" not in p:
        raise invalid("offset", "can't be blank")
    if not re.fullmatch(r"-1|now|[0-9]+_([0-9]+|inf)", p["offset"]):
        raise invalid("offset", "has invalid format")
    if "table" not in p:
        raise invalid("table", "can't be blank")
    if p.get("replica", "default") not in ("default", "full"):
        raise invalid("replica", "is invalid")
    if p["offset"] == "-1" and live:
        raise invalid("live", "can't be true when offset == -1")
    if p.get("live_sse") == "true" and not live:
        raise invalid("live_sse", "can't be true unless live is also true")
    if p["offset"] not in ("-1", "now") and not p.get("handle"):
        raise invalid("handle", "can't be blank when offset != -1")


def refetch(new: Shape | None) -> Refused:
    """The client is to begin again, with another shape if there is one."""
    headers = {"cache-control": "public, max-age=1, must-revalidate"}
    if new:
        headers = {
            "cache-control": "public, max-age=60, must-revalidate",
            "electric-handle": new.handle,
            "etag": f'"{new.handle}::"',
        }
    return Refused(409, [{"headers": {"control": "must-refetch"}}], **headers)


def cursor() -> str:
    return str(int(time.time()) - 1728432000 + random.randrange(1, 3600))


def up_to_date(lsn: int) -> bytes:
    return encode({"headers": {"control": UP_TO_DATE, "global_last_seen_lsn": str(lsn)}})


class Answers(BaseHTTPRequestHandler):
    """HTTP, and whatever is not a shape."""

    protocol_version = "HTTP/1.1"
    server_: ShapeServer
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        pass

    def answer(
        self,
        status: int,
        body: bytes | None,
        headers: Mapping[str, str | None],
        chunked: bool = False,
    ) -> None:
        """Headers (None: not this one) and body; chunked without a body: the pieces follow."""
        self.send_response(status)
        common = {
            "vary": "accept-encoding",
            "electric-server": "ElectricSQL/1.7.12",
            "access-control-allow-origin": "*",
            "access-control-expose-headers": EXPOSED,
            "access-control-allow-methods": "GET, POST, HEAD, DELETE, OPTIONS",
        }
        if chunked:
            common["transfer-encoding"] = "chunked"
        elif body is not None:
            common["content-length"] = str(len(body))
        for name, value in {**common, **headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if chunked and body is not None:
            self.piece(body)
            self.piece(b"")
        elif body is not None:
            self.wfile.write(body)

    def piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_OPTIONS(self) -> None:
        allowed = {
            "access-control-allow-origin": self.headers.get("origin", "*"),
            "access-control-max-age": "86400",
            "vary": None,
            "connection": "keep-alive",
        }
        self.answer(204, None, allowed)

    def do_DELETE(self) -> None:
        headers = {**JSON, "cache-control": "no-cache"}
        self.answer(405, b'{"message":"DELETE not allowed"}', headers)

    def do_PUT(self) -> None:
        self.answer(404, b"Not found", ELSEWHERE)

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/v1/health":
            headers = {"cache-control": "no-cache, no-store, must-revalidate"}
            body = b'{"status":"active"}'
            self.answer(200, body, {**ELSEWHERE, **JSON, **headers})
        elif address.path == "/":
            self.answer(200, b"", ELSEWHERE)
        elif address.path != "/v1/shape":
            self.do_PUT()
        else:
            query = parse_qs(address.query, keep_blank_values=True)
            self.get_shape({k: v[-1] for k, v in query.items()})

    def get_shape(self, p: dict[str, str]) -> None:
        server = self.server_
        try:
            with server.news:
                server.requests.append(p)
                if server.faults:
                    raise server.faults.popleft()
                self.shape(p)
        except Refused as e:
            body = e.body if isinstance(e.body, bytes) else encode(e.body)
            with contextlib.suppress(OSError):
                self.answer(e.status, body, {**JSON, **e.headers})
        except OSError:
            pass
        if not server.running:
            self.close_connection = True

    def shape(self, p: dict[str, str]) -> None:
        raise NotImplementedError


class Handler(Answers):
    """Requests about shapes."""

    def shape(self, p: dict[str, str]) -> None:
        """Answer with the lock held."""
        server, live, asked = self.server_, p.get("live") == "true", p.get("offset", "")
        checked(p)
        s = server.shape(p)
        if asked not in ("-1", "now") and p["handle"] != s.handle:
            raise refetch(s)
        if asked == "-1":
            return self.log(s, p, (0, 0), s.chunks[0], False, cache=FIRST)
        tx, op = (shown(s.end) if asked == "now" else asked).split("_")
        offset = (int(tx), float(op))
        self.await_offset(s, offset)
        if live and p.get("live_sse") == "true":
            return self.stream(s, offset)
        if offset[0] == 0 and offset[1] < len(s.chunks) - 1:
            chunk = s.chunks[int(offset[1]) + 1]
            return self.log(s, p, (0, offset[1] + 1), chunk, False)
        if live:
            self.await_news(s, offset, server.poll)
            if s.gone:
                raise refetch(None)
        entries, size, end = [], 0, max(offset, (0, INFINITE))
        for at, message in s.log:
            if at > offset and size < server.chunk:
                entries.append(message)
                end, size = at, size + len(message)
        cache = "public, max-age=5, stale-while-revalidate=5" if live else None
        return self.log(s, p, end, entries, end == s.end, cache=cache)

    def await_offset(self, s: Shape, offset: Offset) -> None:
        """Wait a moment for an offset that a client has from before a restart."""
        server = self.server_
        if offset > s.end:
            server.news.wait_for(
                lambda: s.gone or s.end >= offset or not server.running, server.patience
            )
            if offset > s.end:
                raise invalid("offset", "out of bounds for this shape")

    def await_news(self, s: Shape, offset: Offset, seconds: float) -> bool:
        """Whether something came within this time."""
        server, known = self.server_, max(offset, (0, INFINITE))
        news = server.news.wait_for(lambda: s.gone or s.end > known or not server.running, seconds)
        if not server.running:
            raise ConnectionAbortedError
        return news

    def log(
        self,
        s: Shape,
        p: dict[str, str],
        end: Offset,
        messages: list[bytes],
        last: bool,
        cache: str | None = None,
    ) -> None:
        """Entries of the log; ``last``: there are no more."""
        live, asked = p.get("live") == "true", p["offset"]
        has_data = (bool(messages) or not live) and asked != "now"
        etag = f"{s.handle}:{asked}:{shown(end)}"
        headers = {
            **JSON,
            "cache-control": cache or "public, max-age=60, stale-while-revalidate=300",
            "etag": f'"{etag}"' if has_data else f'"{etag}:{-time.monotonic_ns()}"',
            "electric-handle": s.handle,
            "electric-has-data": "true" if has_data else "false",
            "electric-offset": shown(end),
        }
        if asked == "now":
            messages = []
        if last:
            headers["electric-up-to-date"] = ""
            lsn = max(self.server_.lsn, s.log[-1][0][0] if s.log else 0)
            messages = [*messages, up_to_date(lsn)]
        if live:
            headers["electric-cursor"] = cursor()
        if self.headers.get("if-none-match") == headers["etag"]:
            return self.answer(304, b"", headers)
        if not live:
            headers["electric-schema"] = json.dumps(s.columns, separators=(",", ":"))
        return self.answer(200, b"[" + b",".join(messages) + b"]", headers, chunked=has_data)

    def stream(self, s: Shape, offset: Offset) -> None:
        here = shown(offset)
        headers = {
            "cache-control": "public, max-age=59", "content-type": "text/event-stream",
            "electric-cursor": cursor(), "etag": f'"{s.handle}:{here}:{here}"',
            "electric-handle": s.handle, "electric-up-to-date": "", "electric-has-data": "true",
            "electric-offset": here, "connection": "keep-alive",
        }  # fmt: skip
        self.answer(200, None, headers, chunked=True)
        at = offset
        while True:
            news = self.await_news(s, at, self.server_.keep_alive)
            if s.gone:
                return self.piece(b"")
            if not news:
                self.piece(b": keep-alive\n\n")
            waiting = [entry for entry in s.log if entry[0] > at]
            for n, (position, message) in enumerate(waiting):
                self.piece(b"data: " + message + b"\n\n")
                if n + 1 == len(waiting) or waiting[n + 1][0][0] != position[0]:
                    self.piece(b"data: " + up_to_date(position[0]) + b"\n\n")
                at = position

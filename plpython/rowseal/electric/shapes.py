"""What a shape is: a table of Electric, the declared table that it feeds, how far it is read."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict
from urllib.parse import urlencode

import httpx
import psycopg

from .wire import START

SECRETS = {"secret", "api_secret", "token", "source_secret"}  # parameters that are not stored
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class Target(TypedDict):
    """What ``shape`` needs to know of a local table."""

    relation: str
    identity: bool  # its rows are owners: others wait for it
    columns: Mapping[str, str]  # of a versions table: {its column: the declared table's}


class Metrics(TypedDict):
    """How a shape is doing, for monitoring."""

    table: str
    relation: str
    state: str  # snapshot, live or waiting
    lag: float  # s
    rows: dict[str, int]  # by outcome, since the start
    handle: str | None
    offset: str
    error: str | None


@dataclass
class Shape:
    """A shape, the declared table that it feeds, how far it has been read."""

    url: httpx.URL  # with all parameters that make the shape
    relation: str
    identity: bool = False  # its rows are owners: others wait for it
    columns: Mapping[str, str] = field(default_factory=dict)  # as in Target
    handle: str | None = None
    offset: str = START
    cursor: str | None = None
    expired: str | None = None  # the handle before the last refetch
    live: bool = False  # the server said that this is all; now it is asked for what comes
    sse: bool = False
    reached: bool = False  # it has answered well since the start
    error: str | None = None
    outcomes: Counter[str] = field(default_factory=Counter)  # since the start
    size: int = 0  # characters since the start
    since: float | None = field(default_factory=time.monotonic)  # when it began to lag; None: not

    @property
    def table(self) -> str:
        """The table at the source."""
        return self.url.params["table"]

    @property
    def source(self) -> str:
        """Under what it is stored: its URL without what is secret."""
        given = self.url.params.multi_items()
        parameters = sorted((name, value) for name, value in given if name not in SECRETS)
        query = urlencode(parameters).encode()
        return str(self.url.copy_with(userinfo=b"", query=query, fragment=None))

    @property
    def rows(self) -> int:
        """Rows and deletions since the start."""
        return sum(self.outcomes.values())

    @property
    def lag(self) -> float:
        """Seconds since all was known to be here; 0 while a live request is open."""
        return 0.0 if self.since is None else time.monotonic() - self.since

    def falls_behind(self) -> None:
        """Not all is known to be here any more."""
        self.since = self.since or time.monotonic()
        self.live = False

    def start_again(self) -> None:
        """Its log is no more: the next request is for the beginning."""
        self.expired, self.handle = self.handle or self.expired, None
        self.offset, self.cursor = START, None
        self.falls_behind()

    def request(self) -> httpx.URL:
        """What to ask next."""
        parameters = {"offset": self.offset, "replica": "full"}
        if self.handle:
            parameters["handle"] = self.handle
        elif self.expired:
            # so that no cache on the way answers with that log again
            parameters["expired_handle"] = self.expired
        if self.live:
            parameters["live"] = "true"
            if self.cursor:
                parameters["cursor"] = self.cursor
            if self.sse:
                parameters["live_sse"] = "true"
        return self.url.copy_merge_params(parameters)

    def metrics(self) -> Metrics:
        """How it is doing."""
        return {
            "table": self.table,
            "relation": self.relation,
            "state": "waiting" if self.error else "live" if self.live else "snapshot",
            "lag": round(self.lag, 3),
            "rows": dict(self.outcomes),
            "handle": self.handle,
            "offset": self.offset,
            "error": self.error,
        }


def shape(
    url: str,
    table: str,
    relation: str,
    parameters: Iterable[tuple[str, str]] = (),
    identity: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Shape:
    """The shape of a server's table, for a local ``relation``.

    ``declared`` knows relation, identity and columns.  Of a URL without a path, the path is
    Electric's own, /v1/shape; ``parameters`` are added to its query.  ValueError for what is no
    URL.
    """
    base = httpx.URL(url)
    if base.scheme not in ("http", "https") or not base.host:
        raise ValueError(f"{url} is no URL: http://HOST:PORT is expected")
    query = urlencode([*base.params.multi_items(), *parameters, ("table", table)]).encode()
    path = base.path if base.path.strip("/") else "/v1/shape"
    return Shape(base.copy_with(path=path, query=query), relation, identity, columns or {})


_TARGET = """
    SELECT d.relation::text, d.identity IS NULL, CASE WHEN t.oid = d.versions THEN
             (SELECT jsonb_object_agg(v.value, v.key) FROM jsonb_each_text(d.version_columns) v)
             ELSE '{}' END
      FROM rowseal.declarations d, CAST(%s AS regclass) t(oid)
     WHERE t.oid IN (d.relation, d.versions)"""
_NO_TABLE = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.InvalidName,
    psycopg.errors.SyntaxError,
)


async def declared(connection: psycopg.AsyncConnection[Any], table: str) -> Target:
    """What ``shape`` needs to know of a local table, a declared one or its versions table.

    ValueError when it is neither; psycopg.Error.
    """
    try:
        row = await (await connection.execute(_TARGET, (table,))).fetchone()
    except _NO_TABLE as e:
        raise ValueError(e.diag.message_primary) from None
    if row is None:
        raise ValueError(f"table {table} is not declared to rowseal")
    relation, identity, columns = row
    return {"relation": relation, "identity": identity, "columns": columns}


def clean(value: Any) -> Any:
    """A message's row as ``apply`` takes it: an object of texts and nulls.

    What PostgreSQL cannot hold as text (NUL, halves of surrogate pairs) becomes U+FFFD: no owner
    signed that, and one such row must not be an error for its whole batch.  A value that is neither
    text nor null becomes its JSON text, or U+FFFD where it is nested too deep to be written.
    """
    if isinstance(value, dict):
        return {_text(name): _text(member) for name, member in value.items()}
    return _text(value)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return _NO_TEXT.sub("\ufffd", value if isinstance(value, str) else _json_text(value))


def _json_text(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:  # a little less deep than what could be read
        return "\ufffd"

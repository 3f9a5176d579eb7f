"""``rowseal pull``: the command around ``electric.Follower``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections import Counter
from typing import Annotated, Any, Optional

import psycopg
import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..electric import MESSAGE_LIMIT, Follower, Shape, Trouble, declared, shape

stderr = Console(stderr=True)


def status(shapes: list[Shape]) -> RenderableType:
    """What is shown of a terminal: a line for each shape whose snapshot is being read, or one line for all."""
    total: Counter[str] = Counter()
    for s in shapes:
        total.update(s.outcomes)
    if all(s.live or s.error for s in shapes):
        outcomes = ", ".join(f"{n:,} {outcome}" for outcome, n in total.most_common()) or "no rows yet"
        failing = next((f" · {s.table}: {s.error}" for s in shapes if s.error), "")
        live = sum(s.live for s in shapes)
        line = f"{live} of {len(shapes)} shapes live · lag {max((s.lag for s in shapes), default=0):.0f} s · {outcomes}{failing}"
        return Spinner("dots", Text(line, overflow="ellipsis", no_wrap=True))
    grid = Table.grid(padding=(0, 2))
    for s in shapes:
        state: RenderableType = Text("✓") if s.live else Spinner("dots")
        seconds = max(s.lag, 0.001)
        speed = "" if s.live or not s.rows else f"{s.rows / seconds:,.0f} rows/s"
        grid.add_row(state, s.table, f"{s.rows:,} rows", f"{s.size / 1e6:,.1f} MB", speed, s.error or "")
    return grid


def pull(
    url: Annotated[str, typer.Argument(help="Electric, http://HOST:PORT; its path, if it is not /v1/shape, and parameters of a proxy.")],
    tables: Annotated[
        list[str],
        typer.Option("--table", "-t", help="Table there, or THERE=HERE; repeat it for several. A versions table is followed on its own."),
    ],
    where: Annotated[Optional[str], typer.Option(help="Only these rows of the (one) table: an SQL condition, for Electric.")] = None,
    parameters: Annotated[Optional[list[str]], typer.Option("--param", help="NAME=VALUE in the URL: params[1]=…, source_id=…")] = None,
    headers: Annotated[Optional[list[str]], typer.Option("--header", "-H", help="'NAME: VALUE' of every request.")] = None,
    secret: Annotated[Optional[str], typer.Option(envvar="ROWSEAL_ELECTRIC_SECRET", help="Electric's API secret.")] = None,
    sse: Annotated[bool, typer.Option("--sse", help="Follow by server-sent events instead of long polls.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Stop when all is read that is there.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Read from the beginning, not from where it stopped the last time.")] = False,
    message_limit: Annotated[int, typer.Option(help="Characters of the largest message that is read.", min=1000)] = MESSAGE_LIMIT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as a line of JSON, at the end and every --interval.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds.", min=0.1)] = 10.0,
    dsn: Annotated[str, typer.Option("--dsn", "-d", envvar="ROWSEAL_DSN", help="Connection string; empty: libpq's variables.")] = "",
) -> None:
    """Follow tables of another server, through its Electric, into declared tables here.

    Rows are merged as by rowseal.apply; bad ones go to the quarantine. Deletions are noted there and not obeyed: only a row signed by
    its owner deletes. It goes on until it is stopped (SIGINT, SIGTERM), and the next time from there: SELECT * FROM rowseal.shapes.

    Exit code 3 when a shape cannot be read, with --once 1 when rows were rejected.
    """
    if where is not None and len(tables) > 1:
        raise typer.BadParameter("--where is for one table: run one pull for each")
    query = [_pair(p, "=", "--param") for p in parameters or []]
    query += [("secret", secret)] if secret else []
    query += [("where", where)] if where is not None else []
    sent = dict(_pair(h, ":", "--header") for h in headers or [])
    shapes: list[Shape] = []

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            for table in tables:
                there, _, here = table.partition("=")
                shapes.append(shape(url, there, parameters=query, **await declared(connection, here or there)))
        options: dict[str, Any] = {"headers": sent, "sse": sse, "once": once, "restart": restart, "limit": message_limit}
        async with Follower(dsn, shapes, report=report, **options) as follower:
            followed = asyncio.ensure_future(follower.run())
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, followed.cancel)
            shown = asyncio.ensure_future(show())
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await followed
            finally:
                shown.cancel()

    def report(s: Shape, what: str) -> None:
        stderr.print(f"{s.table}: {what}", highlight=False, markup=False, soft_wrap=True)

    async def show() -> None:
        while True:
            await asyncio.sleep(interval)
            if as_json:
                print(json.dumps({"shapes": [s.metrics() for s in shapes]}), flush=True)

    class Status:
        def __rich__(self) -> RenderableType:
            return status(shapes)

    try:
        with Live(Status(), console=stderr, transient=True, refresh_per_second=4) if stderr.is_terminal else contextlib.nullcontext():
            asyncio.run(main())
    except (Trouble, ValueError, psycopg.Error) as e:
        stderr.print(f"error: {e}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(3) from None
    finally:
        if as_json:
            print(json.dumps({"shapes": [s.metrics() for s in shapes]}), flush=True)
    if once and any(s.outcomes["rejected"] for s in shapes):
        raise typer.Exit(1)


def _pair(text: str, separator: str, option: str) -> tuple[str, str]:
    name, found, value = text.partition(separator)
    if not found or not name.strip():
        raise typer.BadParameter(f"{option} {text}: NAME{separator}VALUE is expected")
    return name.strip(), value.strip()

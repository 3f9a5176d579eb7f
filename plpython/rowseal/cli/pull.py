"""``rowseal pull``: the command around ``electric.Follower``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Optional

import psycopg
import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..electric import MESSAGE_LIMIT, Follower, Shape, Trouble, declared, shape
from .terminal import FAILED, REFUSED

stderr = Console(stderr=True)

Url = Annotated[
    str,
    typer.Argument(
        help="Electric, http://HOST:PORT; its path, if it is not /v1/shape,"
        " and parameters of a proxy."
    ),
]
Tables = Annotated[
    list[str],
    typer.Option(
        "--table",
        "-t",
        help="Table there, or THERE=HERE; repeat it for several."
        " A versions table is followed on its own.",
    ),
]
Where = Annotated[
    Optional[str],
    typer.Option(help="Only these rows of the (one) table: an SQL condition, for Electric."),
]
Parameters = Annotated[
    Optional[list[str]],
    typer.Option("--param", help="NAME=VALUE in the URL: params[1]=…, source_id=…"),
]
Headers = Annotated[
    Optional[list[str]],
    typer.Option("--header", "-H", help="'NAME: VALUE' of every request."),
]
Secret = Annotated[
    Optional[str],
    typer.Option(envvar="ROWSEAL_ELECTRIC_SECRET", help="Electric's API secret."),
]
Sse = Annotated[
    bool, typer.Option("--sse", help="Follow by server-sent events instead of long polls.")
]
Once = Annotated[bool, typer.Option("--once", help="Stop when all is read that is there.")]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart", help="Read from the beginning, not from where it stopped the last time."
    ),
]
MessageLimit = Annotated[
    int, typer.Option(help="Characters of the largest message that is read.", min=1000)
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the metrics as a line of JSON, at the end and every --interval.",
    ),
]
Interval = Annotated[float, typer.Option(help="Seconds.", min=0.1)]
Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        "-d",
        envvar="ROWSEAL_DSN",
        help="Connection string; empty: libpq's variables.",
    ),
]


def pull(
    url: Url,
    tables: Tables,
    where: Where = None,
    parameters: Parameters = None,
    headers: Headers = None,
    secret: Secret = None,
    sse: Sse = False,
    once: Once = False,
    restart: Restart = False,
    message_limit: MessageLimit = MESSAGE_LIMIT,
    as_json: AsJson = False,
    interval: Interval = 10.0,
    dsn: Dsn = "",
) -> None:
    """Follow tables of another server, through its Electric, into declared tables here.

    Rows are merged as by rowseal.apply; bad ones go to the quarantine. Deletions are noted there
    and not obeyed: only a row signed by its owner deletes. It goes on until it is stopped (SIGINT,
    SIGTERM), and the next time from there: SELECT * FROM rowseal.shapes.

    Exit code 3 when a shape cannot be read, with --once 1 when rows were rejected.
    """
    if where is not None and len(tables) > 1:
        raise typer.BadParameter("--where is for one table: run one pull for each")
    query = [_pair(parameter, "=", "--param") for parameter in parameters or []]
    query += [("secret", secret)] if secret else []
    query += [("where", where)] if where is not None else []
    sent = dict(_pair(header, ":", "--header") for header in headers or [])

    shapes: list[Shape] = []

    def print_metrics() -> None:
        if as_json:
            print(json.dumps({"shapes": [one.metrics() for one in shapes]}), flush=True)

    async def follow() -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            for table in tables:
                there, _, here = table.partition("=")
                target = await declared(connection, here or there)
                shapes.append(shape(url, there, parameters=query, **target))
        how = {"sse": sse, "once": once, "restart": restart}
        async with Follower(
            dsn, shapes, headers=sent, report=_report, limit=message_limit, **how
        ) as follower:
            await _until_stopped(follower, print_metrics, interval)

    try:
        with _display(shapes):
            asyncio.run(follow())
    except (Trouble, ValueError, psycopg.Error) as e:
        stderr.print(f"error: {e}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(FAILED) from None
    finally:
        print_metrics()
    if once and any(one.outcomes["rejected"] for one in shapes):
        raise typer.Exit(REFUSED)


def _pair(text: str, separator: str, option: str) -> tuple[str, str]:
    """Name and value of an option; wrong usage when it has not both."""
    name, found, value = text.partition(separator)
    if not found or not name.strip():
        raise typer.BadParameter(f"{option} {text}: NAME{separator}VALUE is expected")
    return name.strip(), value.strip()


def _report(of: Shape, what: str) -> None:
    stderr.print(f"{of.table}: {what}", highlight=False, markup=False, soft_wrap=True)


async def _until_stopped(
    follower: Follower, print_metrics: Callable[[], None], interval: float
) -> None:
    """Follow until SIGINT or SIGTERM, or the end; print metrics every so many seconds."""

    async def print_regularly() -> None:
        while True:
            await asyncio.sleep(interval)
            print_metrics()

    following = asyncio.ensure_future(follower.run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, following.cancel)
    printing = asyncio.ensure_future(print_regularly())
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await following
    finally:
        printing.cancel()


# ------------------------------------------------------------------------------------- the terminal
class _Status:
    """The status of shapes, whenever it is drawn."""

    def __init__(self, shapes: list[Shape]):
        self.shapes = shapes

    def __rich__(self) -> RenderableType:
        return status(self.shapes)


def _display(shapes: list[Shape]) -> contextlib.AbstractContextManager[object]:
    """Shows the status while it is open; nothing where standard error is no terminal."""
    if not stderr.is_terminal:
        return contextlib.nullcontext()
    return Live(_Status(shapes), console=stderr, transient=True, refresh_per_second=4)


def status(shapes: list[Shape]) -> RenderableType:
    """What a terminal shows: a line for each shape until all are read, then one line for all."""
    if all(one.live or one.error for one in shapes):
        return _summary(shapes)
    grid = Table.grid(padding=(0, 2))
    for one in shapes:
        state: RenderableType = Text("✓") if one.live else Spinner("dots")
        speed = ""
        if one.rows and not one.live:
            speed = f"{one.rows / max(one.lag, 0.001):,.0f} rows/s"
        size = f"{one.size / 1e6:,.1f} MB"
        grid.add_row(state, one.table, f"{one.rows:,} rows", size, speed, one.error or "")
    return grid


def _summary(shapes: list[Shape]) -> RenderableType:
    total: Counter[str] = Counter()
    for one in shapes:
        total.update(one.outcomes)
    parts = [
        f"{sum(one.live for one in shapes)} of {len(shapes)} shapes live",
        f"lag {max((one.lag for one in shapes), default=0):.0f} s",
        ", ".join(f"{rows:,} {outcome}" for outcome, rows in total.most_common()) or "no rows yet",
    ]
    parts += [f"{one.table}: {one.error}" for one in shapes if one.error][:1]
    return Spinner("dots", Text(" · ".join(parts), overflow="ellipsis", no_wrap=True))

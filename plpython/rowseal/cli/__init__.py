"""The command line: signs, checks, carries and inspects the rows of declared tables.

A module for each group of commands; what they share is in options, terminal and database.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import psycopg
import typer
from typer.core import TyperGroup

from . import audit, history, keys, pull, rows, signing, status, vectors
from .database import explained
from .terminal import fail

HELP = "Signs, checks, carries and inspects the rows of tables that are declared to rowseal."
EXIT_CODES = (
    "Exit codes: 0 all is well; "
    "1 the answer is no (refused rows, a wrong signature, a problem found); "
    "2 wrong usage; 3 it could not be done."
)


class Group(TyperGroup):
    """Whatever goes wrong becomes one line, and a hint where there is one."""

    def invoke(self, ctx: Any) -> Any:  # click's, or typer's own copy of it
        try:
            return super().invoke(ctx)
        except psycopg.Error as e:
            fail(*explained(e))
        except BrokenPipeError:
            raise  # `rowseal export … | head`: typer ends quietly
        except OSError as e:
            fail(f"{e.filename}: {e.strerror}" if e.filename else str(e))
        except (ValueError, ArithmeticError, RecursionError) as e:
            fail(str(e))


app = typer.Typer(
    cls=Group,
    help=HELP,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# In the order of the help.
COMMANDS: dict[str, Callable[..., None]] = {
    "keygen": keys.keygen,
    "sign": signing.sign,
    "verify": signing.verify,
    "apply": rows.apply,
    "export": rows.export,
    "import": rows.import_,
    "history": history.history,
    "audit": audit.audit,
    "status": status.status,
    "vectors": vectors.vectors,
    "pull": pull.pull,
}


def _help(command: Callable[..., None]) -> str:
    """A command's docstring without the line breaks of its source: the terminal has its own."""
    text = inspect.cleandoc(command.__doc__ or "")
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in text.split("\n\n"))


for _name, _command in COMMANDS.items():
    app.command(_name, help=_help(_command))(_command)

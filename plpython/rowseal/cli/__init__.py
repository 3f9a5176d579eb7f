"""Signs, checks, carries and inspects the rows of tables that are declared to rowseal."""

from __future__ import annotations

import getpass
import json
import os
import stat
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import IO, Annotated, Any, NoReturn, Optional

import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text
from typer.core import TyperGroup

from .. import client
from ..client import Form, decode, envelope, keys, next_timestamp, verify
from ..client.files import DamagedFile, export_rows, import_rows, read_objects
from ..client.text import printable
from ..client.vectors import vectors
from ..form.signature import FINGERPRINTS, NoProvider
from . import history as drawing
from .pull import pull

EXIT_CODES = (
    "Exit codes: 0 all is well; 1 the answer is no (refused rows, a wrong signature, a problem found); 2 wrong usage; "
    "3 it could not be done."
)
REFUSED, FAILED = 1, 3

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


class Group(TyperGroup):
    """Whatever goes wrong becomes one line, and a hint where there is one."""

    def invoke(self, ctx: Any) -> Any:  # click's, or typer's own copy of it
        try:
            return super().invoke(ctx)
        except psycopg.Error as e:
            _fail(*_database_error(e))
        except BrokenPipeError:
            raise  # `rowseal export … | head`: typer ends quietly
        except (OSError, ValueError, ArithmeticError, RecursionError) as e:
            _fail(f"{e.filename}: {e.strerror}" if isinstance(e, OSError) and e.filename else str(e))


app = typer.Typer(cls=Group, help=__doc__, epilog=EXIT_CODES, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


# ----------------------------------------------------------------------------------------------------- what commands share
Dsn = Annotated[str, typer.Option("--dsn", "-d", envvar="ROWSEAL_DSN", help="Connection string; empty: libpq's environment variables.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write; - is standard output.")]
Key = Annotated[Path, typer.Option("--key", "-k", envvar="ROWSEAL_KEY", help="File of the private key.")]


def _fail(message: str, hint: Optional[str] = None) -> NoReturn:
    stderr.print(Text.assemble(("error: ", "red"), printable(message, 1000)))
    if hint:
        stderr.print(Text.assemble(("hint: ", "cyan"), printable(hint, 1000)))
    raise typer.Exit(FAILED)


def _database_error(e: psycopg.Error) -> tuple[str, Optional[str]]:
    if e.sqlstate is None:  # no connection, say: libpq's own words, in several lines
        first, _, rest = str(e).strip().partition("\n")
        return first, " ".join(rest.split()) or None
    hint = e.diag.message_hint
    if e.sqlstate in ("3F000", "42P01", "42883") and "rowseal" in str(e):
        hint = "the extension is not in this database: CREATE EXTENSION rowseal CASCADE"
    return f"{e.sqlstate} {e.diag.message_primary}", hint


def _connect(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, fallback_application_name="rowseal")


@contextmanager
def _reading(file: Path) -> Iterator[IO[bytes]]:
    if file == Path("-"):
        yield sys.stdin.buffer
    else:
        with file.open("rb") as stream:
            yield stream


@contextmanager
def _writing(file: Path) -> Iterator[IO[str]]:
    """Standard output, or a file that is replaced when all has been written, so that a failure costs nobody his old one."""
    if file == Path("-"):
        yield sys.stdout
        sys.stdout.flush()
        return
    special = file.exists() and not file.is_file()  # a pipe, a device
    unfinished = file if special else file.with_name(file.name + ".unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as stream:
            yield stream
        if not special:
            unfinished.replace(file)
    except BaseException:
        if not special:
            unfinished.unlink(missing_ok=True)
        raise


def _progress(*columns: Any) -> Progress:
    """A bar on standard error, gone at the end; nothing where that is no terminal."""
    shown = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *columns)
    return Progress(*shown, console=stderr, transient=True, disable=not stderr.is_terminal)


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter(f'{option} must be a JSON object: \'{{"user_hash": "BASE64"}}\'')
    return value


def _table(*names: str) -> Table:
    return Table(*(Column(n, overflow="fold") for n in names), box=None, header_style="bold", pad_edge=False)


def _show(table: Table) -> None:
    stdout.print(table, width=None if stdout.is_terminal else 10_000)  # a pipe has no margin


def _row(table: Table, *cells: Any, style: str = "") -> None:
    table.add_row(*(Text("" if c is None else printable(c if isinstance(c, str) else str(c), 200)) for c in cells), style=style)


def _passphrase(confirm: bool = False) -> str:
    given = os.environ.get("ROWSEAL_PASSPHRASE")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        _fail("the key needs a passphrase, and there is no terminal to ask for it", "set ROWSEAL_PASSPHRASE")
    first = getpass.getpass("Passphrase: ")
    if confirm and getpass.getpass("Again: ") != first:
        _fail("the two passphrases differ")
    return first


def _load_key(path: Path) -> client.Key:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        stderr.print(Text.assemble(("warning: ", "yellow"), f"others can read {printable(str(path), 200)}: chmod 600"))
    try:
        return keys.load(path)
    except keys.PassphraseNeeded:
        return keys.load(path, _passphrase())


# ------------------------------------------------------------------------------------------------------------ without server
class Algorithm(str, Enum):
    ed25519 = "ed25519"
    ml_dsa_65 = "ml-dsa-65"
    ml_dsa_87 = "ml-dsa-87"


@app.command()
def keygen(
    file: Annotated[Path, typer.Argument(help="File to write: PKCS#8 PEM, mode 0600. The public key goes beside it, into FILE.pub.")],
    algorithm: Annotated[Algorithm, typer.Option("--algorithm", "-a", help="ml-dsa: cryptography 47 or later.")] = Algorithm.ed25519,
    encrypt: Annotated[bool, typer.Option("--encrypt", "-e", help="Encrypt it: with ROWSEAL_PASSPHRASE, or ask for one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key pair, and show its public key and fingerprints."""
    public_file = file.with_name(file.name + ".pub")
    for path in (file, public_file):
        if path.exists():
            _fail(f"{path} is there already")
    try:
        key = keys.generate(algorithm.value)
    except NoProvider as e:
        _fail(str(e), "pip install 'cryptography>=47'")
    keys.save(key, file, _passphrase(confirm=True) if encrypt else None)
    public_file.write_text(keys.public_pem(key))
    raw = client.public_key(key)
    fingerprints = {name: digest(raw).hex() for name, digest in FINGERPRINTS.items()}
    answer = {"algorithm": algorithm.value, "private_key_file": str(file), "public_key_file": str(public_file)}
    answer["public_key"] = b64encode(raw).decode()
    if as_json:
        print(json.dumps({**answer, "fingerprints": fingerprints}))
    else:
        for name, value in {**answer, **fingerprints}.items():
            print(f"{name.replace('_', ' '):18}{printable(value, 1000)}")


@app.command("sign")
def sign_command(
    file: Annotated[Path, typer.Argument(help="Rows, one JSON object of fields per line, values as in envelopes; - is standard input.")],
    key: Key,
    table: Annotated[Optional[str], typer.Option("--table", "-t", help="A declared table whose rows these are.")] = None,
    form: Annotated[Optional[Path], typer.Option(help="Instead: a file with its spec from rowseal.declarations; needs no server.")] = None,
    output: Output = Path("-"),
    dsn: Dsn = "",
) -> None:
    """Sign rows: write them as envelopes, one JSON object per line.

    A row without timestamp gets the present one, a row without deletion flag is not deleted.
    """
    if (table is None) == (form is None):
        raise typer.BadParameter("either --table or --form is needed")
    if form is not None:
        spec = _object(form.read_text(encoding="utf-8"), "the file of --form")
    else:
        with _connect(dsn) as connection:
            spec = _declared(connection, table or "")["spec"]
    signing_key = _load_key(key)
    try:
        columns, (timestamp, deleted) = Form(spec["tag"], spec["fields"]), spec["required"][-2:]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError(f"{form} is not the spec of a declaration (SELECT spec FROM rowseal.declarations)") from None
    with _reading(file) as stream, _writing(output) as out:
        for number, row in read_objects(stream, envelopes=False):
            row = {timestamp: str(next_timestamp()), deleted: False, **row}
            try:
                sealed = envelope(columns, decode(columns, row), signing_key)
            except ValueError as e:
                raise DamagedFile(number, str(e)) from None
            out.write(json.dumps(sealed, ensure_ascii=False) + "\n")


@app.command("verify")
def verify_command(
    file: Annotated[Path, typer.Argument(help="Envelopes, one JSON object per line; - is standard input.")],
    public_key: Annotated[str, typer.Option("--public-key", "-p", help="The owner's: a file (PEM, OpenSSH), or base64 or hex.")],
    as_json: AsJson = False,
) -> None:
    """Check that envelopes were signed with a key; needs no server.

    Exit code 1 when one was not.
    """
    raw = keys.load_public(public_key)
    rows, wrong = 0, []
    with _reading(file) as stream:
        for number, sealed in read_objects(stream):
            rows += 1
            if not verify(sealed, raw):
                wrong.append(number)
    if as_json:
        print(json.dumps({"rows": rows, "wrong_lines": wrong}))
    else:
        for number in wrong:
            stderr.print(f"line {number}: not signed with this key")
        print(f"{rows - len(wrong)} of {rows} rows are signed with this key")
    if wrong:
        raise typer.Exit(REFUSED)


# ---------------------------------------------------------------------------------------------------------------- carrying
def _import(file: Path, dsn: str, as_json: bool, relation: Optional[str] = None, format_: str = "canonical") -> None:
    damage: Optional[DamagedFile] = None
    refusals: list[dict[str, Any]] = []
    with _reading(file) as stream, _connect(dsn) as connection, _progress(BarColumn(), DownloadColumn()) as bar:
        size = None if file == Path("-") else file.stat().st_size
        task = bar.add_task("0 rows", total=size)

        def progress(rows: int) -> None:
            bar.update(task, description=f"{rows} rows", completed=stream.tell() if size else None)

        def refused(line: int, outcome: str, reason: str) -> None:
            if as_json:
                refusals.append({"line": line, "outcome": outcome, "reason": reason})
            else:
                stderr.print(Text(f"line {line}: {outcome}, {printable(reason, 500)}"))

        # readline, not iteration: iterating forbids tell()
        lines = iter(stream.readline, b"")
        try:
            outcomes = import_rows(connection, lines, progress, relation=relation, format=format_, refused=refused)
        except DamagedFile as e:
            damage, outcomes = e, e.outcomes
    if as_json:
        print(json.dumps({"outcomes": dict(sorted(outcomes.items())), "refused": refusals, "damaged_line": damage and damage.line}))
    elif outcomes:
        table = _table("outcome", "rows")
        for outcome, rows in sorted(outcomes.items()):
            _row(table, outcome, rows)
        _show(table)
    if damage:
        _fail(f"{damage}; the lines before it are stored")
    if outcomes["rejected"]:
        raise typer.Exit(REFUSED)


class Format(str, Enum):
    canonical = "canonical"
    pgtext = "pgtext"


@app.command("apply")
def apply_command(
    table: Annotated[str, typer.Argument(help="A declared table.")],
    file: Annotated[Path, typer.Argument(help="Rows, one JSON object per line; - is standard input.")],
    format: Annotated[Format, typer.Option(help="canonical: envelopes; pgtext: columns in PostgreSQL's text form.")] = Format.canonical,
    as_json: AsJson = False,
    dsn: Dsn = "",
) -> None:
    """Merge rows that others signed into one table.

    Doing it twice changes nothing. Invalid rows go to the quarantine: exit code 1.

    A line that is no JSON object ends it, what was before it is stored: exit code 3.
    """
    _import(file, dsn, as_json, table, format.value)


@app.command("export")
def export_command(
    table: Annotated[str, typer.Argument(help="A declared table.")],
    owner: Annotated[Optional[str], typer.Option(help='Rows of one owner only: \'{"user_hash": "BASE64"}\'.')] = None,
    output: Output = Path("-"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the number of rows as JSON, with --output.")] = False,
    dsn: Dsn = "",
) -> None:
    """Write all versions of a table as envelopes, one JSON object per line."""
    if as_json and output == Path("-"):
        raise typer.BadParameter("--json needs --output: the rows themselves are JSON already")
    only, rows = _object(owner, "--owner") if owner is not None else None, 0
    with _connect(dsn) as connection, _writing(output) as out, _progress() as bar:
        task = bar.add_task("0 rows", total=None)
        for line in export_rows(connection, table, only):
            out.write(line + "\n")
            rows += 1
            if rows % 1000 == 0:
                bar.update(task, description=f"{rows} rows")
    if as_json:
        print(json.dumps({"rows": rows}))
    else:
        stderr.print(f"{rows} rows")


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="Envelopes, one JSON object per line; - is standard input.")],
    as_json: AsJson = False,
    dsn: Dsn = "",
) -> None:
    """Merge envelopes into the tables that they name.

    Doing it twice changes nothing. Invalid rows go to the quarantine: exit code 1.

    A line that is no envelope ends it, what was before it is stored: exit code 3.
    """
    _import(file, dsn, as_json)


# -------------------------------------------------------------------------------------------------------------- inspecting
def _declared(connection: psycopg.Connection[Any], table: str) -> dict[str, Any]:
    """Tag, key fields and spec of a declared table."""
    query = """SELECT tag, spec, ARRAY(SELECT fields ->> k FROM unnest(key) k) FROM rowseal.declarations WHERE relation = %s::regclass"""
    found = connection.execute(query, (table,)).fetchone()
    if found is None:
        raise ValueError(f"table {table} is not declared; rowseal.declarations lists those that are")
    return dict(zip(("tag", "spec", "key"), found))


class Drawing(str, Enum):
    tree = "tree"
    dot = "dot"
    svg = "svg"
    json = "json"


@app.command("history")
def history_command(
    table: Annotated[str, typer.Argument(help="A declared table.")],
    key: Annotated[str, typer.Argument(help='The key, fields as in envelopes: \'{"user_hash": "BASE64", "uuid": "…"}\'.')],
    format: Annotated[Drawing, typer.Option("--format", "-f", help="tree, for a terminal; dot or svg, by Graphviz; json.")] = Drawing.tree,
    show: Annotated[Optional[list[str]], typer.Option("--show", "-s", help="A field to show beside each version; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Output = Path("-"),
    dsn: Dsn = "",
) -> None:
    """Draw the versions of a key: what was written on top of what, and what is current.

    Where two versions were written on top of the same one, devices went separate ways: a branch each.
    """
    given = _object(key, "KEY")
    with _connect(dsn) as connection:
        declared = _declared(connection, table)
        if set(given) != set(declared["key"]):
            raise typer.BadParameter(f"the key of {table} has the fields {', '.join(declared['key'])}", param_hint="KEY")
        unknown = set(show or []) - set(declared["spec"]["fields"])
        if unknown:
            raise typer.BadParameter(f"{table} has no field {min(unknown)}", param_hint="--show")
        versions = drawing.read(connection, table, given)
    title = f"{declared['tag']} {json.dumps(given, ensure_ascii=False)}"
    with _writing(output) as out:
        if as_json or format is Drawing.json:
            out.write(json.dumps(drawing.as_json(versions), ensure_ascii=False) + "\n")
        elif versions and format is Drawing.tree:
            Console(file=out, highlight=False, soft_wrap=True).print(drawing.tree(versions, title, show or []))
        elif versions:
            graph = drawing.dot(versions, title, show or []) + "\n"
            out.write(drawing.svg(graph) if format is Drawing.svg else graph)
    if not versions:
        stderr.print("no version of that key is here")
        raise typer.Exit(REFUSED)


HEALTH = 'SELECT "check", relation::text, detail FROM rowseal.health() WHERE NOT ok'


@app.command()
def audit(
    tables: Annotated[Optional[list[str]], typer.Argument(help="Declared tables; none: all of them.")] = None,
    as_json: AsJson = False,
    dsn: Dsn = "",
) -> None:
    """Check every stored row and version, and the enforcement itself, again.

    rowseal.verify and rowseal.health; exit code 1 when something is wrong.
    """
    problems: list[dict[str, Any]] = []
    with _connect(dsn) as connection, _progress(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as bar:
        if tables:
            names = [connection.execute("SELECT %s::regclass::text", (t,)).fetchall()[0][0] for t in tables]
        else:
            query = "SELECT relation::text FROM rowseal.declarations ORDER BY identity IS NOT NULL, id"
            names = [name for (name,) in connection.execute(query)]
        for check, relation, detail in connection.execute(HEALTH):
            if not tables or relation is None or relation in names:
                problems.append({"table": relation, "check": check, "problem": detail})
        task = bar.add_task("", total=len(names))
        for name in names:
            bar.update(task, description=name)
            with connection.transaction(), connection.cursor(name="rowseal_audit") as cursor:  # a ruined table has many problems
                query = "SELECT key, sign, sqlstate, problem FROM rowseal.verify(%s::regclass)"
                for key, signature, sqlstate, problem in cursor.execute(query, (name,)):
                    where = {"key": key, "sign_b64": signature and b64encode(signature).decode()}
                    problems.append({"table": name, "check": "verify", "sqlstate": sqlstate, "problem": problem, **where})
            bar.advance(task)
    if as_json:
        print(json.dumps({"tables": names, "problems": problems}, ensure_ascii=False))
    else:
        if problems:
            found = _table("table", "check", "problem", "key")
            for p in problems:
                said = " ".join(filter(None, (p.get("sqlstate"), p["problem"])))
                _row(found, p["table"], p["check"], said, json.dumps(p["key"], ensure_ascii=False) if "key" in p else "")
            _show(found)
        per_table = Counter(p["table"] for p in problems)
        for name in names:
            print(f"{name}: {per_table[name] or 'no'} problem{'' if per_table[name] == 1 else 's'}")
    if problems:
        raise typer.Exit(REFUSED)


def _rows(connection: psycopg.Connection[Any], query: str) -> Optional[list[dict[str, Any]]]:
    """None: the role may not see that."""
    try:
        cursor = connection.execute(query)
    except psycopg.errors.InsufficientPrivilege:
        return None
    return [dict(zip((c.name for c in cursor.description or []), row)) for row in cursor]


STATUS = {
    "tables": "SELECT relation::text AS table, tag, layout, feed FROM rowseal.declarations ORDER BY id",
    "health": 'SELECT "check", relation::text AS table, ok, detail FROM rowseal.health()',
    "links": """SELECT direction, name, active, state, lag_bytes::bigint, extract(epoch FROM lag_time)::float8 AS lag_seconds,
                       errors, quarantined
                  FROM rowseal.links ORDER BY direction, name""",
    "quarantine": """SELECT tag, sqlstate, curable, count(*) AS rows, sum(bytes)::bigint AS bytes, max(last_seen)::text AS latest
                       FROM rowseal.quarantine GROUP BY tag, sqlstate, curable ORDER BY rows DESC, tag, sqlstate""",
    "dropped": "SELECT role, subscription, rows, bytes::bigint, last::text FROM rowseal.quarantine_dropped ORDER BY last DESC",
}


@app.command()
def status(as_json: AsJson = False, dsn: Dsn = "") -> None:
    """Show declared tables, health, links to other servers, and the quarantine.

    Exit code 1 when the enforcement has a hole or a link does not follow.
    """
    with _connect(dsn) as connection:
        answer = {name: _rows(connection, query) for name, query in STATUS.items()}
    unwell = [h for h in answer["health"] or [] if not h["ok"]]
    stuck = [link for link in answer["links"] or [] if link["state"] != "following"]
    if as_json:
        print(json.dumps({"ok": not unwell and not stuck, **answer}, ensure_ascii=False))
    else:
        checks = len(answer["health"] or [])
        stdout.print(Text.assemble("health: ", (f"{checks - len(unwell)} of {checks} checks are well", "red" if unwell else "green")))
        for title, rows in (("not well", unwell), *((t, answer[t]) for t in ("tables", "links", "quarantine", "dropped"))):
            if rows is None:
                stdout.print(Text(f"{title}: not for this role"))
            elif rows:
                stdout.print(Text(f"\n{title}", style="bold"))
                table = _table(*rows[0])
                for row in rows:
                    _row(table, *row.values(), style="red" if row in unwell or row in stuck else "")
                _show(table)
    if unwell or stuck:
        raise typer.Exit(REFUSED)


@app.command("vectors")
def vectors_command(
    table: Annotated[str, typer.Argument(help="A declared table.")],
    output: Output = Path("-"),
    dsn: Dsn = "",
) -> None:
    """Write test vectors of a declared table, for signers in any language.

    One JSON document: rows that must be accepted, mistakes and forgeries that must be refused. They are signed with a published test
    key: never store them in a table that is in use. Nothing is written to the database.
    """
    with _connect(dsn) as connection, _progress() as bar:
        bar.add_task("asking the server for canonical forms", total=None)
        document = vectors(connection, table)
    with _writing(output) as out:
        out.write(json.dumps(document, ensure_ascii=False, indent=1) + "\n")


app.command("pull")(pull)

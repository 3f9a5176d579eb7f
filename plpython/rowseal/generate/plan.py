"""What is generated: functions, triggers, queries, and the statements that install them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .words import dollar, literal

PINNED = {  # what the text form of a value depends on
    "datestyle": "ISO, YMD",
    "timezone": "UTC",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}
SEARCH_PATH = {"search_path": "pg_catalog, pg_temp"}
# A SET of the search path costs a call some 4 µs before PostgreSQL 16: what runs for every row
# goes without, and the renderer names the schema of everything in it.
UNSET: Mapping[str, str] = {}


class Function(NamedTuple):
    """A generated function in the schema rowseal."""

    name: str
    arguments: str
    returns: str
    language: str
    body: str
    settings: Mapping[str, str] = SEARCH_PATH
    volatility: str = "VOLATILE"
    cost: int | None = None  # some 10 ns each
    definer: bool = False  # owner rowseal_internal; the function itself says why
    parallel: bool = False

    @property
    def source(self) -> str:
        """As pg_proc.prosrc has it."""
        head = "#variable_conflict use_column\n" if self.language == "plpgsql" else ""
        return f"\n{head}{self.body.strip()}\n"

    def statements(self) -> list[str]:
        """Makes it, or makes it anew: what others hang on it stays, and nobody waits for them."""
        sets = "".join(
            f" SET {name} = {value if name == 'search_path' else literal(value)}"
            for name, value in self.settings.items()
        )
        cost = f" COST {self.cost}" if self.cost else ""
        safe = " PARALLEL SAFE" if self.parallel else ""
        definer = " SECURITY DEFINER" if self.definer else ""
        create = (
            f"CREATE OR REPLACE FUNCTION rowseal.{self.name}({self.arguments})"
            f" RETURNS {self.returns}"
            f" LANGUAGE {self.language} {self.volatility}{safe}{definer}{cost}{sets}\n"
            f"AS {dollar(self.source.strip())}"
        )
        if not self.definer:
            return [create]
        owner = f"ALTER FUNCTION rowseal.{self.name}({self.arguments}) OWNER TO rowseal_internal"
        return [create, owner]

    def json(self) -> dict[str, object]:
        """For the manifest: what is compared with the catalogs."""
        return {
            "name": self.name,
            "arguments": self.arguments,
            "source": self.source,
            "language": self.language,
            "volatility": self.volatility[0].lower(),
            "definer": self.definer,
            "settings": [f"{name}={value}" for name, value in self.settings.items()],
        }


class Trigger(NamedTuple):
    """A trigger of a declared table, ENABLE ALWAYS."""

    name: str
    event: str  # "BEFORE INSERT OR UPDATE"
    on: str  # "main", "versions", or "partitions": each partition by itself
    table: str
    function: str
    arguments: tuple[str, ...] = ()
    level: str = "ROW"
    when: str = ""

    def statements(self) -> list[str]:
        level = "FOR EACH ROW " if self.level == "ROW" else ""
        when = f"WHEN ({self.when}) " if self.when else ""
        arguments = ", ".join(map(literal, self.arguments))
        return [
            (
                f"CREATE OR REPLACE TRIGGER {self.name} {self.event} ON {self.table} {level}{when}"
                f"EXECUTE FUNCTION rowseal.{self.function}({arguments})"
            ),
            f"ALTER TABLE {self.table} ENABLE ALWAYS TRIGGER {self.name}",
        ]

    def json(self) -> dict[str, object]:
        return {"name": self.name, "on": self.on, "table": self.table}


class Plan(NamedTuple):
    """All that a declaration is enforced with."""

    functions: tuple[Function, ...]
    triggers: tuple[Trigger, ...]
    queries: Mapping[str, str]
    names: Mapping[str, Mapping[str, int]]  # what tables and types they name: see Subject.names
    tips: str | None  # the view of current versions, of the layout "one table"
    version_hash: str | None  # an expression, where a signature does not fit into an index

    @property
    def manifest(self) -> dict[str, object]:
        """One list of a declared table's functions and triggers.

        Install, undeclare and health read it.
        """
        return {
            "functions": [f.json() for f in self.functions],
            "triggers": [t.json() for t in self.triggers],
        }

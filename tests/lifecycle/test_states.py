"""Whatever becomes of a declared table, in whatever order, the server says what the model says.

Hypothesis draws commands of the table's owner, of a superuser and of a stranger, in transactions
and out of them, rows that were signed and forged ones, for a table of each layout (kit/states.py).
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kit import model
from kit.db import Db, Server
from kit.example import Owner
from kit.scratch import unwell
from kit.state_commands import COMMANDS, Op, archive, main, place, repair
from kit.state_servers import (
    CARD,
    DECLARE_CARDS,
    DOORS,
    LAYOUTS,
    Layout,
    Rows,
    World,
    begun,
    bring,
    declare,
    error_of,
    template,
)
from kit.states import ACCEPTED, BASE, ELSEWHERE, REFUSED, VERSIONS, Part, Row, Table, follow
from rowseal.client import Form, sign

SEED = int(os.environ.get("ROWSEAL_SEED", "1"))
EXAMPLES = int(os.environ.get("ROWSEAL_EXAMPLES", "2"))  # of each layout
STEPS = int(os.environ.get("ROWSEAL_STEPS", "30"))
MALLORY = [
    "ALTER TABLE m ADD c{n} text",
    "SELECT rowseal.undeclare('m')",
    "SELECT rowseal.declare('m', owner => 'user_hash', identity => '{cards}')",
    "SELECT rowseal.undeclare('m');"
    " SELECT rowseal.declare('m', owner => 'user_hash', identity => '{cards}', tag => 't')",
    "ALTER TABLE {t} ADD hers int",
    "CREATE TABLE m{n} PARTITION OF {t} FOR VALUES IN (7)",
    "CREATE TABLE m{n} () INHERITS ({t})",
    "ALTER TABLE m DROP CONSTRAINT m_pkey, ADD PRIMARY KEY (n, user_hash)",
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE plpgsql AS"
    " $$BEGIN ALTER TABLE public.m ADD v{n} int; RETURN 1; END$$;"
    " CREATE MATERIALIZED VIEW v{n} AS SELECT f() WITH NO DATA; REFRESH MATERIALIZED VIEW v{n}",
]
COPIES = os.environ.get("ROWSEAL_COPIES", "1") != "0"
TAKEN = {
    "TABLE": "(user_hash bytea, n int, value text, sign_b64 bytea)",
    "TYPE": "AS ENUM ('a')",
    "VIEW": "AS SELECT 1 AS n",
    "DOMAIN": "AS int",
}
OFTEN = os.environ.get("ROWSEAL_COPIES") == "often"


class Machine(RuleBasedStateMachine):
    """One table, its model, and what must be so of both."""

    server: Server
    layout: Layout
    template: str

    @initialize()
    def begin(self) -> None:
        self.w = World(self.server, self.server.database(self.template))
        self.t = begun(self.layout)
        self.serial = itertools.count()
        self.stack: list[Table] = []
        self.bare = self.copied = self.held = False
        self.old: list[tuple[str, str]] = []  # names that ann has left
        self.log: list[str] = []
        self.rows = Rows(Owner("Ann"), Owner("Mallory"))
        row = {"user_hash": self.rows.owner.hash, "pkey": self.rows.owner.public_key,
               "deleted_flag": False, "owner_timestamp": 1}  # fmt: skip
        row["sign_b64"] = sign(Form("cards", CARD), row, self.rows.owner.key)
        self.w.ann.insert("cards", row)
        self.w.ann.run("CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS"
                       " 'BEGIN RETURN NEW; END'")  # fmt: skip

    def said(self) -> str:
        return "\n".join([*self.log, f"{self.layout}: {self.t}"])

    def retry(self) -> None:
        if self.t.takes and self.t.waiting:
            self.w.ann.run("SELECT * FROM rowseal.retry()")
            self.t.settle()

    # -- what must be so
    def check(self) -> None:
        t = self.t
        self.check_state()
        if t.declared and t.guarded:
            self.check_rows()
        for p in (t.parts or {}).values():
            if not p.attached and t.guarded and (t.open or not t.declared):
                self.check_left(p)

    def check_health(self) -> None:
        t = self.t
        if t.declared and t.open and t.guarded:
            sick = [x for x in unwell(self.w.ann) if x[1] in (main(t), t.name, t.cards)]
            sick = [x for x in sick if x[0] != "waiting" or not t.waiting]
            assert sick == [], f"{sick} {self.said()}"

    def check_state(self) -> None:
        have = self.w.ann.all("SELECT queries <> '{}' FROM rowseal.declarations WHERE tag = 't'")
        want = [self.t.open] * self.t.declared
        assert have == want or not self.t.guarded, f"open: {have}, not {want} {self.said()}"

    def check_left(self, p: Part) -> None:
        """A partition that has left keeps none of our triggers."""
        ours = (
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname LIKE 'zzz_r%%'"
        )
        assert self.w.ann.all(ours, place(p)) == [], self.said()

    def check_rows(self) -> None:
        """What stands there is what was signed, and what counts."""
        t, want = self.t, self.t.state()
        have = self.stored(main(t), t.fields)
        assert have == {v.sign for v in want.main}, f"{self.differ(have, want.main)} {self.said()}"
        if t.two and not (self.stack and "versions" in t.strangers):
            names = {t.places.get(c, c): f for c, f in t.fields.items()}
            have = self.stored(archive(t), {p: f for p, f in names.items() if p in t.archive})
            assert have == {v.sign for v in want.versions}, (
                f"versions {self.differ(have, want.versions)} {self.said()}"
            )

    def differ(self, have: set[bytes], want: Any) -> str:
        more = [self.rows.signed.get(s) for s in have - {v.sign for v in want}]
        return f"{more} too many, {[v for v in want if v.sign not in have]} missing"

    def stored(self, table: str, names: dict[str, str]) -> set[bytes]:
        """The signatures of a table, all of whose rows say what was signed."""
        db = self.w.ann if self.stack else self.w.su
        columns = list(names)
        rows = db.all(f"SELECT {', '.join(columns)}, sign_b64 FROM {table}")
        for row in rows:
            signed = self.rows.signed.get(row[-1])
            assert signed is not None, f"forged {row} in {table} {self.said()}"
            there = {names[c]: str(v) for c, v in zip(columns, row) if v is not None}
            said = {f: str(v) for f, v in signed.said.items()}
            assert there == said, f"{there}, not {said} in {table} {self.said()}"
        assert len({r[-1] for r in rows}) == len(rows), f"twice in {table} {self.said()}"
        return {r[-1] for r in rows}


class Commands(Machine):
    """What ann does with her table."""

    def command(self, op: Op, expected: str | None = None) -> None:
        """A command of ann's; its answer and what follows are as the model says."""
        if expected is None:
            expected = follow(self.t, op.after, op.about, op.brings)
        self.log.append(f"{expected}: {op.sql}")
        guard = bool(self.stack) and not self.bare
        if guard:
            self.w.ann.run("SAVEPOINT op")
        refused = error_of(self.w.ann, op.sql)
        if refused and guard:
            self.w.ann.run("ROLLBACK TO op")
        if guard:
            self.w.ann.run("RELEASE op")
        if refused and self.stack and self.bare:
            self.w.ann.run("ROLLBACK")
            self.t, self.stack = self.stack[0], []
        # the view of the tips, which is PostgreSQL's to guard
        seen = refused in ("2BP01", "0A000") and self.t.layout == model.ONE_TABLE
        assert seen or (expected == REFUSED) == bool(refused), f"{refused} {self.said()}"
        if not refused:
            self.left(self.t, op.after)
            self.t = op.after
        self.retry()
        self.check()
        self.check_health()

    def left(self, before: Table, after: Table) -> None:
        """Names are free for mallory."""
        names = [(main(t), archive(t), f"public.{t.domain}") for t in (before, after)]
        for old, new in zip(*names):
            if old.split(".")[1] != new.split(".")[1]:
                self.old.append((old.split(".")[0], old.split(".")[1]))

    def alter(self, data: st.DataObject) -> None:
        commands = data.draw(st.sampled_from(COMMANDS))
        fresh = f"r{next(self.serial)}"
        ops = [o for o in commands(self.t, fresh) if self.possible(o)]
        if ops:
            self.command(ops[data.draw(st.integers(0, len(ops) - 1))])

    # often
    alter_once = rule(data=st.data())(alter)
    alter_more = rule(data=st.data())(alter)
    alter_again = rule(data=st.data())(alter)
    alter_still = rule(data=st.data())(alter)

    def possible(self, op: Op) -> bool:
        t = self.t
        if op.about == VERSIONS and "versions" in t.strangers:
            return False
        if not t.declared or "TRIGGER" not in op.sql:
            return True
        return t.guarded and (t.open or "zzz_rowseal" not in op.sql)

    @precondition(lambda self: self.t.declared)
    @rule(now=st.integers(0, 2))
    def undeclare(self, now: int = 0) -> None:
        if now:
            return
        self.command(
            Op(f"SELECT rowseal.undeclare('{main(self.t)}')", self.t.undeclared()), ACCEPTED
        )

    @precondition(lambda self: not self.t.declared)
    @rule()
    def declare(self) -> None:
        after = self.t.declared_anew()
        fits = after.fits and self.t.verifies()
        self.command(Op(declare(self.t, self.t.cards), after), ACCEPTED if fits else REFUSED)

    @rule(what=st.sampled_from(["rename", "column", "add", "drop", "undeclare"]))
    def identity(self, what: str) -> None:
        """Something becomes of the identity table."""
        t, after, fresh = self.t, self.t.copy(), f"r{next(self.serial)}"
        if not t.identity:
            after.identity = True
            sql = DECLARE_CARDS.format(t.cards, t.pkey)
            self.command(Op(sql, after, ELSEWHERE), ACCEPTED)
        elif what == "rename":
            after.cards = fresh
            self.command(Op(f"ALTER TABLE {t.cards} RENAME TO {fresh}", after, ELSEWHERE))
        elif what == "column":
            after.pkey = fresh if t.pkey == "pkey" else "pkey"
            sql = f"ALTER TABLE {t.cards} RENAME {t.pkey} TO {after.pkey}"
            self.command(Op(sql, after, ELSEWHERE))
        elif what == "add":
            self.command(Op(f"ALTER TABLE {t.cards} ADD {fresh} text", after, ELSEWHERE))
        elif what == "drop":
            self.command(Op(f"ALTER TABLE {t.cards} DROP {t.pkey}", after, ELSEWHERE), REFUSED)
        elif t.pkey == "pkey":
            after.identity = t.declared
            sql = f"SELECT rowseal.undeclare('{t.cards}')"
            self.command(Op(sql, after, ELSEWHERE), REFUSED if t.declared else ACCEPTED)

    # -- transactions
    @rule(what=st.sampled_from(["begin", "savepoint", "back", "rollback", "commit", "commit"]),
          bare=st.booleans())  # fmt: skip
    def transaction(self, what: str, bare: bool) -> None:
        if not self.stack:
            if what != "begin":
                return
            self.bare = bare
            self.w.ann.run("BEGIN")
            self.stack = [self.t.copy()]
        elif what == "savepoint":
            self.w.ann.run(f"SAVEPOINT s{len(self.stack)}")
            self.stack.append(self.t.copy())
        elif what == "back" and len(self.stack) > 1:
            self.w.ann.run(f"ROLLBACK TO s{len(self.stack) - 1}")
            self.t = self.stack[-1].copy()
        elif what == "rollback":
            self.w.ann.run("ROLLBACK")
            self.t, self.stack = self.stack[0], []
        elif what == "commit":
            self.w.ann.run("COMMIT")
            self.stack = []
        else:
            return
        self.log.append(what)
        self.check()


class Writes(Commands):
    """Rows that were signed, and forged ones."""

    @rule(n=st.integers(0, 2), at=st.integers(1, 9), deleted=st.booleans(), value=st.booleans(),
          more=st.integers(0, 15), door=st.sampled_from(DOORS), stranger=st.booleans())  # fmt: skip
    def write(self, n: int, at: int, deleted: bool, value: bool, more: int, door: str,
              stranger: bool) -> None:  # fmt: skip
        t = self.t
        if not t.here(n):
            return
        said: dict[str, Any] = {"n": n, "owner_timestamp": at, "deleted_flag": deleted}
        for i, c in enumerate(t.fields):
            f = t.fields[c]
            if f == "value":
                said[f] = f"v{next(self.serial)}" if value else None
            elif f not in BASE and more & (1 << i % 4):
                said[f] = i if t.columns[c] in ("integer", "bigint") else f"e{i}"
        if len(set(t.fields.values())) == len(t.fields):
            self.offer(self.rows.sign(t, said), door, stranger)

    @precondition(lambda self: self.t.received or self.t.waiting)
    @rule(data=st.data(), door=st.sampled_from(DOORS), stranger=st.booleans())
    def write_again(self, data: st.DataObject, door: str, stranger: bool) -> None:
        row = data.draw(st.sampled_from(self.t.received + self.t.waiting))
        if self.t.here(row.n):
            if not set(row.said) <= set(self.t.fields.values()):
                door = "apply"
            self.offer(row, door, stranger)

    def who(self, door: str, stranger: bool) -> Db:
        return self.w.mallory if stranger and not self.stack else self.w.ann

    def offer(self, row: Row, door: str, stranger: bool) -> None:
        t = self.t
        if not t.declared or not t.guarded:  # rows that say where they go wait
            if not t.guarded:
                return
            door, stranger = "receive", False
        if not t.open and door in ("versions", "update"):
            door = "insert"  # forged ones go there
        tip = model.tips(r.version for r in t.received).get(row.n)
        if door == "update" and (t.layout == model.ONE_TABLE or tip is None):
            door = "insert"
        if door == "update" and tip is not None and tip.sign == row.version.sign:
            door = "insert"
        if door == "versions" and (not t.two or "versions" in t.strangers):
            door = "insert"
        if door == "feed" and self.stack:
            door = "apply"
        db = self.who(door, stranger)
        waits = door == "feed" or (door == "receive" and db is self.w.mallory)  # RS017
        by = "mallory" if db is self.w.mallory else "ann"
        self.log.append(f"{by}: {door} {list(row.said.items())[1:]}")
        if self.stack:
            self.w.ann.run("SAVEPOINT op")
        answer = bring(self.w, db, t, door, row, self.rows.sent(row))
        if self.stack:
            self.w.ann.run("ROLLBACK TO op" if answer and answer[:2] == "RS" else "RELEASE op")
        if waits and t.declared:
            assert answer == "deferred", f"{answer} {self.said()}"
            if row not in t.received and row not in t.waiting:
                t.waiting.append(row)
        elif door in ("apply", "receive"):
            outcome = t.take(row)
            assert answer == outcome, f"{answer}, not {outcome} {self.said()}"
        elif t.takes:
            assert answer is None, f"{answer} {self.said()}"
            t.take(row)
        else:
            assert answer == "RS007", f"{answer} {self.said()}"
        self.check()

    @precondition(lambda self: self.t.received and self.t.declared and self.t.guarded)
    @rule(data=st.data(), door=st.sampled_from(DOORS), thief=st.booleans(), stranger=st.booleans())
    def forge(self, data: st.DataObject, door: str, thief: bool, stranger: bool) -> None:
        t = self.t
        if len(set(t.fields.values())) < len(t.fields) or self.stack:
            return
        genuine = data.draw(st.sampled_from(t.received))
        if not {*genuine.said, "value"} <= set(t.fields.values()):
            return
        row = self.rows.forge(t, genuine, thief)
        if door == "versions" and not t.two:
            door = "insert"
        self.log.append(f"forged: {door} {list(row.said.items())[1:]}")
        db = self.w.mallory if stranger else self.w.ann
        answer = bring(self.w, db, t, door, row, self.rows.sent(row))
        wrong = door != "update" or t.here(row.n)
        assert answer not in ("inserted", "superseded", "archived", "duplicate"), self.said()
        assert answer is not None or not wrong, self.said()
        self.check()


class States(Writes):
    """What others do, and the end of it all."""

    @precondition(lambda self: not self.stack)
    @rule(what=st.sampled_from(["schema", "domain", "versions", "name"]))
    def given_away(self, what: str) -> None:
        """A superuser gives something to mallory, or back."""
        t, after = self.t, self.t.copy()
        after.strangers = t.strangers ^ {what}
        who = "mallory" if what in after.strangers else "ann_dba"
        if what == "versions" and not t.two:
            return
        if what == "name":
            after.strangers = t.strangers
        if what == "domain" and self.held:
            return
        sql = {"schema": "SCHEMA s", "domain": f"DOMAIN {t.domain}",
               "versions": f"TABLE {archive(t)}", "name": ""}[what]  # fmt: skip
        about = VERSIONS if what == "versions" else ELSEWHERE
        if what == "versions" and t.parts is not None:
            about = ELSEWHERE  # the superuser does not trust ann
        if t.declared and t.guarded:
            after.step(t.open, about, looks=True)
        sql = f"ALTER {sql} OWNER TO {who}"
        if what == "name":  # there and back
            sql = "ALTER SCHEMA s RENAME TO s9; ALTER SCHEMA s9 RENAME TO s"
        self.log.append(sql)
        self.w.su.run(sql)
        if what == "schema":
            other = "ann_dba" if who == "mallory" else "mallory"
            self.w.su.run(f"GRANT USAGE, CREATE ON SCHEMA s TO {other}")
        elif what == "versions":
            self.w.su.run(f"GRANT SELECT, INSERT, UPDATE ON {archive(t)} TO mallory")
        self.t = after
        self.retry()
        self.check()
        self.check_health()

    @precondition(lambda self: self.t.behind)
    @rule()
    def look_again(self) -> None:
        """It is in order, and opens by a command of its owner about itself."""
        after = self.t.copy()
        after.behind = False
        self.command(Op(f"ALTER TABLE {main(self.t)} ALTER n SET STATISTICS 9", after))

    @precondition(lambda self: not self.stack and self.old)
    @rule(data=st.data(), what=st.sampled_from(["TABLE", "TYPE", "VIEW", "DOMAIN"]))
    def taken(self, data: st.DataObject, what: str) -> None:
        """Mallory takes a name that was ann's."""
        schema, name = data.draw(st.sampled_from(self.old))
        body = TAKEN[what]
        sql = f"CREATE {what} {schema}.{name} {body}"
        self.log.append(f"mallory: {sql}")
        error_of(self.w.mallory, sql)
        self.check()

    @precondition(lambda self: not self.stack and not self.held)
    @rule(what=st.sampled_from(MALLORY), n=st.integers(0, 99))
    def her_own(self, what: str, n: int) -> None:
        """Mallory does something to her table that rests on ann's."""
        sql = what.format(n=n, cards=self.t.cards, t=main(self.t))
        self.log.append(f"mallory: {sql}")
        error_of(self.w.mallory, sql)
        self.check()

    @precondition(lambda self: not self.stack)
    @rule()
    def hold(self) -> None:
        """Mallory holds her table, or lets it go."""
        self.log.append("mallory holds, or lets go")
        self.w.other.run(
            "ROLLBACK" if self.held else "BEGIN; LOCK TABLE m IN ACCESS EXCLUSIVE MODE"
        )
        self.held = not self.held

    @precondition(lambda self: not self.stack and not self.held and not self.copied and COPIES)
    @rule(now=st.integers(0, 3))
    def dump_and_restore(self, now: int) -> None:
        if now and not OFTEN:
            return
        self.log.append("dump and restore")
        self.copied = not OFTEN
        self.w.dump_and_restore()
        self.t.fed = []
        self.retry()
        self.check()
        self.check_health()

    # -- the end
    def teardown(self) -> None:
        if not hasattr(self, "w"):
            return
        try:
            self.finish()
        finally:
            self.w.close()

    def finish(self) -> None:
        """Everything is put right; then it is open, takes rows, and is as any other server's."""
        if self.stack:
            self.transaction("rollback", False)
        if self.held:
            self.hold()
        for what in sorted(self.t.strangers):
            self.given_away(what)
        for _ in range(30):
            op = repair(self.t)
            if op is None:
                break
            self.command(op)
        if not self.t.declared or not self.t.guarded:
            if self.t.declared:
                self.undeclare()
            if not self.t.identity:
                self.identity("undeclare")
            self.declare()
        if not self.t.declared:
            return  # a row that is there cannot stay
        if self.t.behind:
            self.look_again()
        assert self.t.open, self.said()
        for n in range(3):
            if self.t.here(n):
                said = {"n": n, "owner_timestamp": 50, "deleted_flag": False}
                self.offer(self.rows.sign(self.t, said), "insert", True)
        self.check_feed()
        if not any(not p.attached for p in (self.t.parts or {}).values()):
            self.compare()

    def check_feed(self) -> None:
        there = self.w.su.all("SELECT envelope ->> 'sign_b64' FROM rowseal.feed WHERE tag = 't'")
        for row in self.t.fed:
            sign64 = self.rows.sent(row)["sign_b64"]
            newer = self.t.layout == model.UNVERSIONED
            assert sign64 in there or newer, f"{row} is not in the feed {self.said()}"

    def compare(self) -> None:
        """Another server that gets the same rows in another order has the same digest."""
        other = World(self.server, self.server.database(self.template))
        try:
            self.fill(other)
            one, two = self.w.ann.digest(main(self.t)), other.ann.digest(f"{self.layout.schema}.t")
            assert one == two, self.said()
        finally:
            other.close()

    def fill(self, other: World) -> None:
        t = f"{self.layout.schema}.t"
        if self.t.parts is not None and 2 in self.t.parts:
            other.ann.run(f"CREATE TABLE p2 PARTITION OF {t} FOR VALUES IN (2)")
        for c, f in self.t.fields.items():
            if f not in BASE:
                kind = self.t.columns[c]
                kind = kind if kind in ("integer", "bigint", "text") else "dom"
                if self.t.two:
                    other.ann.run(f"ALTER TABLE {t}_versions ADD {f} {kind}")
                other.ann.run(f"ALTER TABLE {t} ADD {f} {kind}")
        row = {"user_hash": self.rows.owner.hash, "pkey": self.rows.owner.public_key,
               "deleted_flag": False, "owner_timestamp": 1}  # fmt: skip
        row["sign_b64"] = sign(Form("cards", CARD), row, self.rows.owner.key)
        other.ann.insert("cards", row)
        rows = [self.rows.sent(r) for r in reversed(self.t.received)]
        other.ann.all(f"SELECT * FROM rowseal.apply('{t}', %s)", json.dumps(rows))


@pytest.fixture(params=LAYOUTS, ids=str)
def machine(server: Server, request: pytest.FixtureRequest) -> Iterator[type]:
    name = template(server, request.param)
    about = {"server": server, "layout": request.param, "template": name}
    yield seed(f"{SEED} {request.param}")(type("Machine", (States,), about))
    server.drop(name)


def test_whatever_becomes_of_a_table_the_server_follows_the_model(machine: type) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
            phases=[Phase.generate],
        ),
    )  # fmt: skip

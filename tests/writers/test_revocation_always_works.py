"""Nothing keeps the rows of a revoked writer: what could is refused where a table has writers,
health says so when it came later, and then all other rows go, and a warning says what stays.
"""

from __future__ import annotations

from typing import Any

import pytest

from kit.db import Db
from kit.example import Owner
from kit.writers import Replica, Writer, card, grant, link_of, revocation, tables
from rowseal.client import SigningKey

UNIQUE = "ALTER TABLE t ADD UNIQUE (user_hash, value)"
OBSTACLES = {
    "unique": UNIQUE,
    "unique in part": "CREATE UNIQUE INDEX x ON t (user_hash, value) WHERE value > 0",
    "unique expression": "CREATE UNIQUE INDEX x ON t (user_hash, (value + 0))",
    "unique in versions": "CREATE UNIQUE INDEX x ON t_versions (user_hash, value, owner_timestamp)",
    "exclusion": "ALTER TABLE t ADD EXCLUDE USING btree (value WITH =)",
    "foreign key": "CREATE TABLE f (h bytea, k text, FOREIGN KEY (h, k) REFERENCES t)",
    "foreign key to versions": "CREATE TABLE f (s bytea REFERENCES t_versions)",
    "trigger": "CREATE TRIGGER a BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION skip()",
    "trigger of a statement": "CREATE TRIGGER a BEFORE DELETE ON t EXECUTE FUNCTION skip()",
    "trigger afterwards": "CREATE TRIGGER a AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION skip()",
    "trigger of a statement afterwards": "CREATE TRIGGER a AFTER DELETE ON t"
    " EXECUTE FUNCTION skip()",
    "trigger named like one of ours": "CREATE TRIGGER zzz_rowseal_keep2 BEFORE DELETE ON t"
    " FOR EACH ROW EXECUTE FUNCTION skip()",
    "trigger in grants": "CREATE TRIGGER a BEFORE DELETE ON grants EXECUTE FUNCTION skip()",
}
SKIP = "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_could_stop_a_retraction_is_refused(replica: Replica, obstacle: str) -> None:
    if replica.layout == "one table" and "versions" in obstacle:
        pytest.skip("there is no versions table")
    replica.reset()
    db, table = replica.db, "grants" if "grants" in obstacle else "t"
    again = db.one("SELECT layout FROM rowseal.declarations WHERE tag = 't'") == "two tables"
    kept = ", versions => 't_versions'" if again else ""
    statement = OBSTACLES[obstacle]
    if not again:
        statement = statement.replace(
            "(h bytea, k text, FOREIGN KEY (h, k) REFERENCES t)",
            "(h bytea, k text, s bytea, FOREIGN KEY (h, k, s) REFERENCES t)",
        )
    db.run("SELECT rowseal.undeclare('t'), rowseal.undeclare('u')")
    db.run("SELECT rowseal.undeclare('grants')")
    db.run(f"{SKIP}; {statement}")
    declare = {
        "grants": "SELECT rowseal.declare('grants', owner => 'user_hash', identity => 'cards',"
        " grants => true)",
        "t": "SELECT rowseal.declare('t', owner => 'user_hash', identity => 'cards',"
        f" writers => 'grants'{kept})",
    }
    if table == "t":
        db.run(declare["grants"])
    diag = db.refused("RS007", declare[table])
    assert "revocations could not take rows out of" in str(diag.message_primary)
    assert diag.message_hint


def test_what_stops_nothing_is_allowed(replica: Replica) -> None:
    replica.reset()
    db = replica.db
    db.run(
        f"{SKIP}; CREATE UNIQUE INDEX ON t (user_hash, key, value, sign_b64);"
        " CREATE UNIQUE INDEX ON t (sign_b64); CREATE INDEX ON t (value);"
        " CREATE TRIGGER a AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION skip();"
        " CREATE TRIGGER b BEFORE UPDATE ON t EXECUTE FUNCTION skip()"
    )
    assert (
        db.all("SELECT detail FROM rowseal.health() WHERE \"check\" = 'revocation' AND NOT ok")
        == []
    )


class Cast:
    """Two devices of one owner, whose values are in each other's way."""

    def __init__(self, db: Db):
        self.db, self.forms = db, {t: db.form(t) for t in ("grants", "t")}
        self.owner = Writer(Owner("Ann"))
        self.one, self.other = (Writer(self.owner.owner, SigningKey.generate()) for _ in range(2))
        card(db, self.owner.owner)
        for device in (self.one, self.other):
            self.put(self.owner, "grants", **grant(device))
        self.first = self.put(self.one, "t", key="a", owner_timestamp=1, value=1)
        self.put(self.one, "t", key="a", owner_timestamp=2, value=2)
        self.put(self.other, "t", key="b", owner_timestamp=1, value=1)
        self.put(self.one, "t", key="c", owner_timestamp=1, value=3)
        self.put(self.one, "t", key="d", owner_timestamp=1, value=4)

    def put(self, who: Writer, table: str, **row: Any) -> dict[str, Any]:
        sealed = who.sealed(self.forms[table], row)
        self.db.insert(table, sealed)
        return sealed

    def revoke(self) -> None:
        self.put(self.owner, "grants", **revocation(self.one, [link_of(self.first)]))

    def theirs(self) -> list[Any]:
        return self.db.all("SELECT key, value FROM t ORDER BY 1")


LATER = {
    # a keeps what it may not: the version before would collide with b
    "unique": (UNIQUE, "ALTER TABLE t DROP CONSTRAINT t_user_hash_value_key", [("a", 2), ("b", 1)]),
    "foreign key": (
        "CREATE TABLE f (h bytea, k text, FOREIGN KEY (h, k) REFERENCES t);"
        " INSERT INTO f SELECT user_hash, key FROM t WHERE key = 'c'",
        "DROP TABLE f",
        [("a", 1), ("b", 1), ("c", 3)],
    ),
    "raising trigger": (
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.key = 'd' THEN"
        " RAISE 'no' USING ERRCODE = '42501'; END IF; RETURN OLD; END $$;"
        " CREATE TRIGGER a BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION no()",
        "DROP TRIGGER a ON t",
        [("a", 1), ("b", 1), ("d", 4)],
    ),
    "asserting trigger": (
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " ASSERT OLD.key <> 'd', 'no'; RETURN OLD; END $$;"
        " CREATE TRIGGER a BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION no()",
        "DROP TRIGGER a ON t",
        [("a", 1), ("b", 1), ("d", 4)],
    ),
    "skipping trigger": (
        f"{SKIP}; CREATE TRIGGER a BEFORE DELETE ON t FOR EACH ROW WHEN (OLD.key = 'c')"
        " EXECUTE FUNCTION skip()",
        "DROP TRIGGER a ON t",
        [("a", 1), ("b", 1), ("c", 3)],
    ),
    "trigger named like one of ours": (
        f"{SKIP}; CREATE TRIGGER zzz_rowseal_keep2 BEFORE DELETE ON t FOR EACH ROW"
        " WHEN (OLD.key = 'c') EXECUTE FUNCTION skip()",
        "DROP TRIGGER zzz_rowseal_keep2 ON t",
        [("a", 1), ("b", 1), ("c", 3)],
    ),
    "raising trigger afterwards": (
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;"
        " CREATE TRIGGER a AFTER DELETE ON t FOR EACH ROW WHEN (OLD.key = 'c')"
        " EXECUTE FUNCTION no()",
        "DROP TRIGGER a ON t",
        [("a", 1), ("b", 1), ("c", 3)],
    ),
}


@pytest.mark.parametrize("obstacle", LATER)
def test_what_came_later_keeps_its_rows_alone_and_is_told(db: Db, admin: Db, obstacle: str) -> None:
    db.run(tables())
    c = Cast(db)
    statement, away, left = LATER[obstacle]
    db.run(statement)
    told = db.all("SELECT detail FROM rowseal.health() WHERE \"check\" = 'revocation' AND NOT ok")
    assert len(told) == 1
    said: list[str] = []
    db.connection.add_notice_handler(lambda diag: said.append(str(diag.message_primary)))
    c.revoke()
    assert c.theirs() == left
    assert [
        s
        for s in said
        if s.startswith("rowseal: 1 rows that count no longer are still in public.t: ")
    ]
    assert db.all("SELECT sqlstate FROM rowseal.verify('t')") == ["RS012"]
    db.run(f"{away}; SELECT rowseal.undeclare('t')")
    db.run(next(s for s in tables().split("; ") if "declare('t'" in s))
    assert c.theirs() == [("a", 1), ("b", 1)]
    assert db.all("SELECT * FROM rowseal.verify('t')") == []


def test_somebodys_broken_table_stops_no_revocation(db: Db, admin: Db) -> None:
    db.run(tables())
    c = Cast(db)
    admin.run("UPDATE rowseal.declarations SET queries = '{}' WHERE tag = 'u'")
    c.revoke()
    assert c.theirs() == [("a", 1), ("b", 1)]

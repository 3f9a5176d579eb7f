"""What must be so when a mesh has come to rest, and that it has."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kit import model
from kit.nodes import Node
from kit.traffic import LAYOUT, Problem

if TYPE_CHECKING:
    from kit.mesh import Mesh

TAGS = ("user_cards", *LAYOUT)
Exported = dict[str, dict[str, dict[str, Any]]]  # per tag, sign_b64: envelope


def version(e: Mapping[str, Any]) -> model.Version:
    """An envelope as the model sees it."""
    row = e["row"]
    key = (row["user_hash"], row.get("uuid"))
    return model.Version(
        key, int(row["owner_timestamp"]), row["deleted_flag"], b64decode(e["sign_b64"]), ()
    )


def _sign(v: model.Version) -> str:
    return b64encode(v.sign).decode()


def exported(mesh: Mesh, node: Node) -> Exported:
    sql = "SELECT e FROM rowseal.export(%s) e"
    return {tag: {e["sign_b64"]: e for e in node.all(mesh.db, sql, tag)} for tag in TAGS}


def wrong(mesh: Mesh) -> Iterator[str]:
    """Whatever is not as promised."""
    yield from mesh.traffic.failures
    yield from different_digests(mesh)
    for node in mesh.nodes:
        have = exported(mesh, node)
        yield from unverified(mesh, node)
        yield from lost(mesh, node, have)
        yield from not_as_the_model_says(mesh, node, have)
        yield from waiting_in_vain(mesh, node, have)
        health = 'SELECT "check", relation::text, detail FROM rowseal.health() WHERE NOT ok'
        if bad := node.all(mesh.db, health):
            yield f"health of {node.name}: {bad}"
        yield from crashes(node)
    yield from broken_links(mesh)


def different_digests(mesh: Mesh) -> Iterator[str]:
    for tag in TAGS:
        digest = "SELECT rowseal.digest(%s)"
        digests = {n.name: n.one(mesh.db, digest, tag) for n in mesh.nodes}
        if len(set(digests.values())) > 1:
            yield f"digests of {tag} differ: { {k: v.hex()[:12] for k, v in digests.items()} }"


def unverified(mesh: Mesh, node: Node) -> Iterator[str]:
    for tag in TAGS:
        if bad := node.all(mesh.db, "SELECT key::text, problem FROM rowseal.verify(%s)", tag):
            yield f"{tag} on {node.name}: {bad[:3]}"


def lost(mesh: Mesh, node: Node, have: Exported) -> Iterator[str]:
    """Accepted versions that are not there; of unversioned tables only the current one must be."""
    for tag in TAGS:
        accepted = mesh.traffic.accepted[tag]
        expected = list(accepted)
        if LAYOUT.get(tag, model.UNVERSIONED) == model.UNVERSIONED:
            versions = map(version, {**accepted, **have[tag]}.values())
            expected = [_sign(v) for v in model.tips(versions).values()]
        missing = [s for s in expected if s not in have[tag]]
        if missing:
            where = node.all(
                mesh.db,
                "SELECT row -> 'row' ->> 'user_hash', sqlstate, curable"
                " FROM rowseal.quarantine WHERE row ->> 'sign_b64' = ANY (%s)",
                missing,
            )
            yield (
                f"{len(missing)} accepted versions of {tag} are not on {node.name}, e.g."
                f" {missing[0][:20]}; quarantine has {where[:3]}"
            )


def not_as_the_model_says(mesh: Mesh, node: Node, have: Exported) -> Iterator[str]:
    versions = map(version, have["user_storage"].values())
    expected = model.state(model.TWO_TABLES, versions)
    stored = []
    for table in ("user_storage", "user_storage_versions"):
        signs = node.all(mesh.db, f"SELECT encode(sign_b64, 'base64') FROM {table}")
        stored.append({s.replace("\n", "") for s in signs})
    if stored != [{_sign(v) for v in part} for part in (expected.main, expected.versions)]:
        yield f"user_storage on {node.name} is not what the model says"


def waiting_in_vain(mesh: Mesh, node: Node, have: Exported) -> Iterator[str]:
    stuck = node.all(
        mesh.db,
        "SELECT q.tag, q.role, q.subscription, q.attempts, q.first_seen::text,"
        " q.row ->> 'sign_b64' FROM rowseal.quarantine q WHERE q.sqlstate = 'RS002'"
        " AND EXISTS (SELECT FROM user_cards c"
        " WHERE encode(c.user_hash, 'base64') = q.row -> 'row' ->> 'user_hash')",
    )

    def kind(tag: str, sign: str) -> str:
        if sign in have.get(tag, {}):
            return "stored"
        return "genuine" if sign in mesh.traffic.accepted.get(tag, {}) else "forged"

    if stuck:
        kinds = Counter(kind(tag, sign) for tag, *_, sign in stuck)
        yield (
            f"quarantine of {node.name} waits for owners that are known: {dict(kinds)},"
            f" e.g. {stuck[0][:-1]}"
        )


def broken_links(mesh: Mesh) -> Iterator[str]:
    sql = (
        "SELECT s.subenabled, p.pid IS NOT NULL FROM pg_subscription s"
        " LEFT JOIN pg_stat_subscription p ON p.subid = s.oid WHERE s.subname = %s"
    )
    for source, target in mesh.linked:
        name = mesh.name(source, target)
        if mesh.nodes[target].all(mesh.db, sql, name) != [(True, True)]:
            yield f"link {name} does not follow"


def crashes(node: Node) -> Iterator[str]:
    signs = ("PANIC", "TRAP", "was terminated by signal 11")
    crashed = [x for x in node.log().splitlines() if any(sign in x for sign in signs)]
    if crashed:
        yield f"{node.name}: {crashed[:3]}"


def errors(mesh: Mesh) -> str:
    """The last errors in the logs, but for those that must be."""
    lines = [
        f"{n.name} {line}"
        for n in mesh.nodes
        for line in n.log().splitlines()
        if ("ERROR" in line and "unknown owner" not in line) or "PANIC" in line or "TRAP" in line
    ]
    return "\n".join(lines[-15:])


# --------------------------------------------------------------------------------------- standstill
WAL = """
    SELECT CASE WHEN r.resource_manager IN ('Heap', 'Sequence')
           OR r.record_type LIKE 'MULTI_INSERT%%' THEN b.relation::text END,
           r.resource_manager || '/' || r.record_type, count(*), sum(r.record_length)::int
      FROM pg_get_wal_records_info(%s, %s) r
      LEFT JOIN LATERAL (
        SELECT coalesce((SELECT c.oid FROM pg_class c WHERE c.reltoastrelid = id), id)::regclass
          FROM regexp_match(r.block_ref, 'rel ([0-9]+)/([0-9]+)/([0-9]+) ') m,
               pg_filenode_relation(m[1]::oid, m[3]::oid) id
         WHERE m[2] = (SELECT oid::text FROM pg_database WHERE datname = current_database())
           AND id >= 16384) b(relation) ON true
     GROUP BY 1, 2 ORDER BY 1, 2"""
FAILED = "SELECT coalesce(sum(apply_error_count), 0)::int FROM pg_stat_subscription_stats"


def stand_still(mesh: Mesh, seconds: float) -> str:
    """Watch while nobody writes: raise Problem when a row changes or a worker fails,
    else say what else went into the WAL.

    Autovacuum, checkpoints and decoding write as they like.  An envelope that circulates and a row
    that is tried again and again show as records of the heap or of a sequence, in tables that are
    not the catalog's.
    """
    end = "SELECT pg_current_wal_insert_lsn()::text"
    begun = [(n.one(mesh.db, end), n.one(mesh.db, FAILED)) for n in mesh.nodes]
    time.sleep(seconds)
    moved: list[str] = []
    rest: Counter[str] = Counter()
    for n, (begin, failed) in zip(mesh.nodes, begun):
        # at least one record to read
        n.run(mesh.db, "SELECT pg_logical_emit_message(true, 'rowseal', 'end')")
        flushed = n.one(mesh.db, "SELECT pg_current_wal_flush_lsn()::text")
        for relation, kind, count, size in n.all(mesh.db, WAL, begin, flushed):
            if relation:
                moved.append(f"{n.name}: {count} x {kind} in {relation}")
            else:
                rest[kind] += size
        if (now := n.one(mesh.db, FAILED)) > failed:
            moved.append(f"{n.name}: workers failed {now - failed} times")
    most = ", ".join(f"{k} {v}" for k, v in rest.most_common(4))
    said = f"{sum(rest.values())} bytes of WAL ({most})"
    if moved:
        raise Problem(
            f"in {seconds:g} s without a writer: {'; '.join(moved)}; beside that"
            f" {said}\n{mesh.activity()}\n{errors(mesh)}"
        )
    return said

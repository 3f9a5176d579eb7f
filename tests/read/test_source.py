"""source shows what guards a table."""

from __future__ import annotations

from kit.scratch import Scratch


def test_the_guard_comes_first_and_is_what_runs(example: Scratch) -> None:
    shown = example.all(
        "SELECT function::text, triggers, definition FROM rowseal.source('user_storage')"
    )
    name, triggers, definition = shown[0]
    assert name.startswith("rowseal._guard_") and triggers == [
        "zzz_rowseal_guard on public.user_storage"
    ]
    assert "-- 3. Is it the owner's?" in definition
    assert "AFTER" not in definition and definition.startswith("CREATE OR REPLACE FUNCTION")
    on_versions = "zzz_rowseal_guard on public.user_storage_versions"
    assert shown[1][1] == [on_versions]
    here = example.all(
        """SELECT p.oid::regproc::text FROM pg_proc p
            WHERE p.oid IN (SELECT t.tgfoid FROM pg_trigger t
                             WHERE NOT t.tgisinternal AND t.tgrelid IN (
                               'user_storage'::regclass, 'user_storage_versions'::regclass))"""
    )
    assert {n for n, t, _ in shown if t} == set(here)
    listed = example.one(
        """SELECT array_agg('rowseal.' || (f ->> 'name'))
             FROM rowseal.declarations d, jsonb_array_elements(d.manifest -> 'functions') f
            WHERE d.tag = 'user_storage'"""
    )
    assert {n for n, _, _ in shown} == set(listed) | set(here)


def test_an_undeclared_table_has_none(example: Scratch) -> None:
    example.run("CREATE TABLE plain (a int)")
    diag = example.refused("RS007", "SELECT * FROM rowseal.source('plain')")
    assert "plain is not declared" in str(diag.message_primary)

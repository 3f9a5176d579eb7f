-- Who may do what: functions and views.  (Tables: see schema; row security: see attach.sql.)
REVOKE ALL ON ALL ROUTINES IN SCHEMA rowseal FROM PUBLIC;

DO $$
DECLARE
  -- SECURITY DEFINER: they write the tables of rowseal_internal for everybody, or answer about them
  definers CONSTANT text[] := '{_quarantine,_remove,_take_new_partitions,_enter_refused,_entries_of,_flooded,
    _unlocked,_lock_arrival,_forget,prune_feed,_at_commit,_advance,_lock_writers,_licensed,_admit,_revoked,_affected,
    _counting,_losers,_has_moved,_pass_on,_feed_held,_forget_held,_gaps,_waiting,_heads_of,_below,_kept_grants,
    _kept_ledger,_inconsistent,_held_envelopes}';
  -- those call these, nobody else does
  internal CONSTANT text[] := '{_count_dropped,_make_room,_leaving,_is_for,_entry,_rewritten,_authentic_entry,_waited,
    _derive,_walk,_make_locks,_may_lock,_authority_of,_enter,_grant,_ungrant,_dead,_held,_lock_walk,_may_ask,_may_read,
    _may_follow,_derived,_walk_differs,_retracted,_readable,_reads_all,_whole,_before,_spoken,_outside,_named}';
  -- triggers of a superuser call these, nobody else does
  superusers CONSTANT text[] := '{_bind,_uninstall,_close,_keep_tag,_disown,_store,_refresh,_refresh_others,_follow,
    _follow_named,_follow_partitions,_lose_columns,_watch_trigger,_warn_of_disabled,_forget_writers,_recall_dead}';
  -- triggers that whoever restores his table creates
  restored CONSTANT text[] := '{_keep,_keep_writers,_cure,_settle_row}';
  f record;
BEGIN
  FOR f IN
    SELECT p.proname::text AS name, p.oid::pg_catalog.regprocedure AS signature,
           p.prorettype IN ('trigger'::pg_catalog.regtype, 'event_trigger'::pg_catalog.regtype) AS fires
      FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace
  LOOP
    IF f.name = ANY (definers) THEN
      EXECUTE pg_catalog.format('ALTER FUNCTION %s OWNER TO rowseal_internal', f.signature);
    END IF;
    IF f.name = ANY (internal) THEN
      EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO rowseal_internal', f.signature);
    ELSIF f.name = 'prune_feed' THEN
      EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO rowseal_admin', f.signature);
    -- The guards run with the rights of who writes, so everybody may call what they call.  Triggers need EXECUTE only
    -- when they are created.
    ELSIF f.name <> ALL (superusers) AND (NOT f.fires OR f.name = ANY (restored)) THEN
      EXECUTE pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', f.signature);
    END IF;
  END LOOP;
  IF rowseal._provider() IS NULL THEN
    RAISE WARNING USING MESSAGE = 'rowseal: no provider of signatures yet', HINT = rowseal._hint('RS014');
  END IF;
END
$$;

GRANT SELECT ON rowseal.links TO rowseal_admin;
GRANT SELECT ON rowseal.writers, rowseal.equivocations TO PUBLIC;

-- Last: what health() compares with.
INSERT INTO rowseal.installation SELECT rowseal._fingerprint();

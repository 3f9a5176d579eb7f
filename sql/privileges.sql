-- Who may do what, the whole of it.  Of which rows, row security says: attach.sql.

-- Nobody keeps what PostgreSQL's defaults gave him, or the default privileges of whoever runs CREATE EXTENSION.
DO $$
DECLARE
  x record;
BEGIN
  FOR x IN
    SELECT o.kind, o.name, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::pg_catalog.regrole::text END AS role
      FROM (
        SELECT 'SCHEMA' AS kind, 'rowseal' AS name, n.nspowner AS owner,
               coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner)) AS rights
          FROM pg_catalog.pg_namespace n WHERE n.nspname = 'rowseal'
        UNION ALL
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::pg_catalog.regclass::text, c.relowner,
               c.relacl
          FROM pg_catalog.pg_class c WHERE c.relnamespace = 'rowseal'::pg_catalog.regnamespace
        UNION ALL
        SELECT 'ROUTINE', p.oid::pg_catalog.regprocedure::text, p.proowner,
               coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))
          FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace) o,
      LATERAL pg_catalog.aclexplode(o.rights) a
     WHERE a.grantee <> o.owner
     GROUP BY 1, 2, 3
  LOOP
    EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM %s', x.kind, x.name, x.role);
  END LOOP;
END
$$;

GRANT USAGE ON SCHEMA rowseal TO PUBLIC;
GRANT SELECT ON
  rowseal.declarations, rowseal.tags, rowseal._opened, rowseal.installation, rowseal.quarantine, rowseal.erasures,
  rowseal.shapes, rowseal.writers, rowseal.equivocations TO PUBLIC;
-- _removals and _refused are always empty: their triggers do what an INSERT asks for.
GRANT INSERT ON rowseal.declarations, rowseal._removals, rowseal._refused TO PUBLIC;
-- Numbers, role and time are not the caller's to give: he would take those to come.
GRANT INSERT (relation, tag, key, fields, versions) ON rowseal.erasures TO PUBLIC;
GRANT USAGE ON SEQUENCE rowseal.declarations_id_seq TO PUBLIC;

GRANT SELECT ON rowseal.feed, rowseal.feed_state, rowseal.quarantine_dropped, rowseal.links TO rowseal_admin;
GRANT SELECT, DELETE ON rowseal.quarantine, rowseal.shapes TO rowseal_admin;
GRANT SELECT, UPDATE ON rowseal.quarantine_limits TO rowseal_admin;

GRANT DELETE ON rowseal.declarations, rowseal._opened TO rowseal_internal;

DO $$
DECLARE
  -- SECURITY DEFINER: they write the tables of rowseal_internal for everybody, or answer about them
  definers CONSTANT text[] := '{_quarantine,_remove,_take_new_columns,_take_new_partitions,_enter_refused,_entries_of,
    _flooded,_unlocked,_lock_arrival,_forget,prune_feed,_at_commit,_advance,_lock_writers,_licensed,_admit,_revoked,
    _affected,_counting,_losers,_has_moved,_pass_on,_feed_held,_forget_held,_gaps,_waiting,_heads_of,_below,
    _kept_grants,_kept_ledger,_inconsistent,_held_envelopes,_still_held}';
  -- those call these, nobody else does
  internal CONSTANT text[] := '{_count_dropped,_make_room,_leaving,_is_for,_entry,_rewritten,_authentic_entry,_waited,
    _derive,_walk,_make_locks,_may_lock,_authority_of,_enter,_stored,_grant,_ungrant,_dead,_held,_lock_walk,_may_ask,
    _may_read,_may_follow,_derived,_walk_differs,_retracted,_readable,_reads_all,_whole,_before,_spoken,_outside,
    _named,_may_forget,_walked_below}';
  -- triggers of a superuser call these, nobody else does
  superusers CONSTANT text[] := '{_bind,_retire,_uninstall,_close,_take_tag,_keep_tag,_disown,_store,_refresh,
    _refresh_others,_note_opened,_leave_alone,_close_with,_follow,_follow_named,_follow_columns,_follow_partitions,
    _lose_columns,_watch_trigger,_warn_of_disabled,_forget_writers,_recall_dead}';
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
  IF rowseal._internal_taken() IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008',
      MESSAGE = 'role rowseal_internal is not of rowseal alone: it has ' || rowseal._internal_taken(),
      HINT = 'Who acts as that role can write rows in any owner''s name. REVOKE rowseal_internal FROM its members; '
          || 'ALTER ROLE rowseal_internal NOLOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS. Look who made it.';
  END IF;
  IF rowseal._provider() IS NULL THEN
    RAISE WARNING USING MESSAGE = 'rowseal: no provider of signatures yet', HINT = rowseal._hint('RS014');
  END IF;
END
$$;

-- Last: what health() compares with.
INSERT INTO rowseal.installation (fingerprint) SELECT rowseal._fingerprint();
SET LOCAL backtrace_functions = '';

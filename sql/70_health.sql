CREATE FUNCTION rowseal.health() RETURNS TABLE ("check" text, relation regclass, ok boolean, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations;
  planned jsonb;
BEGIN
  "check" := 'provider'; relation := NULL;
  detail := rowseal._provider(); ok := detail IS NOT NULL; detail := coalesce(detail, rowseal._hint('RS014'));
  RETURN NEXT;
  -- pgsodium outside shared_preload_libraries has an event trigger that reads a setting which nobody defined
  "check" := 'pgsodium';
  ok := rowseal._pgsodium() IS NULL OR pg_catalog.current_setting('pgsodium.enable_event_trigger', true) IS NOT NULL;
  detail := CASE WHEN ok THEN 'not in the way' ELSE pg_catalog.format(
    'not preloaded, so every ALTER TABLE fails here: ALTER DATABASE %I SET pgsodium.enable_event_trigger = ''on''', pg_catalog.current_database()) END;
  RETURN NEXT;
  "check" := 'event triggers';
  SELECT count(*) FILTER (WHERE e.evtenabled = 'A') = 3, count(*) FILTER (WHERE e.evtenabled = 'A') || ' of 3 enabled always' INTO ok, detail
    FROM pg_catalog.pg_event_trigger e WHERE e.evtname IN ('rowseal_ddl', 'rowseal_ddl_retry', 'rowseal_drop');
  RETURN NEXT;

  FOR d IN SELECT * FROM rowseal.declarations ORDER BY 1 LOOP
    relation := d.relation;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = d.relation) THEN
      "check" := 'table'; ok := false; detail := 'the declared table is gone';
      RETURN NEXT;
      CONTINUE;
    END IF;

    -- the main table, each of its partitions, and the versions table need their triggers, unconditional and ALWAYS
    "check" := 'triggers';
    SELECT pg_catalog.string_agg(pg_catalog.format('%s on %s is %s', n.name, n.rel, CASE
             WHEN g.tgname IS NULL THEN 'missing' WHEN g.tgenabled <> 'A' THEN 'not ENABLE ALWAYS' ELSE 'not the one installed' END), '; ')
      INTO detail
      FROM (SELECT t.relid AS rel, x.name, x.type, x.function
              FROM (SELECT d.relation UNION SELECT p.relid FROM pg_catalog.pg_partition_tree(d.relation) p) t(relid),
                   (VALUES ('zzz_rowseal_guard', 23, '_guard_' || d.id, true), ('zzz_rowseal_keep', 11, '_keep', true),
                           ('zzz_rowseal_keep_all', 34, '_keep', true), ('zzz_rowseal_feed', 21, '_feed_' || d.id, d.feed),
                           ('zzz_rowseal_cure', 5, '_cure_' || d.id, d.public_key IS NOT NULL)) x(name, type, function, wanted)
             WHERE x.wanted
            UNION ALL
            SELECT d.versions, x.name, x.type, x.function
              FROM (VALUES ('zzz_rowseal_guard', 23, '_guard_versions_' || d.id, true), ('zzz_rowseal_keep', 11, '_keep', true),
                           ('zzz_rowseal_keep_all', 34, '_keep', true),
                           ('zzz_rowseal_feed', 5, '_feed_versions_' || d.id, d.feed)) x(name, type, function, wanted)
             WHERE d.versions IS NOT NULL AND x.wanted) n
      LEFT JOIN (pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid)
             ON g.tgrelid = n.rel AND g.tgname = n.name
     WHERE g.tgname IS NULL OR g.tgenabled <> 'A' OR g.tgtype <> n.type OR (g.tgqual IS NOT NULL AND n.function NOT LIKE '_feed_versions%') OR g.tgattr::text <> ''
        OR f.pronamespace <> 'rowseal'::pg_catalog.regnamespace OR f.proname <> n.function;
    ok := detail IS NULL; detail := coalesce(detail, 'all there, ENABLE ALWAYS');
    RETURN NEXT;

    "check" := 'structure';
    BEGIN
      planned := rowseal._planned(d);
      ok := d.facts = rowseal._known_facts(d);
      detail := CASE WHEN ok THEN 'as declared: no late trigger, rule or child'
                     ELSE 'changed since the triggers were generated: undeclare and declare the table' END;
    EXCEPTION WHEN SQLSTATE 'RS007' THEN
      planned := NULL; ok := false; detail := SQLERRM;
    END;
    RETURN NEXT;

    "check" := 'functions';
    SELECT pg_catalog.string_agg(f.name, ', ') INTO detail
      FROM pg_catalog.unnest(ARRAY['seal', 'payload', 'guard', 'apply'] || CASE WHEN d.versions IS NOT NULL THEN ARRAY['guard_versions'] ELSE '{}' END
        || CASE WHEN d.public_key IS NOT NULL THEN ARRAY['cure'] ELSE '{}' END || CASE WHEN d.feed THEN ARRAY['feed'] ELSE '{}' END
        || CASE WHEN d.feed AND d.versions IS NOT NULL THEN ARRAY['feed_versions', 'is_tip'] ELSE '{}' END) n(name),
           LATERAL (SELECT pg_catalog.format('_%s_%s', n.name, d.id) AS name) f
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_proc p, pg_catalog.jsonb_array_elements_text(planned -> 'functions') s
                        WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND p.proname = f.name AND p.prosecdef = (n.name LIKE 'feed%')
                          AND pg_catalog.starts_with(s, 'CREATE OR REPLACE FUNCTION rowseal.' || f.name || '(')
                          AND pg_catalog.strpos(s, p.prosrc) > 0);
    ok := detail IS NULL; detail := coalesce('missing or altered: ' || detail, 'as generated');
    RETURN NEXT;

    "check" := 'foreign keys';
    SELECT pg_catalog.string_agg(c.conname::text, ', ') INTO detail FROM pg_catalog.pg_constraint c
     WHERE c.contype = 'f' AND (c.conrelid IN (d.relation, d.versions) OR c.confrelid IN (d.relation, d.versions));
    ok := detail IS NULL; detail := coalesce('rows arrive in any order, a foreign key blocks some: ' || detail, 'none');
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal.health() IS
  'One row per check: provider, event triggers, and for each declared table its triggers, structure, functions, foreign keys. Not ok: rows may get in unchecked, or legitimate ones be kept out';

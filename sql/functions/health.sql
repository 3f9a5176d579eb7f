-- Whether everything is as it was installed and declared.

CREATE OR REPLACE FUNCTION rowseal._fingerprint() RETURNS bytea LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.string_agg(line, E'\n' ORDER BY line COLLATE "C"), 'UTF8'))
      FROM (
    SELECT pg_catalog.concat_ws(' ', p.proname, p.pronargs, p.prosecdef, p.proisstrict, p.provolatile, p.proleakproof,
        p.proconfig, l.lanname,
                                CASE WHEN r.rolsuper THEN 'superuser' ELSE r.rolname END, p.prosrc)
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang JOIN pg_catalog.pg_roles r
          ON r.oid = p.proowner
     -- all but the generated ones: an overload that somebody adds can stand in for one of ours
     -- which _bound knows
     WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND p.proname !~ '_[0-9]+$' AND p.proname <> '_verified'
    UNION ALL
    SELECT pg_catalog.concat_ws(' ', g.tgrelid::pg_catalog.regclass, g.tgname, g.tgenabled, g.tgtype, g.tgqual,
        f.proname)
      FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid
     WHERE g.tgrelid IN (SELECT c.oid FROM pg_catalog.pg_class c
         WHERE c.relnamespace = 'rowseal'::pg_catalog.regnamespace) AND NOT g.tgisinternal
    UNION ALL
    SELECT pg_catalog.concat_ws(' ', v.evtname, v.evtevent, v.evtenabled, v.evttags, f.proname)
      FROM pg_catalog.pg_event_trigger v JOIN pg_catalog.pg_proc f ON f.oid = v.evtfoid
          WHERE v.evtname LIKE 'rowseal%') x(line)
$$;
COMMENT ON FUNCTION rowseal._fingerprint() IS 'sha256 over the extension''s own functions and triggers as they are';

CREATE OR REPLACE FUNCTION rowseal._wanted_triggers(d rowseal.declarations)
RETURNS TABLE (relation regclass, name text, definition text, parent regclass) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  -- those of the manifest …
  SELECT CASE t ->> 'on' WHEN 'main' THEN d.relation WHEN 'versions' THEN d.versions END,
         t ->> 'name', t ->> 'definition', NULL::pg_catalog.regclass
    FROM pg_catalog.jsonb_array_elements(d.manifest -> 'triggers') t WHERE t ->> 'on' <> 'partitions'
  UNION ALL
  -- … and on each partition a clone of every row trigger, and a TRUNCATE trigger of its own
  SELECT p.oid, t ->> 'name', CASE WHEN m.own THEN (
             SELECT o ->> 'definition' FROM pg_catalog.jsonb_array_elements(d.manifest -> 'triggers') o
              WHERE o ->> 'on' = 'partitions' AND o ->> 'name' = t ->> 'name'
                AND pg_catalog.to_regclass(o ->> 'table') = p.oid) END,
         CASE WHEN NOT m.own THEN i.inhparent END
    FROM rowseal._tree(d.relation) p JOIN pg_catalog.pg_inherits i ON i.inhrelid = p.oid,
         pg_catalog.jsonb_array_elements(d.manifest -> 'triggers') t,
         LATERAL (SELECT t ->> 'definition' NOT LIKE '%FOR EACH ROW%' AS own) m
   WHERE p.oid <> d.relation AND t ->> 'on' = 'main'
$$;
COMMENT ON FUNCTION rowseal._wanted_triggers(rowseal.declarations) IS
  'The triggers that a declared table, its partitions and its versions table should have: definition as installed; '
  'parent: where it is a clone of the trigger of that table';

CREATE OR REPLACE FUNCTION rowseal._trigger_problems(d rowseal.declarations)
RETURNS TABLE (relation regclass, name text, problem text) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT w.relation, w.name,
         CASE WHEN g.oid IS NULL THEN 'missing' WHEN NOT i.installed THEN 'not the one installed'
             ELSE 'not ENABLE ALWAYS' END
    FROM rowseal._wanted_triggers(d) w
    LEFT JOIN pg_catalog.pg_trigger g ON g.tgrelid = w.relation AND g.tgname = w.name
    LEFT JOIN pg_catalog.pg_trigger p ON p.oid = g.tgparentid
    CROSS JOIN LATERAL (SELECT coalesce(CASE WHEN w.parent IS NOT NULL THEN p.tgrelid = w.parent AND p.tgname = w.name
                                             -- without a definition: it is being installed
                                             ELSE pg_catalog.pg_get_triggerdef(g.oid) = coalesce(w.definition,
                                                 pg_catalog.pg_get_triggerdef(g.oid))
                                        END, false)) i(installed)
   WHERE NOT i.installed OR g.tgenabled <> 'A'
$$;
COMMENT ON FUNCTION rowseal._trigger_problems(rowseal.declarations) IS
  'Triggers of a declaration that are missing, replaced or not ENABLE ALWAYS';

CREATE OR REPLACE FUNCTION rowseal._altered_functions(d rowseal.declarations) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.string_agg(f ->> 'name', ', ')
    FROM pg_catalog.jsonb_array_elements(d.manifest -> 'functions') f
   WHERE (SELECT count(*) FROM pg_catalog.pg_proc p  -- an overload could stand in for it
           WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND p.proname = f ->> 'name') <> 1
      OR NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
         WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND p.proname = f ->> 'name'
           AND p.prosrc = f ->> 'source' AND l.lanname = f ->> 'language' AND p.provolatile = f ->> 'volatility'
           AND p.prosecdef = (f ->> 'definer')::boolean AND NOT p.proisstrict
           -- settings by their names and values, a name in whatever case PostgreSQL keeps it
           AND pg_catalog.lower(coalesce(pg_catalog.array_to_string(p.proconfig, E'\n'),
               '')) = pg_catalog.lower(coalesce((
                 SELECT pg_catalog.string_agg(s, E'\n' ORDER BY n)
                   FROM pg_catalog.jsonb_array_elements_text(f -> 'settings') WITH ORDINALITY x(s, n)), '')))
$$;
COMMENT ON FUNCTION rowseal._altered_functions(rowseal.declarations) IS
  'Generated functions that are missing or not as the manifest has them; NULL when all are';

CREATE OR REPLACE FUNCTION rowseal.health() RETURNS TABLE ("check" text, relation regclass, ok boolean, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations;
  planned jsonb;
BEGIN
  "check" := 'provider'; relation := NULL;
  detail := rowseal._provider(); ok := detail IS NOT NULL; detail := coalesce(detail, rowseal._hint('RS014'));
  RETURN NEXT;
  "check" := 'algorithms';
  SELECT pg_catalog.string_agg(pg_catalog.concat(a, ' ',
      coalesce(rowseal._provider(a), 'is not there: ' || rowseal._hint('RS014'))), '; ' ORDER BY a),
         pg_catalog.bool_and(rowseal._provider(a) IS NOT NULL) INTO detail, ok
    FROM (SELECT DISTINCT pg_catalog.unnest(x.algorithms) FROM rowseal.declarations x) u(a) WHERE a <> 'ed25519';
  ok := coalesce(ok, true); detail := coalesce(detail, 'ed25519 alone');
  RETURN NEXT;
  -- pgsodium outside shared_preload_libraries has an event trigger that reads a setting which nobody defined
  "check" := 'pgsodium';
  ok := rowseal._bound() AND ((rowseal._pgsodium()).version IS NULL
      OR pg_catalog.current_setting('pgsodium.enable_event_trigger', true) IS NOT NULL);
  detail := CASE WHEN ok THEN 'not in the way' WHEN NOT rowseal._bound()
      THEN 'guards call another function than its: SELECT rowseal._bind()' ELSE pg_catalog.format(
    'not preloaded, so every ALTER TABLE fails here: ALTER DATABASE %I SET pgsodium.enable_event_trigger = ''on''',
        pg_catalog.current_database()) END;
  RETURN NEXT;
  "check" := 'event triggers';
  SELECT count(*) FILTER (WHERE e.evtenabled = 'A') = 3,
      count(*) FILTER (WHERE e.evtenabled = 'A') || ' of 3 enabled always' INTO ok, detail
    FROM pg_catalog.pg_event_trigger e WHERE e.evtname IN ('rowseal_ddl', 'rowseal_ddl_retry', 'rowseal_drop');
  RETURN NEXT;

  "check" := 'installation';
  SELECT f.fingerprint = rowseal._fingerprint() INTO ok FROM rowseal.fingerprint f;
  ok := coalesce(ok, false);
  detail := CASE WHEN ok THEN 'functions and triggers as installed'
      ELSE 'a function or trigger of rowseal itself has been altered: install it anew '
        '(or ENABLE ALWAYS its triggers, after pg_restore --disable-triggers)' END;
  RETURN NEXT;

  FOR d IN SELECT * FROM rowseal.declarations ORDER BY 1 LOOP
    relation := d.relation;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = d.relation) THEN
      "check" := 'table'; ok := false; detail := 'the declared table is gone';
      RETURN NEXT;
      CONTINUE;
    END IF;

    "check" := 'triggers';
    SELECT pg_catalog.string_agg(pg_catalog.format('%s on %s is %s', t.name, t.relation, t.problem), '; ') INTO detail
      FROM rowseal._trigger_problems(d) t;
    ok := detail IS NULL; detail := coalesce(detail, 'all there, ENABLE ALWAYS');
    RETURN NEXT;

    "check" := 'structure';
    BEGIN
      planned := rowseal._planned(d);
      -- an index or a partition that came or went changes nothing; triggers are checked above
      ok := d.facts #- '{main,unique}' #- '{main,partitions}' #- '{versions,unique}'
          = rowseal._known_facts(d) #- '{main,unique}' #- '{main,partitions}' #- '{versions,unique}';
      detail := CASE WHEN ok THEN 'as declared: no late trigger, rule or child'
                     ELSE 'changed since the triggers were generated: undeclare and declare the table' END;
    EXCEPTION WHEN OTHERS THEN  -- one broken declaration must not hide the others
      planned := NULL; ok := false; detail := SQLERRM;
    END;
    RETURN NEXT;

    IF d.grants AND pg_catalog.has_table_privilege(session_user, d.relation, 'SELECT')
        AND pg_catalog.has_table_privilege(d.relation, 'SELECT') THEN
      "check" := 'derived';
      SELECT pg_catalog.string_agg(DISTINCT u.problem, '; ') INTO detail
        FROM rowseal._underived(d, false) u WHERE d.queries <> '{}';
      ok := detail IS NULL; detail := coalesce(detail || ': undeclare and declare the tables anew',
          'grants, walks and licences follow from signed rows');
      RETURN NEXT;
      "check" := 'writers';
      SELECT pg_catalog.string_agg(pg_catalog.format('%s: %s', pg_catalog.left(pg_catalog.encode(w.writer, 'hex'), 16),
          w.missing), ', ') INTO detail
        FROM (SELECT x.writer, x.last - x.numbers AS missing FROM rowseal._gaps(d.id) x) w WHERE w.missing > 0;
      ok := detail IS NULL; detail := coalesce('rows that have not arrived, by writer: ' || detail,
          'no numbers missing');
      RETURN NEXT;
    END IF;

    IF d.grants OR d.writers IS NOT NULL THEN
      "check" := 'revocation';
      detail := rowseal._in_the_way(d);
      ok := detail IS NULL; detail := coalesce('a revoked writer''s rows could stay: ' || detail,
          'nothing keeps the rows of a revoked writer');
      RETURN NEXT;
    END IF;

    CONTINUE WHEN planned IS NULL;
    "check" := 'functions';
    detail := rowseal._altered_functions(d);
    IF detail IS NULL AND (d.queries <> planned #> '{declaration,queries}' OR d.spec <> planned #> '{declaration,spec}')
        THEN
      detail := 'the stored queries';
    ELSIF detail IS NULL AND d.manifest -> 'functions' <> planned #> '{declaration,manifest,functions}' THEN
      detail := 'the manifest';
    END IF;
    ok := detail IS NULL; detail := coalesce('missing or altered: ' || detail, 'as generated');
    RETURN NEXT;

    "check" := 'unique';
    SELECT pg_catalog.string_agg(i.indexrelid::pg_catalog.regclass::text, ', ') INTO detail FROM pg_catalog.pg_index i
     WHERE i.indrelid IN (d.relation, d.versions) AND i.indisunique AND NOT i.indisprimary
       -- what contains the owner, or the signature, nobody else can take
       AND NOT ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid
           AND a.attnum = ANY (i.indkey::pg_catalog.int2[]))
           @> ARRAY(SELECT CASE WHEN i.indrelid = d.versions THEN d.version_columns ->> o ELSE o END
               FROM pg_catalog.unnest(d.owner) o)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid
           AND a.attnum = ANY (i.indkey::pg_catalog.int2[])
            AND a.attname = CASE WHEN i.indrelid = d.versions THEN d.version_columns ->> d.signature_column
                ELSE d.signature_column END);
    ok := detail IS NULL; detail := coalesce('one owner can take a value from another, and block his rows: ' || detail,
        'the primary key alone');
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
  'One row per check: provider, algorithms, event triggers, and for each declared table its triggers, structure, '
  'functions, foreign keys. Not ok: rows may get in unchecked, or legitimate ones be kept out';

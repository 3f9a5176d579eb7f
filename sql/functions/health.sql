-- Whether everything is as it was installed and declared.

CREATE OR REPLACE FUNCTION rowseal._fingerprint() RETURNS bytea LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.string_agg(line, E'\n' ORDER BY line COLLATE "C"), 'UTF8'))
    FROM (
    SELECT pg_catalog.concat_ws(' ', p.proname, p.pronargs, p.prosecdef, p.proisstrict, p.provolatile, p.proleakproof,
                                p.proconfig, l.lanname, CASE WHEN r.rolsuper THEN 'superuser' ELSE r.rolname END,
                                p.prosrc)
      FROM pg_catalog.pg_proc p
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang
      JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
     -- all but the generated ones: an overload that somebody adds can stand in for one of ours
     -- which _bound knows
     WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND p.proname !~ '_[0-9]+$' AND p.proname <> '_verified'
    UNION ALL
    SELECT pg_catalog.concat_ws(' ', g.tgrelid::pg_catalog.regclass, g.tgname, g.tgenabled, g.tgtype, g.tgqual,
                                f.proname)
      FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc f ON f.oid = g.tgfoid
     WHERE NOT g.tgisinternal AND g.tgrelid IN (
       SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace = 'rowseal'::pg_catalog.regnamespace)
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
         CASE WHEN g.oid IS NULL THEN 'missing'
              WHEN NOT i.installed THEN 'not the one installed'
              ELSE 'not ENABLE ALWAYS' END
    FROM rowseal._wanted_triggers(d) w
    LEFT JOIN pg_catalog.pg_trigger g ON g.tgrelid = w.relation AND g.tgname = w.name
    LEFT JOIN pg_catalog.pg_trigger p ON p.oid = g.tgparentid
    CROSS JOIN LATERAL (
      SELECT coalesce(
        CASE WHEN w.parent IS NOT NULL THEN p.tgrelid = w.parent AND p.tgname = w.name
             WHEN w.definition IS NULL THEN g.oid IS NOT NULL  -- it is being installed
             ELSE pg_catalog.pg_get_triggerdef(g.oid) = w.definition END, false)) i(installed)
   WHERE NOT i.installed OR g.tgenabled <> 'A'
$$;
COMMENT ON FUNCTION rowseal._trigger_problems(rowseal.declarations) IS
  'Triggers of a declaration that are missing, replaced or not ENABLE ALWAYS';

CREATE OR REPLACE FUNCTION rowseal._altered_functions(d rowseal.declarations) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.string_agg(pg_catalog.concat(
           f ->> 'name', CASE WHEN g.wrong THEN ' (may be executed by others than it should)' END),
           ', ')
    FROM pg_catalog.jsonb_array_elements(d.manifest -> 'functions') f,
         LATERAL (SELECT f ->> 'name' IN (SELECT m.name FROM rowseal._misgranted(d) m) AS wrong) g
   WHERE (SELECT count(*) FROM pg_catalog.pg_proc p  -- an overload could stand in for it
           WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND p.proname = f ->> 'name') <> 1
      OR NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
         WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND p.proname = f ->> 'name'
           AND p.prosrc = f ->> 'source' AND l.lanname = f ->> 'language' AND p.provolatile = f ->> 'volatility'
           AND p.prosecdef = (f ->> 'definer')::boolean AND NOT p.proisstrict
           -- settings by their names and values, a name in whatever case PostgreSQL keeps it
           AND pg_catalog.lower(coalesce(pg_catalog.array_to_string(p.proconfig, E'\n'), ''))
             = pg_catalog.lower(coalesce((
                 SELECT pg_catalog.string_agg(s, E'\n' ORDER BY n)
                   FROM pg_catalog.jsonb_array_elements_text(f -> 'settings') WITH ORDINALITY x(s, n)), '')))
      OR g.wrong
$$;
COMMENT ON FUNCTION rowseal._altered_functions(rowseal.declarations) IS
  'Generated functions that are missing, not as the manifest has them, or not for those to execute who should; NULL '
  'when there are none';

CREATE OR REPLACE FUNCTION rowseal._members_of(role text) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT 'members ' || pg_catalog.string_agg(DISTINCT m.member::pg_catalog.regrole::text, ', ')
    FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid WHERE r.rolname = role
$$;
COMMENT ON FUNCTION rowseal._members_of(text) IS 'The direct members of a role; NULL when it has none';

CREATE OR REPLACE FUNCTION rowseal._internal_taken() RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.string_agg(x.what, ', ')
    FROM pg_catalog.pg_roles r, LATERAL (VALUES
      (CASE WHEN r.rolcanlogin THEN 'LOGIN' END), (CASE WHEN r.rolsuper THEN 'SUPERUSER' END),
      (CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END), (CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END),
      (rowseal._members_of(r.rolname::text))) x(what)
   WHERE r.rolname = 'rowseal_internal'
$$;
COMMENT ON FUNCTION rowseal._internal_taken() IS
  'What rowseal_internal has that it should not: whoever acts as that role can write the tables of rowseal. Else NULL';

-- health consists of two parts, each of which returns rows of its own: check, ok, detail.

CREATE OR REPLACE FUNCTION rowseal._server_health() RETURNS TABLE ("check" text, ok boolean, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  "check" := 'provider';
  detail := rowseal._provider(); ok := detail IS NOT NULL; detail := coalesce(detail, rowseal._hint('RS014'));
  RETURN NEXT;

  "check" := 'algorithms';
  SELECT pg_catalog.bool_and(p.name IS NOT NULL),
         pg_catalog.string_agg(
           pg_catalog.concat(u.a, ' ', coalesce(p.name, 'is not there: ' || rowseal._hint('RS014'))), '; ' ORDER BY u.a)
    INTO ok, detail
    FROM (SELECT DISTINCT pg_catalog.unnest(x.algorithms) FROM rowseal.declarations x) u(a),
         LATERAL (SELECT rowseal._provider(u.a)) p(name) WHERE u.a <> 'ed25519';
  ok := coalesce(ok, true); detail := coalesce(detail, 'ed25519 alone');
  RETURN NEXT;

  -- pgsodium outside shared_preload_libraries has an event trigger that reads a setting which nobody defined
  "check" := 'pgsodium';
  ok := rowseal._bound() AND ((rowseal._pgsodium()).version IS NULL
                              OR pg_catalog.current_setting('pgsodium.enable_event_trigger', true) IS NOT NULL);
  detail := CASE
    WHEN ok THEN 'not in the way'
    WHEN NOT rowseal._bound() THEN 'guards call another function than its: SELECT rowseal._bind()'
    ELSE pg_catalog.format('not preloaded, so every ALTER TABLE fails here: '
                           'ALTER DATABASE %I SET pgsodium.enable_event_trigger = ''on''',
                           pg_catalog.current_database()) END;
  RETURN NEXT;

  "check" := 'event triggers';
  SELECT count(*) FILTER (WHERE e.evtenabled = 'A') = 6,
         count(*) FILTER (WHERE e.evtenabled = 'A') || ' of 6 enabled always' INTO ok, detail
    FROM pg_catalog.pg_event_trigger e
   WHERE e.evtname ~ '^rowseal_(ddl_start|ddl|ddl_retry|drop|drop_refuse|forget)$';
  RETURN NEXT;

  -- a dump can bring a guard without its declaration
  "check" := 'guards';
  SELECT pg_catalog.string_agg(g.tgrelid::pg_catalog.regclass::text, ', ' ORDER BY g.tgrelid) INTO detail
    FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
   WHERE g.tgname = 'zzz_rowseal_guard' AND p.pronamespace = 'rowseal'::pg_catalog.regnamespace AND g.tgparentid = 0
     AND NOT EXISTS (SELECT FROM rowseal.declarations d WHERE g.tgrelid IN (d.relation, d.versions));
  ok := detail IS NULL;
  detail := coalesce('not declared any more, declare them anew: ' || detail, 'on declared tables alone');
  RETURN NEXT;

  "check" := 'roles';
  detail := 'rowseal_internal has ' || rowseal._internal_taken();
  ok := detail IS NULL;
  detail := coalesce(detail, (
    SELECT pg_catalog.string_agg(r || ' has ' || coalesce(rowseal._members_of(r), 'no members'), ', ' ORDER BY r)
      FROM pg_catalog.unnest('{rowseal_admin,rowseal_internal,rowseal_trusted}'::text[]) r));
  RETURN NEXT;

  "check" := 'installation';
  ok := coalesce((SELECT f.fingerprint = rowseal._fingerprint() FROM rowseal.installation f), false);
  detail := CASE WHEN ok THEN 'functions and triggers as installed'
                 ELSE 'a function or trigger of rowseal itself has been altered: install it anew '
                      '(or ENABLE ALWAYS its triggers, after pg_restore --disable-triggers)' END;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION rowseal._server_health() IS 'Checks of health that concern no single table';

CREATE OR REPLACE FUNCTION rowseal._altered(d rowseal.declarations, planned jsonb) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(rowseal._altered_functions(d), CASE
    WHEN d.queries <> planned #> '{declaration,queries}' OR d.spec <> planned #> '{declaration,spec}'
      THEN 'the stored queries'
    WHEN d.manifest -> 'functions' <> planned #> '{declaration,manifest,functions}' THEN 'the manifest' END)
$$;
COMMENT ON FUNCTION rowseal._altered(rowseal.declarations, jsonb) IS
  'What is not as it would be generated now; NULL when all is. planned: the answer of _planned';

CREATE OR REPLACE FUNCTION rowseal._obstacles(d rowseal.declarations) RETURNS TABLE ("check" text, detail text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT 'unique', 'one owner can take a value from another, and block his rows: '
                   || pg_catalog.string_agg(i.indexrelid::pg_catalog.regclass::text, ', ')
    FROM pg_catalog.pg_index i,
         LATERAL (SELECT i.indrelid IS NOT DISTINCT FROM d.versions) v(archived),
         LATERAL (SELECT ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                                WHERE a.attrelid = i.indrelid
                                  AND a.attnum = ANY (i.indkey::pg_catalog.int2[]))) k(columns)
   WHERE i.indrelid IN (d.relation, d.versions) AND i.indisunique AND NOT i.indisprimary
     -- what contains the owner, the signature or its name, nobody else can take
     AND NOT k.columns @> ARRAY(SELECT CASE WHEN v.archived THEN d.version_columns ->> o ELSE o END
                                  FROM pg_catalog.unnest(d.owner) o)
     AND NOT k.columns && ARRAY(SELECT CASE WHEN v.archived THEN d.version_columns ->> c ELSE c END
                                  FROM pg_catalog.unnest(ARRAY[d.signature_column, d.name_column]) c)
  UNION ALL
  SELECT 'rights', 'writes fail, for rowseal_internal may not use schema ' || rowseal._unreachable(d)
  UNION ALL
  SELECT 'foreign keys', 'rows arrive in any order, a foreign key blocks some: '
                         || pg_catalog.string_agg(c.conname::text, ', ')
    FROM pg_catalog.pg_constraint c
   WHERE c.contype = 'f' AND (c.conrelid IN (d.relation, d.versions) OR c.confrelid IN (d.relation, d.versions))
$$;
COMMENT ON FUNCTION rowseal._obstacles(rowseal.declarations) IS
  'What keeps legitimate rows out of a declared table: a row for each check, its detail NULL when there is nothing';

CREATE OR REPLACE FUNCTION rowseal._early_triggers(d rowseal.declarations)
RETURNS TABLE (id oid, name text, relation regclass) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT g.oid, g.tgname::text, g.tgrelid::pg_catalog.regclass
    FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
   WHERE (g.tgrelid IN (SELECT rowseal._tree(d.relation)) OR g.tgrelid = d.versions)
     AND NOT g.tgisinternal AND g.tgparentid = 0
     AND g.tgtype & 3 = 3 AND g.tgtype & 20 <> 0  -- ROW, BEFORE; INSERT or UPDATE
     AND p.pronamespace <> 'rowseal'::pg_catalog.regnamespace
$$;
COMMENT ON FUNCTION rowseal._early_triggers(rowseal.declarations) IS
  'Triggers besides those of rowseal that can change a row before it is checked';

CREATE OR REPLACE FUNCTION rowseal._remarks(d rowseal.declarations) RETURNS TABLE (message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.format('%s: %s', d.relation, o.detail), 'Drop it, or live with what health() says of it.'
    FROM rowseal._obstacles(d) o WHERE o.detail IS NOT NULL
  UNION ALL
  SELECT pg_catalog.format('column %I of %s is signed and has a default', c ->> 'name', d.relation),
         'A row that names no value there is stored with one that its owner did not sign, and refused. '
         'Drop the default, or name a value in every row.'
    FROM pg_catalog.jsonb_array_elements(rowseal._column_facts(d.relation)) c
   WHERE d.fields ? (c ->> 'name') AND (c ->> 'filled')::boolean
  UNION ALL
  SELECT pg_catalog.format('trigger %I on %s goes before the check', t.name, t.relation),
         'A row whose signed columns it changes is refused: its owner did not sign that.'
    FROM rowseal._early_triggers(d) t
$$;
COMMENT ON FUNCTION rowseal._remarks(rowseal.declarations) IS
  'What a declared table has that can make legitimate rows fail: declare warns of it';

CREATE OR REPLACE FUNCTION rowseal._lasting(facts jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT facts #- '{main,unique}' #- '{main,partitions}' #- '{versions,unique}' #- '{roles}'
$$;
COMMENT ON FUNCTION rowseal._lasting(jsonb) IS
  'Facts without indexes, partitions and names of roles, which may come and go';

CREATE OR REPLACE FUNCTION rowseal._underived_problem(d rowseal.declarations, "check" text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE "check"
    WHEN 'derived' THEN coalesce(
      'cannot be looked at: code of ' || rowseal._distrusted(d.relation),
      (SELECT pg_catalog.string_agg(DISTINCT u.problem, '; ') || ': undeclare and declare the tables anew'
         FROM rowseal._underived(d, false) u WHERE d.queries <> '{}' AND NOT rowseal._moved(d.names)))
    WHEN 'held' THEN
      (SELECT count(*) || ' held rows count, rowseal.retry() lets them in'
         FROM rowseal._counting(d.id) HAVING count(*) > 0)
    WHEN 'writers' THEN 'rows that have not arrived, by writer: '
      || (SELECT pg_catalog.string_agg(
                   pg_catalog.left(pg_catalog.encode(g.writer, 'hex'), 16) || ': ' || g.last - g.numbers, ', ')
            FROM rowseal._gaps(d.id) g WHERE g.last > g.numbers)
    WHEN 'walks' THEN 'links that revocations wait for, by writer: '
      || (SELECT pg_catalog.string_agg(
                   pg_catalog.left(pg_catalog.encode(w.writer, 'hex'), 16) || ': ' || w.links, ', ')
            FROM rowseal._waiting(d.id) w) END
$$;
COMMENT ON FUNCTION rowseal._underived_problem(rowseal.declarations, text) IS
  'What is wrong with what is derived from the rows of a grants table, by one check of health; NULL when nothing is';

CREATE OR REPLACE FUNCTION rowseal._writers_health(d rowseal.declarations)
RETURNS TABLE ("check" text, ok boolean, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  well record;
BEGIN
  -- it is the table that health() reads, which nobody has named: others look at theirs themselves
  IF d.grants AND pg_catalog.has_table_privilege(session_user, d.relation, 'SELECT')
      AND pg_catalog.has_table_privilege(d.relation, 'SELECT')
      AND NOT pg_catalog.row_security_active(d.relation) THEN
    FOR well IN VALUES ('derived', 'grants, walks and licences follow from signed rows'),
                       ('held', 'no row is held that counts'), ('writers', 'no numbers missing'),
                       ('walks', 'every revocation is walked to number 1') LOOP
      "check" := well.column1;
      BEGIN
        detail := rowseal._underived_problem(d, well.column1);
        ok := detail IS NULL;
        detail := coalesce(detail, well.column2);
      EXCEPTION WHEN OTHERS OR assert_failure THEN
        IF rowseal._passing(SQLSTATE) THEN
          RAISE;
        END IF;
        ok := false; detail := SQLERRM;
      END;
      RETURN NEXT;
    END LOOP;
  END IF;
  "check" := 'revocation';
  detail := CASE WHEN EXISTS (SELECT FROM rowseal._opened o WHERE o.relation = d.relation)
    THEN 'the table was closed, and does not follow yet what came in between: rowseal.retry() by its owner'
    ELSE rowseal._in_the_way(d) END;
  ok := detail IS NULL;
  detail := coalesce('a revoked writer''s rows could stay: ' || detail,
                     'nothing keeps the rows of a revoked writer');
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION rowseal._writers_health(rowseal.declarations) IS
  'Checks of health of a grants table, or a table with writers';

CREATE OR REPLACE FUNCTION rowseal._table_health(d rowseal.declarations)
RETURNS TABLE ("check" text, ok boolean, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  planned jsonb;
BEGIN
  "check" := 'triggers';
  SELECT pg_catalog.string_agg(pg_catalog.format('%s on %s is %s', t.name, t.relation, t.problem), '; ') INTO detail
    FROM rowseal._trigger_problems(d) t;
  ok := detail IS NULL; detail := coalesce(detail, 'all there, ENABLE ALWAYS');
  RETURN NEXT;

  "check" := 'structure';
  BEGIN
    planned := rowseal._planned(d);
    ok := rowseal._lasting(d.facts) = rowseal._lasting(planned -> 'facts') AND NOT rowseal._closed(d);
    detail := CASE WHEN ok THEN 'as declared: no late trigger, rule or child'
                   ELSE 'changed since the triggers were generated: undeclare and declare the table' END;
  EXCEPTION WHEN OTHERS OR assert_failure THEN  -- one broken declaration must not hide the others
    planned := NULL; ok := false; detail := SQLERRM;
  END;
  RETURN NEXT;

  IF d.grants OR d.writers IS NOT NULL THEN
    RETURN QUERY SELECT * FROM rowseal._writers_health(d);
  END IF;
  IF planned IS NULL THEN
    RETURN;
  END IF;
  "check" := 'functions';
  detail := rowseal._altered(d, planned);
  ok := detail IS NULL; detail := coalesce('missing or altered: ' || detail, 'as generated');
  RETURN NEXT;

  RETURN QUERY SELECT o."check", o.detail IS NULL, coalesce(o.detail, 'none in the way') FROM rowseal._obstacles(d) o;

  "check" := 'waiting';
  SELECT pg_catalog.format('%s of the rows that came while the table was closed wait: rowseal.retry() by its owner',
                           count(*))
    INTO detail FROM rowseal.quarantine q
   WHERE d.queries <> '{}' AND q.curable AND q.format <> 'raw' AND q.tag = d.tag AND q.sqlstate = 'RS007'
     AND rowseal._could_store(q.role, d.relation)
  HAVING count(*) > 0;
  ok := detail IS NULL; detail := coalesce(detail, 'no row that came while the table was closed');
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION rowseal._table_health(rowseal.declarations) IS 'Checks of health of one declared table';

CREATE OR REPLACE FUNCTION rowseal.health() RETURNS TABLE ("check" text, relation regclass, ok boolean, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations;
BEGIN
  RETURN QUERY SELECT h."check", NULL::pg_catalog.regclass, h.ok, h.detail FROM rowseal._server_health() h;
  FOR d IN SELECT * FROM rowseal.declarations ORDER BY 1 LOOP
    BEGIN
      IF EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = d.relation) THEN
        RETURN QUERY SELECT h."check", d.relation, h.ok, h.detail FROM rowseal._table_health(d) h;
      ELSE
        RETURN QUERY SELECT 'table', d.relation, false, 'the declared table is gone';
      END IF;
    EXCEPTION WHEN OTHERS OR assert_failure THEN  -- one table must not hide the others
      IF rowseal._passing(SQLSTATE) THEN
        RAISE;
      END IF;
      RETURN QUERY SELECT 'table', d.relation, false, SQLERRM;
    END;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal.health() IS
  'One row per check: provider, algorithms, event triggers, and for each declared table its triggers, structure, '
  'functions, rights, foreign keys. Not ok: rows may get in unchecked, or legitimate ones be kept out';

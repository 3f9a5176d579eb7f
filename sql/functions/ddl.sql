-- The declared tables change; their functions follow.  Both event triggers look a changed object up among the
-- declarations and do nothing for the tables of other people.

-- SECURITY DEFINER: it regenerates functions in plpython3u, whoever altered the table.  The caller is an event trigger
-- only.
CREATE OR REPLACE FUNCTION rowseal._refresh(d rowseal.declarations,
    renamed boolean) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  now_ jsonb := rowseal._known_facts(d);
  main jsonb;
  versions jsonb;
  gone text;
  partitions oid[];
BEGIN
  IF now_ = d.facts OR EXISTS (
      SELECT FROM rowseal._trigger_problems(d) t WHERE t.problem = 'missing' AND t.relation IN (d.relation, d.versions))
          THEN
    RETURN;  -- without its triggers the table is being restored, and they are to come; or health() tells
  END IF;
  IF NOT renamed AND EXISTS (SELECT FROM pg_catalog.jsonb_object_keys(d.fields) k
       WHERE k NOT IN (SELECT c ->> 'name' FROM pg_catalog.jsonb_array_elements(now_ #> '{main,columns}') c)) THEN
    RAISE WARNING USING MESSAGE = pg_catalog.format(
        'rowseal: rows of %s that were signed with the dropped column no longer verify', d.relation),
      HINT = 'rowseal.verify lists them; they cannot be exported to other servers any more.';
  END IF;
  IF renamed AND d.facts <> '{}' THEN
    -- {"old name": "new name"} of all columns, which stand in the same order as before
    SELECT pg_catalog.jsonb_object_agg(c.old ->> 'name', c.new_ ->> 'name') FILTER (WHERE t = 'main'),
           pg_catalog.jsonb_object_agg(c.old ->> 'name', c.new_ ->> 'name') FILTER (WHERE t = 'versions') INTO main,
               versions
      FROM pg_catalog.unnest('{main,versions}'::text[]) t, ROWS FROM (
        pg_catalog.jsonb_array_elements(d.facts #> ARRAY[t, 'columns']),
            pg_catalog.jsonb_array_elements(now_ #> ARRAY[t, 'columns'])) c(old, new_);
    d.owner := ARRAY(SELECT main ->> u.c FROM pg_catalog.unnest(d.owner) WITH ORDINALITY u(c, n) ORDER BY u.n);
    d.unsigned := ARRAY(SELECT main ->> c FROM pg_catalog.unnest(d.unsigned) c);
    d.public_key := main ->> d.public_key;
    d.timestamp_column := main ->> d.timestamp_column;
    d.deleted_column := main ->> d.deleted_column;
    d.signature_column := main ->> d.signature_column;
    d.parent_column := main ->> d.parent_column;
    d.name_column := main ->> d.name_column;
    d.digests := coalesce((SELECT pg_catalog.jsonb_object_agg(main ->> key, main ->> value)
        FROM pg_catalog.jsonb_each_text(d.digests)), '{}');
    d.healed := ARRAY(SELECT main ->> c FROM pg_catalog.unnest(d.healed) c);
    d.certificates := coalesce((SELECT pg_catalog.jsonb_object_agg(main ->> key, main ->> value)
        FROM pg_catalog.jsonb_each_text(d.certificates)), '{}');
    d.fields := (SELECT pg_catalog.jsonb_object_agg(main ->> key, value) FROM pg_catalog.jsonb_each_text(d.fields));
    d.version_columns := (SELECT pg_catalog.jsonb_object_agg(main ->> key, versions ->> value)
        FROM pg_catalog.jsonb_each_text(d.version_columns));
  END IF;
  BEGIN
    UPDATE rowseal.declarations x SET queries = NULL, owner = d.owner, public_key = d.public_key, unsigned = d.unsigned,
        timestamp_column = d.timestamp_column, deleted_column = d.deleted_column, signature_column = d.signature_column,
        parent_column = d.parent_column, name_column = d.name_column, digests = d.digests, healed = d.healed,
            certificates = d.certificates, fields = d.fields, version_columns = d.version_columns
     WHERE x.relation = d.relation;
  EXCEPTION WHEN SQLSTATE 'RS007' THEN
    -- A column that cannot be signed would let unsigned content in, and a late trigger change what was checked:
    -- refuse them.
    -- Anything else may be half of a change: the generated functions fail closed, and health() tells.
    IF d.facts <> '{}' AND (now_ #> '{main,columns}' <> d.facts #> '{main,columns}'
                            OR now_ #> '{main,late_triggers}' <> '[]' OR now_ #> '{main,rules}' <> '[]') THEN
      RAISE;
    END IF;
    RAISE WARNING USING MESSAGE = pg_catalog.format('rowseal: %s', SQLERRM),
        HINT = 'rowseal.health() shows what is wrong.';
    -- names may stand for other things now: nothing is read through the old queries
    UPDATE rowseal.declarations x SET queries = '{}', facts = '{}' WHERE x.relation = d.relation;
    RETURN;
  END;
  -- a partition that has left keeps no trigger of ours (the cloned ones went by themselves)
  FOR gone IN SELECT p FROM pg_catalog.jsonb_array_elements_text(d.facts #> '{main,partitions}') p
               WHERE NOT (now_ #> '{main,partitions}') ? p AND pg_catalog.to_regclass(p) IS NOT NULL LOOP
    EXECUTE pg_catalog.format('DROP TRIGGER IF EXISTS zzz_rowseal_keep_all ON %s', pg_catalog.to_regclass(gone));
  END LOOP;
  SELECT pg_catalog.array_agg(p::pg_catalog.regclass) INTO partitions
    FROM pg_catalog.jsonb_array_elements_text(now_ #> '{main,partitions}') p
        WHERE NOT (d.facts #> '{main,partitions}') ? p;
  IF partitions IS NOT NULL THEN  -- rowseal_ddl_retry verifies their rows, with the rights of who brings them
    PERFORM pg_catalog.set_config('rowseal.new_partitions', pg_catalog.format('%s %s', d.relation::oid, partitions),
        true);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._refresh(rowseal.declarations, boolean) IS
  'Regenerates what rests on catalog facts that have changed; renamed: a column was renamed';

-- SECURITY DEFINER: it calls _refresh, which nobody else may.
CREATE OR REPLACE FUNCTION rowseal._on_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c record;
  d rowseal.declarations;
  off text;
BEGIN
  IF TG_TAG IN ('CREATE EXTENSION', 'ALTER EXTENSION')
      AND EXISTS (SELECT FROM pg_catalog.pg_event_trigger_ddl_commands() x WHERE NOT x.in_extension) THEN
    PERFORM rowseal._bind();
  END IF;
  FOR c IN
    SELECT DISTINCT x.classid, x.object_type, CASE x.classid
             WHEN 'pg_catalog.pg_trigger'::pg_catalog.regclass
                 THEN (SELECT g.tgrelid FROM pg_catalog.pg_trigger g WHERE g.oid = x.objid)
             WHEN 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                 THEN (SELECT r.ev_class FROM pg_catalog.pg_rewrite r WHERE r.oid = x.objid)
             ELSE x.objid END AS objid
      FROM pg_catalog.pg_event_trigger_ddl_commands() x
     WHERE x.classid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_trigger'::pg_catalog.regclass,
                         'pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass,
                         'pg_catalog.pg_namespace'::pg_catalog.regclass)
  LOOP
    FOR d IN
      SELECT * FROM rowseal.declarations x
       WHERE CASE WHEN tg_tag IN ('ALTER TYPE', 'ALTER DOMAIN', 'ALTER SCHEMA') THEN true
                  ELSE c.objid IN (x.relation, x.versions, x.identity, x.writers)
                       OR x.relation IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(c.objid) a) END
         AND EXISTS (SELECT FROM pg_catalog.pg_class r WHERE r.oid = x.relation)
       ORDER BY x.identity IS NULL DESC  -- the others rest on them
    LOOP
      IF c.classid IN ('pg_catalog.pg_trigger'::pg_catalog.regclass, 'pg_catalog.pg_rewrite'::pg_catalog.regclass) THEN
        SELECT coalesce(f #>> '{late_triggers,0}', f #>> '{rules,0}',
                        (SELECT t.name FROM rowseal._trigger_problems(d) t
                            WHERE t.problem = 'not the one installed' LIMIT 1))
          INTO off FROM rowseal._facts(c.objid) f;
        IF off IS NOT NULL THEN
          RAISE EXCEPTION USING ERRCODE = 'RS007',
            MESSAGE = pg_catalog.format(
              '%s on declared table %s could change or divert a row after rowseal has checked it',
              off, c.objid::pg_catalog.regclass),
            HINT = 'A trigger may change rows before the check: give it a name that sorts before zzz_rowseal_guard. '
                || 'Rules are not possible.';
        END IF;
        -- OR REPLACE, by whoever may create triggers, makes an ordinary one of ours: links would not fire it
        IF tg_tag = 'CREATE TRIGGER' THEN
          FOR off IN SELECT pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.relation, t.name)
                       FROM rowseal._trigger_problems(d) t WHERE t.problem = 'not ENABLE ALWAYS' LOOP
            EXECUTE off;
          END LOOP;
        END IF;
      END IF;
      PERFORM rowseal._refresh(d, c.object_type = 'table column');
      IF c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass THEN
        SELECT pg_catalog.string_agg(g.tgname, ', ') INTO off FROM pg_catalog.pg_trigger g
         WHERE g.tgrelid = c.objid AND pg_catalog.starts_with(g.tgname::text, 'zzz_rowseal_') AND g.tgenabled <> 'A';
        IF off IS NOT NULL AND tg_tag = 'ALTER TABLE' THEN
          RAISE WARNING USING MESSAGE = pg_catalog.format(
              'rowseal: %s on %s is not ENABLE ALWAYS, rows can enter unchecked', off, c.objid::pg_catalog.regclass),
            HINT = 'ALTER TABLE … ENABLE ALWAYS TRIGGER …; then rowseal.verify the table.';
        END IF;
      END IF;
    END LOOP;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._on_ddl() IS
  'Keeps generated functions in step with declared tables; refuses what would let unsigned content in';

-- SECURITY DEFINER: the declaration of a dropped table is nobody's any more.
CREATE OR REPLACE FUNCTION rowseal._on_drop() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone record;
  needs regclass;
  d rowseal.declarations;
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() x WHERE x.object_type = 'extension'
      AND x.object_identity = 'pgsodium') THEN
    PERFORM rowseal._bind();
  END IF;
  FOR gone IN SELECT x.objid, x.object_identity FROM pg_catalog.pg_event_trigger_dropped_objects() x
      WHERE x.object_type = 'table' LOOP
    DELETE FROM rowseal.declarations x WHERE x.relation = gone.objid;
  END LOOP;
  FOR gone IN SELECT x.objid, x.object_identity FROM pg_catalog.pg_event_trigger_dropped_objects() x
      WHERE x.object_type = 'table' LOOP
    -- a table of the same name would be taken for the one that is gone
    SELECT x.relation INTO needs FROM rowseal.declarations x JOIN pg_catalog.pg_trigger g ON g.tgrelid = x.relation
        AND g.tgname = 'zzz_rowseal_guard'
     WHERE gone.objid IN (x.versions, x.identity, x.writers);
    IF FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'RS007',
          MESSAGE = pg_catalog.format('declared table %s needs %s', needs, gone.object_identity),
        HINT = 'rowseal.undeclare it first, or drop both in one command.';
    END IF;
    FOR d IN SELECT * FROM rowseal.declarations x WHERE x.facts #> '{main,partitions}' ? gone.object_identity LOOP
      PERFORM rowseal._refresh(d, false);
    END LOOP;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._on_drop() IS 'Forgets the declaration of a dropped table';

-- Not SECURITY DEFINER: reading a table runs code of its owner, and rows are let in with the rights of who added their
-- column.
CREATE OR REPLACE FUNCTION rowseal._on_ddl_retry() RETURNS event_trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET max_parallel_workers_per_gather = 0 AS $$
DECLARE
  fresh text := pg_catalog.current_setting('rowseal.new_partitions', true);
  waiting text;
  bad record;
BEGIN
  IF fresh <> '' THEN
    PERFORM pg_catalog.set_config('rowseal.new_partitions', '', true);
    EXECUTE pg_catalog.format('SELECT * FROM (%s) x WHERE problem IS NOT NULL LIMIT 1',
        (SELECT x.queries ->> 'verify' FROM rowseal.declarations x
            WHERE x.relation = pg_catalog.split_part(fresh, ' ', 1)::oid))
      INTO bad USING pg_catalog.split_part(fresh, ' ', 2)::oid[];
    IF bad.problem IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = (bad.problem).sqlstate,
        MESSAGE = pg_catalog.format('the new partition of %s holds a row that cannot stay: %s',
          pg_catalog.split_part(fresh, ' ', 1)::oid::pg_catalog.regclass, (bad.problem).reason),
        DETAIL = pg_catalog.format('Key %s.', bad.key), HINT = 'Remove or repair it first.';
    END IF;
    PERFORM rowseal._enter_rows(x, p::regclass, false)
       FROM rowseal.declarations x, pg_catalog.unnest(pg_catalog.split_part(fresh, ' ', 2)::oid[]) p
      WHERE x.relation = pg_catalog.split_part(fresh, ' ', 1)::oid AND (x.grants OR x.writers IS NOT NULL);
  END IF;
  FOR waiting IN
    SELECT DISTINCT d.tag FROM pg_catalog.pg_event_trigger_ddl_commands() x
      JOIN rowseal.declarations d ON x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
          AND x.objid IN (d.relation, d.versions)
     WHERE EXISTS (SELECT FROM rowseal.quarantine q WHERE q.curable AND q.tag = d.tag AND q.sqlstate = 'RS015')
  LOOP
    PERFORM rowseal._retry(NULL, waiting);
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._on_ddl_retry() IS
  'Verifies the rows of new partitions; tries rows again that waited for a column';

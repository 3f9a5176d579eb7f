-- What happens when a row of rowseal.declarations comes, changes or goes: it is completed, and what it describes is
-- installed or taken off.  Row security there asks for ownership of the table; these triggers do what needs more.

CREATE OR REPLACE FUNCTION rowseal._owns(relation regclass) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT pg_catalog.pg_has_role(current_user, c.relowner, 'USAGE')
                     FROM pg_catalog.pg_class c WHERE c.oid = relation), false)
$$;
COMMENT ON FUNCTION rowseal._owns(regclass) IS 'Whether the current user owns the table, directly or through a role';

CREATE OR REPLACE FUNCTION rowseal._owner_of(relation regclass) RETURNS name LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c WHERE c.oid = relation),
                  (SELECT t.owner FROM rowseal.tags t WHERE t.relation = $1 LIMIT 1))
$$;
COMMENT ON FUNCTION rowseal._owner_of(regclass) IS
  'The owner of a table; of a declared one that is being dropped, who owned it';

CREATE OR REPLACE FUNCTION rowseal._unless_refused(decided jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF decided ? 'refused' THEN
    RAISE EXCEPTION USING
      ERRCODE = decided #>> '{refused,sqlstate}', MESSAGE = decided #>> '{refused,message}',
      HINT = decided #>> '{refused,hint}';
  END IF;
  RETURN decided;
END
$$;
COMMENT ON FUNCTION rowseal._unless_refused(jsonb) IS
  'What the Python package has decided; an error (RS007) where that is a refusal';

CREATE OR REPLACE FUNCTION rowseal._planned(d rowseal.declarations) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
DECLARE
  known CONSTANT jsonb := rowseal._known_facts(d);
  planned jsonb;
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.unnest(ARRAY[d.versions, d.identity, d.writers]) x
              WHERE x IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = x)) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
        MESSAGE = pg_catalog.format('the versions, identity or grants table of %s is gone', d.relation),
      HINT = 'rowseal.undeclare the table and declare it anew.';
  END IF;
  planned := rowseal._plan(
    pg_catalog.to_jsonb(d) - '{facts,numbers,queries,names,spec,manifest}'::text[] || pg_catalog.jsonb_build_object(
      'identity_label', d.identity::text,
      'grants_table', (
        SELECT pg_catalog.jsonb_build_object('id', g.id, 'grants', coalesce(g.grants, false), 'identity', g.identity,
                                             'label', d.writers::text)
          FROM (SELECT) one LEFT JOIN rowseal.declarations g ON g.relation = d.writers
         WHERE d.writers IS NOT NULL)),
    known -> 'main', nullif(known -> 'versions', 'null'), nullif(known -> 'identity', 'null'))
    || pg_catalog.jsonb_build_object('facts', known);
  RETURN rowseal._unless_refused(planned);
END
$$;
COMMENT ON FUNCTION rowseal._planned(rowseal.declarations) IS
  'The completed declaration, its statements, and the facts that they rest on; raises RS007 for a wrong one';

CREATE OR REPLACE FUNCTION rowseal._table_owners(d rowseal.declarations) RETURNS SETOF oid LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT DISTINCT c.relowner FROM pg_catalog.pg_class c
   WHERE c.oid = d.versions OR c.oid IN (SELECT rowseal._tree(d.relation))
$$;
COMMENT ON FUNCTION rowseal._table_owners(rowseal.declarations) IS
  'The owners of a declared table, its partitions and its versions table';

CREATE OR REPLACE FUNCTION rowseal._identity_facts(identity regclass) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.jsonb_build_object(
           'facts', f || '{"unique": [], "partitions": {}, "computed": [], "late_triggers": [], "rules": [],
                           "whose": {"table": null, "types": {}, "versions": null}}'
             || pg_catalog.jsonb_build_object(
                  'oids', (f -> 'oids') - 'types', 'columns', u.columns,
                  'kinds', (SELECT coalesce(pg_catalog.jsonb_object_agg(k.name, k.kind), '{}')
                              FROM pg_catalog.jsonb_each(f -> 'kinds') k(name, kind)
                             WHERE pg_catalog.jsonb_path_exists(
                                     u.columns, '$[*] ? (@.kind == $name)',
                                     pg_catalog.jsonb_build_object('name', k.name)))),
           'id', i.id, 'owner', i.owner, 'public_key', i.public_key, 'algorithms', i.algorithms)
    FROM rowseal.declarations i, rowseal._facts(i.relation) f,
         LATERAL (SELECT pg_catalog.jsonb_path_query_array(
                    f, '$.columns[*] ? (@.name == $names[*])',
                    pg_catalog.jsonb_build_object('names', i.owner || i.public_key))) u(columns)
   WHERE i.relation = _identity_facts.identity
     -- nor has another column come under one of these names, which its own declaration does not follow
     AND (i.numbers -> 'installation' IS DISTINCT FROM (SELECT pg_catalog.to_jsonb(x.id) FROM rowseal.installation x)
          OR NOT EXISTS (
            SELECT FROM pg_catalog.unnest(i.owner || i.public_key) c JOIN pg_catalog.pg_attribute a
                ON a.attrelid = i.relation AND a.attname = c
             WHERE pg_catalog.to_jsonb(a.attnum) IS DISTINCT FROM i.numbers #> ARRAY['main', 'columns', c]))
$$;
COMMENT ON FUNCTION rowseal._identity_facts(regclass) IS
  'The facts of an identity table that others rest on: what else it has is no concern of theirs. NULL while its own '
  'declaration does not follow what has become of these columns';

CREATE OR REPLACE FUNCTION rowseal._numbers_of(relation oid) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.jsonb_build_object('relation', relation::bigint, 'columns', (
           SELECT coalesce(pg_catalog.jsonb_object_agg(a.attname, a.attnum), '{}') FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped), 'files', (
           SELECT pg_catalog.md5(pg_catalog.string_agg(c.relfilenode::text, ' ' ORDER BY c.oid))
             FROM rowseal._tree(relation) t JOIN pg_catalog.pg_class c ON c.oid = t))
   WHERE relation IS NOT NULL
$$;
COMMENT ON FUNCTION rowseal._numbers_of(oid) IS
  'The number of a table, those of its columns by name, and those of its files in one: whether it has been rewritten';

CREATE OR REPLACE FUNCTION rowseal._numbers(d rowseal.declarations) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.jsonb_build_object(
    'installation', (SELECT i.id FROM rowseal.installation i),
    'main', rowseal._numbers_of(d.relation), 'versions', rowseal._numbers_of(d.versions))
$$;
COMMENT ON FUNCTION rowseal._numbers(rowseal.declarations) IS
  'What rowseal.declarations.numbers has to be by now';

CREATE OR REPLACE FUNCTION rowseal._known_facts(d rowseal.declarations) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.jsonb_build_object(
    'main', rowseal._facts(d.relation),
    'versions', CASE WHEN d.versions IS NOT NULL THEN rowseal._facts(d.versions) END,
    'identity', rowseal._identity_facts(d.identity),
    'installation', (SELECT i.id FROM rowseal.installation i),
    'roles', (SELECT pg_catalog.jsonb_agg(r.rolname ORDER BY r.rolname) FROM pg_catalog.pg_roles r
               WHERE r.oid IN (SELECT rowseal._table_owners(d))))
$$;
COMMENT ON FUNCTION rowseal._known_facts(rowseal.declarations) IS
  'The facts that a declaration rests on, as they are now';

-- IMMUTABLE, for a declaration never gets other tables: functions that are fired for each row plan with the number.
-- An error, for a plan would keep a NULL.
CREATE OR REPLACE FUNCTION rowseal._table_of(id integer, versions boolean) RETURNS oid LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.id = id;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'this transaction does not see the declaration of the table';
  END IF;
  RETURN CASE WHEN versions THEN d.versions ELSE d.relation END;
END
$$;
COMMENT ON FUNCTION rowseal._table_of(integer, boolean) IS 'The table of a declaration, or its versions table';

CREATE OR REPLACE FUNCTION rowseal._unreachable(d rowseal.declarations) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.string_agg(DISTINCT n.nspname, ', ')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE c.oid IN (d.relation, d.versions)
     AND NOT pg_catalog.has_schema_privilege('rowseal_internal', n.oid, 'USAGE')
     AND pg_catalog.jsonb_path_exists(d.manifest, '$.functions[*] ? (@.definer == true)')
$$;
COMMENT ON FUNCTION rowseal._unreachable(rowseal.declarations) IS
  'Schemas of a declared table that rowseal_internal, who owns the triggers of the feed and the ledger, may not use';

CREATE OR REPLACE FUNCTION rowseal._free_number() RETURNS integer LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  number integer;
BEGIN
  LOOP  -- the sequence goes round
    number := pg_catalog.nextval('rowseal.declarations_id_seq');
    EXIT WHEN NOT EXISTS (SELECT FROM rowseal.declarations d WHERE d.id = number)
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.proname = '_retired_' || number
                             AND p.pronamespace = 'rowseal'::pg_catalog.regnamespace);
  END LOOP;
  RETURN number;
END
$$;
COMMENT ON FUNCTION rowseal._free_number() IS 'A number that no declaration and no retired function has';

CREATE OR REPLACE FUNCTION rowseal._may_take_tag(d rowseal.declarations) RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  claimed record;
BEGIN
  SELECT t.relation, c.relowner INTO claimed
    FROM rowseal.tags t JOIN pg_catalog.pg_class c ON c.oid = t.relation
   WHERE t.tag = d.tag AND t.relation <> d.relation;
  IF FOUND AND NOT (SELECT pg_catalog.pg_has_role(c.relowner, claimed.relowner, 'USAGE')
                      FROM pg_catalog.pg_class c WHERE c.oid = d.relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008',
      MESSAGE = pg_catalog.format('no right to tag %L: it was that of %s, of %s', d.tag, claimed.relation,
                                  claimed.relowner::pg_catalog.regrole),
      HINT = 'Choose another one with tag => …. A tag is free when its table is dropped.';
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._may_take_tag(rowseal.declarations) IS
  'Whether the owner of a table may have its tag (else RS008): who has it can read, and discard, what waits for it, '
  'and gets what is sent to it. While the table is there that had it last, declared or not, only its owner may';

CREATE OR REPLACE FUNCTION rowseal._acts_as(who oid, role text) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(pg_catalog.pg_has_role(who, pg_catalog.to_regrole(pg_catalog.quote_ident(role)), 'USAGE'), false)
$$;
COMMENT ON FUNCTION rowseal._acts_as(oid, text) IS 'Whether a role has the rights of another one, which may be gone';

CREATE OR REPLACE FUNCTION rowseal._may_have(carrier text, owner oid) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT rowseal._acts_as(owner, carrier)
      OR pg_catalog.pg_has_role(owner, 'rowseal_trusted', 'USAGE')
$$;
COMMENT ON FUNCTION rowseal._may_have(text, oid) IS
  'Whether what a role brought for a table that was not declared yet is for the table of this owner';

-- BEFORE INSERT OR UPDATE.  Whatever the caller wrote there, what is derived is derived here.
CREATE OR REPLACE FUNCTION rowseal._complete_declaration() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  named regclass;
  planned jsonb;
BEGIN
  -- a superuser's complete row is one that pg_restore puts back, before the tables have their keys
  IF NEW.queries IS NOT NULL AND (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user) THEN
    IF TG_OP = 'INSERT' THEN  -- numbers of another database, or of another time
      NEW.facts := (NEW.facts - 'installation')
                || CASE NEW.queries WHEN '{}' THEN '{"closed": true}' ELSE '{}' END::jsonb;
      NEW.numbers := NEW.numbers - 'installation';
    END IF;
    RETURN NEW;
  END IF;
  PERFORM rowseal._sees_all('rowseal.declare');
  IF TG_OP = 'INSERT' THEN
    NEW.id := rowseal._free_number();
    PERFORM rowseal._may_take_tag(NEW);
    NEW.fields := NULL;
    -- none of them is dropped before this shows to whoever drops it
    FOR named IN SELECT c.oid::pg_catalog.regclass FROM pg_catalog.pg_class c
                  WHERE c.oid IN (NEW.relation, NEW.versions, NEW.identity, NEW.writers)
                    AND c.relkind IN ('r', 'p') ORDER BY c.oid LOOP
      EXECUTE pg_catalog.format('LOCK TABLE %s IN ACCESS SHARE MODE', named);
    END LOOP;
  END IF;
  IF NEW.versions = NEW.relation OR EXISTS (
      SELECT FROM rowseal.declarations d WHERE d.relation <> NEW.relation
         AND (d.relation = NEW.versions OR d.versions IN (NEW.relation, nullif(NEW.versions, 0)))) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('%s or its versions table %s has another part already', NEW.relation, NEW.versions),
      HINT = 'A table is either declared or the versions table of one declared table. rowseal.declarations shows all.';
  END IF;
  NEW.generation := coalesce(NEW.generation, 0) + 1;
  planned := rowseal._planned(NEW);
  NEW := pg_catalog.jsonb_populate_record(NEW, planned -> 'declaration');
  NEW.facts := planned -> 'facts';
  NEW.numbers := rowseal._numbers(NEW);
  -- where it has just come to be: a restore gives rights last
  IF (TG_OP = 'INSERT' OR ARRAY[OLD.facts #> '{main,qualified}', OLD.facts #> '{versions,qualified}']
                       <> ARRAY[NEW.facts #> '{main,qualified}', NEW.facts #> '{versions,qualified}'])
     AND rowseal._unreachable(NEW) IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('the feed or ledger of %s is out of reach: rowseal_internal may not use schema %s',
                                  NEW.relation, rowseal._unreachable(NEW)),
      HINT = 'GRANT USAGE ON SCHEMA … TO rowseal_internal; its triggers run as that role.';
  END IF;
  RETURN NEW;
END
$$;

-- Called by _install alone, with its rights.
CREATE OR REPLACE FUNCTION rowseal._take_tag(d rowseal.declarations) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO rowseal.tags
    SELECT d.tag, r.rolname, c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
     WHERE c.oid = d.relation
    ON CONFLICT (tag) DO UPDATE SET owner = EXCLUDED.owner, relation = EXCLUDED.relation
$$;
COMMENT ON FUNCTION rowseal._take_tag(rowseal.declarations) IS 'Notes the table with this tag, and who owns it';

-- Called by _install alone, with its rights.  It inserts nothing: pg_restore -j can follow DDL before it has the tags.
CREATE OR REPLACE FUNCTION rowseal._keep_tag(d rowseal.declarations) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $$
  UPDATE rowseal.tags t SET owner = rowseal._owner_of(t.relation)  -- of a tag that the table had before, too
   WHERE t.relation = d.relation AND t.owner <> rowseal._owner_of(t.relation)
$$;
COMMENT ON FUNCTION rowseal._keep_tag(rowseal.declarations) IS 'Notes who owns the table of these tags now';

-- Called by _install alone, with its rights.
CREATE OR REPLACE FUNCTION rowseal._disown(d rowseal.declarations) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM rowseal.tags t JOIN pg_catalog.pg_class c ON c.oid = d.relation
              -- while it is there: see _may_take_tag
              WHERE t.tag = d.tag AND NOT EXISTS (SELECT FROM pg_catalog.pg_class x WHERE x.oid = t.relation)
                AND NOT rowseal._acts_as(c.relowner, t.owner)) THEN
    UPDATE rowseal.quarantine q SET sqlstate = e.sqlstate, curable = true, waits_for = NULL,
           reason = CASE e.sqlstate WHEN 'RS007' THEN 'no table is declared with this tag'
                                    ELSE 'no grant for this writer' END
      FROM (SELECT x.id,  -- what was for a table of the same grants table is for this one
                   CASE WHEN EXISTS (
                     SELECT FROM rowseal._authority a JOIN rowseal._writer_rows r ON r.authority = a.id
                      WHERE a.grants = rowseal._grants_id(d.grants, d.id, d.writers) AND r.held = x.id)
                   THEN 'RS010' ELSE 'RS007' END AS sqlstate
              FROM rowseal.quarantine x WHERE x.tag = d.tag
               FOR UPDATE OF x SKIP LOCKED) e  -- who brings one again just now may stay open
     WHERE q.id = e.id;
    DELETE FROM rowseal._dead_rows x WHERE x.tag = d.tag;
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal._disown(rowseal.declarations) IS
  'What waits for a table of somebody else that is gone was not sent to whoever takes its tag: it waits as if no table '
  'had had it (see _may_have)';

-- Called by _install and _uninstall, with their rights.
CREATE OR REPLACE FUNCTION rowseal._retire(function_ regprocedure) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p pg_catalog.pg_proc;
  retired text;
  role text;
BEGIN
  -- To drop what strangers hung on it (a view, a default) would wait for whoever uses that, and need a lock for each.
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_depend x
                  WHERE x.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND x.refobjid = function_) THEN
    EXECUTE pg_catalog.format('DROP FUNCTION %s', function_);
    RETURN;
  END IF;
  SELECT * INTO p FROM pg_catalog.pg_proc x WHERE x.oid = function_;
  retired := '_retired_' || rowseal._free_number();
  EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', function_, retired);
  EXECUTE pg_catalog.format(
    'CREATE OR REPLACE FUNCTION rowseal.%I(%s) RETURNS %s LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS %L',
    retired, pg_catalog.pg_get_function_arguments(function_), pg_catalog.pg_get_function_result(function_),
    pg_catalog.format(
      'BEGIN RAISE EXCEPTION USING ERRCODE = ''RS007'', MESSAGE = %L, HINT = %L; END',
      pg_catalog.format('rowseal.%I is retired: its table was undeclared, dropped or altered', p.proname),
      'Drop what calls it: it was not made to be called by users.'));
  -- it keeps no role from being dropped
  FOR role IN SELECT a.grantee::pg_catalog.regrole::text FROM pg_catalog.aclexplode(p.proacl) a
               WHERE a.grantee NOT IN (0, p.proowner) LOOP
    EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM %s', function_, role);
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._retire(regprocedure) IS
  'Drops a generated function; where something depends on it, it is renamed and raises an error (RS007) from now on';

-- Called by _install alone, with its rights.
CREATE OR REPLACE FUNCTION rowseal._uninstall(d rowseal.declarations) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  functions CONSTANT oid[] := ARRAY(
    SELECT p.oid FROM pg_catalog.jsonb_array_elements(d.manifest -> 'functions') f
      JOIN pg_catalog.pg_proc p ON p.proname = f ->> 'name' AND p.pronamespace = 'rowseal'::pg_catalog.regnamespace);
  trigger_ record;
BEGIN
  FOR trigger_ IN
    SELECT DISTINCT g.tgname, g.tgrelid::pg_catalog.regclass AS relation
      FROM rowseal._wanted_triggers(d) w
      JOIN pg_catalog.pg_trigger g ON g.tgrelid = w.relation
                                  AND (g.tgname = w.name OR g.tgfoid = ANY (functions))  -- it may have been renamed
     WHERE g.tgparentid = 0
  LOOP
    EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', trigger_.tgname, trigger_.relation);
  END LOOP;
  PERFORM rowseal._leave_alone(d);
  PERFORM rowseal._retire(f) FROM pg_catalog.unnest(functions) f;
  IF d.grants THEN
    PERFORM rowseal._forget_writers(d);
  END IF;
  -- tables of the same owner stand in the way before: see undeclare and _on_drop_refuse
  PERFORM rowseal._refresh_others(y.x, pg_catalog.format('the %s table is not declared any more',
                                                       CASE WHEN d.grants THEN 'grants' ELSE 'identity' END),
                                  first => y.turn = 1)
    FROM (SELECT x, pg_catalog.row_number() OVER (PARTITION BY c.relowner ORDER BY x.id) AS turn
            FROM rowseal.declarations x JOIN pg_catalog.pg_class c ON c.oid = x.relation
           WHERE d.relation IN (x.identity, x.writers) ORDER BY turn, x.id) y;
  DELETE FROM rowseal.shapes s WHERE s.relation = d.relation;
  DELETE FROM rowseal._opened o WHERE o.relation = d.relation;
END
$$;
COMMENT ON FUNCTION rowseal._uninstall(rowseal.declarations) IS
  'Drops what the manifest of a declaration lists, and what was read for it; closes the tables that rest on it';

-- Called by _uninstall and event triggers, with their rights.
CREATE OR REPLACE FUNCTION rowseal._close(d rowseal.declarations, reason text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET backtrace_functions = rowseal AS $$
DECLARE
  verdict text := pg_catalog.format('ROW(''RS007'', %L)::rowseal.verdict', reason);
  door record;
BEGIN
  FOR door IN
    SELECT g.name || d.id AS name, '' AS arguments, 'trigger' AS returns, pg_catalog.format(
             'PERFORM rowseal._refuse(TG_RELID, %s, %s, NULL, NULL, NEW); RETURN NULL', d.relation::oid, verdict)
             AS statements
      FROM (VALUES (d.relation, '_guard_'), (d.versions, '_guard_versions_')) g(relation, name)
     WHERE g.relation IS NOT NULL
    UNION ALL
    VALUES ('_apply_' || d.id, 'rows json[], format text', 'text[]', pg_catalog.format(
             'RETURN pg_catalog.array_fill((%s)::text, ARRAY[pg_catalog.cardinality($1)])', verdict)),
           ('_take_' || d.id, 'envelope json', 'text', pg_catalog.format('RETURN (%s)::text', verdict)),
           -- and a guard that is waiting, for what it rests on to be locked, ends there
           ('_moved_' || d.id, 'generation integer', 'rowseal.verdict', pg_catalog.format('RETURN %s', verdict))
    UNION ALL  -- no trigger of the table runs as somebody else any more; what a guard let in before that is undone
    SELECT f ->> 'name', '', 'trigger', pg_catalog.format(
             'IF TG_OP <> ''DELETE'' AND pg_catalog.current_setting(''session_replication_role'') <> ''replica'' THEN '
             'RAISE EXCEPTION USING ERRCODE = ''RS007'', MESSAGE = %L, HINT = rowseal._hint(''RS007''); END IF; '
             'RETURN NULL', reason)
      FROM pg_catalog.jsonb_array_elements(d.manifest -> 'functions') f WHERE (f ->> 'definer')::boolean
  LOOP
    EXECUTE pg_catalog.format('CREATE OR REPLACE FUNCTION rowseal.%I(%s) RETURNS %s LANGUAGE plpgsql '
                              'SET search_path = pg_catalog, pg_temp AS %L',
                              door.name, door.arguments, door.returns, 'BEGIN ' || door.statements || '; END');
  END LOOP;
  -- nothing is read through the old queries either
  UPDATE rowseal.declarations x SET queries = '{}' WHERE x.relation = d.relation;
  RAISE WARNING USING MESSAGE = pg_catalog.format('rowseal: %s takes no more rows: %s', d.relation, reason),
    HINT = 'rowseal.health() shows what is wrong.';
END
$$;
COMMENT ON FUNCTION rowseal._close(rowseal.declarations, text) IS
  'A table that no longer is as its guards know it, or rests on one that is gone, takes no more rows until it is in '
  'order, or declared anew: what its guards name may be something else by now';

CREATE OR REPLACE FUNCTION rowseal._misgranted(d rowseal.declarations)
RETURNS TABLE (name text, role text, wanted boolean) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  -- Everybody may call what guards, apply and take call.  Functions of triggers are for owners alone: who clones a
  -- trigger to a partition, or restores one, needs EXECUTE.  Elsewhere nobody has a use for them.
  SELECT f.name, CASE WHEN r.oid = 0 THEN 'PUBLIC' ELSE r.oid::pg_catalog.regrole::text END, r.oid = ANY (f.wanted)
    FROM (
      SELECT p.proname::text,
             CASE WHEN p.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype
               THEN ARRAY(SELECT rowseal._table_owners(d)) ELSE '{0}' END,
             ARRAY(SELECT a.grantee FROM pg_catalog.aclexplode(
                     coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a WHERE a.grantee <> p.proowner)
        FROM pg_catalog.jsonb_array_elements(d.manifest -> 'functions') m
        JOIN pg_catalog.pg_proc p ON p.proname = m ->> 'name'
                                 AND p.pronamespace = 'rowseal'::pg_catalog.regnamespace) f(name, wanted, granted),
         LATERAL (SELECT pg_catalog.unnest(f.wanted) UNION SELECT pg_catalog.unnest(f.granted)) r(oid)
   WHERE r.oid = ANY (f.wanted) <> (r.oid = ANY (f.granted))
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles s WHERE s.oid = r.oid AND s.rolsuper)  -- they need no right
$$;
COMMENT ON FUNCTION rowseal._misgranted(rowseal.declarations) IS
  'Of generated functions: roles that may execute one and should not (wanted: false), or should and may not';

-- AFTER INSERT, so after row security has decided whose they are.  SECURITY DEFINER, owner rowseal_internal: nobody
-- else deletes there.
CREATE OR REPLACE FUNCTION rowseal._remove() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM rowseal._removals;  -- those of this statement: no others are committed
  DELETE FROM rowseal.quarantine q USING (
    SELECT x.id FROM rowseal.quarantine x JOIN named n ON x.id = n.entry
       FOR UPDATE OF x SKIP LOCKED) e  -- whoever brings one again just now may stay open
   WHERE q.id = e.id;
  DELETE FROM rowseal.declarations d USING named n WHERE d.relation = n.relation;
  DELETE FROM rowseal._opened o USING named n WHERE o.relation = n.opened;
  RETURN NULL;
END
$$;

-- AFTER ROW, so after row security has decided.  SECURITY DEFINER: functions in plpython3u and in the schema rowseal
-- are the superuser's to create.  It runs nothing of the table's owner: CREATE FUNCTION and CREATE TRIGGER only.
CREATE OR REPLACE FUNCTION rowseal._install() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET client_min_messages = warning
SET backtrace_functions = rowseal SET rowseal.spent = '0' AS $$
DECLARE
  planned jsonb;
  statement text;
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM rowseal._keep_tag(OLD);
    PERFORM rowseal._uninstall(OLD);
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' AND NEW.grants THEN
    PERFORM rowseal._make_locks(NEW.id);
  END IF;
  IF TG_OP = 'INSERT' AND pg_catalog.to_regprocedure(pg_catalog.format('rowseal._guard_%s()', NEW.id)) IS NOT NULL THEN
    PERFORM rowseal._refresh(NEW, false);  -- restored: functions know numbers of another database
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    PERFORM rowseal._disown(NEW);
    PERFORM rowseal._take_tag(NEW);
    PERFORM rowseal._recall_dead(NEW) WHERE NEW.grants;
  END IF;
  PERFORM rowseal._keep_tag(NEW);  -- its owner may have changed
  IF NEW.queries = '{}' THEN
    RETURN NULL;  -- closed: see ddl.sql
  END IF;
  planned := rowseal._planned(NEW);
  PERFORM rowseal._retire(p.oid)
    FROM pg_catalog.jsonb_array_elements(planned #> '{declaration,manifest,functions}') f
    JOIN pg_catalog.pg_proc p ON p.proname = f ->> 'name' AND p.pronamespace = 'rowseal'::pg_catalog.regnamespace
   WHERE pg_catalog.pg_get_function_arguments(p.oid) <> f ->> 'arguments';
  FOR statement IN SELECT * FROM pg_catalog.jsonb_array_elements_text(planned -> 'functions') LOOP
    EXECUTE statement;
  END LOOP;
  -- triggers that are there already are left alone: to make one locks its table
  IF TG_OP = 'INSERT' OR OLD.manifest -> 'made_by' IS DISTINCT FROM planned -> 'triggers'
     OR EXISTS (SELECT FROM rowseal._trigger_problems(OLD)) THEN
    FOR statement IN SELECT * FROM pg_catalog.jsonb_array_elements_text(planned -> 'triggers') LOOP
      EXECUTE statement;
    END LOOP;
  END IF;
  FOR statement IN
    SELECT pg_catalog.format(CASE WHEN m.wanted THEN 'GRANT EXECUTE ON FUNCTION rowseal.%I TO %s'
                                  ELSE 'REVOKE EXECUTE ON FUNCTION rowseal.%I FROM %s' END, m.name, m.role)
      FROM rowseal._misgranted(NEW) m
  LOOP
    EXECUTE statement;
  END LOOP;
  -- what has been made, as the catalogs show it: health() compares
  UPDATE rowseal.declarations d SET manifest = d.manifest || pg_catalog.jsonb_build_object(
      'made_by', planned -> 'triggers',
      'triggers', (
        SELECT pg_catalog.jsonb_agg(
                 t || pg_catalog.jsonb_build_object('definition', pg_catalog.pg_get_triggerdef(g.oid)) ORDER BY n)
          FROM pg_catalog.jsonb_array_elements(d.manifest -> 'triggers') WITH ORDINALITY x(t, n)
          JOIN pg_catalog.pg_trigger g ON g.tgrelid = (t ->> 'table')::pg_catalog.regclass AND g.tgname = t ->> 'name'))
   WHERE d.id = NEW.id;
  RETURN NULL;
END
$$;

-- What is stored: payload, verify, export.  All run with the rights of who asks.

CREATE OR REPLACE FUNCTION rowseal._declaration(relation regclass) RETURNS rowseal.declarations LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.relation = _declaration.relation;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('table %s is not declared', coalesce(relation::text, 'NULL')),
      HINT = 'SELECT rowseal.declare(…) first; rowseal.declarations lists the declared tables.';
  END IF;
  IF d.queries = '{}' OR rowseal._moved(d.names) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('table %s is no longer as it was declared', relation),
      HINT = 'rowseal.health() shows what is wrong; put it right, or undeclare the table.';
  END IF;
  RETURN d;
END
$$;
COMMENT ON FUNCTION rowseal._declaration(regclass) IS
  'The declaration of a table; RS007 when there is none, or when what its queries name is not what it was';

-- ONLY: each by itself, of a view not what is under it.
CREATE OR REPLACE FUNCTION rowseal._pin(tables regclass[]) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  names CONSTANT text[] := tables::text[];
BEGIN
  EXECUTE pg_catalog.format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE', pg_catalog.array_to_string(names, ', ONLY '));
  RETURN tables = ARRAY(SELECT pg_catalog.to_regclass(n) FROM pg_catalog.unnest(names) n);
EXCEPTION WHEN undefined_table OR invalid_schema_name THEN
  RETURN false;
END
$$;
COMMENT ON FUNCTION rowseal._pin(regclass[]) IS
  'Locks tables until the end of the transaction, so that their names lead to them; false where one has just been '
  'renamed';

-- Whoever waits for a table has looked at its name before; what stands there by then may be a stranger's.
CREATE OR REPLACE FUNCTION rowseal._pinned(relation regclass, cards boolean DEFAULT false)
RETURNS rowseal.declarations LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d rowseal.declarations;
BEGIN
  FOR attempt IN 1 .. 3 LOOP
    d := rowseal._declaration(relation);
    IF rowseal._pin(pg_catalog.array_remove(ARRAY[d.relation, d.versions, CASE WHEN cards THEN d.identity END],
                                               NULL)) THEN
      RETURN rowseal._declaration(relation);
    END IF;
  END LOOP;
  RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = pg_catalog.format('table %s is being renamed', relation),
    HINT = 'Try it again.';
END
$$;
COMMENT ON FUNCTION rowseal._pinned(regclass, boolean) IS
  'The declaration of a table whose queries may be executed until the end of the transaction: what they read (cards: '
  'the identity table, too) is locked. Errors as of _declaration, 42501 no right to read it, 40001';

CREATE OR REPLACE FUNCTION rowseal._query(d rowseal.declarations, name text) RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF d.queries = '{}' OR NOT EXISTS (SELECT FROM rowseal.declarations x WHERE x.id = d.id AND x.queries <> '{}') THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007', HINT = rowseal._hint('RS007'),
      MESSAGE = pg_catalog.format('table %s is no longer as it was declared', d.relation);
  ELSIF rowseal._moved(d.names) THEN
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = pg_catalog.format(
      'a table or type that %s rests on has been altered meanwhile', d.relation), HINT = 'Try it again.';
  END IF;
  RETURN d.queries ->> name;
END
$$;
COMMENT ON FUNCTION rowseal._query(rowseal.declarations, text) IS
  'A query that is kept with a declaration, to be executed at once: what has been read of it before a wait may name '
  'something else by now (40001)';

CREATE OR REPLACE FUNCTION rowseal.payload(relation regclass, "row" jsonb) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._declaration(relation);
  unknown text;
  result text;
  verdict rowseal.verdict;
BEGIN
  SELECT pg_catalog.min(k) INTO unknown FROM pg_catalog.jsonb_object_keys("row") k
   WHERE NOT (d.spec -> 'fields') ? k AND k <> d.signature_column AND k <> ALL (d.unsigned);
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS015',
      MESSAGE = pg_catalog.format('no column for field %L in table %s', unknown, relation),
      HINT = pg_catalog.format('Its fields are %s.', (SELECT pg_catalog.string_agg(k, ', ')
                                                        FROM pg_catalog.jsonb_object_keys(d.spec -> 'fields') k));
  END IF;
  EXECUTE d.queries ->> 'payload' INTO result USING "row";
  IF pg_catalog.starts_with(result, '(') THEN
    verdict := result::rowseal.verdict;
    RAISE EXCEPTION USING ERRCODE = verdict.sqlstate, HINT = rowseal._hint(verdict.sqlstate),
      MESSAGE = pg_catalog.format('%s, in table %s', verdict.reason, relation);
  END IF;
  RETURN CASE WHEN d.form = 'concatenated' THEN pg_catalog.substr(result, 2) ELSE result END;  -- after "="
END
$$;
COMMENT ON FUNCTION rowseal.payload(regclass, jsonb) IS
$$The canonical text of a row: its UTF-8 bytes are what the owner signs (form rowseal/1, unless declared with another
form). row: an object of fields, values as in the canonical form or as to_jsonb shows them (bytea: base64 or \x hex).
Errors: RS006 no canonical form, RS007 not declared, RS015 unknown field.$$;

CREATE OR REPLACE FUNCTION rowseal._wrong_rows(relation regclass)
RETURNS TABLE (key jsonb, sign bytea, sqlstate text, problem text) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1
SET jit = off SET min_parallel_table_scan_size = '256kB'  -- to check a page costs far more than the planner thinks
AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._pinned(_wrong_rows.relation, cards => true);
  workers text := pg_catalog.current_setting('max_parallel_workers_per_gather');
BEGIN
  IF NOT rowseal._load(true) THEN  -- there is pgsodium alone, which a parallel worker cannot reach
    PERFORM pg_catalog.set_config('max_parallel_workers_per_gather', '0', true);
  END IF;
  RETURN QUERY EXECUTE pg_catalog.format($q$
    SELECT key, sign, (problem).sqlstate, (problem).reason FROM (%s) x
     WHERE problem IS NOT NULL $q$, d.queries ->> 'verify') USING NULL::pg_catalog.oid[];
  PERFORM pg_catalog.set_config('max_parallel_workers_per_gather', workers, true);
END
$$;
COMMENT ON FUNCTION rowseal._wrong_rows(regclass) IS 'Checks every stored row and version again; returns what is wrong';

CREATE OR REPLACE FUNCTION rowseal.verify(relation regclass)
RETURNS TABLE (key jsonb, sign bytea, sqlstate text, problem text) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._declaration(verify.relation);
BEGIN
  RETURN QUERY SELECT * FROM rowseal._wrong_rows(verify.relation);
  IF (d.grants OR d.writers IS NOT NULL)
     AND NOT pg_catalog.row_security_active(coalesce(d.writers, d.relation)) THEN  -- else some grants are hidden
    RETURN QUERY
      SELECT rowseal._owner_object(ARRAY(SELECT pg_catalog.jsonb_array_elements_text(g.spec -> 'owner')), u.owner),
             NULL::bytea, u.sqlstate, u.problem
        FROM rowseal._declaration(coalesce(d.writers, d.relation)) g, LATERAL (
          SELECT x.owner, 'RS020' AS sqlstate, x.problem FROM rowseal._underived(g, d.grants) x
          UNION ALL
          SELECT c.owner, c.sqlstate, 'a row is held that counts, rowseal.retry() lets it in'
            FROM rowseal._counting(g.id) c) u;
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal.verify(regclass) IS
  'Checks every stored row and version again: signature, form, fingerprint, certificates, order. Returns what is '
  'wrong; nothing when all is well';

CREATE OR REPLACE FUNCTION rowseal.source(relation regclass)
RETURNS TABLE (function regproc, triggers text[], definition text) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._declaration(source.relation);
BEGIN
  RETURN QUERY
    SELECT p.oid::regproc, g.triggers, pg_catalog.pg_get_functiondef(p.oid)
      FROM pg_catalog.pg_proc p,
           LATERAL (SELECT pg_catalog.array_agg(pg_catalog.format('%I on %s', t.tgname, t.tgrelid::regclass)
                                                ORDER BY t.tgrelid <> d.relation, t.tgname) AS triggers
                      FROM pg_catalog.pg_trigger t
                     WHERE t.tgfoid = p.oid AND t.tgrelid IN (d.relation, d.versions)) g
     WHERE p.pronamespace = 'rowseal'::regnamespace
       AND (g.triggers IS NOT NULL OR p.proname IN (
             SELECT f ->> 'name' FROM pg_catalog.jsonb_array_elements(d.manifest -> 'functions') f))
     ORDER BY g.triggers IS NULL, p.proname NOT LIKE '\_guard\_%', p.proname;
END
$$;
COMMENT ON FUNCTION rowseal.source(regclass) IS
  'The functions that guard a declared table and serve it, as they are in the database, and the triggers that call '
  'them: the guard first, which decides on every row';

CREATE OR REPLACE FUNCTION rowseal.export(relation regclass, owner jsonb DEFAULT NULL)
RETURNS SETOF json LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._pinned(relation);
BEGIN
  -- OFFSET: an envelope is made once, though it is asked about
  RETURN QUERY EXECUTE pg_catalog.format('SELECT envelope FROM (%s OFFSET 0) x WHERE envelope IS NOT NULL',
    d.queries ->> CASE WHEN owner IS NULL THEN 'envelopes' ELSE 'envelopes_owner' END) USING owner;
  IF d.grants OR d.writers IS NOT NULL THEN
    RETURN QUERY SELECT h FROM rowseal._held_envelopes(d.tag) h
                  WHERE owner IS NULL OR rowseal._owner_text(d.spec, h)
                                         = rowseal._owner_text(d.spec, rowseal.payload(relation, owner)::json);
  END IF;
END
$$;
COMMENT ON FUNCTION rowseal.export(regclass, jsonb) IS
  'All versions of a table, or of one owner ({"user_hash": …}), as envelopes, and what is held of writers whom a grant '
  'names: a walk may lead through it. Give them to rowseal.apply on any server. Left out are rows without canonical '
  'form, which came past the guard: rowseal.verify lists them';

CREATE OR REPLACE FUNCTION rowseal._versions_of(relation regclass, keys jsonb)
RETURNS SETOF json LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  query text := (rowseal._pinned(relation)).queries ->> 'versions';
  key jsonb;
BEGIN
  FOR key IN SELECT * FROM pg_catalog.jsonb_array_elements(keys) LOOP
    RETURN QUERY EXECUTE pg_catalog.format($q$
        SELECT rowseal._envelope(payload, sign, content) FROM (%s) x WHERE NOT pg_catalog.starts_with(payload, '(') $q$,
      query) USING key;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._versions_of(regclass, jsonb) IS 'All versions of some keys as envelopes';

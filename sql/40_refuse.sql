-- PL/pgSQL also where SQL would do: PostgreSQL before 18 plans a function in SQL again for every query that calls it.
--
-- Refusals: an error in an ordinary session; where an error would stop the rows behind, an entry in the quarantine.

CREATE FUNCTION rowseal._hint(sqlstate text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE sqlstate
    WHEN 'RS001' THEN 'Sign rowseal.payload(table, row) with the owner''s key; every column in it must be stored as signed.'
    WHEN 'RS002' THEN 'Store the owner''s row in the identity table first.'
    WHEN 'RS003' THEN 'A row with another key, owner or public key is another row: insert it.'
    WHEN 'RS004' THEN 'Write a signed row with the deletion flag set; rowseal.prune removes old versions.'
    WHEN 'RS005' THEN 'The owner must be derived from the public key, and certificates signed with it, as the declaration says.'
    WHEN 'RS006' THEN 'See the type table in docs/specification.md.'
    WHEN 'RS009' THEN 'Insert the new version; what is stored never changes.'
    WHEN 'RS010' THEN 'The owner, or somebody whom he let, has to sign a grant for this key: rowseal.allow.'
    WHEN 'RS011' THEN 'rowseal.writers shows what the writer may write; a wider grant has to be signed.'
    WHEN 'RS012' THEN 'The writer has been revoked: rows after the frontier never count, rows before it wait for the links between.'
    WHEN 'RS013' THEN 'writer_pkey, writer_seq (1, 2, …) and writer_prev (the link of the row before; none for 1) go together; see docs/writers.md.'
    WHEN 'RS014' THEN 'For the server''s Python: ed25519 needs python3-nacl (Debian: apt install python3-nacl) or CREATE EXTENSION pgsodium; '
      || 'ML-DSA needs the package cryptography, 47 or later (README, Install).'
    WHEN 'RS017' THEN 'GRANT rowseal_trusted to the owner of the table, or let the owner call rowseal.retry().'
    WHEN 'RS015' THEN 'Add the column to the table; rows that wait for it follow by themselves.'
  END
$$;
COMMENT ON FUNCTION rowseal._hint(text) IS 'What to do about a refusal';

CREATE FUNCTION rowseal._subscription() RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known text := pg_catalog.current_setting('rowseal.subscription', true);
BEGIN
  IF pg_catalog.current_setting('session_replication_role') <> 'replica' THEN
    RETURN NULL;  -- anybody can set a setting, but not this one
  ELSIF coalesce(known, '') = '' THEN
    known := pg_catalog.set_config('rowseal.subscription', (
      SELECT s.subname FROM pg_catalog.pg_stat_get_subscription(NULL) g
        JOIN pg_catalog.pg_stat_subscription s ON s.subid = g.subid AND s.pid = g.pid
       WHERE g.pid = pg_catalog.pg_backend_pid()), false);
  END IF;
  RETURN nullif(known, '');
END
$$;
COMMENT ON FUNCTION rowseal._subscription() IS 'The subscription whose worker this backend is, else NULL';

CREATE FUNCTION rowseal._owner_text(spec jsonb, envelope jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN pg_catalog.jsonb_array_length(spec -> 'owner') = 1 THEN envelope -> 'row' ->> (spec #>> '{owner,0}')
              ELSE (SELECT pg_catalog.jsonb_agg(envelope -> 'row' -> f ORDER BY n)::text
                      FROM pg_catalog.jsonb_array_elements_text(spec -> 'owner') WITH ORDINALITY x(f, n)) END
$$;
COMMENT ON FUNCTION rowseal._owner_text(jsonb, jsonb) IS 'The owner of an envelope of a declaration with this spec: its canonical value, or a JSON array of several';

-- SECURITY DEFINER, owner rowseal_internal: rows are refused with the rights of whoever brought them, and nobody else
-- may write the quarantine, or see of it what is not his.
CREATE FUNCTION rowseal._quarantine(tag text, verdict text, format text, row_ jsonb, waits_for text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  entry record;
  most rowseal.quarantine_limits;
  source text := rowseal._subscription();
  size bigint := 0;
  admin boolean := pg_catalog.pg_has_role(session_user, 'rowseal_admin', 'USAGE');
  surplus record;
BEGIN
  SELECT * INTO most FROM rowseal.quarantine_limits;
  size := pg_catalog.octet_length(row_::text);
  IF size > most.bytes THEN
    RAISE program_limit_exceeded;
  END IF;
  INSERT INTO rowseal.quarantine AS q (tag, sqlstate, reason, curable, waits_for, role, subscription, application_name, format, row, bytes, hash)
    VALUES (tag, pg_catalog.left(verdict, 5), pg_catalog.substr(verdict, 7),
            rowseal._curable(verdict), waits_for,
            session_user, source, pg_catalog.current_setting('application_name'), format, row_,
            pg_catalog.octet_length(row_::text),
            pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.jsonb_build_array(tag, format, row_)::text, 'UTF8')))
    ON CONFLICT (hash) DO UPDATE SET attempts = q.attempts + 1, last_seen = pg_catalog.clock_timestamp(),
      -- everybody can call this: only who entered a row, or an administrator, changes what is said of it
      sqlstate = CASE WHEN q.role = session_user OR admin THEN EXCLUDED.sqlstate ELSE q.sqlstate END,
      reason = CASE WHEN q.role = session_user OR admin THEN EXCLUDED.reason ELSE q.reason END,
      curable = CASE WHEN q.role = session_user OR admin THEN EXCLUDED.curable ELSE q.curable END,
      waits_for = CASE WHEN q.role = session_user OR admin THEN EXCLUDED.waits_for ELSE q.waits_for END
    RETURNING q.id, q.bytes, q.attempts INTO entry;
  IF pg_catalog.left(verdict, 5) IN ('RS010', 'RS011', 'RS012') AND format = 'canonical' THEN
    PERFORM rowseal._held(entry.id, tag, row_);
  END IF;
  -- counting costs, so only now and then; at random, so that nobody can wait for it to be over
  IF pg_catalog.random() * greatest(1, most.rows / 100) >= 1 AND entry.bytes < most.bytes / 100 THEN
    RETURN;
  END IF;
  WITH kept AS (
    SELECT q.id, pg_catalog.row_number() OVER w AS n, pg_catalog.sum(q.bytes) OVER w AS total
      FROM rowseal.quarantine q WHERE q.role = session_user AND q.subscription IS NOT DISTINCT FROM source AND NOT q.kept
    WINDOW w AS (ORDER BY q.curable DESC, q.id DESC)
  ), gone AS (
    DELETE FROM rowseal.quarantine q USING kept k WHERE q.id = k.id AND (k.n > most.rows OR k.total > most.bytes) RETURNING q.bytes
  ) SELECT count(*) AS rows, pg_catalog.sum(bytes) AS bytes INTO surplus FROM gone;
  IF surplus.rows > 0 THEN
    INSERT INTO rowseal.quarantine_dropped AS x (role, subscription, rows, bytes, last)
      VALUES (session_user, coalesce(source, ''), surplus.rows, surplus.bytes, pg_catalog.clock_timestamp())
      ON CONFLICT (role, subscription) DO UPDATE SET rows = x.rows + EXCLUDED.rows, bytes = x.bytes + EXCLUDED.bytes, last = EXCLUDED.last;
  END IF;
EXCEPTION WHEN program_limit_exceeded THEN  -- too large to keep, or even to print: counted, at least
  INSERT INTO rowseal.quarantine_dropped AS x (role, subscription, rows, bytes, last)
    VALUES (session_user, coalesce(source, ''), 1, size, pg_catalog.clock_timestamp())
    ON CONFLICT (role, subscription) DO UPDATE SET rows = x.rows + 1, bytes = x.bytes + size, last = EXCLUDED.last;
END
$$;
COMMENT ON FUNCTION rowseal._quarantine(text, text, text, jsonb, text) IS
  'Keeps a refused row with reason and source; when its source has too many, the oldest incurable ones go first, and are counted';

CREATE FUNCTION rowseal._waits_for(d rowseal.declarations, verdict text, format text, element jsonb) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_catalog.left(verdict, 5) NOT IN ('RS002', 'RS010', 'RS011', 'RS012') THEN
    RETURN NULL;
  END IF;
  IF format <> 'canonical' THEN
    element := rowseal.payload(d.relation, element);
  END IF;
  IF pg_catalog.left(verdict, 5) <> 'RS002' THEN
    RETURN (SELECT rowseal._writer_text(g.id, rowseal._owner_text(d.spec, element),
                                        pg_catalog.decode(element #>> '{row,writer_pkey}', 'base64'))
              FROM rowseal.declarations g WHERE g.relation = CASE WHEN d.grants THEN d.relation ELSE d.writers END);
  END IF;
  RETURN (SELECT i.tag || ' ' || rowseal._owner_text(d.spec, element)
            FROM rowseal.declarations i WHERE i.relation = d.identity);
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;  -- a row without canonical form
END
$$;
COMMENT ON FUNCTION rowseal._waits_for(rowseal.declarations, text, text, jsonb) IS 'Which owner a row waits for, or grants of which writer';

CREATE FUNCTION rowseal._curable(verdict text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN pg_catalog.left(verdict, 5) IN ('RS002', 'RS007', 'RS010', 'RS011', 'RS012', 'RS014', 'RS015', 'RS017')
      OR (verdict LIKE '42%' AND verdict NOT LIKE '42601%');  -- a syntax error is one of a value: tsvector, jsonpath
END
$$;
COMMENT ON FUNCTION rowseal._curable(text) IS 'Whether something other than the row stood in its way: an owner, a grant, a table, a column, a library, a right';

CREATE FUNCTION rowseal._content(fields text[], contents bytea[]) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.jsonb_object_agg(f, pg_catalog.replace(pg_catalog.encode(c, 'base64'), E'\n', ''))
    FROM ROWS FROM (pg_catalog.unnest(fields), pg_catalog.unnest(contents)) x(f, c) WHERE c IS NOT NULL
$$;
COMMENT ON FUNCTION rowseal._content(text[], bytea[]) IS 'The contents of columns signed by digest, in base64; NULL when there are none';

CREATE FUNCTION rowseal._envelope(payload text, signature bytea, content jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT payload::jsonb || pg_catalog.jsonb_build_object('sign_b64', pg_catalog.replace(pg_catalog.encode(signature, 'base64'), E'\n', ''))
      || CASE WHEN content IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('content', content) END
$$;
COMMENT ON FUNCTION rowseal._envelope(text, bytea, jsonb) IS
  'A signed row as portable JSON: {"row": …, "rowseal": 1, "table": …, "sign_b64": …}, with "content" of what is signed by digest';

-- Called by the guards.  In apply the outcome goes to the caller; in a replication worker the row into quarantine.
CREATE FUNCTION rowseal._refuse(relation regclass, main regclass, verdict text, key jsonb, payload text, signature bytea, raw record,
  content jsonb DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
DECLARE
  d rowseal.declarations;
  envelope jsonb;
BEGIN
  IF pg_catalog.current_setting('rowseal.mode', true) = 'apply' THEN
    PERFORM pg_catalog.set_config('rowseal.outcome', verdict, true);
    RETURN;
  END IF;
  IF pg_catalog.current_setting('session_replication_role') = 'replica' THEN
    SELECT * INTO d FROM rowseal.declarations x WHERE x.relation = main;
    IF signature IS NULL OR pg_catalog.left(payload, 1) <> '{' THEN
      PERFORM rowseal._quarantine(d.tag, verdict, 'raw', pg_catalog.to_jsonb(raw));
    ELSE
      envelope := rowseal._envelope(payload, signature, content);
      IF pg_catalog.left(verdict, 5) = 'RS002' THEN  -- who brings the owner now, waits and finds it
        PERFORM rowseal._lock_owner(rowseal._waits_for(d, verdict, 'canonical', envelope), false);
      END IF;
      IF pg_catalog.left(verdict, 5) IN ('RS010', 'RS011', 'RS012') THEN
        PERFORM rowseal._hold(d, verdict, envelope, rowseal._waits_for(d, verdict, 'canonical', envelope));
        RETURN;
      END IF;
      PERFORM rowseal._quarantine(d.tag, verdict, 'canonical', envelope, rowseal._waits_for(d, verdict, 'canonical', envelope));
    END IF;
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = pg_catalog.left(verdict, 5),
    MESSAGE = pg_catalog.format('%s, in table %s, key %s', pg_catalog.substr(verdict, 7), relation, key),
    HINT = rowseal._hint(pg_catalog.left(verdict, 5)),
    SCHEMA = (SELECT c.relnamespace::pg_catalog.regnamespace::text FROM pg_catalog.pg_class c WHERE c.oid = relation),
    TABLE = (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = relation);
END
$$;
COMMENT ON FUNCTION rowseal._refuse(regclass, regclass, text, jsonb, text, bytea, record, jsonb) IS 'Refuses a row: raises, reports to apply, or quarantines it';

CREATE FUNCTION rowseal._refuse_delete(relation oid, operation text, row_ jsonb) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
  schema_ text;
  table_ text;
  key jsonb;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x
   WHERE relation IN (x.relation, x.versions)
      OR x.relation IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(relation) a);
  IF row_ IS NOT NULL THEN
    IF pg_catalog.current_setting('session_replication_role') = 'replica' THEN
      PERFORM rowseal._quarantine(d.tag, 'RS004 DELETE is refused', 'raw', row_);
      RETURN;
    END IF;
    SELECT pg_catalog.jsonb_object_agg(k, row_ -> CASE WHEN relation = d.versions THEN d.version_columns ->> k ELSE k END) INTO key
      FROM pg_catalog.unnest(d.key) k;
  END IF;
  SELECT n.nspname, c.relname INTO schema_, table_
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
  RAISE EXCEPTION USING ERRCODE = 'RS004', HINT = rowseal._hint('RS004'), SCHEMA = schema_, TABLE = table_,
    MESSAGE = pg_catalog.format('%s is refused, in table %I.%I', operation, schema_, table_) || coalesce(', key ' || key::text, '');
END
$$;
COMMENT ON FUNCTION rowseal._refuse_delete(oid, text, jsonb) IS 'Refuses a DELETE (with its row) or a TRUNCATE; under replication it notes it in the quarantine';

CREATE FUNCTION rowseal._keep() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM rowseal._refuse_delete(TG_RELID, TG_OP, CASE WHEN TG_LEVEL = 'ROW' THEN pg_catalog.to_jsonb(OLD) END);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._keep() IS 'Refuses DELETE and TRUNCATE; a replicated DELETE is skipped and noted';

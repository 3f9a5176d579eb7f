-- Refusals: an error in an ordinary session; where an error would stop the rows behind it, an entry in the quarantine.
--
-- PL/pgSQL also where SQL would do: PostgreSQL before 18 plans a function in SQL again for every query that calls it.

CREATE OR REPLACE FUNCTION rowseal._hint(sqlstate text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE sqlstate
    WHEN 'RS001' THEN 'Sign rowseal.payload(table, row) with the owner''s key; '
                   || 'every column in it must be stored as signed.'
    WHEN 'RS002' THEN 'Store the owner''s row in the identity table first.'
    WHEN 'RS003' THEN 'A row with another key, owner or public key is another row: insert it.'
    WHEN 'RS004' THEN 'Write a signed row with the deletion flag set; rowseal.prune removes old versions.'
    WHEN 'RS005' THEN 'The owner must be derived from the public key, and certificates signed with it, '
                   || 'as the declaration says.'
    WHEN 'RS006' THEN 'See the type table in docs/specification.md.'
    WHEN 'RS007' THEN 'rowseal.health() shows what is wrong; undeclare the table and declare it anew.'
    WHEN 'RS009' THEN 'Insert the new version; what is stored never changes.'
    WHEN 'RS010' THEN 'The owner, or somebody whom he let, has to sign a grant for this key: rowseal.allow.'
    WHEN 'RS011' THEN 'rowseal.writers shows what the writer may write; a wider grant has to be signed.'
    WHEN 'RS012' THEN 'The writer has been revoked: rows after the frontier never count, '
                   || 'rows before it wait for the links between.'
    WHEN 'RS013' THEN 'writer_pkey, writer_seq (1, 2, …) and writer_prev (the link of the row before; none for 1) '
                   || 'go together; see docs/writers.md.'
    WHEN 'RS014' THEN 'For the server''s Python: ed25519 needs python3-nacl (Debian: apt install python3-nacl) '
                   || 'or CREATE EXTENSION pgsodium; '
                   || 'ML-DSA needs the package cryptography, 47 or later (README, Install).'
    WHEN 'RS015' THEN 'Add the column to the table; rows that wait for it follow by themselves.'
    WHEN '42501' THEN 'A writer needs policies that show him the rows which he writes.'
    WHEN 'RS017' THEN 'GRANT rowseal_trusted to the role whose code it is, '
                   || 'or let the owner of the table call rowseal.retry().'
    WHEN 'RS019' THEN 'rowseal.health() shows which trigger is not ENABLE ALWAYS; switch it on, verify the table, '
                   || 'then call rowseal.retry().'
  END
$$;
COMMENT ON FUNCTION rowseal._hint(text) IS 'What to do about a refusal';

CREATE OR REPLACE FUNCTION rowseal._hidden(seen boolean) RETURNS rowseal.verdict LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT seen THEN
    RETURN ROW('42501', 'row security hides the current version from UPDATE')::rowseal.verdict;
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._hidden(boolean) IS
  'The verdict where an UPDATE changed nothing, and the row is not to be seen for UPDATE either';

-- Called by the guards.  In apply the outcome goes to the caller; in a replication worker the row into quarantine.
CREATE OR REPLACE FUNCTION rowseal._refuse(
  relation regclass, main regclass, verdict rowseal.verdict, key jsonb, payload text, signature bytea, raw record,
  content json DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
DECLARE
  d rowseal.declarations;
BEGIN
  IF pg_catalog.current_setting('rowseal.mode', true) = 'apply' THEN
    PERFORM pg_catalog.set_config('rowseal.outcome', verdict::text, true);
    RETURN;
  END IF;
  IF pg_catalog.current_setting('session_replication_role') = 'replica' THEN
    IF verdict.sqlstate = 'RS002' AND rowseal._flooded(1, pg_catalog.octet_length(payload)) THEN
      RETURN;
    END IF;
    SELECT * INTO d FROM rowseal.declarations x WHERE x.relation = main;
    IF signature IS NULL OR pg_catalog.starts_with(payload, '(') THEN  -- it has no canonical form
      PERFORM rowseal._quarantine(d.tag, verdict, 'raw', pg_catalog.row_to_json(raw));
      RETURN;
    END IF;
    PERFORM rowseal._set_aside(d, verdict::text, 'canonical', rowseal._envelope(payload, signature, content));
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = verdict.sqlstate, HINT = rowseal._hint(verdict.sqlstate),
    MESSAGE = pg_catalog.format('%s, in table %s, key %s', verdict.reason, relation, key),
    SCHEMA = (SELECT c.relnamespace::pg_catalog.regnamespace::text FROM pg_catalog.pg_class c WHERE c.oid = relation),
    TABLE = (SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid = relation);
END
$$;
COMMENT ON FUNCTION rowseal._refuse(regclass, regclass, rowseal.verdict, jsonb, text, bytea, record, json) IS
  'Refuses a row: raises, reports to apply, or quarantines it';

CREATE OR REPLACE FUNCTION rowseal._refuse_delete(relation oid, operation text, row_ json)
RETURNS void LANGUAGE plpgsql
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
      PERFORM rowseal._quarantine(d.tag, ROW('RS004', 'DELETE is refused')::rowseal.verdict, 'raw', row_);
      RETURN;
    END IF;
    SELECT pg_catalog.jsonb_object_agg(
             k, row_ -> CASE WHEN relation = d.versions THEN d.version_columns ->> k ELSE k END)
      INTO key FROM pg_catalog.unnest(d.key) k;
  END IF;
  SELECT * INTO schema_, table_ FROM rowseal._name(relation);
  RAISE EXCEPTION USING ERRCODE = 'RS004', HINT = rowseal._hint('RS004'), SCHEMA = schema_, TABLE = table_,
    MESSAGE = pg_catalog.format('%s is refused, in table %I.%I', operation, schema_, table_)
           || coalesce(', key ' || key::text, '');
END
$$;
COMMENT ON FUNCTION rowseal._refuse_delete(oid, text, json) IS
  'Refuses a DELETE (with its row) or a TRUNCATE; under replication it notes it in the quarantine';

CREATE OR REPLACE FUNCTION rowseal._keep() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM rowseal._refuse_delete(TG_RELID, TG_OP, CASE WHEN TG_LEVEL = 'ROW' THEN pg_catalog.row_to_json(OLD) END);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._keep() IS 'Refuses DELETE and TRUNCATE; a replicated DELETE is skipped and noted';

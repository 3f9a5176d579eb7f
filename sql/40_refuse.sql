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
    WHEN 'RS014' THEN 'Install python3-nacl for the server''s Python (Debian: apt install python3-nacl), or CREATE EXTENSION pgsodium.'
    WHEN 'RS015' THEN 'Add the column to the table; rows that wait for it follow by themselves.'
  END
$$;
COMMENT ON FUNCTION rowseal._hint(text) IS 'What to do about a refusal';

CREATE FUNCTION rowseal._subscription() RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.subname FROM pg_catalog.pg_stat_get_subscription(NULL) g
    JOIN pg_catalog.pg_stat_subscription s ON s.subid = g.subid AND s.pid = g.pid
   WHERE g.pid = pg_catalog.pg_backend_pid()
$$;
COMMENT ON FUNCTION rowseal._subscription() IS 'The subscription whose worker this backend is, else NULL';

-- SECURITY DEFINER, owner rowseal_internal: rows are refused with the rights of whoever brought them, and only
-- administrators may read what others were refused.
CREATE FUNCTION rowseal._quarantine(tag text, verdict text, format text, row_ jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO rowseal.quarantine AS q (tag, sqlstate, reason, curable, role, subscription, application_name, format, row, bytes, hash)
    VALUES (tag, pg_catalog.left(verdict, 5), pg_catalog.substr(verdict, 7),
            pg_catalog.left(verdict, 5) IN ('RS002', 'RS007', 'RS014', 'RS015'),
            session_user, rowseal._subscription(), pg_catalog.current_setting('application_name'), format, row_,
            pg_catalog.octet_length(row_::text),
            pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.jsonb_build_array(tag, row_)::text, 'UTF8')))
    ON CONFLICT (hash) DO UPDATE SET attempts = q.attempts + 1, last_seen = pg_catalog.clock_timestamp(),
      sqlstate = EXCLUDED.sqlstate, reason = EXCLUDED.reason, curable = EXCLUDED.curable;
END
$$;
COMMENT ON FUNCTION rowseal._quarantine(text, text, text, jsonb) IS 'Keeps a refused row with reason and source';

CREATE FUNCTION rowseal._envelope(payload text, signature bytea) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT payload::jsonb || pg_catalog.jsonb_build_object('sign_b64',
    pg_catalog.translate(pg_catalog.encode(signature, 'base64'), E'\n', ''))
$$;
COMMENT ON FUNCTION rowseal._envelope(text, bytea) IS 'A signed row as portable JSON: {"row": …, "rowseal": 1, "table": …, "sign_b64": …}';

-- Called by the guards.  In apply the outcome goes to the caller; in a replication worker the row into quarantine.
CREATE FUNCTION rowseal._refuse(relation regclass, main regclass, verdict text, key jsonb, payload text, signature bytea, raw record)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
DECLARE
  tag text;
BEGIN
  IF pg_catalog.current_setting('rowseal.mode', true) = 'apply' THEN
    PERFORM pg_catalog.set_config('rowseal.outcome', verdict, true);
    RETURN;
  END IF;
  IF pg_catalog.current_setting('session_replication_role') = 'replica' THEN
    SELECT d.tag INTO tag FROM rowseal.declarations d WHERE d.relation = main;
    IF signature IS NULL OR pg_catalog.left(payload, 1) <> '{' THEN
      PERFORM rowseal._quarantine(tag, verdict, 'raw', pg_catalog.to_jsonb(raw));
    ELSE
      PERFORM rowseal._quarantine(tag, verdict, 'canonical', rowseal._envelope(payload, signature));
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
COMMENT ON FUNCTION rowseal._refuse(regclass, regclass, text, jsonb, text, bytea, record) IS 'Refuses a row: raises, reports to apply, or quarantines it';

CREATE FUNCTION rowseal._keep() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d rowseal.declarations;
  key jsonb;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x
   WHERE TG_RELID IN (x.relation, x.versions)
      OR x.relation IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(TG_RELID) a);
  IF TG_LEVEL = 'ROW' AND pg_catalog.current_setting('session_replication_role') = 'replica' THEN
    PERFORM rowseal._quarantine(d.tag, 'RS004 DELETE is refused', 'raw', pg_catalog.to_jsonb(OLD));
    RETURN NULL;
  END IF;
  IF TG_LEVEL = 'ROW' THEN
    SELECT pg_catalog.jsonb_object_agg(k, pg_catalog.to_jsonb(OLD) -> coalesce(d.version_columns ->> k, k)) INTO key
      FROM pg_catalog.unnest(d.key) k;
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'RS004', HINT = rowseal._hint('RS004'), SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
    MESSAGE = pg_catalog.format('%s is refused, in table %I.%I', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME) || coalesce(', key ' || key::text, '');
END
$$;
COMMENT ON FUNCTION rowseal._keep() IS 'Refuses DELETE and TRUNCATE; a replicated DELETE is skipped and noted';

-- What is stored: payload, verify, digest, history, heads.  All run with the rights of who asks.

CREATE FUNCTION rowseal._declaration(relation regclass) RETURNS rowseal.declarations LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.relation = _declaration.relation;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('table %s is not declared', coalesce(relation::text, 'NULL')),
      HINT = 'SELECT rowseal.declare(…) first; rowseal.declarations lists the declared tables.';
  END IF;
  IF d.queries = '{}' THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('table %s is no longer as it was declared', relation),
      HINT = 'rowseal.health() shows what is wrong; put it right, or undeclare the table.';
  END IF;
  RETURN d;
END
$$;
COMMENT ON FUNCTION rowseal._declaration(regclass) IS 'The declaration of a table; RS007 when there is none';

CREATE FUNCTION rowseal.payload(relation regclass, "row" jsonb) RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._declaration(relation);
  unknown text;
  result text;
BEGIN
  SELECT pg_catalog.min(k) INTO unknown FROM pg_catalog.jsonb_object_keys("row") k
   WHERE NOT (d.spec -> 'fields') ? k AND k <> d.signature_column AND k <> ALL (d.unsigned);
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'RS015', MESSAGE = pg_catalog.format('no column for field %L in table %s', unknown, relation),
      HINT = 'Its fields are ' || (SELECT pg_catalog.string_agg(k, ', ') FROM pg_catalog.jsonb_object_keys(d.spec -> 'fields') k) || '.';
  END IF;
  EXECUTE d.queries ->> 'payload' INTO result USING "row";
  IF d.form = 'concatenated' AND pg_catalog.left(result, 1) = '=' THEN
    RETURN pg_catalog.substr(result, 2);
  ELSIF pg_catalog.left(result, 1) <> '{' OR d.form = 'concatenated' THEN
    RAISE EXCEPTION USING ERRCODE = pg_catalog.left(result, 5), HINT = rowseal._hint(pg_catalog.left(result, 5)),
      MESSAGE = pg_catalog.format('%s, in table %s', pg_catalog.substr(result, 7), relation);
  END IF;
  RETURN result;
END
$$;
COMMENT ON FUNCTION rowseal.payload(regclass, jsonb) IS
$$The canonical text of a row: its UTF-8 bytes are what the owner signs (form rowseal/1, unless declared with another form). row: an object of fields, values as in
the canonical form or as to_jsonb shows them (bytea: base64 or \x hex). Errors: RS006 no canonical form, RS007 not declared,
RS015 unknown field.$$;

CREATE FUNCTION rowseal.verify(relation regclass)
RETURNS TABLE (key jsonb, sign bytea, sqlstate text, problem text) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1
SET jit = off SET min_parallel_table_scan_size = '256kB' AS $$  -- a row costs a hundred times what the planner thinks of a page
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._declaration(verify.relation);
  workers text := pg_catalog.current_setting('max_parallel_workers_per_gather');
BEGIN
  IF NOT rowseal._load(true) THEN  -- pgsodium alone, which a parallel worker cannot reach
    PERFORM pg_catalog.set_config('max_parallel_workers_per_gather', '0', true);
  END IF;
  RETURN QUERY EXECUTE pg_catalog.format($q$
    SELECT key, sign, pg_catalog.left(problem, 5), pg_catalog.substr(problem, 7) FROM (%s) x
     WHERE problem IS NOT NULL $q$, d.queries ->> 'verify') USING NULL::pg_catalog.oid[];
  PERFORM pg_catalog.set_config('max_parallel_workers_per_gather', workers, true);
END
$$;
COMMENT ON FUNCTION rowseal.verify(regclass) IS
  'Checks every stored row and version again: signature, form, fingerprint, certificates, order. Returns what is wrong; nothing when all is well';

CREATE FUNCTION rowseal._hashes(relation regclass, owner jsonb) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT 'SELECT DISTINCT ON (hash) key, sign, hash FROM (' ||
         ((rowseal._declaration(relation)).queries ->> CASE WHEN owner IS NULL THEN 'digest' ELSE 'digest_owner' END) || ') x'
$$;
COMMENT ON FUNCTION rowseal._hashes(regclass, jsonb) IS 'A query of (key, signature, hash of signed bytes and signature) for all versions, or for those of one owner ($1)';

CREATE FUNCTION rowseal._buckets(relation regclass, owner jsonb) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.format($q$
    SELECT key, sign, hash, (pg_catalog.get_byte(k, 0) * 256 + pg_catalog.get_byte(k, 1)) * $2 / 65536 AS bucket
      FROM (SELECT *, pg_catalog.sha256(pg_catalog.convert_to(key::text, 'UTF8')) AS k FROM (%s) h) x $q$, rowseal._hashes(relation, owner))
$$;
COMMENT ON FUNCTION rowseal._buckets(regclass, jsonb) IS 'The query of rowseal._hashes with the bucket, of so many ($2), that a key falls into';

CREATE FUNCTION rowseal.digest(relation regclass, owner jsonb DEFAULT NULL) RETURNS bytea LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 SET jit = off AS $$
#variable_conflict use_variable
DECLARE
  result bytea;
BEGIN
  EXECUTE pg_catalog.format($q$SELECT pg_catalog.sha256(coalesce(pg_catalog.string_agg(DISTINCT hash, '' ORDER BY hash), '')) FROM (%s) y$q$,
    (rowseal._declaration(relation)).queries ->> CASE WHEN owner IS NULL THEN 'digest' ELSE 'digest_owner' END) INTO result USING owner;
  RETURN result;
END
$$;
COMMENT ON FUNCTION rowseal.digest(regclass, jsonb) IS
  'A digest of all versions of a table, or of one owner''s ({"user_hash": …}) (32 bytes): equal on two servers if and only if they hold the same signed rows, wherever and in whatever order they are stored';

CREATE FUNCTION rowseal.digests(relation regclass, buckets integer DEFAULT 256, owner jsonb DEFAULT NULL)
RETURNS TABLE (bucket integer, rows bigint, digest bytea) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
#variable_conflict use_variable
BEGIN
  IF buckets NOT BETWEEN 1 AND 65536 THEN
    RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = pg_catalog.format('%s buckets: 1 to 65536 are possible', buckets);
  END IF;
  RETURN QUERY EXECUTE pg_catalog.format($q$
    SELECT bucket, count(*), pg_catalog.sha256(pg_catalog.string_agg(hash, '' ORDER BY hash)) FROM (%s) y GROUP BY bucket ORDER BY bucket $q$,
    rowseal._buckets(relation, owner)) USING owner, buckets;
END
$$;
COMMENT ON FUNCTION rowseal.digests(regclass, integer, jsonb) IS
  'Digests of a table in buckets by key, so that two servers find where they differ; buckets without rows are left out';

CREATE FUNCTION rowseal._signatures(relation regclass, buckets integer, chosen integer[], owner jsonb)
RETURNS TABLE (key jsonb, sign bytea) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
#variable_conflict use_variable
BEGIN
  RETURN QUERY EXECUTE pg_catalog.format('SELECT key, sign FROM (%s) y WHERE bucket = ANY ($3)', rowseal._buckets(relation, owner))
    USING owner, buckets, chosen;
END
$$;
COMMENT ON FUNCTION rowseal._signatures(regclass, integer, integer[], jsonb) IS 'Keys and signatures of all versions in some buckets of rowseal.digests';

CREATE FUNCTION rowseal._versions_of(relation regclass, keys jsonb) RETURNS SETOF jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  query text := (rowseal._declaration(relation)).queries ->> 'versions';
  key jsonb;
BEGIN
  FOR key IN SELECT * FROM pg_catalog.jsonb_array_elements(keys) LOOP
    RETURN QUERY EXECUTE pg_catalog.format('SELECT rowseal._envelope(payload, sign, content) FROM (%s) x', query) USING key;
  END LOOP;
END
$$;
COMMENT ON FUNCTION rowseal._versions_of(regclass, jsonb) IS 'All versions of some keys as envelopes';

CREATE FUNCTION rowseal.export(relation regclass, owner jsonb DEFAULT NULL) RETURNS SETOF jsonb LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
  RETURN QUERY EXECUTE (rowseal._declaration(relation)).queries ->> CASE WHEN owner IS NULL THEN 'envelopes' ELSE 'envelopes_owner' END
    USING owner;
END
$$;
COMMENT ON FUNCTION rowseal.export(regclass, jsonb) IS
  'All versions of a table, or of one owner ({"user_hash": …}), as envelopes. Give them to rowseal.apply on any server';

CREATE FUNCTION rowseal.history(relation regclass, key jsonb, seen bytea[] DEFAULT '{}')
RETURNS TABLE (depth integer, sign bytea, parent bytea, owner_timestamp bigint, deleted boolean, tip boolean, gap boolean, "row" jsonb,
  merged bytea[], writer bytea)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  d rowseal.declarations := rowseal._declaration(history.relation);
BEGIN
  -- UNION, not UNION ALL: a circle of parents cannot be signed, but a text column may hold anything
  RETURN QUERY EXECUTE pg_catalog.format($q$
    WITH RECURSIVE v AS MATERIALIZED (%s), e AS MATERIALIZED (
      SELECT v.sign, v.owner_timestamp AS at, p.sign AS parent FROM v JOIN v p ON p.sign = v.parent OR p.sign = ANY (v.merged)
    ), walk AS (
      SELECT 0 AS depth, v.sign, v.owner_timestamp AS at FROM v WHERE NOT EXISTS (SELECT FROM e WHERE e.sign = v.sign)
      UNION
      SELECT w.depth + 1, e.sign, greatest(w.at, e.at) FROM walk w JOIN e ON e.parent = w.sign
    ), known AS (
      SELECT s FROM pg_catalog.unnest($2) s
      UNION
      SELECT e.parent FROM known k JOIN e ON e.sign = k.s
    )
    -- no version before its parents: by the highest timestamp on the way to it, which is its own where clocks are right
    SELECT w.depth, v.sign, v.parent, v.owner_timestamp, v.deleted,
           NOT EXISTS (SELECT FROM v o WHERE (o.owner_timestamp, o.deleted, o.sign) > (v.owner_timestamp, v.deleted, v.sign)),
           EXISTS (SELECT FROM pg_catalog.unnest(v.parent || v.merged) n WHERE n IS NOT NULL AND NOT EXISTS (SELECT FROM v p WHERE p.sign = n)),
           CASE WHEN v.payload LIKE '{%%' THEN v.payload::pg_catalog.jsonb -> 'row' END, v.merged, v.writer
      FROM (SELECT x.sign, pg_catalog.max(x.depth) AS depth, pg_catalog.max(x.at) AS at FROM walk x GROUP BY x.sign) w JOIN v ON v.sign = w.sign
     WHERE NOT EXISTS (SELECT FROM known k WHERE k.s = v.sign)
     ORDER BY w.at, w.depth, v.owner_timestamp, v.deleted, v.sign $q$, d.queries ->> 'versions') USING history.key, history.seen;
END
$$;
COMMENT ON FUNCTION rowseal.history(regclass, jsonb, bytea[]) IS
$$All versions of a key in causal order, oldest first. depth: steps from the first version known, on the longest way; tip: the current one; gap: a
parent is not here; row: its signed fields; merged: further parents (column merged_sign_b64); writer: the key that signed, NULL for the owner's.
seen: leave out these versions and what they rest on; the heads of the last reading, to go on from there.$$;

CREATE FUNCTION rowseal.heads(relation regclass, key jsonb)
RETURNS TABLE (sign bytea, parent bytea, owner_timestamp bigint, deleted boolean, tip boolean, "row" jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH h AS MATERIALIZED (SELECT * FROM rowseal.history(relation, key))
  SELECT h.sign, h.parent, h.owner_timestamp, h.deleted, h.tip, h."row" FROM h
   WHERE NOT EXISTS (SELECT FROM h c WHERE c.parent = h.sign OR h.sign = ANY (c.merged))
   ORDER BY h.owner_timestamp DESC, h.deleted DESC, h.sign DESC
$$;
COMMENT ON FUNCTION rowseal.heads(regclass, jsonb) IS
  'The versions of a key that no other version names as a parent; more than one: devices wrote without seeing each other';

CREATE FUNCTION rowseal.conflicts(relation regclass) RETURNS TABLE (key jsonb, heads bytea[]) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY EXECUTE pg_catalog.format($q$
    WITH g AS MATERIALIZED (SELECT DISTINCT * FROM (%s) x), named AS (
      SELECT g.key, g.parent AS sign FROM g WHERE g.parent IS NOT NULL
      UNION
      SELECT g.key, m FROM g, pg_catalog.unnest(g.merged) m
    ) SELECT g.key, pg_catalog.array_agg(g.sign ORDER BY g.sign) FROM g LEFT JOIN named n ON n.key = g.key AND n.sign = g.name
       WHERE n.sign IS NULL GROUP BY g.key HAVING count(*) > 1 $q$, (rowseal._declaration(conflicts.relation)).queries ->> 'graph');
END
$$;
COMMENT ON FUNCTION rowseal.conflicts(regclass) IS
  'Keys with more than one head, and their signatures: concurrent versions that no version merges (by naming both, in parent_sign_b64 and merged_sign_b64). Reads the whole table';

-- Runs with the rights of the table's owner, who may take triggers off anyway: there is no hole in the guards for this.
CREATE FUNCTION rowseal.prune(relation regclass, keep integer DEFAULT 0, before bigint DEFAULT 9223372036854775807) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = error AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._declaration(relation);
  target regclass := coalesce(d.versions, d.relation);
  gone bigint;
BEGIN
  IF NOT rowseal._owns(relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008', MESSAGE = pg_catalog.format('no right to prune %s', relation),
      HINT = 'Only the owner of a table may do that.';
  END IF;
  IF d.queries ->> 'prune' = '' THEN
    RETURN 0;
  END IF;
  EXECUTE pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER zzz_rowseal_keep', target);
  EXECUTE d.queries ->> 'prune' USING keep, before;
  GET DIAGNOSTICS gone = ROW_COUNT;
  EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER zzz_rowseal_keep', target);
  RETURN gone;
END
$$;
COMMENT ON FUNCTION rowseal.prune(regclass, integer, bigint) IS
$$Drops superseded versions on this server for good: keep so many of the newest of each key besides the current one, and all with an
owner_timestamp from before on. For the table's owner; it locks the table against writes. Purely local: digests differ from servers
that keep more, and a dropped version that arrives again is archived again. Returns how many rows.$$;

-- With the rights of the table's owner, like prune.
CREATE FUNCTION rowseal.erase(relation regclass, key jsonb, columns text[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = error AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._declaration(relation);
  target regclass;
  payloads text[] := '{}';
  part text[];
BEGIN
  IF NOT rowseal._owns(relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008', MESSAGE = pg_catalog.format('no right to erase in %s', relation),
      HINT = 'Only the owner of a table may do that.';
  END IF;
  IF columns IS NULL OR pg_catalog.cardinality(columns) = 0 OR NOT (d.digests ?& columns) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = pg_catalog.format('columns %s of %s are not all signed by digest', columns, relation),
      HINT = pg_catalog.format('Those that can be erased: %s. rowseal.declare(…, digests => …) says which.',
        ARRAY(SELECT pg_catalog.jsonb_object_keys(d.digests)));
  END IF;
  FOREACH target IN ARRAY pg_catalog.array_remove(ARRAY[d.relation, d.versions], NULL) LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER zzz_rowseal_guard', target);
    EXECUTE pg_catalog.format('WITH e(payload) AS (%s) SELECT coalesce(pg_catalog.array_agg(payload), ''{}'') FROM e',
      d.queries ->> CASE WHEN target = d.relation THEN 'erase' ELSE 'erase_versions' END) INTO part USING key, columns;
    payloads := payloads || part;
    EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER zzz_rowseal_guard', target);
  END LOOP;
  -- one entry for each spelling of the key (citext, numeric): the feed has them as they were signed
  INSERT INTO rowseal.erasures (relation, tag, key, fields, versions)
    SELECT d.relation, d.tag, k.key, ARRAY(SELECT d.fields ->> c FROM pg_catalog.unnest(columns) c), count(*)
      FROM pg_catalog.unnest(payloads) p,
           LATERAL (SELECT pg_catalog.jsonb_object_agg(d.fields ->> c, p::jsonb -> 'row' -> (d.fields ->> c)) AS key FROM pg_catalog.unnest(d.key) c) k
     GROUP BY k.key;
  RETURN pg_catalog.cardinality(payloads);
END
$$;
COMMENT ON FUNCTION rowseal.erase(regclass, jsonb, text[]) IS
$$Empties columns that are signed by digest (declare: digests) in all versions of a key on this server, its feed included; the digests are
kept beside them, so the rows stay verifiable and go on travelling without that content. key: its fields, as for history. For the table's
owner; it locks the table against writes and is recorded in rowseal.erasures. Returns how many versions. Other servers, backups and WAL
keep what they have; the space is free after VACUUM. Errors: RS007 not such a column, RS008 not the owner.$$;

-- What the table's owner may take away: old versions, and the content of columns that are signed by their digest.

-- Runs with the rights of the table's owner, who may take triggers off anyway: no guard has a hole for this.
CREATE OR REPLACE FUNCTION rowseal.prune(
  relation regclass, keep integer DEFAULT 0, before bigint DEFAULT 9223372036854775807)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = error AS $$
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
  d := rowseal._pinned(relation);
  IF d.queries ->> 'prune' = '' THEN
    RETURN 0;
  END IF;
  EXECUTE pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER zzz_rowseal_keep', target);
  EXECUTE rowseal._query(d, 'prune') USING keep, before;
  GET DIAGNOSTICS gone = ROW_COUNT;
  EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER zzz_rowseal_keep', target);
  RETURN gone;
END
$$;
COMMENT ON FUNCTION rowseal.prune(regclass, integer, bigint) IS
$$Drops superseded versions on this server for good: keep so many of the newest of each key besides the current one,
and all with an owner_timestamp from before on. For the table's owner; it locks the table against writes. Purely
local: digests differ from servers that keep more, and a dropped version that arrives again is archived again. Returns
how many rows.$$;

-- With the rights of the table's owner, like prune.
CREATE OR REPLACE FUNCTION rowseal.erase(relation regclass, key jsonb, columns text[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = error AS $$
#variable_conflict use_variable
DECLARE
  d rowseal.declarations := rowseal._declaration(relation);
  target regclass;
  keys jsonb[] := '{}';
  part jsonb[];
BEGIN
  IF NOT rowseal._owns(relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS008', MESSAGE = pg_catalog.format('no right to erase in %s', relation),
      HINT = 'Only the owner of a table may do that.';
  END IF;
  d := rowseal._pinned(relation);
  IF columns IS NULL OR pg_catalog.cardinality(columns) = 0 OR NOT (d.digests ?& columns) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('columns %s of %s are not all signed by digest', columns, relation),
      HINT = pg_catalog.format('Those that can be erased: %s. The declaration''s digests say which.',
        ARRAY(SELECT pg_catalog.jsonb_object_keys(d.digests)));
  END IF;
  FOREACH target IN ARRAY pg_catalog.array_remove(ARRAY[d.relation, d.versions], NULL) LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER zzz_rowseal_guard', target);
    -- of each version its key alone: all payloads are more than one value can hold
    EXECUTE pg_catalog.format($q$
      WITH e(payload) AS (%s), k(key) AS (
        SELECT (SELECT pg_catalog.jsonb_object_agg(f, e.payload::pg_catalog.jsonb -> 'row' -> f)
                  FROM pg_catalog.unnest($3) f) FROM e
      ) SELECT coalesce(pg_catalog.array_agg(key), '{}') FROM k $q$,
      rowseal._query(d, CASE WHEN target = d.relation THEN 'erase' ELSE 'erase_versions' END))
      INTO part USING key, columns, ARRAY(SELECT d.fields ->> c FROM pg_catalog.unnest(d.key) c);
    keys := keys || part;
    EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER zzz_rowseal_guard', target);
  END LOOP;
  -- one entry for each spelling of the key (citext, numeric): the feed has them as they were signed, and may have what
  -- no table has any more
  INSERT INTO rowseal.erasures (relation, tag, key, fields, versions)
    SELECT d.relation, d.tag, k.key, ARRAY(SELECT d.fields ->> c FROM pg_catalog.unnest(columns) c),
           count(*) FILTER (WHERE k.stored)
      FROM (SELECT x.key, true FROM pg_catalog.unnest(keys) x(key)
             UNION ALL
            SELECT rowseal.payload(relation, key)::jsonb -> 'row', false) k(key, stored)
     WHERE k.key ?& ARRAY(SELECT d.fields ->> c FROM pg_catalog.unnest(d.key) c)  -- of one key, not of all
     GROUP BY k.key;
  RETURN pg_catalog.cardinality(keys);
END
$$;
COMMENT ON FUNCTION rowseal.erase(regclass, jsonb, text[]) IS
$$Empties columns that are signed by digest (declare: digests) in all versions of a key on this server, its feed
included; the digests are kept beside them, so the rows stay verifiable and go on travelling without that content.
key: its fields, as for history. For the table's owner; it locks the table against writes and is recorded in
rowseal.erasures. Returns how many versions. Other servers, backups and WAL keep what they have; the space is free
after VACUUM. Errors: RS007 not such a column, RS008 not the owner.$$;

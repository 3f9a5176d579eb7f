-- Digests: whether two servers hold the same signed rows, and where they differ.

CREATE OR REPLACE FUNCTION rowseal.digest(relation regclass, owner jsonb DEFAULT NULL)
RETURNS bytea LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 SET jit = off AS $$
#variable_conflict use_variable
DECLARE
  result bytea;
BEGIN
  -- OFFSET: a hash is made once, though two things are asked of it
  EXECUTE pg_catalog.format($q$
      SELECT pg_catalog.sha256(coalesce(pg_catalog.string_agg(part, '' ORDER BY first), ''))
        FROM (SELECT pg_catalog.get_byte(hash, 0) AS first,
                     pg_catalog.sha256(pg_catalog.string_agg(DISTINCT hash, '' ORDER BY hash)) AS part
                FROM (%s OFFSET 0) y GROUP BY first) x $q$,
    (rowseal._pinned(relation)).queries ->> CASE WHEN owner IS NULL THEN 'digest' ELSE 'digest_owner' END)
    INTO result USING owner;
  RETURN result;
END
$$;
COMMENT ON FUNCTION rowseal.digest(regclass, jsonb) IS
  'A digest of all versions of a table, or of one owner''s ({"user_hash": …}) (32 bytes): equal on two servers if and '
  'only if they hold the same signed rows, wherever and in whatever order they are stored. SHA-256 of 256 parts, each '
  'the SHA-256 of the sorted hashes that begin with one byte: a value holds 33 million hashes, no more';

CREATE OR REPLACE FUNCTION rowseal.digests(relation regclass, buckets integer DEFAULT 256, owner jsonb DEFAULT NULL)
RETURNS TABLE (bucket integer, rows bigint, digest bytea) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET bytea_output = hex SET timezone = UTC
SET datestyle = 'ISO, YMD' SET intervalstyle = iso_8601 SET extra_float_digits = 1 AS $$
#variable_conflict use_variable
BEGIN
  IF buckets NOT BETWEEN 1 AND 65536 THEN
    RAISE EXCEPTION USING ERRCODE = '22023',
      MESSAGE = pg_catalog.format('%s buckets: 1 to 65536 are possible', buckets);
  END IF;
  RETURN QUERY EXECUTE pg_catalog.format($q$
    SELECT bucket, count(*), pg_catalog.sha256(pg_catalog.string_agg(hash, '' ORDER BY hash))
      FROM (SELECT DISTINCT ON (hash) hash,
                   (pg_catalog.get_byte(k, 0) * 256 + pg_catalog.get_byte(k, 1)) * $2 / 65536 AS bucket
              FROM (SELECT hash, pg_catalog.sha256(pg_catalog.convert_to(key::text, 'UTF8')) AS k FROM (%s) x) y) z
     GROUP BY bucket ORDER BY bucket $q$,
    (rowseal._pinned(relation)).queries ->> CASE WHEN owner IS NULL THEN 'digest' ELSE 'digest_owner' END)
    USING owner, buckets;
END
$$;
COMMENT ON FUNCTION rowseal.digests(regclass, integer, jsonb) IS
  'Digests of a table in buckets by key, so that two servers find where they differ, altered '
  'rows included; buckets without rows are left out';

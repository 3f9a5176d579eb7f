-- A signed row as portable JSON, and its owner as text.

CREATE OR REPLACE FUNCTION rowseal._owner_text(spec jsonb, envelope jsonb)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN pg_catalog.jsonb_array_length(spec -> 'owner') = 1 THEN envelope -> 'row' ->> (spec #>> '{owner,0}')
              ELSE (SELECT pg_catalog.jsonb_agg(envelope -> 'row' -> f ORDER BY n)::text
                      FROM pg_catalog.jsonb_array_elements_text(spec -> 'owner') WITH ORDINALITY x(f, n)) END
$$;
COMMENT ON FUNCTION rowseal._owner_text(jsonb, jsonb) IS
  'The owner of an envelope of a declaration with this spec: its canonical value, or a JSON array of several';

CREATE OR REPLACE FUNCTION rowseal._owner_object(fields text[], owner text)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN pg_catalog.cardinality(fields) = 1 THEN pg_catalog.jsonb_build_object(fields[1], owner)
              ELSE (SELECT pg_catalog.jsonb_object_agg(f, owner::jsonb -> (n::integer - 1))
                      FROM pg_catalog.unnest(fields) WITH ORDINALITY x(f, n)) END
$$;
COMMENT ON FUNCTION rowseal._owner_object(text[], text) IS 'The inverse of _owner_text: {"field": value}';

CREATE OR REPLACE FUNCTION rowseal._content(fields text[], contents bytea[])
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_catalog.jsonb_object_agg(f, pg_catalog.replace(pg_catalog.encode(c, 'base64'), E'\n', ''))
    FROM ROWS FROM (pg_catalog.unnest(fields), pg_catalog.unnest(contents)) x(f, c) WHERE c IS NOT NULL
$$;
COMMENT ON FUNCTION rowseal._content(text[], bytea[]) IS
  'The contents of columns signed by digest, in base64; NULL when there are none';

CREATE OR REPLACE FUNCTION rowseal._envelope(payload text, signature bytea, content jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT payload::jsonb
      || pg_catalog.jsonb_build_object(
           'sign_b64', pg_catalog.replace(pg_catalog.encode(signature, 'base64'), E'\n', ''))
      || CASE WHEN content IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('content', content) END
$$;
COMMENT ON FUNCTION rowseal._envelope(text, bytea, jsonb) IS
  'A signed row as portable JSON: {"row": …, "rowseal": 1, "table": …, "sign_b64": …}, with "content" of what is '
  'signed by digest';

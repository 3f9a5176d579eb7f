-- A signed row as portable JSON, and its owner as text.
--
-- An envelope is json, the text that was signed, and never jsonb: that writes 1e308 as 309 digits, and 1e131071, which
-- nobody needs to have signed, as 131,072.

CREATE OR REPLACE FUNCTION rowseal._owner_text(spec jsonb, envelope json)
RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_catalog.jsonb_array_length(spec -> 'owner') = 1 THEN
    RETURN envelope -> 'row' ->> (spec #>> '{owner,0}');
  END IF;
  RETURN (SELECT pg_catalog.jsonb_agg((envelope -> 'row' -> f)::jsonb ORDER BY n)
            FROM pg_catalog.jsonb_array_elements_text(spec -> 'owner') WITH ORDINALITY x(f, n));
END
$$;
COMMENT ON FUNCTION rowseal._owner_text(jsonb, json) IS
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
RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN count(*) > 0 THEN pg_catalog.json_object_agg(f, rowseal._encoded(c)) END
    FROM ROWS FROM (pg_catalog.unnest(fields), pg_catalog.unnest(contents)) x(f, c) WHERE c IS NOT NULL
$$;
COMMENT ON FUNCTION rowseal._content(text[], bytea[]) IS
  'The contents of columns signed by digest, in base64; NULL when there are none';

CREATE OR REPLACE FUNCTION rowseal._envelope(payload text, signature bytea, content json DEFAULT NULL)
RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT (pg_catalog."left"($1, '-1') OPERATOR(pg_catalog.||) pg_catalog.concat(
           ',"sign_b64":"', rowseal._encoded($2), '"',
           ',"content":' OPERATOR(pg_catalog.||) $3::pg_catalog.text, '}'))::pg_catalog.json
$$;
COMMENT ON FUNCTION rowseal._envelope(text, bytea, json) IS
  'A signed row as portable JSON: {"row": …, "rowseal": 1, "table": …, "sign_b64": …}, with "content" of what is '
  'signed by digest; NULL without payload. Without a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._canonical(payload text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN CASE WHEN NOT pg_catalog.starts_with(payload, '(') THEN payload END;
END
$$;
COMMENT ON FUNCTION rowseal._canonical(text) IS
  'The canonical text of a row; NULL where it is a verdict: a row that no guard has let in has none, perhaps';

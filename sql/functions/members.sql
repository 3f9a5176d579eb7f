-- Members of the canonical text.  Without a search path of their own, so that PostgreSQL puts them in line where they
-- are called: they cost nothing, and guards can be read.

CREATE OR REPLACE FUNCTION rowseal._encoded(bytea) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
  $$ SELECT pg_catalog.replace(pg_catalog.encode($1, 'base64'), E'\n', '') $$;
COMMENT ON FUNCTION rowseal._encoded(bytea) IS 'Standard base64 with padding, in one line';

CREATE OR REPLACE FUNCTION rowseal._string(name text, value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
  $$ SELECT $1 OPERATOR(pg_catalog.||) '"' OPERATOR(pg_catalog.||) $2 OPERATOR(pg_catalog.||) '"' $$;
COMMENT ON FUNCTION rowseal._string(text, text) IS
  'A member whose value needs no escapes; name: quoted, with its colon. NULL when the value is: it is left out';

CREATE OR REPLACE FUNCTION rowseal._text(name text, value text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS
  $$ SELECT $1 OPERATOR(pg_catalog.||) pg_catalog.to_json($2)::pg_catalog.text $$;
COMMENT ON FUNCTION rowseal._text(text, text) IS 'A member whose value is any text; else as rowseal._string';

CREATE OR REPLACE FUNCTION rowseal._flag(name text, value boolean) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
  $$ SELECT CASE WHEN $2 THEN $1 OPERATOR(pg_catalog.||) 'true'
                 WHEN NOT $2 THEN $1 OPERATOR(pg_catalog.||) 'false' END $$;
COMMENT ON FUNCTION rowseal._flag(text, boolean) IS 'A member that is true or false; else as rowseal._string';

-- Values and the Python package.  Everything here is pure: it reads its arguments and no table.

CREATE OR REPLACE FUNCTION rowseal._load(parallel boolean DEFAULT false) RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $_load$
# Modules are compiled when first imported; GD keeps them for the session, for one version of the extension.
PACKAGE = "_rowseal_" + "@VERSION@".replace(".", "_")
if GD.get("rowseal_package") != PACKAGE:
    import importlib.machinery, sys
@SERVER@
    class Inlined:  # its base class importlib.abc.InspectLoader would cost every session 30 ms, for all that it imports
        def find_spec(self, name, path=None, target=None):
            package, _, module = name.partition(".")
            if package == PACKAGE and (not module or module in SOURCES):
                is_package = not module or any(other.startswith(module + ".") for other in SOURCES)
                return importlib.machinery.ModuleSpec(name, self, is_package=is_package)
        def create_module(self, spec):
            return None
        def exec_module(self, module):
            exec(compile(self.get_source(module.__name__), f"<{module.__name__}>", "exec"), module.__dict__)
        def get_source(self, name):
            return SOURCES.get(name.partition(".")[2], "")
    sys.meta_path.append(Inlined())
    GD["rowseal"] = lambda name: importlib.import_module(PACKAGE + "." + name)
    GD["rowseal_sources"] = SOURCES
    GD["rowseal_package"] = PACKAGE
return not parallel or GD["rowseal"]("server").without_sql()
$_load$;
COMMENT ON FUNCTION rowseal._load(boolean) IS
  'Makes the Python package available to PL/Python as GD["rowseal"](module name). parallel: for a parallel worker, '
  'which can run no SQL from Python; false when verifying needs it (pgsodium without PyNaCl)';

CREATE OR REPLACE FUNCTION rowseal._unbase64(text) RETURNS bytea LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
if "unbase64" not in SD:
    if "rowseal" not in GD:  # in a parallel worker, its query has loaded it
        plpy.execute("SELECT rowseal._load()")
    SD["unbase64"] = GD["rowseal"]("form.verdict").unbase64
return SD["unbase64"](args[0])
$$;
COMMENT ON FUNCTION rowseal._unbase64(text) IS 'Bytes of standard base64 with padding; NULL for any other spelling';

CREATE OR REPLACE FUNCTION rowseal._hash(algorithm text, value bytea) RETURNS bytea LANGUAGE plpython3u IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp AS $$
plpy.execute("SELECT rowseal._load()")
return GD["rowseal"]("form.signature").HASHES[algorithm](value)
$$;
COMMENT ON FUNCTION rowseal._hash(text, bytea) IS
  'One of the hashes that a declaration can name: sha256, sha512, sha3-512, blake2b-256';

CREATE OR REPLACE FUNCTION rowseal._hex(kind jsonb, value jsonb) RETURNS jsonb LANGUAGE plpython3u IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
import json
plpy.execute("SELECT rowseal._load()")
return None if value is None else GD["rowseal"]("server").hexed_json(kind, value)
$$;
COMMENT ON FUNCTION rowseal._hex(jsonb, jsonb) IS
  'A nested canonical value with every bytea in PostgreSQL''s hex, for jsonb_populate_record';

CREATE OR REPLACE FUNCTION rowseal._one_based(value anyarray) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(pg_catalog.array_dims($1) COLLATE pg_catalog."C" OPERATOR(pg_catalog.~) '^([[]1:[0-9]+[]])+$', true)
$$;
COMMENT ON FUNCTION rowseal._one_based(anyarray) IS
  'Whether all lower bounds of an array are 1. Without a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._commas(value text) RETURNS integer LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
plpy.execute("SELECT rowseal._load()")
return GD["rowseal"]("server").without_strings(value).count(",")
$$;
COMMENT ON FUNCTION rowseal._commas(text) IS
  'How many elements and members the text of JSON, an array or a composite has, but for the first of each: their '
  'strings have the same quotes';

CREATE OR REPLACE FUNCTION rowseal._sparse(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(pg_catalog.octet_length($1), 0) OPERATOR(pg_catalog.<=) 262144
      OR rowseal._commas($1) OPERATOR(pg_catalog.<=) 524288
$$;
COMMENT ON FUNCTION rowseal._sparse(text) IS
  'Whether the text of a nested value has no more elements than a row may have. Without a search path, so that it is '
  'inlined';

CREATE OR REPLACE FUNCTION rowseal._structured(kind text, value json) RETURNS boolean LANGUAGE plpython3u IMMUTABLE
PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
import json
plpy.execute("SELECT rowseal._load()")
return value is None or GD["rowseal"]("server").structured(json.loads(kind))(json.loads(value))
$$;
COMMENT ON FUNCTION rowseal._structured(text, json) IS
  'Whether a nested canonical value spells no array and no composite as text, in which nobody has counted the elements';

CREATE OR REPLACE FUNCTION rowseal._excess(element json, format text) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  size CONSTANT integer := pg_catalog.octet_length(element::text);
  most CONSTANT integer := CASE format WHEN 'pgtext' THEN 128 ELSE 64 END;  -- bytea has two digits a byte there
BEGIN
  IF size > most * 1048576 THEN
    RETURN pg_catalog.format('a row of more than %s MiB', most);
  ELSIF size > 262144 AND rowseal._commas(element::text) > 524288 + 2048 THEN  -- those of the envelope itself, too
    RETURN 'more than 524288 elements and members in a row';
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._excess(json, text) IS
  'Why an element is too much to be a row, whatever it says, by its format; else NULL. PostgreSQL takes 500 bytes for '
  'each element or member that becomes jsonb';

-- The size is that as it is stored: compressed to a thousand bytes, it may have 262,144.
CREATE OR REPLACE FUNCTION rowseal._bounded(element json, format text) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE
AS $$
  SELECT CASE WHEN pg_catalog.json_typeof($1) OPERATOR(pg_catalog.=) 'object'
               AND (pg_catalog.pg_column_size($1) OPERATOR(pg_catalog.<=) 1000
                    OR rowseal._excess($1, $2) IS NULL) THEN $1 END
$$;
COMMENT ON FUNCTION rowseal._bounded(json, text) IS
  'An object, or NULL: also of one that is too much to be a row. Without a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._few(value anyarray, most integer) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT coalesce(pg_catalog.cardinality($1), 0) OPERATOR(pg_catalog.<=) $2 $$;
COMMENT ON FUNCTION rowseal._few(anyarray, integer) IS
  'Whether an array has at most so many elements. Without a search path, so that it is inlined';

CREATE OR REPLACE FUNCTION rowseal._pgsodium(OUT version text, OUT library text, OUT symbol text) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  -- only a function that belongs to the extension: anybody can create a schema called pgsodium
  SELECT x.extversion, p.probin, p.prosrc
    FROM pg_catalog.pg_extension x
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
                               AND d.refobjid = x.oid AND d.deptype = 'e'
                                   AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
    JOIN pg_catalog.pg_proc p ON p.oid = d.objid
        AND p.oid = pg_catalog.to_regprocedure('pgsodium.crypto_sign_verify_detached(bytea,bytea,bytea)')
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
   WHERE x.extname = 'pgsodium' AND p.prorettype = 'boolean'::pg_catalog.regtype
$$;
COMMENT ON FUNCTION rowseal._pgsodium() IS
  'Version of the extension pgsodium and its C function that verifies, when it is in this database, else NULL';

CREATE OR REPLACE FUNCTION rowseal._pynacl(signature bytea, message bytea, public_key bytea) RETURNS boolean
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 8000 AS $$
try:
    verify = SD["verify"]
except KeyError:
    module = {}
    try:
        exec(@PYNACL@, module)  # form.pynacl alone: the first row of a session waits for it
    except ImportError:
        return None
    verify = SD["verify"] = module["verify"]
if None in args or len(signature) != 64 or len(public_key) != 32:
    return False
return verify(signature, message, public_key)
$$;
COMMENT ON FUNCTION rowseal._pynacl(bytea, bytea, bytea) IS
  'Whether PyNaCl finds that an Ed25519 signature and key fit a message; NULL without PyNaCl. No search path, which '
  'costs more than the call: it names nothing';

-- What guards call for every row: pgsodium's C function under a name of ours, so that neither another schema of that
-- name nor the privileges on the real one matter; without pgsodium, in line, _pynacl.
CREATE OR REPLACE FUNCTION rowseal._verified(signature bytea, message bytea,
    public_key bytea) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS 'SELECT rowseal._pynacl($1, $2, $3)';
COMMENT ON FUNCTION rowseal._verified(bytea, bytea, bytea) IS
  'Whether an Ed25519 signature (64 bytes) and key (32) fit a message: by the C function of the extension pgsodium, '
  'else by PyNaCl; see _bind';

CREATE OR REPLACE FUNCTION rowseal._bound() RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p, rowseal._pgsodium() s
                  WHERE p.oid = 'rowseal._verified(bytea,bytea,bytea)'::pg_catalog.regprocedure
                    AND p.probin IS NOT DISTINCT FROM s.library
                        AND p.prosrc = coalesce(s.symbol, 'SELECT rowseal._pynacl($1, $2, $3)'))
$$;
COMMENT ON FUNCTION rowseal._bound() IS 'Whether rowseal._verified is what _bind would make it';

-- SECURITY DEFINER: it makes a function in C, out of one that the extension pgsodium has.
CREATE OR REPLACE FUNCTION rowseal._bind() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  theirs record;
BEGIN
  IF rowseal._bound() THEN
    RETURN;
  END IF;
  SELECT * INTO theirs FROM rowseal._pgsodium();
  EXECUTE 'CREATE OR REPLACE FUNCTION rowseal._verified(signature bytea, message bytea, public_key bytea) '
      || 'RETURNS boolean IMMUTABLE PARALLEL SAFE '
      || CASE WHEN theirs.library IS NULL THEN $f$LANGUAGE sql AS 'SELECT rowseal._pynacl($1, $2, $3)'$f$
              ELSE pg_catalog.format('LANGUAGE c STRICT COST 6000 AS %L, %L', theirs.library, theirs.symbol) END;
END
$$;
COMMENT ON FUNCTION rowseal._bind() IS
  'Makes rowseal._verified what it should be; called whenever an extension comes or goes';
SELECT rowseal._bind();

CREATE OR REPLACE FUNCTION rowseal._provider(algorithm text DEFAULT 'ed25519') RETURNS text LANGUAGE plpython3u
SET search_path = pg_catalog, pg_temp AS $$
plpy.execute("SELECT rowseal._load()")
return GD["rowseal"]("server").provider_name(plpy, algorithm)
$$;
COMMENT ON FUNCTION rowseal._provider(text) IS
  'The library that verifies signatures of an algorithm, with version; NULL when there is none';

-- What only declaring needs is not part of _load: a session that stores rows does without its 100 kB.
CREATE OR REPLACE FUNCTION rowseal._load_declaring() RETURNS void LANGUAGE plpython3u
SET search_path = pg_catalog, pg_temp AS $_load$
plpy.execute("SELECT rowseal._load()")
@DECLARING@
GD["rowseal_sources"].update(SOURCES)
$_load$;
COMMENT ON FUNCTION rowseal._load_declaring() IS 'Makes the part of the Python package available that declares tables';

CREATE OR REPLACE FUNCTION rowseal._options(columns jsonb, legacy jsonb) RETURNS jsonb LANGUAGE plpython3u
SET search_path = pg_catalog, pg_temp AS $$
plpy.execute("SELECT rowseal._load_declaring()")
return GD["rowseal"]("server").options(columns, legacy)
$$;
COMMENT ON FUNCTION rowseal._options(jsonb, jsonb) IS
  'The columns of rowseal.declarations that two arguments of declare stand for, or {"refused": …}';

CREATE OR REPLACE FUNCTION rowseal._plan(wish jsonb, facts jsonb, versions jsonb,
    identity jsonb) RETURNS jsonb LANGUAGE plpython3u
SET search_path = pg_catalog, pg_temp AS $$
plpy.execute("SELECT rowseal._load_declaring()")
return GD["rowseal"]("server").plan(wish, facts, versions, identity)
$$;
COMMENT ON FUNCTION rowseal._plan(jsonb, jsonb, jsonb, jsonb) IS
  'Checks a declaration against catalog facts; returns it completed, with the statements that enforce it, or '
  '{"refused": …}';

-- How long values would be, before they are written: a number of a few bytes can have 147,455 digits.
CREATE OR REPLACE FUNCTION rowseal._digits(numbers numeric[], short integer DEFAULT 100) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  number numeric;
  bytes bytea;
  groups integer;
  digits bigint := 0;
  most CONSTANT numeric := pg_catalog.power(10::numeric, short);
BEGIN
  FOREACH number IN ARRAY coalesce(numbers, '{}') LOOP
    CONTINUE WHEN number IS NULL OR (pg_catalog.abs(number) < most AND pg_catalog.scale(number) <= short);
    bytes := pg_catalog.numeric_send(number);  -- counts, weight of the first, sign, scale, groups of four digits
    groups := 256 * pg_catalog.get_byte(bytes, 2) + pg_catalog.get_byte(bytes, 3);
    digits := digits + CASE WHEN groups < 32768 THEN 4 * groups + 1 ELSE 0 END
                     + 256 * pg_catalog.get_byte(bytes, 6) + pg_catalog.get_byte(bytes, 7);
  END LOOP;
  RETURN digits;
END
$$;
COMMENT ON FUNCTION rowseal._digits(numeric[], integer) IS
  'How many digits numbers have all together, or up to three each more, without those that are short: of at most so '
  'many digits before the point and after it';

CREATE OR REPLACE FUNCTION rowseal._digits(number numeric) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$ SELECT rowseal._digits(ARRAY[number]) $$;
COMMENT ON FUNCTION rowseal._digits(numeric) IS 'The same of one number';

CREATE OR REPLACE FUNCTION rowseal._digits(value jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT rowseal._digits(ARRAY(
    SELECT n::numeric FROM pg_catalog.jsonb_array_elements(  -- of a jsonb_path_query each result costs what is left
      pg_catalog.jsonb_path_query_array(value, 'strict $.** ? (@.type() == "number")')) n), 350)
$$;
COMMENT ON FUNCTION rowseal._digits(jsonb) IS
  'The same of the numbers in a JSON value, but for those as long as doubles can be';

CREATE OR REPLACE FUNCTION rowseal._digits(value numrange) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$ SELECT rowseal._digits(ARRAY[value]) $$;
COMMENT ON FUNCTION rowseal._digits(numrange) IS 'The same of one range';

CREATE OR REPLACE FUNCTION rowseal._digits(value numrange[]) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT rowseal._digits(ARRAY(SELECT n FROM pg_catalog.unnest(value) r, LATERAL (
    VALUES (pg_catalog.lower(r)), (pg_catalog.upper(r))) x(n)))
$$;
COMMENT ON FUNCTION rowseal._digits(numrange[]) IS 'The same of the bounds of ranges';

CREATE OR REPLACE FUNCTION rowseal._digits(value nummultirange) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$ SELECT rowseal._digits(ARRAY(SELECT pg_catalog.unnest(value))) $$;
COMMENT ON FUNCTION rowseal._digits(nummultirange) IS 'The same of the ranges in a multirange';

CREATE OR REPLACE FUNCTION rowseal._digits(value nummultirange[]) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT rowseal._digits(ARRAY(SELECT r FROM pg_catalog.unnest(value) m, LATERAL pg_catalog.unnest(m) r))
$$;
COMMENT ON FUNCTION rowseal._digits(nummultirange[]) IS 'The same of an array of multiranges';

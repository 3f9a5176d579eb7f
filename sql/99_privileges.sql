-- Last: who may do what.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rowseal FROM PUBLIC;
GRANT SELECT, INSERT, DELETE ON rowseal.declarations TO PUBLIC;
ALTER FUNCTION rowseal._quarantine(text, text, text, jsonb, text) OWNER TO rowseal_internal;
GRANT EXECUTE ON FUNCTION rowseal._derive(integer), rowseal._walk(integer, bytea, bigint, bytea), rowseal._authority_of(integer, text),
  rowseal._enter(integer, text, bytea, bigint, bytea, bytea, bigint), rowseal._grant(rowseal._grants, integer, text),
  rowseal._ungrant(integer, text, bytea), rowseal._readable(integer, text), rowseal._dead(integer, bytea, bytea), rowseal._held(bigint, text, jsonb),
  rowseal._retracted(integer, text, bytea, bigint, bytea, text, text, text, jsonb) TO rowseal_internal;
ALTER FUNCTION rowseal.prune_feed(interval) OWNER TO rowseal_internal;
ALTER FUNCTION rowseal._forget() OWNER TO rowseal_internal;
ALTER FUNCTION rowseal._advance(regclass, text, text, text, jsonb, boolean) OWNER TO rowseal_internal;

DO $$
DECLARE
  f record;
BEGIN
  -- the guards run with the rights of who writes, so everybody may call what they call; triggers need no EXECUTE
  FOR f IN SELECT p.oid::pg_catalog.regprocedure AS signature FROM pg_catalog.pg_proc p
            WHERE p.pronamespace = 'rowseal'::pg_catalog.regnamespace
              AND (p.prorettype NOT IN ('trigger'::pg_catalog.regtype, 'event_trigger'::pg_catalog.regtype) OR p.proname = '_keep')
              AND p.proname NOT IN ('_bind', '_refresh', 'prune_feed', '_derive', '_walk', '_authority_of', '_enter', '_grant', '_ungrant', '_dead',
                                '_retracted', '_held', '_readable', '_forget_writers')
  LOOP
    EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', f.signature);
  END LOOP;
  GRANT EXECUTE ON FUNCTION rowseal.prune_feed(interval) TO rowseal_admin;
  IF rowseal._provider() IS NULL THEN
    RAISE WARNING USING MESSAGE = 'rowseal: no provider of signatures yet', HINT = rowseal._hint('RS014');
  END IF;
END
$$;

CREATE TABLE rowseal.fingerprint AS SELECT rowseal._fingerprint() AS fingerprint;
COMMENT ON TABLE rowseal.fingerprint IS 'What rowseal._fingerprint() said after installation; health() compares';
GRANT SELECT ON rowseal.fingerprint TO PUBLIC;

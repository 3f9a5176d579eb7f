-- Merges rows ($1), envelopes or objects in PostgreSQL's text form ($2); returns an outcome for each.
--
--   @hear@              something before may have waited
--   @moved@             NULL, or the verdict where names lead elsewhere than they did (moved.sql)
--   @canonical@         the stored columns of an envelope e.v, as c0, c1 …
--   @canonical_source@  what these are read from
--   @pgtext@            the stored columns of an object e.v
--   @pgtext_source@     what these are read from
--   @order@             places of columns: key, newest version, number of the row
--   @relation@          the table
--   @merge@             hands the row r to the table
DECLARE
  r record;
  outcome text;
  outcomes text[] := pg_catalog.array_fill(NULL::text, ARRAY[pg_catalog.cardinality($1)]);
BEGIN
  @hear@
  IF @moved@ IS NOT NULL THEN
    RETURN pg_catalog.array_fill(@moved@::text, ARRAY[pg_catalog.cardinality($1)]);
  END IF;
  FOR r IN
    SELECT e.n, @canonical@
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           @canonical_source@
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT e.n, @pgtext@
      FROM pg_catalog.unnest($1) WITH ORDINALITY e(v, n),
           @pgtext_source@
     WHERE $2 = 'pgtext'
    ORDER BY @order@  -- every session takes its locks in this order
  LOOP
    @hear@
    outcome := @moved@::text;  -- the row before may have waited
    IF outcome IS NULL THEN
      outcome := pg_catalog.set_config('rowseal.outcome', '', true);
      @merge@
      outcome := pg_catalog.current_setting('rowseal.outcome');
      IF outcome = '' THEN
        PERFORM rowseal._unguarded(@relation@);
      END IF;
    END IF;
    outcomes[r.n] := outcome;
  END LOOP;
  RETURN outcomes;
END

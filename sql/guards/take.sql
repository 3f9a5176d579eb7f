-- Merges one envelope ($1), as apply does: without array, order and loop, which cost more than the row.  An error is
-- raised, also when the guard is off (RS019).
--
-- It is read before it is stored: what a large one needs for that, ten times its size, is free again by then.
--
--   @hear@              something before may have waited
--   @moved@             NULL, or the verdict where names lead elsewhere than they did (moved.sql)
--   @canonical@         the stored columns of an envelope e.v, as c0, c1 …
--   @canonical_source@  what these are read from
--   @relation@          the table
--   @merge@             hands the row r to the table
DECLARE
  r record;
  outcome text := pg_catalog.set_config('rowseal.outcome', '', true);
BEGIN
  @hear@
  IF @moved@ IS NOT NULL THEN
    RETURN @moved@::text;
  END IF;
  SELECT @canonical@ INTO r FROM (SELECT $1 AS v) e, @canonical_source@;
  @merge@
  outcome := pg_catalog.current_setting('rowseal.outcome');
  IF outcome = '' THEN
    PERFORM rowseal._unguarded(@relation@);
  END IF;
  RETURN outcome;
END

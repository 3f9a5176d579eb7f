-- Merges one envelope ($1), as apply does: without array, order and loop, which cost more than the row.  An error is
-- raised, also when the guard is off (RS019).
--
--   @relation@  the table
--   @merge@     hands the envelope's row to the table
DECLARE
  outcome text := pg_catalog.set_config('rowseal.outcome', '', true);
BEGIN
  @merge@
  outcome := pg_catalog.current_setting('rowseal.outcome');
  IF outcome = '' THEN
    PERFORM rowseal._unguarded(@relation@);
  END IF;
  RETURN outcome;
END

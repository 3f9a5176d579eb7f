-- Merges one envelope ($1), as apply does: without array, order and loop, which cost more than the row.  An error is
-- raised.
--
--   @merge@  hands the envelope's row to the table
DECLARE
  outcome text := pg_catalog.set_config('rowseal.outcome', 'inserted', true);
BEGIN
  @merge@
  RETURN pg_catalog.current_setting('rowseal.outcome');
END

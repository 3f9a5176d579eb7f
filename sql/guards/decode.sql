-- A row ($1) of a format ($2), as the table's guard reads it, as an envelope.  Step by step: what each of them needs,
-- ten times the size of a large row, is free again by the next.
--
--   @hear@              something before may have waited
--   @moved@             NULL, or the verdict where names lead elsewhere than they did (moved.sql)
--   @columns@   the columns of $1
--   @payload@   the canonical text of the row r
--   @envelope@  the same with its signature
DECLARE
  r record;
  payload text;
BEGIN
  @hear@
  IF @moved@ IS NOT NULL THEN
    RETURN NULL;
  END IF;
  @columns@
  payload := @payload@;
  RETURN @envelope@;
END

-- Enters stored rows into the ledger, and takes retracted ones out of their table into the quarantine.
-- AFTER INSERT OR UPDATE OR DELETE, for each row of a writer.
--
-- SECURITY DEFINER, owner rowseal_internal, as the feed's trigger, and as bound to its table as that.
--
--   @only_after@     refuses to be anything else
--   @grants_id@      declarations.id of the grants table
--   @grants@         whether it is that table itself
--   @tag@            name of the table in the signed bytes
--   @licensed_old@   NULL when OLD still counts, else why not
--   @owner_old@      its owner as text
--   @writer_old@     who signed it
--   @number_old@     its number
--   @link_old@       its link
--   @signature_old@  its signature
--   @envelope_old@   OLD as an envelope
--   @owner@          owner of NEW as text
--   @writer@         who signed it, NULL for the owner
--   @number@         its number
--   @previous@       link of the row before
--   @link@           its link
--   @signature@      its signature
--   @at@             its timestamp
--   @columns@        the columns of a grant
DECLARE
  verdict rowseal.verdict;
  authority integer;
  revocations boolean;
BEGIN
  @only_after@
  IF TG_OP = 'DELETE' THEN
    verdict := @licensed_old@;
    IF verdict IS NOT NULL THEN
      --: if grants
      PERFORM rowseal._ungrant(@grants_id@, @owner_old@, @signature_old@);
      --: end
      PERFORM rowseal._retracted(@grants_id@, @owner_old@, @writer_old@, @number_old@, @link_old@, @tag@,
        rowseal._writer_text(@grants_id@, @owner_old@, @writer_old@), verdict, @envelope_old@);
    END IF;
    RETURN NULL;
  END IF;
  --: if grants
  IF @writer@ IS NOT NULL THEN
    IF NOT rowseal._stored(@grants_id@, @owner@, @writer@, @number@, @previous@, @link@) THEN
      RETURN NULL;
    END IF;
  END IF;
  PERFORM rowseal._grant(ROW(NULL, NULL, @signature@, @at@, @writer@,
    CASE WHEN @writer@ IS NOT NULL THEN @link@ END, @columns@)::rowseal._grants, @grants_id@, @owner@);
  --: else
  -- Most often this does.  _stored knows new owners, rows that are there, and walks that wait for this one.
  SELECT x.id, x.revocations INTO authority, revocations FROM rowseal._authority x
   WHERE x.grants = @grants_id@ AND x.owner = @owner@;
  IF NOT revocations THEN
    INSERT INTO rowseal._writer_rows (authority, writer, seq, link, prev)
      VALUES (authority, @writer@, @number@, @link@, @previous@) ON CONFLICT DO NOTHING;
    IF FOUND THEN
      RETURN NULL;
    END IF;
  END IF;
  PERFORM rowseal._stored(@grants_id@, @owner@, @writer@, @number@, @previous@, @link@);
  --: end
  RETURN NULL;
END

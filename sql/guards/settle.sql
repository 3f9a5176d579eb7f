-- The tables follow when a walk has moved by a row of a writer, with the rights of who writes.
-- AFTER INSERT OR UPDATE, for each such row, after it was entered into the ledger.  It always fires, and asks what has
-- been derived: whoever writes can neither keep it from that nor pretend.
--
--   @grants_id@     declarations.id of the grants table
--   @same_version@  NEW is the version that OLD was
--   @owner@         owner of NEW as text
--   @writer@        who signed it
--   @number@        its number
--   @link@          its link
--   @versions@      whether this is the versions table
--   @is_tip@        NEW is the current version
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF @same_version@ THEN
      RETURN NULL;  -- it was here: _enter_stored settles when it has entered all
    END IF;
  END IF;
  IF rowseal._has_moved(@grants_id@, @link@) THEN
    --: if versions
    IF @is_tip@ THEN
      RETURN NULL;  -- it was here: the table's guard is about to replace it
    END IF;
    --: end
    PERFORM rowseal._settle(@grants_id@, @owner@, @writer@, @number@, @link@, NULL);
  END IF;
  RETURN NULL;
END

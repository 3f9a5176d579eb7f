-- Appends accepted versions to the feed.  AFTER INSERT OR UPDATE, for each row: it sees the row as it is stored.
--
-- SECURITY DEFINER, owner rowseal_internal: whoever may write the table adds to the feed, and in no other way.  So it
-- refuses to be anything but an AFTER ROW trigger of this very table.
--
--   @only_after@    refuses to be anything else
--   @no_news@       NEW is the version that OLD was, and has got back nothing that it had lost
--   @envelope@      NEW as an envelope
--   @tag@           name of the table in the signed bytes
--   @owner@         owner of the variable envelope, as text
DECLARE
  envelope json;
BEGIN
  @only_after@
  IF TG_OP = 'UPDATE' THEN
    -- but the rows of a partition that this transaction has brought enter the feed (see _feed_rows)
    IF @no_news@ AND NOT EXISTS (SELECT FROM pg_partition_ancestors(TG_RELID) a, pg_catalog.pg_inherits i
                                  WHERE i.inhrelid = a.relid AND rowseal._of_this_transaction(i.xmin)) THEN
      RETURN NULL;
    END IF;
  END IF;
  envelope := @envelope@;
  INSERT INTO rowseal.feed (tag, owner, envelope, role, subscription)
    VALUES (@tag@, @owner@, envelope, session_user,
      CASE WHEN current_setting('session_replication_role') = 'replica' THEN rowseal._subscription() END);
  RETURN NULL;
END

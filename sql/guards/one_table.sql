-- The guard of a table in which all versions lie (layout "one table").
-- BEFORE INSERT OR UPDATE, for each row.  It decides on the version alone; which one is current follows from the order.
--
--   @main@              the table
--   @variables@         variables of features
--   @prepare@           features complete NEW
--   @hear@              an UPDATE may have waited for its row
--   @moved@             NULL, or the verdict where names lead elsewhere than they did (moved.sql)
--   @same_as_old@       NEW is OLD, byte for byte, as far as it is signed
--   @updated_in_place@  features: an UPDATE left all that is signed alone
--   @or_completed@      features: or it has brought back what was lost
--   @version_of_new@    t is the version NEW, by the primary key
--   @key_of_new@        t is a version of the same key
--   @same_as_stored@    stored is NEW, byte for byte
--   @arrived_again@     features: stored was inserted again
--   @hold@              locks the other tables that are named from here on (hold.sql)
--   @lock@              features: what must be locked before NEW is judged
--   @identity@          whether it is an identity table
--   @owner_of_new@      t is a version of the same owner
--   @other_public_key@  t has another public key than NEW
--   @verdict@           sets verdict: NULL, or why NEW is not the owner's
--   @order_t@           timestamp, deletion flag and signature of t
--   @order_new@         the same of NEW
--   @leave@            refuses NEW, or tells apply the outcome and keeps it or not
DECLARE
  stored @main@;
  public_key bytea;
  verdict rowseal.verdict;
  outcome text;
  respelled boolean;  -- the signature is here, on other content
  kept boolean := false;
  @variables@
BEGIN
  @prepare@
  <<judged>> BEGIN
    @hear@
    verdict := @moved@;
    EXIT judged WHEN verdict IS NOT NULL;
    IF TG_OP = 'UPDATE' THEN
      IF (@same_as_old@) IS NOT TRUE THEN
        verdict := ROW('RS009', 'history is append-only')::rowseal.verdict;
        EXIT judged;
      END IF;
      @updated_in_place@
      -- unsigned columns, each server's own: replicated they would circle
      kept := current_setting('session_replication_role') <> 'replica'@or_completed@;
      outcome := 'duplicate';
      EXIT judged;
    END IF;

    -- 1. What is there?
    SELECT * INTO stored FROM @main@ t WHERE @version_of_new@;
    respelled := FOUND;

    -- 2. What is NEW to it?  No signature is looked at.
    IF respelled AND @same_as_stored@ THEN
      @arrived_again@
      outcome := 'duplicate';
      EXIT judged;
    END IF;
    @hold@
    @lock@
    --: if identity
    IF EXISTS (SELECT FROM @main@ t WHERE @owner_of_new@ AND @other_public_key@) THEN
      verdict := ROW('RS003', 'the public key of an owner never changes')::rowseal.verdict;
      EXIT judged;
    END IF;
    --: end

    -- 3. Is it the owner's?
    @verdict@
    EXIT judged WHEN verdict IS NOT NULL;

    -- 4. It is carried out.
    kept := NOT respelled;
    IF respelled THEN
      outcome := 'duplicate';  -- the version that is there, in another spelling
      @arrived_again@
    ELSIF current_setting('rowseal.mode', true) = 'apply' THEN
      SELECT CASE WHEN bool_or(@order_t@ > @order_new@) THEN 'archived'
                  WHEN count(*) > 0 THEN 'superseded' ELSE 'inserted' END
        INTO outcome FROM @main@ t WHERE @key_of_new@;
    END IF;
  END judged;

  @leave@
END

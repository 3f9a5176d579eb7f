-- The guard of a table in which all versions lie (layout "one table").
-- BEFORE INSERT OR UPDATE, for each row.  It decides on the version alone; which one is current follows from the order.
--
--   @main@              the table
--   @relation@          the same as a value
--   @variables@         variables of features
--   @prepare@           features complete NEW
--   @same_as_old@       NEW is OLD, byte for byte, as far as it is signed
--   @updated_in_place@  features: an UPDATE left all that is signed alone
--   @version_of_new@    t is the version NEW, by the primary key
--   @key_of_new@        t is a version of the same key
--   @same_as_stored@    stored is NEW, byte for byte
--   @arrived_again@     features: an identical row was inserted
--   @lock@              features: what must be locked before NEW is judged
--   @identity@          whether it is an identity table
--   @owner_of_new@      t is a version of the same owner
--   @other_public_key@  t has another public key than NEW
--   @verdict@           sets verdict: NULL, or why NEW is not the owner's
--   @order_t@           timestamp, deletion flag and signature of t
--   @order_new@         the same of NEW
--   @refused@           key, payload, signature and row, for the refusal
DECLARE
  stored @main@;
  public_key bytea;
  verdict rowseal.verdict;
  outcome text;
  known boolean;
  kept boolean := false;
  @variables@
BEGIN
  @prepare@
  <<judged>> BEGIN
    IF TG_OP = 'UPDATE' THEN
      IF (@same_as_old@) IS NOT TRUE THEN
        verdict := ROW('RS009', 'history is append-only')::rowseal.verdict;
        EXIT judged;
      END IF;
      @updated_in_place@
      -- only unsigned columns changed; what did not change at all ends its journey between servers here
      kept := NOT (current_setting('session_replication_role') = 'replica' AND record_image_eq(NEW, OLD));
      outcome := 'duplicate';
      EXIT judged;
    END IF;

    -- 1. What is there?
    SELECT * INTO stored FROM @main@ t WHERE @version_of_new@;
    known := FOUND;

    -- 2. What is NEW to it?  No signature is looked at.
    IF known AND @same_as_stored@ THEN
      @arrived_again@
      outcome := 'duplicate';
      EXIT judged;
    END IF;
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

    -- 4. Then it is carried out.
    kept := NOT known;
    IF known THEN
      outcome := 'duplicate';  -- the version that is there, in another spelling
    ELSIF current_setting('rowseal.mode', true) = 'apply' THEN
      SELECT CASE WHEN bool_or(@order_t@ > @order_new@) THEN 'archived'
                  WHEN count(*) > 0 THEN 'superseded' ELSE 'inserted' END
        INTO outcome FROM @main@ t WHERE @key_of_new@;
    END IF;
  END judged;

  IF verdict IS NOT NULL THEN
    PERFORM rowseal._refuse(TG_RELID, @relation@, verdict, @refused@);
    RETURN NULL;
  END IF;
  IF outcome IS NOT NULL AND current_setting('rowseal.mode', true) = 'apply' THEN
    outcome := set_config('rowseal.outcome', outcome, true);
  END IF;
  IF kept THEN
    RETURN NEW;
  END IF;
  RETURN NULL;
END

-- The guard of a versions table (layout "two tables"): superseded versions, each once, and nothing else.
-- BEFORE INSERT OR UPDATE, for each row.
--
--   @relation@          the same as a value
--   @versions@          this table
--   @variables@         variables of features
--   @prepare@           features complete NEW
--   @same_as_old@       NEW is OLD, byte for byte, as far as it is signed
--   @updated_in_place@  features: an UPDATE left all that is signed alone
--   @incomplete@        NEW has no place in the order of versions
--   @unsigned@          the verdict on a row that is not signed
--   @find_tip@          looks for the current version of the key of NEW
--   @same_as_tip@       tip is NEW, byte for byte
--   @lock_archived@     features: the main table's guard is archiving its tip
--   @version_of_new@    v is the version NEW, by the primary key
--   @same_as_stored@    stored is NEW, byte for byte
--   @arrived_again@     features: an identical row was inserted
--   @lock@              features: what must be locked before the tip is compared
--   @order_new@         timestamp, deletion flag and signature of NEW
--   @order_tip@         the same of the tip
--   @merge_new@         hands NEW to the main table
--   @identity@          whether it holds versions of an identity table
--   @same_public_key@   NEW has the public key of the tip
--   @signature_of_tip@  NEW has the signature of the tip
--   @verdict@           sets verdict: NULL, or why NEW is not the owner's
--   @refused@           key, payload, signature and row, for the refusal
DECLARE
  stored record;
  tip record;
  public_key bytea;
  verdict rowseal.verdict;
  outcome text;
  current boolean;
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
    IF @incomplete@ THEN
      verdict := @unsigned@;
      EXIT judged;
    END IF;

    -- 1. What is there?
    @find_tip@
    current := FOUND;
    IF current AND pg_trigger_depth() > 1 AND @same_as_tip@ THEN
      -- its table's guard, about to replace it, archives it: it was verified when it came
      @lock_archived@
      kept := true;
      EXIT judged;
    END IF;
    SELECT * INTO stored FROM @versions@ v WHERE @version_of_new@;
    known := FOUND;

    -- 2. What is NEW to it?  No signature is looked at.
    IF known THEN
      IF @same_as_stored@ THEN
        @arrived_again@
        outcome := 'duplicate';
        EXIT judged;
      END IF;
    ELSE
      @lock@
      IF NOT current OR @order_new@ > @order_tip@ THEN
        -- not superseded by anything yet: it belongs into the main table, whose guard decides
        @merge_new@
        EXIT judged;
      END IF;
      IF @same_as_tip@ THEN
        outcome := 'duplicate';
        EXIT judged;
      END IF;
      --: if identity
      IF (@same_public_key@) IS NOT TRUE THEN
        verdict := ROW('RS003', 'the public key of an owner never changes')::rowseal.verdict;
        EXIT judged;
      END IF;
      --: end
      known := @signature_of_tip@;
    END IF;

    -- 3. Is it the owner's?
    @verdict@
    EXIT judged WHEN verdict IS NOT NULL;

    -- 4. Then it is carried out.
    kept := NOT known;
    outcome := 'archived';
    IF known THEN
      outcome := 'duplicate';  -- the version that is there, in another spelling
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

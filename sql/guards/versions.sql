-- The guard of a versions table (layout "two tables"): superseded versions, each once, and nothing else.
-- BEFORE INSERT OR UPDATE, for each row.
--
--   @versions@          this table
--   @variables@         variables of features
--   @prepare@           features complete NEW
--   @hear@              an UPDATE may have waited for its row
--   @moved@             NULL, or the verdict where names lead elsewhere than they did (moved.sql)
--   @ahead@             whether it has columns that the main table does not have yet
--   @says_more@         NEW has a value there
--   @same_as_old@       NEW is OLD, byte for byte, as far as it is signed
--   @updated_in_place@  features: an UPDATE left all that is signed alone
--   @or_completed@      features: or it has brought back what was lost
--   @incomplete@        NEW has no place in the order of versions
--   @unsigned@          the verdict on a row that is not signed
--   @hold@              locks the other tables that are named from here on (hold.sql)
--   @find_tip@          looks for the current version of the key of NEW
--   @same_as_tip@       tip is NEW, byte for byte
--   @lock_archived@     features: the main table's guard is archiving its tip
--   @version_of_new@    v is the version NEW, by the primary key
--   @same_as_stored@    stored is NEW, byte for byte
--   @arrived_again@     features: stored was inserted again
--   @lock@              features: what must be locked before the tip is compared
--   @order_new@         timestamp, deletion flag and signature of NEW
--   @order_tip@         the same of the tip
--   @merge_new@         hands NEW to the main table
--   @identity@          whether it holds versions of an identity table
--   @same_public_key@   NEW has the public key of the tip
--   @verdict@           sets verdict: NULL, or why NEW is not the owner's
--   @leave@            refuses NEW, or tells apply the outcome and keeps it or not
DECLARE
  stored record;
  tip record;
  public_key bytea;
  verdict rowseal.verdict;
  outcome text;
  has_tip boolean;
  respelled boolean;  -- the signature is here, on other content
  kept boolean := false;
  @variables@
BEGIN
  @prepare@
  <<judged>> BEGIN
    @hear@
    verdict := @moved@;
    EXIT judged WHEN verdict IS NOT NULL;
    --: if ahead
    IF @says_more@ THEN
      verdict := ROW('RS015', 'the table itself does not have a column yet that has a value here')::rowseal.verdict;
      EXIT judged;
    END IF;
    --: end
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
    IF @incomplete@ THEN
      verdict := @unsigned@;
      EXIT judged;
    END IF;

    -- 1. What is there?
    @hold@
    @find_tip@
    has_tip := FOUND;
    IF has_tip AND pg_trigger_depth() > 1 AND @same_as_tip@ THEN
      -- its table's guard, about to replace it, archives it: it was verified when it came
      @lock_archived@
      kept := true;
      EXIT judged;
    END IF;
    SELECT * INTO stored FROM @versions@ v WHERE @version_of_new@;
    respelled := FOUND;

    -- 2. What is NEW to it?  No signature is looked at.
    IF respelled THEN
      IF @same_as_stored@ THEN
        @arrived_again@
        outcome := 'duplicate';
        EXIT judged;
      END IF;
    ELSE
      @lock@
      IF NOT has_tip OR @order_new@ >= @order_tip@ THEN
        -- not superseded by anything yet: it belongs into the main table, whose guard decides
        @merge_new@
        EXIT judged;
      END IF;
      --: if identity
      IF (@same_public_key@) IS NOT TRUE THEN
        verdict := ROW('RS003', 'the public key of an owner never changes')::rowseal.verdict;
        EXIT judged;
      END IF;
      --: end
    END IF;

    -- 3. Is it the owner's?
    @verdict@
    EXIT judged WHEN verdict IS NOT NULL;

    -- 4. It is carried out.
    IF respelled THEN
      outcome := 'duplicate';
      @arrived_again@
    ELSE
      outcome := 'archived';
      kept := true;
    END IF;
  END judged;

  @leave@
END

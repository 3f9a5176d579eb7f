-- The guard of a table that holds the current version of each key: layouts "unversioned" and "two tables".
-- BEFORE INSERT OR UPDATE, for each row.  An INSERT of a key that is there is a merge (docs/rules.md, 3): of a newer
-- version it makes an UPDATE, which comes here again, with the tip locked as OLD; of an older one an INSERT into the
-- versions table.  Either is decided there, by the guard that it meets; this one leaves NEW out, and has no outcome of
-- its own.  How a guard leaves, and whom it tells the outcome: leave.sql.
--
-- It is a loop for the sake of @look_again@; else it is left at its end.  What stands between "--: if" and "--: end" is
-- left out of the guards of tables that have no use for it (generate/render.py).
--
--   @main@              the table
--   @variables@         variables of features
--   @prepare@           features complete NEW
--   @hear@              an UPDATE may have waited for its row
--   @moved@             NULL, or the verdict where names lead elsewhere than they did (moved.sql)
--   @key_of_new@        t has the key of NEW
--   @same_as_tip@       tip is NEW, byte for byte
--   @arrived_again@     features: the tip was inserted again
--   @updated_in_place@  features: an UPDATE left all that is signed alone
--   @or_completed@      features: or it has brought back what was lost
--   @hold@              locks the other tables that are named from here on (hold.sql)
--   @incomplete@        NEW has no place in the order of versions
--   @unsigned@          the verdict on a row that is not signed
--   @lock@              features: what must be locked before NEW may replace the tip
--   @same_key@          NEW has the primary key of the tip
--   @identity@          whether it is an identity table
--   @same_public_key@   NEW has the public key of the tip
--   @order_new@         timestamp, deletion flag and signature of NEW
--   @order_tip@         the same of the tip
--   @other_signature@   NEW has another signature than the tip
--   @versions@          whether there is a versions table
--   @archive_new@       puts NEW into the versions table, whose guard asks who signed it
--   @archive_tip@       puts the tip there
--   @id@                number of the declaration
--   @signature_of_tip@  the tip's signature, as it is stored
--   @set_new@           assignments of all stored columns from NEW
--   @verdict@           sets verdict: NULL, or why NEW is not the owner's
--   @look_again@        features: what was read may have changed since
--   @toastable@         whether a value may be stored out of line
--   @whole@             NEW as a value of its own
--   @copies@            such values, fetched from whole
--   @leave@            refuses NEW, or tells apply the outcome and keeps it or not
DECLARE
  tip record;
  public_key bytea;
  verdict rowseal.verdict;
  outcome text;
  known boolean;
  newer boolean := true;  -- than the tip
  kept boolean := false;
  whole @main@;
  @variables@
BEGIN
  @prepare@
  <<judged>> LOOP
    @hear@
    verdict := @moved@;
    EXIT judged WHEN verdict IS NOT NULL;

    -- 1. What is there?
    IF TG_OP = 'INSERT' THEN
      SELECT * INTO tip FROM @main@ t WHERE @key_of_new@;
      known := FOUND;
    ELSE
      tip := OLD;
      known := true;
    END IF;

    -- 2. What is NEW to it?  No signature yet.
    IF known AND @same_as_tip@ THEN
      outcome := 'duplicate';
      @arrived_again@
      IF TG_OP = 'UPDATE' THEN
        @updated_in_place@
        -- unsigned columns; between servers they would circle
        kept := current_setting('session_replication_role') <> 'replica'@or_completed@;
      END IF;
      EXIT judged;
    END IF;
    @hold@
    IF known THEN
      IF @incomplete@ THEN
        verdict := @unsigned@;
        EXIT judged;
      END IF;
      @lock@
      IF TG_OP = 'UPDATE' AND (@same_key@) IS NOT TRUE THEN
        verdict := ROW('RS003', 'primary key and owner never change')::rowseal.verdict;
        EXIT judged;
      END IF;
      --: if identity
      IF (@same_public_key@) IS NOT TRUE THEN
        verdict := ROW('RS003', 'the public key of an owner never changes')::rowseal.verdict;
        EXIT judged;
      END IF;
      --: end
      newer := (@order_new@ > @order_tip@) IS NOT FALSE;  -- NULL: the tip has lost its place
      IF NOT newer AND @other_signature@ THEN
        --: if versions
        -- late: that table's guard decides
        @archive_new@
        IF NOT FOUND AND current_setting('rowseal.outcome', true) = 'archived' THEN
          outcome := 'duplicate';  -- of another session's
        END IF;
        --: else
        outcome := 'stale';
        --: end
        EXIT judged;
      END IF;
      IF TG_OP = 'INSERT' AND newer THEN
        -- here again, the tip locked
        UPDATE @main@ t SET @set_new@ WHERE @key_of_new@;
        IF NOT FOUND THEN
          verdict := rowseal._hidden(@id@, NEW);
        END IF;
        EXIT judged;
      END IF;
    END IF;

    -- 3. Is it the owner's?
    @verdict@
    EXIT judged WHEN verdict IS NOT NULL;
    @look_again@

    -- 4. It is carried out.
    IF NOT newer THEN
      outcome := 'duplicate';  -- spelled otherwise
      @arrived_again@
    ELSE
      outcome := 'inserted';  -- once, by the primary key
      IF TG_OP = 'UPDATE' THEN
        --: if versions
        @archive_tip@
        IF NOT FOUND THEN
          PERFORM rowseal._must_be_archived(@id@, @signature_of_tip@);
        END IF;
        --: end
        --: if toastable
        -- else the WAL lacks large values
        whole := @whole@;
        @copies@
        --: end
        outcome := 'superseded';
      END IF;
      kept := true;
    END IF;
    EXIT judged;
  END LOOP;

  @leave@
END

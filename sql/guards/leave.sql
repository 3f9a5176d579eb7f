-- How every guard ends.  Who merges for others (rowseal.apply and what rests on it) sets rowseal.mode to "apply", and
-- reads from rowseal.outcome what became of each row; for everybody else a refusal is an error, or an entry of the
-- quarantine (_refuse).
--
--   @relation@  the main table as a value
--   @refused@   payload, signature and row, for the refusal
outcome := coalesce(verdict::text, outcome);
IF outcome IS NOT NULL AND current_setting('rowseal.mode', true) = 'apply' THEN
  outcome := set_config('rowseal.outcome', outcome, true);
ELSIF verdict IS NOT NULL THEN
  PERFORM rowseal._refuse(TG_RELID, @relation@, verdict, @refused@);
END IF;
IF kept AND verdict IS NULL THEN
  RETURN NEW;
END IF;
RETURN NULL;

-- How every guard ends.
--
--   @relation@  the main table as a value
--   @refused@   key, payload, signature and row, for the refusal
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

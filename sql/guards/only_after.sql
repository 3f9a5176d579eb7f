-- How a SECURITY DEFINER function refuses to be anything but an AFTER trigger of its table, whoever attaches it
-- elsewhere.
--
--   @here@  the table that it is a trigger of
--   @main@  the main table, whose partitions have its triggers
IF TG_WHEN <> 'AFTER' OR TG_RELID <> @here@
   AND NOT EXISTS (SELECT FROM pg_partition_ancestors(TG_RELID) a WHERE a.relid = @main@) THEN
  RAISE EXCEPTION USING ERRCODE = 'RS009',
    MESSAGE = 'this function is an AFTER trigger of a declared table, and nothing else';
END IF;

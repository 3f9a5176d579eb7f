-- How a SECURITY DEFINER function refuses to be anything but an AFTER trigger of its table, whoever attaches it
-- elsewhere.  It knows the table by its number: under its name there may be another one by now.  And it reads columns
-- of the types that were declared alone: of another one a cast that its owner has made would run as rowseal_internal.
--
--   @here@             the table that it is a trigger of, with its partitions
--   @otherwise_typed@  a column has another type than was declared
IF TG_WHEN <> 'AFTER' OR TG_RELID <> @here@ THEN
  IF TG_WHEN <> 'AFTER' OR NOT EXISTS (SELECT FROM pg_partition_ancestors(TG_RELID) a WHERE a.relid = @here@) THEN
    RAISE EXCEPTION USING ERRCODE = 'RS009',
      MESSAGE = 'this function is an AFTER trigger of a declared table, and nothing else';
  END IF;
END IF;
IF @otherwise_typed@ THEN
  RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = 'a column has another type than it was declared with',
    HINT = rowseal._hint('RS007');
END IF;

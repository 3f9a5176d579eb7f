-- Step 3 of a guard, where others than the owner may write.
--
--   @writer@    who signed, NULL for the owner
--   @owners@    sets verdict by the owner's key
--   @judged@    the verdict by the writer's key on what the row itself says
--   @grants@    whether it is a grants table: its lock is held
--   @licensed@  NULL when the row stands under a chain of grants, else why not
--   @admitted@  the same; it takes the shared lock of the owner first, and says so when that was not held before
IF @writer@ IS NULL THEN
  @owners@
ELSE
  --: if grants
  verdict := coalesce(@judged@, @licensed@);
  --: else
  IF news IS NOT TRUE THEN
    verdict := coalesce(@judged@, @admitted@);
  END IF;
  news := news IS NULL AND (verdict).sqlstate = '00000';
  IF news THEN
    verdict := NULL;
  END IF;
  --: end
END IF;

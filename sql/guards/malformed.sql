-- A verdict on what the columns of a writer's row say about each other: NULL when it is well formed.
--
--   @writer@     who signed, NULL for the owner
--   @number@     number of the row in his chain
--   @previous@   link of the row before
--   @misfit@     the verdict when these do not go together
--   @grants@     whether it is a row of a grants table
--   @deleted@    its deletion flag
--   @tombstone@  the verdict on a deleted grant
--   @upto@       where a revocation ends
--   @until@      last timestamp that a grant covers
--   @endless@    the verdict on a grant without one
CASE WHEN CASE WHEN @writer@ IS NULL THEN @number@ IS NULL AND @previous@ IS NULL
               ELSE @number@ >= 1 AND (@previous@ IS NULL) = (@number@ = 1) END IS NOT TRUE THEN @misfit@
     --: if grants
     WHEN @deleted@ THEN @tombstone@
     WHEN @upto@ IS NULL AND @until@ IS NULL THEN @endless@
     --: end
END

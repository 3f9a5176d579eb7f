-- A verdict on what the columns of a writer's row say about each other: NULL when it is well formed.
--
--   @writer@     who signed, NULL for the owner
--   @number@     number of the row in his chain
--   @previous@   link of the row before
--   @sizes@      how long public keys are that the identity table allows
--   @misfit@     the verdict when these do not go together
--   @stranger@   the verdict on a key of another algorithm
--   @grants@     whether it is a row of a grants table
--   @deleted@    its deletion flag
--   @tombstone@  the verdict on a deleted grant
--   @upto@       where a revocation ends
--   @until@      last timestamp that a grant covers
--   @endless@    the verdict on a grant without one
--   @grantee@    the key spoken about
--   @tables@     its tables
--   @keys@       its keys
--   @scopeless@  the verdict on what is no scope, or no frontier
--   @written@    its keys, NULL where they are too long to be written at all: the verdict refuses those
--   @most@       how many bytes tables and keys may have as text: whoever writes below a grant has them looked up
--   @large@      the verdict on more
CASE WHEN CASE WHEN @writer@ IS NULL THEN @number@ IS NULL AND @previous@ IS NULL
               ELSE @number@ >= 1 AND (@previous@ IS NULL) = (@number@ = 1)
                    AND coalesce(octet_length(@previous@), 32) = 32 END IS NOT TRUE THEN @misfit@
     WHEN NOT (octet_length(@writer@) = ANY (@sizes@)) THEN @stranger@
     --: if grants
     WHEN (octet_length(@grantee@) = ANY (@sizes@)) IS NOT TRUE THEN @stranger@
     WHEN @deleted@ THEN @tombstone@
     WHEN @upto@ IS NULL AND @until@ IS NULL THEN @endless@
     WHEN NOT (rowseal._flat(@tables@) AND coalesce(jsonb_typeof(@keys@), 'object') = 'object'
               AND rowseal._are_links(@upto@)) THEN @scopeless@
     WHEN octet_length((@tables@)::text) > @most@ OR octet_length((@written@)::text) > @most@ THEN @large@
     --: end
END

-- Takes rows of the owner $1 (an object of fields) and the writers $2 with the signatures $3 that count no longer out of
-- the main table; where a tip goes, the greatest version that counts takes its place.
-- Versions that count no longer have been taken out before.
--
--   @delete@          deletes such rows t
--   @main@            the main table
--   @versions@        the versions table
--   @key_t@           primary key of t
--   @names@           the stored columns
--   @key_v@           primary key of v
--   @stored_v@        the stored columns of v
--   @same_key@        gone and v are of one key
--   @stands@          v counts
--   @order_v@         timestamp, deletion flag and signature of v
--   @sign@            the signature column
--   @signature_of_v@  signature of v
WITH gone AS (
  @delete@
  RETURNING @key_t@
), tips AS (
  INSERT INTO @main@ (@names@)
    SELECT DISTINCT ON (@key_v@) @stored_v@
      FROM gone JOIN @versions@ v ON @same_key@
     WHERE @stands@
     ORDER BY @key_v@, @order_v@ DESC
    RETURNING @sign@ AS sign
) DELETE FROM @versions@ v USING tips WHERE @signature_of_v@ = tips.sign

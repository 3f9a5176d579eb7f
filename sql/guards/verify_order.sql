-- Part of verify: an archived version must have a tip above it.
--
--   @key@        key of the archived version, as JSON
--   @signature@  its signature
--   @no_tip@     there is no current version
--   @order_v@    timestamp, deletion flag and signature of the archived version
--   @order_t@    the same of the current one
--   @same_time@  both have the same timestamp
--   @versions@   the versions table v
--   @main@       the main table t
--   @same_key@   both are of one key
SELECT @key@, @signature@,
       ROW('RS009', CASE WHEN @no_tip@ THEN 'an archived version without a current one'
                         WHEN @order_v@ = @order_t@ THEN 'the current version is archived, too'
                         WHEN @same_time@ THEN 'an archived version of the same timestamp is above the current one'
                         ELSE 'an archived version is newer than the current one' END)::rowseal.verdict
  FROM @versions@ LEFT JOIN @main@ ON @same_key@
 WHERE (@order_v@ < @order_t@) IS NOT TRUE

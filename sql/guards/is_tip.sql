-- Whether a version is the current one: archiving a tip says nothing new, a version that came late is news for the
-- feed.
--
--   @hear@            the row may have waited
--   @moved@           NULL, or the verdict where names lead elsewhere than they did (moved.sql)
--   @main@            the table
--   @same_key@        t has the key in the first arguments
--   @same_signature@  t has the signature in the last one
BEGIN
  @hear@
  IF @moved@ IS NOT NULL THEN  -- while the row was stored
    RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'a table or type has been altered meanwhile';
  END IF;
  RETURN EXISTS (SELECT FROM @main@ t WHERE @same_key@ AND @same_signature@);
END

-- Whether a version is the current one: archiving a tip says nothing new, a version that came late is news for the
-- feed.
--
--   @main@            the table
--   @same_key@        t has the key in the first arguments
--   @same_signature@  t has the signature in the last one
BEGIN
  RETURN EXISTS (SELECT FROM @main@ t WHERE @same_key@ AND @same_signature@);
END

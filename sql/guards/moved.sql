-- The verdict where a function that was generated for a declaration cannot go on: it is not of this generation ($1), so
-- it has been replaced while it waited for DDL, or a name in it leads elsewhere than when it was made, and nothing has
-- followed that.  It is inlined where it is asked.  Where names of tables lead is a constant of the plan there, which
-- is made anew when one of them moves, or when this is replaced (subject.py says what that takes).  Nothing does that
-- for a type, or an operator: these are looked up.
--
--   @id@          number of the declaration
--   @generation@  of this function
--   @elsewhere@   whether names lead elsewhere
SELECT CASE WHEN $1 <> @generation@ OR @elsewhere@ THEN rowseal._elsewhere(@id@, $1) END

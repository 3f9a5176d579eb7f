-- Before other tables of the declaration are read and written by their names, they are locked: from here on the names
-- lead to them.  What a name leads to else, a view of a stranger's, say, is neither read nor planned.  Who waits here
-- for an ALTER TABLE goes on in a function that has been replaced meanwhile (moved.sql).
--
--   @tables@  the others
--   @moved@   NULL, or the verdict where names lead elsewhere
LOCK TABLE @tables@ IN ACCESS SHARE MODE;
verdict := @moved@;
EXIT judged WHEN verdict IS NOT NULL;

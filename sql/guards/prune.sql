-- Deletes superseded versions: $1 keeps so many of the newest of each key besides the current one, $2 those from a
-- timestamp on.
--
--   @table@      where versions lie
--   @at@         timestamp of the version x
--   @spare@      whether x may go
--   @partition@  by key, the newest first
--   @tips@       how many versions of a key are current there: 1, or 0 in a versions table
DELETE FROM @table@ d USING (
    SELECT x.ctid, x.tableoid, @at@ AS at, @spare@ AS spare,
           pg_catalog.row_number() OVER (@partition@) - @tips@ AS n
      FROM @table@ x) o
 WHERE d.ctid = o.ctid AND d.tableoid = o.tableoid AND o.n > 0 AND o.n > $1 AND o.at < $2 AND o.spare

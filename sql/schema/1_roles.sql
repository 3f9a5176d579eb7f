-- The schema, and the roles that the whole cluster shares.

-- Created here, not by the control file: a schema that somebody else made beforehand must not be used.
CREATE SCHEMA rowseal;
COMMENT ON SCHEMA rowseal IS 'rowseal: rows that only their owner can write';

DO $$
BEGIN
  IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('rowseal needs a database in UTF8, this one is in %s',
                                  pg_catalog.getdatabaseencoding()),
      HINT = 'The signed bytes are UTF-8. CREATE DATABASE … ENCODING ''UTF8'' TEMPLATE template0.';
  END IF;
  -- Roles belong to the whole cluster: another database may have made them already.  Or somebody else: privileges.sql
  -- looks at what rowseal_internal has.
  IF pg_catalog.to_regrole('rowseal_internal') IS NULL THEN
    CREATE ROLE rowseal_internal NOLOGIN;
  END IF;
  IF pg_catalog.to_regrole('rowseal_admin') IS NULL THEN
    CREATE ROLE rowseal_admin NOLOGIN;
  END IF;
  IF pg_catalog.to_regrole('rowseal_trusted') IS NULL THEN
    CREATE ROLE rowseal_trusted NOLOGIN;
  END IF;
END
$$;

-- rowseal_internal owns rowseal's own tables and the functions that write them for everybody: it has no members.
-- rowseal_admin reads and empties the quarantine and follows the feed. rowseal_trusted: its members' declared tables,
-- with their triggers, may be written by links and by whoever brings a missing owner.

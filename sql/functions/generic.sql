-- What triggers of declared tables do seldom: ordinary code that runs the queries kept with the declaration.  The first
-- argument of each is the number of the declaration, the second the table: main or versions.

-- Whoever may create triggers on a table may name any declaration there, his own, say: nothing of his runs.
CREATE OR REPLACE FUNCTION rowseal._guards(d rowseal.declarations, relation oid) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
  SELECT relation IN (d.relation, d.versions)
      OR d.relation IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(relation) a)
$$;
COMMENT ON FUNCTION rowseal._guards(rowseal.declarations, oid) IS
  'Whether a table is the declared one, its versions table or one of its partitions';

CREATE OR REPLACE FUNCTION rowseal._cure() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d rowseal.declarations;
  owner text;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.id = TG_ARGV[0]::integer AND rowseal._guards(x, TG_RELID);
  IF NOT FOUND THEN
    RETURN NULL;  -- data is being restored, and the declaration comes after it; or somebody took the trigger elsewhere
  END IF;
  EXECUTE rowseal._query(d, 'owner') INTO owner USING NEW;
  PERFORM rowseal._retry(d.tag || ' ' || owner);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._cure() IS
  'AFTER INSERT on an identity table: rows that waited for this owner are tried again, with the rights of who '
  'brought the owner';

CREATE OR REPLACE FUNCTION rowseal._keep_writers() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  query text;
  spent boolean;
BEGIN
  SELECT x.queries ->> CASE TG_ARGV[1] WHEN 'main' THEN 'spent' ELSE 'spent_versions' END INTO query
    FROM rowseal.declarations x
   WHERE x.id = TG_ARGV[0]::integer AND rowseal._guards(x, TG_RELID) AND NOT rowseal._moved(x.names);
  IF query IS NOT NULL THEN  -- else it is closed, or not declared
    EXECUTE query INTO spent USING OLD;
  END IF;
  IF spent THEN
    RETURN OLD;
  END IF;
  PERFORM rowseal._refuse_delete(TG_RELID, TG_OP, OLD);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._keep_writers() IS
  'BEFORE DELETE where there are writers: refuses it, but of what counts no longer (and of what has moved into the '
  'main table): whoever deletes that does no harm';

CREATE OR REPLACE FUNCTION rowseal._settle_row() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d rowseal.declarations;
  r record;
BEGIN
  SELECT * INTO d FROM rowseal.declarations x WHERE x.id = TG_ARGV[0]::integer AND rowseal._guards(x, TG_RELID);
  IF NOT FOUND THEN
    RETURN NULL;  -- as in _cure
  END IF;
  EXECUTE rowseal._query(d, 'settle') INTO r USING NEW;
  PERFORM rowseal._settle(d.id, r.owner, r.writer, r.seq, r.link, r.revoked);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rowseal._settle_row() IS
  'AFTER a row of the grants table was stored, and entered into the ledger: the tables follow, with the rights of who '
  'writes';

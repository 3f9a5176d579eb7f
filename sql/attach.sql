-- What binds the functions to rowseal's own tables and to the database.  The declared tables get their triggers from
-- _install.

-- ------------------------------------------------------------------------------------------------------ row security
-- On every table: a right on all tables of a database (pg_read_all_data, pg_write_all_data) is none on these.  Whom
-- privileges.sql gives a right needs a policy, owners and superusers do not.
DO $$
DECLARE
  t regclass;
BEGIN
  FOR t IN SELECT c.oid FROM pg_catalog.pg_class c
            WHERE c.relnamespace = 'rowseal'::pg_catalog.regnamespace AND c.relkind = 'r' LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
  END LOOP;
END
$$;

CREATE POLICY readable ON rowseal.declarations FOR SELECT USING (true);
CREATE POLICY declarable ON rowseal.declarations FOR INSERT
  WITH CHECK (rowseal._owns(relation) AND (versions IS NULL OR rowseal._owns(versions))
              AND (identity IS NULL OR pg_catalog.has_table_privilege(identity, 'SELECT'))
              AND (writers IS NULL OR rowseal._owns(writers)));  -- a row there takes rows away here
CREATE POLICY removable ON rowseal.declarations FOR DELETE TO rowseal_internal USING (true);  -- see _removals

CREATE POLICY readable ON rowseal.tags FOR SELECT USING (true);
CREATE POLICY readable ON rowseal._opened FOR SELECT USING (true);
CREATE POLICY removable ON rowseal._opened FOR DELETE TO rowseal_internal USING (true);
CREATE POLICY readable ON rowseal.installation FOR SELECT USING (true);
CREATE POLICY enterable ON rowseal._refused FOR INSERT WITH CHECK (true);  -- its triggers look at what it is

CREATE POLICY readable ON rowseal.feed FOR SELECT TO rowseal_admin USING (true);
CREATE POLICY readable ON rowseal.feed_state FOR SELECT TO rowseal_admin USING (true);
CREATE POLICY readable ON rowseal.quarantine_dropped FOR SELECT TO rowseal_admin USING (true);
CREATE POLICY readable ON rowseal.quarantine_limits FOR SELECT TO rowseal_admin USING (true);
CREATE POLICY settable ON rowseal.quarantine_limits FOR UPDATE TO rowseal_admin USING (true);

-- Curable rows show to who could have written them: then the session that brings the cure can let them in.  What came
-- when no table had the tag was sent to nobody yet: it goes to a table whose owner is trusted with it.  Row security of
-- the table itself may hide rows: here, too.
CREATE POLICY administer ON rowseal.quarantine FOR SELECT TO rowseal_admin USING (true);
CREATE POLICY discardable ON rowseal.quarantine FOR DELETE TO rowseal_admin USING (true);
CREATE POLICY writable ON rowseal.quarantine FOR SELECT USING (curable AND EXISTS (
  SELECT FROM rowseal.declarations d JOIN pg_catalog.pg_class c ON c.oid = d.relation
   WHERE d.tag = quarantine.tag
     AND (sqlstate <> 'RS007' OR waits_for IS NOT NULL OR role = (SELECT rowseal._asker())
          OR rowseal._may_have(role, c.relowner))
     AND (role = (SELECT rowseal._asker()) OR NOT pg_catalog.row_security_active(d.relation))
     AND rowseal._may_write(d.relation)));

-- Who may take out what: a declaration, or the note that its table opened, whoever owns the table; an entry
-- administrators, and whoever owns the table that it is for.  A policy sees the current user, a SECURITY DEFINER
-- function does not.
CREATE POLICY removable ON rowseal._removals FOR INSERT WITH CHECK (
  (relation IS NULL OR rowseal._owns(relation))
  AND (opened IS NULL OR rowseal._owns(opened))
  AND (entry IS NULL OR EXISTS (
    SELECT FROM rowseal.quarantine q
     WHERE q.id = entry AND rowseal._may_discard(current_user, q.tag, rowseal._was_sent(q.sqlstate, q.waits_for),
                                                       q.role))));

-- The owner of a table enters his erasures himself; nobody changes an entry.
CREATE POLICY administer ON rowseal.erasures FOR SELECT TO rowseal_admin USING (true);
CREATE POLICY owned ON rowseal.erasures FOR SELECT USING (rowseal._owns(relation));
CREATE POLICY erasable ON rowseal.erasures FOR INSERT WITH CHECK (
  rowseal._owns(relation)
  AND EXISTS (SELECT FROM rowseal.declarations d WHERE d.relation = erasures.relation AND d.tag = erasures.tag));

CREATE POLICY own ON rowseal.shapes FOR SELECT USING (role = (SELECT rowseal._asker()));
CREATE POLICY administer ON rowseal.shapes FOR SELECT TO rowseal_admin USING (true);
CREATE POLICY removable ON rowseal.shapes FOR DELETE TO rowseal_admin USING (true);

-- ---------------------------------------------------------------------------------------------------------- triggers
CREATE TRIGGER complete BEFORE INSERT OR UPDATE ON rowseal.declarations
  FOR EACH ROW EXECUTE FUNCTION rowseal._complete_declaration();
CREATE TRIGGER install AFTER INSERT OR DELETE OR UPDATE OF queries ON rowseal.declarations
  FOR EACH ROW EXECUTE FUNCTION rowseal._install();
-- ENABLE ALWAYS: event triggers write here for superusers with session_replication_role = replica, too
ALTER TABLE rowseal.declarations ENABLE ALWAYS TRIGGER complete, ENABLE ALWAYS TRIGGER install;

CREATE TRIGGER remove AFTER INSERT ON rowseal._removals REFERENCING NEW TABLE AS named
  EXECUTE FUNCTION rowseal._remove();
ALTER TABLE rowseal._removals ENABLE ALWAYS TRIGGER remove;

-- ENABLE ALWAYS: what a subscription brings meets them, too
CREATE TRIGGER arrive BEFORE INSERT ON rowseal.feed FOR EACH ROW EXECUTE FUNCTION rowseal._arrive();
CREATE CONSTRAINT TRIGGER merge_collected AFTER INSERT ON rowseal._commits DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION rowseal._merge_collected();
ALTER TABLE rowseal._commits ENABLE ALWAYS TRIGGER merge_collected;
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON rowseal.feed FOR EACH ROW EXECUTE FUNCTION rowseal._keep_feed();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON rowseal.feed EXECUTE FUNCTION rowseal._keep_feed();
ALTER TABLE rowseal.feed ENABLE ALWAYS TRIGGER arrive, ENABLE ALWAYS TRIGGER keep, ENABLE ALWAYS TRIGGER keep_all;
CREATE TRIGGER forget AFTER INSERT ON rowseal.erasures FOR EACH ROW EXECUTE FUNCTION rowseal._forget();
ALTER TABLE rowseal.erasures ENABLE ALWAYS TRIGGER forget;

-- in the order of their names
CREATE TRIGGER enter BEFORE INSERT ON rowseal._refused FOR EACH ROW EXECUTE FUNCTION rowseal._enter_refused();
CREATE TRIGGER settle BEFORE INSERT ON rowseal._refused FOR EACH ROW EXECUTE FUNCTION rowseal._settle_refused();
ALTER TABLE rowseal._refused ENABLE ALWAYS TRIGGER enter, ENABLE ALWAYS TRIGGER settle;
CREATE TRIGGER feed_held AFTER UPDATE OF fed ON rowseal._writer_rows FOR EACH ROW
  WHEN (NEW.fed AND NOT OLD.fed AND NEW.held IS NOT NULL) EXECUTE FUNCTION rowseal._feed_held();
CREATE TRIGGER forget_held AFTER DELETE ON rowseal.quarantine FOR EACH ROW
  WHEN (OLD.link IS NOT NULL) EXECUTE FUNCTION rowseal._forget_held();
ALTER TABLE rowseal._writer_rows ENABLE ALWAYS TRIGGER feed_held;
ALTER TABLE rowseal.quarantine ENABLE ALWAYS TRIGGER forget_held;

-- ---------------------------------------------------------------------------------------------------- event triggers
SET LOCAL backtrace_functions = rowseal;  -- for what follows in this script: see _on_ddl_start
CREATE EVENT TRIGGER rowseal_ddl_start ON ddl_command_start EXECUTE FUNCTION rowseal._on_ddl_start();
CREATE EVENT TRIGGER rowseal_ddl ON ddl_command_end EXECUTE FUNCTION rowseal._on_ddl();
CREATE EVENT TRIGGER rowseal_drop ON sql_drop EXECUTE FUNCTION rowseal._on_drop();
CREATE EVENT TRIGGER rowseal_drop_refuse ON sql_drop EXECUTE FUNCTION rowseal._on_drop_refuse();
CREATE EVENT TRIGGER rowseal_forget ON sql_drop EXECUTE FUNCTION rowseal._on_drop_forget();
-- fires after rowseal_ddl, as those of sql_drop one after the other: event triggers of one event go by their names
CREATE EVENT TRIGGER rowseal_ddl_retry ON ddl_command_end EXECUTE FUNCTION rowseal._on_ddl_retry();
ALTER EVENT TRIGGER rowseal_ddl_start ENABLE ALWAYS;
ALTER EVENT TRIGGER rowseal_ddl ENABLE ALWAYS;
ALTER EVENT TRIGGER rowseal_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER rowseal_drop_refuse ENABLE ALWAYS;
ALTER EVENT TRIGGER rowseal_forget ENABLE ALWAYS;
ALTER EVENT TRIGGER rowseal_ddl_retry ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER rowseal_ddl_start IS 'Refuses DDL as rowseal_internal, and what could not be followed';
COMMENT ON EVENT TRIGGER rowseal_ddl IS 'Keeps generated functions in step with declared tables';
COMMENT ON EVENT TRIGGER rowseal_drop IS 'Forgets the declaration of a dropped table';
COMMENT ON EVENT TRIGGER rowseal_drop_refuse IS 'Refuses to drop what a declared table of the same owner needs';
COMMENT ON EVENT TRIGGER rowseal_forget IS 'Leaves no number of a dropped table';
COMMENT ON EVENT TRIGGER rowseal_ddl_retry IS
  'Verifies the rows of new partitions; tries rows again that waited for a column, or for a closed table to open';

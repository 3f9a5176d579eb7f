-- What a dump holds of rowseal's own tables: CREATE EXTENSION makes them, with no rows of users.

DO $$
DECLARE
  x record;
BEGIN
  FOR x IN SELECT pg_catalog.unnest('{declarations_id_seq,quarantine,quarantine_id_seq,erasures_id_seq}'::text[]) AS t
    UNION ALL
    -- derived, but in a dump nothing derives it anew: rows are restored before triggers
    SELECT pg_catalog.unnest(
      '{_authority,_authority_id_seq,_writer_rows,_dead_rows,_grants,_grants_id_seq,_licences,_stands,_wanted}'::text[])
  LOOP
    PERFORM pg_catalog.pg_extension_config_dump(('rowseal.' || x.t)::pg_catalog.regclass, '');
  END LOOP;
  -- Tables that pg_dump leaves out are named by no row: COPY ends at a name that is not there, and nobody's row would
  -- be restored.  It leaves out what is a member of an extension, and anybody can make a table of his one.
  FOR x IN VALUES ('declarations', 'relation, versions, identity, writers'), ('tags', 'relation'),
                  ('erasures', 'relation'), ('_opened', 'relation')
  LOOP
    PERFORM pg_catalog.pg_extension_config_dump(
      ('rowseal.' || x.column1)::pg_catalog.regclass,
      pg_catalog.format($where$WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_depend e
            ON e.deptype = 'e' AND (e.classid, e.objid) IN (
              ('pg_catalog.pg_class'::pg_catalog.regclass, c.oid),
              ('pg_catalog.pg_namespace'::pg_catalog.regclass, c.relnamespace))
         WHERE c.oid IN (%s))$where$, x.column2));
  END LOOP;
END
$$;

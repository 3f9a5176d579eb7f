-- How far rowseal pull has read the shapes of Electric.

CREATE TABLE rowseal.shapes (
  role       text NOT NULL,
  relation   regclass NOT NULL,  -- no foreign key: whoever can insert could lock the declaration
  source     text NOT NULL CHECK (length(source) <= 2000),
  handle     text CHECK (length(handle) <= 200),
  log_offset text NOT NULL CHECK (length(log_offset) <= 50),
  outcomes   jsonb NOT NULL DEFAULT '{}',
  changed    timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  up_to_date timestamptz,
  PRIMARY KEY (role, relation, source)
);
-- Not dumped: what is restored may be older than an offset.  Reading a shape from its beginning is always right.
COMMENT ON TABLE rowseal.shapes IS
  'Electric shapes that rowseal pull follows into declared tables, each written in the transaction that stores its '
  'rows; a row shows to its role and to administrators';
COMMENT ON COLUMN rowseal.shapes.role IS 'session_user that pulls';
COMMENT ON COLUMN rowseal.shapes.source IS 'URL of the shape, without secrets';
COMMENT ON COLUMN rowseal.shapes.handle IS 'electric-handle of the log that was read, NULL before the first answer';
COMMENT ON COLUMN rowseal.shapes.log_offset IS
  'electric-offset up to which all rows are in the table or in the quarantine';
COMMENT ON COLUMN rowseal.shapes.outcomes IS
  'How many rows had which outcome, as in rowseal.apply; deleted: deletions noted and not obeyed';
COMMENT ON COLUMN rowseal.shapes.changed IS 'When a row last came';
COMMENT ON COLUMN rowseal.shapes.up_to_date IS 'When the source last said that this is all there is';

ALTER TABLE rowseal.shapes OWNER TO rowseal_internal;

-- Which tables are declared, and what was installed.

-- It goes round: whoever uses it up harms nobody.
CREATE SEQUENCE rowseal.declarations_id_seq AS integer CYCLE;
CREATE TABLE rowseal.declarations (
  relation           regclass PRIMARY KEY,
  id                 integer NOT NULL UNIQUE,
  generation         integer NOT NULL,
  tag                text NOT NULL UNIQUE CHECK (pg_catalog.octet_length(tag) <= 1000),
  layout             text NOT NULL CHECK (layout IN ('unversioned', 'two tables', 'one table')),
  versions           regclass,
  owner              text[] NOT NULL,
  public_key         text,
  identity           regclass,
  fingerprint        text,
  fingerprint_prefix text NOT NULL DEFAULT '',
  algorithms         text[],
  certificates       jsonb NOT NULL DEFAULT '{}',
  unsigned           text[] NOT NULL DEFAULT '{}',
  form               text NOT NULL DEFAULT 'rowseal/1',
  accept_ambiguity   boolean NOT NULL DEFAULT false,
  name_column        text,
  name_hash          text NOT NULL DEFAULT 'sha3-512',
  name_prefix        text NOT NULL DEFAULT '',
  digests            jsonb NOT NULL DEFAULT '{}',
  healed             text[] NOT NULL DEFAULT '{}',
  feed               boolean NOT NULL DEFAULT false,
  timestamp_column   text NOT NULL DEFAULT 'owner_timestamp',
  deleted_column     text NOT NULL DEFAULT 'deleted_flag',
  signature_column   text NOT NULL DEFAULT 'sign_b64',
  parent_column      text DEFAULT 'parent_sign_b64',
  grants             boolean NOT NULL DEFAULT false,
  writers            regclass,
  version_columns    jsonb,
  key                text[] NOT NULL,
  fields             jsonb NOT NULL,
  spec               jsonb NOT NULL,
  queries            jsonb NOT NULL,
  facts              jsonb NOT NULL,
  numbers            jsonb NOT NULL,
  version_key        text,
  names              jsonb NOT NULL,
  manifest           jsonb NOT NULL,
  CHECK ((public_key IS NULL) <> (identity IS NULL)),
  CHECK (NOT grants OR writers IS NULL)
);
-- regclass: it survives renames here, and dumps as a name that restores to the new oid; 0 where the table was dropped
CREATE UNIQUE INDEX ON rowseal.declarations (versions) WHERE versions <> 0;
CREATE INDEX ON rowseal.declarations (writers) WHERE writers IS NOT NULL;  -- for _written

COMMENT ON TABLE rowseal.declarations IS
  'The declared tables. Written by rowseal.declare and rowseal.undeclare; whoever owns a table may declare it (row '
  'security).';
COMMENT ON COLUMN rowseal.declarations.id IS 'Part of the names of the generated functions: _guard_ID, _judge_ID, …';
COMMENT ON COLUMN rowseal.declarations.tag IS
  'Name of the table in the signed bytes; unique, or rows could be replayed from one table into another';
COMMENT ON COLUMN rowseal.declarations.versions IS 'Versions table of the layout "two tables"';
COMMENT ON COLUMN rowseal.declarations.grants IS 'Whether its rows are grants and revocations of other writers';
COMMENT ON COLUMN rowseal.declarations.writers IS
  'The grants table that says who besides the owner may write rows here';
COMMENT ON COLUMN rowseal.declarations.form IS
  'What is signed: rowseal/1, or concatenated, for the rows of one older system';
COMMENT ON COLUMN rowseal.declarations.name_column IS
  'Column that holds a version''s name: name_prefix and the name_hash of its signature; parents are named so, too';
COMMENT ON COLUMN rowseal.declarations.digests IS
  'Columns signed by their digest, and the columns that keep it when they are erased: {"column": "column_sha256"}';
COMMENT ON COLUMN rowseal.declarations.healed IS
  'Of the columns signed by digest: those that an intact row that arrives restores';
COMMENT ON COLUMN rowseal.declarations.manifest IS
  'The functions and triggers of the table, as they were installed; undeclare takes them off, health() compares them';
COMMENT ON COLUMN rowseal.declarations.algorithms IS
  'Of an identity table: what its keys may be: ed25519, ml-dsa-65, ml-dsa-87';
COMMENT ON COLUMN rowseal.declarations.version_key IS
  'Column that tells versions apart where they are kept: the signature, its generated hash, or the name';
COMMENT ON COLUMN rowseal.declarations.key IS 'Primary key columns, without the version_key';
COMMENT ON COLUMN rowseal.declarations.fields IS
  'Signed columns and the field names they had at declaration: {"column": "field"}';
COMMENT ON COLUMN rowseal.declarations.spec IS
  'What a verdict needs: tag, fields with their kinds, owner, fingerprint, certificates; also what a client needs to '
  'sign';
COMMENT ON COLUMN rowseal.declarations.version_columns IS
  'Columns of the versions table: {"main column": "versions column"}';
COMMENT ON COLUMN rowseal.declarations.queries IS
  'Generated queries behind payload, verify, digest, history; {}: the table is closed (see ddl.sql)';
COMMENT ON COLUMN rowseal.declarations.generation IS
  'How often functions were made for it: a guard that has waited for DDL sees by it that it has been replaced';
COMMENT ON COLUMN rowseal.declarations.numbers IS
  'The columns that the tables have by now, also while it is closed, and their numbers in which database: '
  '{"installation": …, "main": {"relation": 16400, "columns": {"k": 1}}, "versions": …}';
COMMENT ON COLUMN rowseal.declarations.names IS
  'The names of tables and types that functions and queries say, with their numbers in this database: '
  '{"regclass": {"public.t": 16400}, "regtype": {…}}; what has a name by now, and another number, is not read';
COMMENT ON COLUMN rowseal.declarations.facts IS
  'Catalog facts of the last time that the table was in order, from which functions and triggers were generated; '
  'health() compares them; a table that is closed is compared with them, too';

CREATE TABLE rowseal.tags (
  tag text PRIMARY KEY CHECK (pg_catalog.octet_length(tag) <= 1000), owner name NOT NULL, relation regclass NOT NULL);
COMMENT ON TABLE rowseal.tags IS
  'The table that was declared with a tag last, and who owned it: rows may wait for it, and nobody else gets them. '
  'While the table is there, nobody else gets the tag either';

CREATE TABLE rowseal._new_partitions (xid xid8 NOT NULL, relation oid NOT NULL, partition oid NOT NULL);
ALTER TABLE rowseal._new_partitions OWNER TO rowseal_internal;
COMMENT ON TABLE rowseal._new_partitions IS
  'Partitions that the command that runs has brought to a declared table, from one event trigger to the next';

CREATE TABLE rowseal._new_columns (xid xid8 NOT NULL, relation oid NOT NULL, place oid NOT NULL, name name NOT NULL);
ALTER TABLE rowseal._new_columns OWNER TO rowseal_internal;
COMMENT ON TABLE rowseal._new_columns IS
  'Columns of a declared table, or (place) its versions table, that are signed since the command that runs, from one '
  'event trigger to the next';

CREATE TABLE rowseal._opened (
  relation regclass PRIMARY KEY, xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id());
COMMENT ON TABLE rowseal._opened IS
  'Tables that were closed and have opened, and do not follow yet what came in between: see _follow_opened';

CREATE TABLE rowseal.installation (
  one         boolean PRIMARY KEY DEFAULT true CHECK (one),
  id          uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
  fingerprint bytea
);
COMMENT ON TABLE rowseal.installation IS
  'In which database rowseal is installed: numbers in declarations are of that one alone, and no dump has its id. '
  'fingerprint: what rowseal._fingerprint() said after installation; health() compares';

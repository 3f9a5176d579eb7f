\echo Use "CREATE EXTENSION rowseal CASCADE" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;  -- for this script; CREATE EXTENSION puts the caller's back

-- Created here, not by the control file: a schema that somebody else made beforehand must not be used.
CREATE SCHEMA rowseal;
COMMENT ON SCHEMA rowseal IS 'rowseal: rows that only their owner can write';

DO $$
BEGIN
  IF pg_catalog.getdatabaseencoding() <> 'UTF8' THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007',
      MESSAGE = pg_catalog.format('rowseal needs a database in UTF8, this one is in %s', pg_catalog.getdatabaseencoding()),
      HINT = 'The signed bytes are UTF-8. CREATE DATABASE … ENCODING ''UTF8'' TEMPLATE template0.';
  END IF;
  -- Roles belong to the whole cluster: another database may have made them already.
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
-- rowseal_admin reads and empties the quarantine and follows the feed.
-- rowseal_trusted: its members' declared tables, with their triggers, may be written by links and by whoever brings a missing owner.
GRANT USAGE ON SCHEMA rowseal TO PUBLIC;

CREATE SEQUENCE rowseal.declarations_id_seq AS integer;
CREATE TABLE rowseal.declarations (
  relation           regclass PRIMARY KEY,
  id                 integer NOT NULL UNIQUE,
  tag                text NOT NULL UNIQUE,
  layout             text NOT NULL CHECK (layout IN ('unversioned', 'two tables', 'one table')),
  versions           regclass UNIQUE,
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
  heal               boolean NOT NULL DEFAULT false,
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
  version_key        text,
  CHECK ((public_key IS NULL) <> (identity IS NULL)),
  CHECK (NOT grants OR writers IS NULL)
);
-- regclass: it survives renames here, and dumps as a name that restores to the new oid
SELECT pg_catalog.pg_extension_config_dump('rowseal.declarations', '');
SELECT pg_catalog.pg_extension_config_dump('rowseal.declarations_id_seq', '');
GRANT USAGE ON SEQUENCE rowseal.declarations_id_seq TO PUBLIC;

COMMENT ON TABLE rowseal.declarations IS 'The declared tables. Written by rowseal.declare and rowseal.undeclare; whoever owns a table may declare it (row security).';
COMMENT ON COLUMN rowseal.declarations.id IS 'Part of the names of the generated functions: _guard_ID, _seal_ID, …';
COMMENT ON COLUMN rowseal.declarations.tag IS 'Name of the table in the signed bytes; unique, or rows could be replayed from one table into another';
COMMENT ON COLUMN rowseal.declarations.versions IS 'Versions table of the layout "two tables"';
COMMENT ON COLUMN rowseal.declarations.grants IS 'Whether its rows are grants and revocations of other writers';
COMMENT ON COLUMN rowseal.declarations.writers IS 'The grants table that says who besides the owner may write rows here';
COMMENT ON COLUMN rowseal.declarations.form IS 'What is signed: rowseal/1, or concatenated, for the rows of one older system';
COMMENT ON COLUMN rowseal.declarations.name_column IS 'Column that holds a version''s name: name_prefix and the name_hash of its signature; parents are named so, too';
COMMENT ON COLUMN rowseal.declarations.digests IS 'Columns signed by their digest, and the columns that keep it when they are erased: {"column": "column_sha256"}';
COMMENT ON COLUMN rowseal.declarations.heal IS 'Whether an intact row that arrives restores erased content';
COMMENT ON COLUMN rowseal.declarations.algorithms IS 'Of an identity table: what its keys may be: ed25519, ml-dsa-65, ml-dsa-87';
COMMENT ON COLUMN rowseal.declarations.version_key IS 'Column that tells versions apart where they are kept: the signature, its generated hash, or the name';
COMMENT ON COLUMN rowseal.declarations.key IS 'Primary key columns, without the version_key';
COMMENT ON COLUMN rowseal.declarations.fields IS 'Signed columns and the field names they had at declaration: {"column": "field"}';
COMMENT ON COLUMN rowseal.declarations.spec IS 'What a verdict needs: tag, fields with their kinds, owner, fingerprint, certificates; also what a client needs to sign';
COMMENT ON COLUMN rowseal.declarations.version_columns IS 'Columns of the versions table: {"main column": "versions column"}';
COMMENT ON COLUMN rowseal.declarations.queries IS 'Generated queries behind payload, verify, digest, history';
COMMENT ON COLUMN rowseal.declarations.facts IS 'Catalog facts that functions and triggers were generated from; health() compares them';

CREATE TABLE rowseal.quarantine (
  id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tag              text,
  sqlstate         text NOT NULL,
  reason           text NOT NULL,
  curable          boolean NOT NULL,
  waits_for        text,
  role             text NOT NULL,
  subscription     text,
  application_name text NOT NULL,
  format           text NOT NULL CHECK (format IN ('canonical', 'pgtext', 'raw')),
  row              jsonb NOT NULL,
  bytes            integer NOT NULL,
  hash             bytea NOT NULL UNIQUE,
  first_seen       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  last_seen        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  attempts         integer NOT NULL DEFAULT 1,
  kept             boolean NOT NULL DEFAULT false
);
SELECT pg_catalog.pg_extension_config_dump('rowseal.quarantine', '');
SELECT pg_catalog.pg_extension_config_dump('rowseal.quarantine_id_seq', '');

COMMENT ON TABLE rowseal.quarantine IS 'Rows that were refused where an error would have stopped the rows behind them';
COMMENT ON COLUMN rowseal.quarantine.tag IS 'Tag of the table the row was meant for';
COMMENT ON COLUMN rowseal.quarantine.curable IS 'Whether an event can cure it: the owner becomes known, the table is declared, a column is added';
COMMENT ON COLUMN rowseal.quarantine.role IS 'session_user that brought the row';
COMMENT ON COLUMN rowseal.quarantine.subscription IS 'Subscription that brought the row, NULL for a session';
COMMENT ON COLUMN rowseal.quarantine.format IS 'How row is written: canonical (an envelope), pgtext, or raw (to_jsonb of a row without canonical form)';
COMMENT ON COLUMN rowseal.quarantine.bytes IS 'Size of the row as text, in bytes';
COMMENT ON COLUMN rowseal.quarantine.hash IS 'sha256 of tag and row: the same row is kept once, attempts counts it';
COMMENT ON COLUMN rowseal.quarantine.kept IS 'A row of a writer of whom a grant speaks: the bounds leave it alone, as they do what is stored';

COMMENT ON COLUMN rowseal.quarantine.waits_for IS 'For an unknown owner: tag of the identity table, a blank, the owner. For a writer''s row: tag of the grants table, owner, writer';
CREATE INDEX ON rowseal.quarantine (waits_for) WHERE curable;
CREATE INDEX ON rowseal.quarantine (tag) WHERE curable;

CREATE TABLE rowseal.quarantine_limits (
  one   boolean PRIMARY KEY DEFAULT true CHECK (one),
  rows  bigint NOT NULL DEFAULT 10000 CHECK (rows > 0),
  bytes bigint NOT NULL DEFAULT 64 * 1024 * 1024 CHECK (bytes > 0)
);
INSERT INTO rowseal.quarantine_limits DEFAULT VALUES;
COMMENT ON TABLE rowseal.quarantine_limits IS 'How much the quarantine keeps of each source (role and subscription); one row, change it with UPDATE';

CREATE TABLE rowseal.quarantine_dropped (
  role         text NOT NULL,
  subscription text NOT NULL,
  rows         bigint NOT NULL,
  bytes        numeric NOT NULL,
  last         timestamptz NOT NULL,
  PRIMARY KEY (role, subscription)
);
COMMENT ON TABLE rowseal.quarantine_dropped IS 'What fell out of the quarantine because its source sent too much; subscription is empty for sessions';

CREATE TABLE rowseal.feed (
  position     bigint GENERATED ALWAYS AS IDENTITY,
  xid          xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
  tag          text NOT NULL,
  owner        text NOT NULL,
  envelope     jsonb NOT NULL,
  role         text NOT NULL DEFAULT session_user,
  subscription text,
  accepted     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  PRIMARY KEY (xid, position)
);
COMMENT ON TABLE rowseal.feed IS 'Every accepted version of the tables declared with feed => true, as an envelope; publish it to other servers, or follow it with rowseal.changes';
COMMENT ON COLUMN rowseal.feed.xid IS 'Transaction that accepted the version; with position, what a cursor is made of';
COMMENT ON COLUMN rowseal.feed.tag IS 'Tag of the table: filter publications by it';
COMMENT ON COLUMN rowseal.feed.owner IS 'Owner in canonical form (several columns: a JSON array): filter publications by it';
COMMENT ON COLUMN rowseal.feed.envelope IS 'The signed row: {"row": …, "rowseal": 1, "table": TAG, "sign_b64": …}';
COMMENT ON COLUMN rowseal.feed.role IS 'session_user that brought it';
COMMENT ON COLUMN rowseal.feed.subscription IS 'Subscription that brought it, NULL for a session of this server';

CREATE TABLE rowseal.feed_state (
  one             boolean PRIMARY KEY DEFAULT true CHECK (one),
  id              uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
  pruned_xid      xid8 NOT NULL DEFAULT '0',
  pruned_position bigint NOT NULL DEFAULT 0
);
INSERT INTO rowseal.feed_state DEFAULT VALUES;
COMMENT ON TABLE rowseal.feed_state IS 'Identity of this feed and how far it has been pruned; a cursor of another feed, or from before, is refused';

CREATE TABLE rowseal.erasures (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  relation regclass NOT NULL,
  tag      text NOT NULL,
  key      jsonb NOT NULL,
  fields   text[] NOT NULL,
  versions bigint NOT NULL,
  role     text NOT NULL DEFAULT session_user,
  at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
SELECT pg_catalog.pg_extension_config_dump('rowseal.erasures', '');
SELECT pg_catalog.pg_extension_config_dump('rowseal.erasures_id_seq', '');
COMMENT ON TABLE rowseal.erasures IS 'What rowseal.erase has emptied, and who did it; for the table''s owner and administrators';
COMMENT ON COLUMN rowseal.erasures.key IS 'Key fields in canonical form';
COMMENT ON COLUMN rowseal.erasures.versions IS 'How many versions of the key were emptied';
ALTER TABLE rowseal.erasures OWNER TO rowseal_internal;

ALTER TABLE rowseal.quarantine OWNER TO rowseal_internal;
ALTER TABLE rowseal.quarantine_limits OWNER TO rowseal_internal;
ALTER TABLE rowseal.quarantine_dropped OWNER TO rowseal_internal;
ALTER TABLE rowseal.feed OWNER TO rowseal_internal;
ALTER TABLE rowseal.feed_state OWNER TO rowseal_internal;
GRANT SELECT, UPDATE ON rowseal.quarantine_limits TO rowseal_admin;
GRANT SELECT, DELETE ON rowseal.quarantine TO rowseal_admin;
GRANT SELECT ON rowseal.quarantine_dropped, rowseal.feed, rowseal.feed_state TO rowseal_admin;

-- Curable rows show to who could have written them: then the session that brings the cure can let them in.  Only
-- administrators and the table's owner can take them out.
ALTER TABLE rowseal.quarantine ENABLE ROW LEVEL SECURITY;
CREATE POLICY administer ON rowseal.quarantine TO rowseal_admin USING (true);
CREATE POLICY writable ON rowseal.quarantine FOR SELECT USING (curable AND EXISTS (
  SELECT FROM rowseal.declarations d WHERE d.tag = quarantine.tag
     AND pg_catalog.has_table_privilege(d.relation, 'SELECT') AND pg_catalog.has_table_privilege(d.relation, 'INSERT')
     AND pg_catalog.has_table_privilege(d.relation, 'UPDATE')));
CREATE POLICY owned ON rowseal.quarantine FOR DELETE USING (EXISTS (
  SELECT FROM rowseal.declarations d JOIN pg_catalog.pg_class c ON c.oid = d.relation
   WHERE d.tag = quarantine.tag AND pg_catalog.pg_has_role(c.relowner, 'USAGE')));
GRANT SELECT, DELETE ON rowseal.quarantine TO PUBLIC;

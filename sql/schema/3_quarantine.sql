-- Rows that were refused, and why.

CREATE TYPE rowseal.verdict AS (sqlstate text, reason text);
COMMENT ON TYPE rowseal.verdict IS
  'Why a row is refused; NULL: it is not. As text it begins with "(", which neither a settled outcome nor a canonical '
  'text does';

CREATE TABLE rowseal.quarantine (
  id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tag              text,
  sqlstate         text NOT NULL,
  reason           text NOT NULL,
  curable          boolean NOT NULL,
  waits_for        text,
  owner            text,
  role             text NOT NULL,
  subscription     text,
  application_name text NOT NULL,
  format           text NOT NULL CHECK (format IN ('canonical', 'pgtext', 'raw')),
  row              json NOT NULL,
  bytes            integer NOT NULL GENERATED ALWAYS AS (
                     pg_catalog.octet_length(row::text) + pg_catalog.octet_length(reason)
                     + coalesce(pg_catalog.octet_length(tag), 0) + coalesce(pg_catalog.octet_length(waits_for), 0)
                     + coalesce(pg_catalog.octet_length(owner), 0)) STORED,
  hash             bytea NOT NULL,
  first_seen       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  last_seen        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  attempts         integer NOT NULL DEFAULT 1,
  kept             boolean NOT NULL DEFAULT false,
  link             bytea,
  UNIQUE NULLS NOT DISTINCT (hash, role, subscription)
);

COMMENT ON TABLE rowseal.quarantine IS 'Rows that were refused where an error would have stopped the rows behind them';
COMMENT ON COLUMN rowseal.quarantine.tag IS 'Tag of the table the row was meant for';
COMMENT ON COLUMN rowseal.quarantine.curable IS
  'Whether an event can cure it: the owner becomes known, the table is declared, a column is added';
COMMENT ON COLUMN rowseal.quarantine.owner IS
  'Whose row it says it is, or whoever sent it: believed no more than that owners share the room of a source by it';
COMMENT ON COLUMN rowseal.quarantine.role IS 'session_user that brought the row';
COMMENT ON COLUMN rowseal.quarantine.subscription IS 'Subscription that brought the row, NULL for a session';
COMMENT ON COLUMN rowseal.quarantine.format IS
  'How row is written: canonical (an envelope), pgtext, or raw (to_jsonb of a row without canonical form)';
COMMENT ON COLUMN rowseal.quarantine.bytes IS 'Size of row, reason, tag, waits_for and owner as text, in bytes';
COMMENT ON COLUMN rowseal.quarantine.hash IS
  'sha256 of tag, format and row. Of one source (role and subscription) the same row is kept once, attempts counts '
  'it; what another source brings is another entry';
COMMENT ON COLUMN rowseal.quarantine.kept IS
  'A row of a writer of whom a grant speaks: the bounds leave it alone, as they do what is stored. Of each row at '
  'most one entry';
COMMENT ON COLUMN rowseal.quarantine.link IS
  'Of an authentic row of a writer that is not in its table: its place in the ledger, which hears when the entry goes';
COMMENT ON COLUMN rowseal.quarantine.waits_for IS
  'For an unknown owner: tag of the identity table, a blank, the owner. For a writer''s row: tag of the grants table, '
  'owner, writer. For a table that was closed: its tag. Of one that is too long its beginning';
-- A hash takes a text of any length.  And by the column itself: row security lets none but leakproof operators look
-- for a row in an index, and no function of rowseal's or PostgreSQL's that hashes is one.
CREATE INDEX ON rowseal.quarantine USING hash (waits_for) WHERE curable;
CREATE INDEX ON rowseal.quarantine (tag) WHERE curable;
CREATE INDEX ON rowseal.quarantine (role, subscription) WHERE NOT kept;
CREATE INDEX ON rowseal.quarantine (link) WHERE link IS NOT NULL;

CREATE TABLE rowseal.quarantine_limits (
  one   boolean PRIMARY KEY DEFAULT true CHECK (one),
  rows  bigint NOT NULL DEFAULT 10000 CHECK (rows > 0),
  bytes bigint NOT NULL DEFAULT 64 * 1024 * 1024 CHECK (bytes > 0)
);
INSERT INTO rowseal.quarantine_limits DEFAULT VALUES;
COMMENT ON TABLE rowseal.quarantine_limits IS
  'How much the quarantine keeps of each source (role and subscription); one row, change it with UPDATE';

CREATE TABLE rowseal.quarantine_dropped (
  role         text NOT NULL,
  subscription text NOT NULL,
  rows         bigint NOT NULL,
  bytes        numeric NOT NULL,
  last         timestamptz NOT NULL,
  PRIMARY KEY (role, subscription)
);
COMMENT ON TABLE rowseal.quarantine_dropped IS
  'What fell out of the quarantine because its source sent too much; subscription is empty for sessions';

CREATE TABLE rowseal._arrival_locks (bucket integer PRIMARY KEY);
INSERT INTO rowseal._arrival_locks SELECT * FROM pg_catalog.generate_series(0, 1023);
COMMENT ON TABLE rowseal._arrival_locks IS
  'Locks of what rows wait for (buckets by hash): shared by those who defer rows, exclusive for who brings it';

CREATE UNLOGGED TABLE rowseal._removals (relation regclass, entry bigint, opened regclass);
COMMENT ON TABLE rowseal._removals IS
  'Always empty: declarations, entries of the quarantine and notes in _opened that an INSERT names are taken out, as '
  'far as row security lets the current user. Nobody has a right to DELETE there: PostgreSQL takes it for one to lock '
  'the whole table';

ALTER TABLE rowseal._arrival_locks OWNER TO rowseal_internal;
ALTER TABLE rowseal.quarantine OWNER TO rowseal_internal;
ALTER TABLE rowseal._removals OWNER TO rowseal_internal;
ALTER TABLE rowseal.quarantine_limits OWNER TO rowseal_internal;
ALTER TABLE rowseal.quarantine_dropped OWNER TO rowseal_internal;

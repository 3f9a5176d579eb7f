-- Accepted versions, and what was erased from them.

CREATE TABLE rowseal.feed (
  position     bigint GENERATED ALWAYS AS IDENTITY,
  xid          xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
  tag          text NOT NULL,
  owner        text NOT NULL,
  envelope     json NOT NULL,
  role         text NOT NULL DEFAULT session_user,
  subscription text,
  accepted     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  PRIMARY KEY (xid, position)
);
COMMENT ON TABLE rowseal.feed IS
  'Every accepted version of the tables declared with feed => true, as an envelope; publish it to other servers, or '
  'follow it with rowseal.changes';
COMMENT ON COLUMN rowseal.feed.xid IS 'Transaction that accepted the version; with position, what a cursor is made of';
COMMENT ON COLUMN rowseal.feed.tag IS 'Tag of the table: filter publications by it';
COMMENT ON COLUMN rowseal.feed.owner IS
  'Owner in canonical form (several columns: a JSON array): filter publications by it';
COMMENT ON COLUMN rowseal.feed.envelope IS 'The signed row: {"row": …, "rowseal": 1, "table": TAG, "sign_b64": …}';
COMMENT ON COLUMN rowseal.feed.role IS 'session_user that brought it';
COMMENT ON COLUMN rowseal.feed.subscription IS 'Subscription that brought it, NULL for a session of this server';

CREATE UNLOGGED TABLE rowseal._commits ();
COMMENT ON TABLE rowseal._commits IS
  'Always empty: a row that comes and goes calls a deferred trigger when its transaction commits';

CREATE TABLE rowseal.feed_state (
  one             boolean PRIMARY KEY DEFAULT true CHECK (one),
  id              uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
  pruned_xid      xid8 NOT NULL DEFAULT '0',
  pruned_position bigint NOT NULL DEFAULT 0
);
INSERT INTO rowseal.feed_state DEFAULT VALUES;
COMMENT ON TABLE rowseal.feed_state IS
  'Identity of this feed and how far it has been pruned; a cursor of another feed, or from before, is refused';

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
COMMENT ON TABLE rowseal.erasures IS
  'What rowseal.erase has emptied, and who did it; for the table''s owner and administrators';
COMMENT ON COLUMN rowseal.erasures.key IS 'Key fields in canonical form';
COMMENT ON COLUMN rowseal.erasures.versions IS 'How many versions of the key were emptied';

ALTER TABLE rowseal.feed OWNER TO rowseal_internal;
ALTER TABLE rowseal.feed_state OWNER TO rowseal_internal;
ALTER TABLE rowseal._commits OWNER TO rowseal_internal;
ALTER TABLE rowseal.erasures OWNER TO rowseal_internal;

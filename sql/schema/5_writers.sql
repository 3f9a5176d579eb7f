-- Writers other than the owner: grants, revocations, and what stands under them (docs/writers.md).
--
-- All tables here are derived from signed rows.  They are written by AFTER ROW triggers of the declared tables, which
-- see rows that a guard has let in, and by _quarantine, which verifies what it is given; never by a call of an
-- ordinary user.

CREATE TYPE rowseal._authentic AS (
  owner text, writer bytea, seq bigint, prev bytea, link bytea, at bigint, deleted boolean, key jsonb, envelope json);
COMMENT ON TYPE rowseal._authentic IS
  'A row that its writer has signed, as its table decodes it. Its link and its envelope are of what was signed, '
  'however somebody spelled it';

CREATE TABLE rowseal._authority (
  id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  grants integer NOT NULL,
  owner  text NOT NULL,
  revocations boolean NOT NULL DEFAULT false,
  UNIQUE (grants, owner)
);
COMMENT ON TABLE rowseal._authority IS
  'Owners with writers: declarations.id of the grants table, and the owner in canonical form';
COMMENT ON COLUMN rowseal._authority.revocations IS
  'Whether there ever was one: without, a row of a writer neither moves nor meets a walk';

CREATE TABLE rowseal._writer_rows (
  authority integer NOT NULL,
  writer    bytea NOT NULL,
  seq       bigint NOT NULL,
  link      bytea NOT NULL,
  prev      bytea,
  held      bigint,
  fed       boolean NOT NULL DEFAULT true,
  sign      bytea,
  PRIMARY KEY (authority, writer, seq, link)
);
CREATE INDEX ON rowseal._writer_rows (held) WHERE held IS NOT NULL;
CREATE INDEX ON rowseal._writer_rows (authority) WHERE NOT fed;
COMMENT ON TABLE rowseal._writer_rows IS
  'The ledger: every authentic row of a writer, of all tables, superseded and held ones too';
COMMENT ON COLUMN rowseal._writer_rows.held IS
  'Its entry in the quarantine while it does not count; 0: that was dropped; NULL: it is in its table';
COMMENT ON COLUMN rowseal._writer_rows.fed IS 'Whether it has been passed on: a row of an unknown key is not';
COMMENT ON COLUMN rowseal._writer_rows.sign IS
  'Of a row whose body was dropped, and through which walks lead: its signature, of which the link is made';

CREATE UNLOGGED TABLE rowseal._refused (
  tag       text,
  verdict   rowseal.verdict,
  format    text,
  row       json,
  waits_for text,
  again     bigint,
  changed   boolean NOT NULL,
  authentic rowseal._authentic
);
COMMENT ON TABLE rowseal._refused IS
  'Always empty: what may be a row of a writer and was refused, on its way into the quarantine and the ledger, in one '
  'statement with what follows from it for others';
COMMENT ON COLUMN rowseal._refused.again IS 'The entry that it has been until now, which says the rest';
COMMENT ON COLUMN rowseal._refused.changed IS 'Whether it is refused for another reason than before';
COMMENT ON COLUMN rowseal._refused.authentic IS 'From one trigger to the next: what has been entered';

CREATE TABLE rowseal._dead_rows (
  tag    text NOT NULL,
  owner  text NOT NULL,
  writer bytea NOT NULL,
  seq    bigint NOT NULL,
  prev   bytea,
  sign   bytea NOT NULL
);
CREATE INDEX ON rowseal._dead_rows (tag);
COMMENT ON TABLE rowseal._dead_rows IS
  'While a grants table is not declared: of each row whose body was dropped what its link is made of. tag: that of the '
  'grants table';

CREATE TABLE rowseal._grants (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  authority  integer NOT NULL,
  sign       bytea NOT NULL,
  at         bigint NOT NULL,
  writer     bytea,
  link       bytea,
  grantee    bytea NOT NULL,
  tables     text[],
  keys       jsonb,
  tombstones boolean NOT NULL,
  until      bigint,
  may_grant  smallint NOT NULL,
  upto       bytea[]
);
-- a signature of ML-DSA does not fit into an index
CREATE UNIQUE INDEX ON rowseal._grants (authority, pg_catalog.sha256(sign));
CREATE INDEX ON rowseal._grants (authority, grantee) WHERE upto IS NOT NULL;
CREATE INDEX ON rowseal._grants (authority, grantee);
CREATE INDEX ON rowseal._grants (authority, writer);
COMMENT ON TABLE rowseal._grants IS
  'The stored rows of grants tables, of all owners and tables in one shape; writer and link are NULL for the owner''s';

CREATE TABLE rowseal._licences (
  authority  integer NOT NULL,
  writer     bytea NOT NULL,
  chain      bigint[] NOT NULL,
  until      bigint NOT NULL,
  tombstones boolean NOT NULL,
  may_grant  integer NOT NULL,
  frontiers  bigint[] NOT NULL
);
CREATE INDEX ON rowseal._licences (authority, writer);
COMMENT ON TABLE rowseal._licences IS
  'What a writer may write: one row per standing chain of grants that counts; what it covers is the conjunction of '
  'their scopes';
COMMENT ON COLUMN rowseal._licences.chain IS
  'Its grants (_grants.id), from the owner''s down: their tables and keys are looked up there. A copy for each chain '
  'would be 64 times what a manager signs, for each key below him';
COMMENT ON COLUMN rowseal._licences.may_grant IS 'How many further links may follow; -1: no rows of the grants table';
COMMENT ON COLUMN rowseal._licences.frontiers IS 'Revocations (_grants.id) that bind the writer in this chain';

CREATE TABLE rowseal._changed (
  authority integer,
  xid       xid8,
  arrival   bytea,
  writer    bytea,
  lost      boolean NOT NULL,
  PRIMARY KEY (authority, xid, arrival, writer)
);
COMMENT ON TABLE rowseal._changed IS
  'Writers whose licences have changed: from the trigger that derives to the one that settles, so of use in its '
  'transaction (xid) alone';
COMMENT ON COLUMN rowseal._changed.arrival IS
  'By which row, as in _stands; that of the owner by its signature''s hash';
COMMENT ON COLUMN rowseal._changed.lost IS 'Whether a licence has gone, so that rows may have to go, too';

CREATE TABLE rowseal._stands (
  revocation bigint,
  link       bytea,
  arrival    bytea,
  PRIMARY KEY (link, revocation)  -- of a row, under which it stands: one look-up, however many they are
);
CREATE INDEX ON rowseal._stands (revocation);
COMMENT ON TABLE rowseal._stands IS 'How far each revocation has been walked: links that stand under it';
COMMENT ON COLUMN rowseal._stands.arrival IS
  'Link of the row at which the walk that led here began: what follows from one row is found by it';

CREATE TABLE rowseal._wanted (
  revocation bigint NOT NULL,
  authority  integer NOT NULL,
  writer     bytea NOT NULL,
  seq        bigint,
  link       bytea NOT NULL
);
CREATE INDEX ON rowseal._wanted (authority, writer, link);
CREATE INDEX ON rowseal._wanted (revocation);
COMMENT ON TABLE rowseal._wanted IS
  'Rows that a walk waits for, by number and link; the number is NULL for those that the revocation itself names';

CREATE TABLE rowseal._writer_locks (
  grants integer,
  bucket integer,
  stripe integer,
  xid    xid8 NOT NULL,
  PRIMARY KEY (grants, bucket, stripe)
) WITH (fillfactor = 50);
COMMENT ON TABLE rowseal._writer_locks IS
  'Locks of owners (64 buckets by hash for each grants table): a writing session updates one stripe once per '
  'transaction, who changes grants all 16';

DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY
    '{_authority,_writer_rows,_refused,_dead_rows,_grants,_licences,_changed,_stands,_wanted,_writer_locks}'::text[]
  LOOP
    EXECUTE pg_catalog.format('ALTER TABLE rowseal.%I OWNER TO rowseal_internal', t);
  END LOOP;
END
$$;

#variable_conflict use_column
DECLARE
  envelope pg_catalog.json;
BEGIN
  IF TG_WHEN OPERATOR(pg_catalog.<>) 'AFTER' OR TG_RELID OPERATOR(pg_catalog.<>) rowseal._table_of(3, false) THEN
    IF TG_WHEN OPERATOR(pg_catalog.<>) 'AFTER'
        OR NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(TG_RELID) a
        WHERE a.relid OPERATOR(pg_catalog.=) rowseal._table_of(3, false)) THEN
      RAISE EXCEPTION USING ERRCODE = 'RS009',
        MESSAGE = 'this function is an AFTER trigger of a declared table, and nothing else';
    END IF;
  END IF;
  IF pg_catalog.pg_typeof(NEW.deleted_flag) OPERATOR(pg_catalog.<>) 'pg_catalog.bool'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.grantee_pkey) OPERATOR(pg_catalog.<>) 'pg_catalog.bytea'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.keys) OPERATOR(pg_catalog.<>) 'pg_catalog.jsonb'::pg_catalog.regtype
          OR pg_catalog.pg_typeof(NEW.may_grant) OPERATOR(pg_catalog.<>) 'pg_catalog.int2'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.owner_timestamp) OPERATOR(pg_catalog.<>) 'pg_catalog.int8'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.tables) OPERATOR(pg_catalog.<>) 'pg_catalog._text'::pg_catalog.regtype
          OR pg_catalog.pg_typeof(NEW.tombstones) OPERATOR(pg_catalog.<>) 'pg_catalog.bool'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.until) OPERATOR(pg_catalog.<>) 'pg_catalog.int8'::pg_catalog.regtype
          OR pg_catalog.pg_typeof(NEW.upto) OPERATOR(pg_catalog.<>) 'pg_catalog._bytea'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.user_hash) OPERATOR(pg_catalog.<>) 'pg_catalog.bytea'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.writer_pkey) OPERATOR(pg_catalog.<>) 'pg_catalog.bytea'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.writer_prev) OPERATOR(pg_catalog.<>) 'pg_catalog.bytea'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.writer_seq) OPERATOR(pg_catalog.<>) 'pg_catalog.int8'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.sign_b64) OPERATOR(pg_catalog.<>) 'pg_catalog.bytea'::pg_catalog.regtype THEN
    RAISE EXCEPTION USING ERRCODE = 'RS007', MESSAGE = 'a column has another type than it was declared with',
      HINT = rowseal._hint('RS007');
  END IF;
  IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
    -- but the rows of a partition that this transaction has brought enter the feed (see _feed_rows)
    IF NEW.sign_b64 OPERATOR(pg_catalog.=) OLD.sign_b64
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(TG_RELID) a, pg_catalog.pg_inherits i
                                  WHERE i.inhrelid OPERATOR(pg_catalog.=) a.relid
                                      AND rowseal._of_this_transaction(i.xmin)) THEN
      RETURN NULL;
    END IF;
  END IF;
  envelope := rowseal._envelope(rowseal._payload_3(rowseal._one_based(NEW.tables) AND rowseal._one_based(NEW.upto),
      rowseal._few(NEW.tables, 262144) AND rowseal._few(NEW.upto, 262144),
      (NEW.keys IS NULL OR pg_catalog.pg_column_size(NEW.keys) OPERATOR(pg_catalog.<=) 4000
      OR rowseal._digits(NEW.keys) OPERATOR(pg_catalog.<=) 65011712), NEW.deleted_flag, NEW.grantee_pkey, CASE
      WHEN (NEW.keys IS NULL OR pg_catalog.pg_column_size(NEW.keys) OPERATOR(pg_catalog.<=) 4000
      OR rowseal._digits(NEW.keys) OPERATOR(pg_catalog.<=) 65011712) THEN NEW.keys END, NEW.may_grant,
      NEW.owner_timestamp, CASE WHEN rowseal._few(NEW.tables, 262144) THEN NEW.tables END, NEW.tombstones, NEW.until,
      CASE WHEN rowseal._few(NEW.upto, 262144) THEN NEW.upto END, NEW.user_hash, NEW.writer_pkey, NEW.writer_prev,
      NEW.writer_seq), NEW.sign_b64);
  INSERT INTO rowseal.feed (tag, owner, envelope, role, subscription)
    VALUES ('grants', rowseal._encoded(NEW.user_hash), envelope, session_user,
      CASE WHEN pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.=) 'replica'
          THEN rowseal._subscription() END);
  RETURN NULL;
END

#variable_conflict use_column
DECLARE
  envelope pg_catalog.json;
BEGIN
  IF TG_WHEN OPERATOR(pg_catalog.<>) 'AFTER' OR TG_RELID OPERATOR(pg_catalog.<>) rowseal._table_of(4, true) THEN
    IF TG_WHEN OPERATOR(pg_catalog.<>) 'AFTER'
        OR NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(TG_RELID) a
        WHERE a.relid OPERATOR(pg_catalog.=) rowseal._table_of(4, true)) THEN
      RAISE EXCEPTION USING ERRCODE = 'RS009',
        MESSAGE = 'this function is an AFTER trigger of a declared table, and nothing else';
    END IF;
  END IF;
  IF pg_catalog.pg_typeof(NEW.deleted_flag) OPERATOR(pg_catalog.<>) 'pg_catalog.bool'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.key) OPERATOR(pg_catalog.<>) 'pg_catalog.text'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.n) OPERATOR(pg_catalog.<>) 'pg_catalog."numeric"'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.owner_timestamp) OPERATOR(pg_catalog.<>) 'pg_catalog.int8'::pg_catalog.regtype
      OR pg_catalog.pg_typeof(NEW.parent_sign_b64) OPERATOR(pg_catalog.<>) 'pg_catalog.bytea'::pg_catalog.regtype
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
  envelope := rowseal._envelope(pg_catalog.concat('{"row":{', pg_catalog.concat_ws(',',
         rowseal._flag('"deleted_flag":', NEW.deleted_flag),
         rowseal._text('"key":', NEW.key::pg_catalog.text),
         rowseal._string('"n":', NEW.n::pg_catalog.text),
         rowseal._string('"owner_timestamp":', NEW.owner_timestamp::pg_catalog.text),
         rowseal._string('"parent_sign_b64":', rowseal._encoded(NEW.parent_sign_b64)),
         rowseal._string('"user_hash":', rowseal._encoded(NEW.user_hash)),
         rowseal._string('"writer_pkey":', rowseal._encoded(NEW.writer_pkey)),
         rowseal._string('"writer_prev":', rowseal._encoded(NEW.writer_prev)),
         rowseal._string('"writer_seq":', NEW.writer_seq::pg_catalog.text)), '},"rowseal":1,"table":"notes"}'),
             NEW.sign_b64);
  INSERT INTO rowseal.feed (tag, owner, envelope, role, subscription)
    VALUES ('notes', rowseal._encoded(NEW.user_hash), envelope, session_user,
      CASE WHEN pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.=) 'replica'
          THEN rowseal._subscription() END);
  RETURN NULL;
END

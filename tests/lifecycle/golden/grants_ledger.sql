#variable_conflict use_column
DECLARE
  verdict rowseal.verdict;
  authority pg_catalog.int4;
  revocations pg_catalog.bool;
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
  IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
    verdict := rowseal._licensed(3, rowseal._encoded(OLD.user_hash), OLD.writer_pkey, OLD.writer_seq,
        pg_catalog.sha256(pg_catalog.int8send(OLD.writer_seq) OPERATOR(pg_catalog.||) coalesce(OLD.writer_prev,
        '') OPERATOR(pg_catalog.||) OLD.sign_b64), 'grants', OLD.owner_timestamp, OLD.deleted_flag, NULL);
    IF verdict IS NOT NULL THEN
      PERFORM rowseal._ungrant(3, rowseal._encoded(OLD.user_hash), OLD.sign_b64);
      PERFORM rowseal._retracted(3, rowseal._encoded(OLD.user_hash), OLD.writer_pkey, OLD.writer_seq,
          pg_catalog.sha256(pg_catalog.int8send(OLD.writer_seq) OPERATOR(pg_catalog.||) coalesce(OLD.writer_prev,
          '') OPERATOR(pg_catalog.||) OLD.sign_b64), 'grants',
        rowseal._writer_text(3, rowseal._encoded(OLD.user_hash), OLD.writer_pkey), verdict,
            rowseal._envelope(rowseal._payload_3(rowseal._one_based(OLD.tables) AND rowseal._one_based(OLD.upto),
            rowseal._few(OLD.tables, 262144) AND rowseal._few(OLD.upto, 262144),
            (OLD.keys IS NULL OR pg_catalog.pg_column_size(OLD.keys) OPERATOR(pg_catalog.<=) 4000
            OR rowseal._digits(OLD.keys) OPERATOR(pg_catalog.<=) 65011712), OLD.deleted_flag, OLD.grantee_pkey, CASE
            WHEN (OLD.keys IS NULL OR pg_catalog.pg_column_size(OLD.keys) OPERATOR(pg_catalog.<=) 4000
            OR rowseal._digits(OLD.keys) OPERATOR(pg_catalog.<=) 65011712) THEN OLD.keys END, OLD.may_grant,
            OLD.owner_timestamp, CASE WHEN rowseal._few(OLD.tables, 262144) THEN OLD.tables END, OLD.tombstones,
            OLD.until, CASE WHEN rowseal._few(OLD.upto, 262144) THEN OLD.upto END, OLD.user_hash, OLD.writer_pkey,
            OLD.writer_prev, OLD.writer_seq), OLD.sign_b64));
    END IF;
    RETURN NULL;
  END IF;
  IF NEW.writer_pkey IS NOT NULL THEN
    IF NOT rowseal._stored(3, rowseal._encoded(NEW.user_hash), NEW.writer_pkey, NEW.writer_seq, NEW.writer_prev,
        pg_catalog.sha256(pg_catalog.int8send(NEW.writer_seq) OPERATOR(pg_catalog.||) coalesce(NEW.writer_prev,
        '') OPERATOR(pg_catalog.||) NEW.sign_b64)) THEN
      RETURN NULL;
    END IF;
  END IF;
  PERFORM rowseal._grant(ROW(NULL, NULL, NEW.sign_b64, NEW.owner_timestamp, NEW.writer_pkey,
    CASE WHEN NEW.writer_pkey IS NOT NULL
        THEN pg_catalog.sha256(pg_catalog.int8send(NEW.writer_seq) OPERATOR(pg_catalog.||) coalesce(NEW.writer_prev,
        '') OPERATOR(pg_catalog.||) NEW.sign_b64) END, NEW.grantee_pkey, NEW.tables, NEW.keys, NEW.tombstones,
        NEW.until, NEW.may_grant, NEW.upto)::rowseal._grants, 3, rowseal._encoded(NEW.user_hash));
  RETURN NULL;
END

#variable_conflict use_column
DECLARE
  verdict rowseal.verdict;
  authority pg_catalog.int4;
  revocations pg_catalog.bool;
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
  IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
    verdict := rowseal._licensed(3, rowseal._encoded(OLD.user_hash), OLD.writer_pkey, OLD.writer_seq,
        pg_catalog.sha256(pg_catalog.int8send(OLD.writer_seq) OPERATOR(pg_catalog.||) coalesce(OLD.writer_prev,
        '') OPERATOR(pg_catalog.||) OLD.sign_b64), 'notes', OLD.owner_timestamp, OLD.deleted_flag,
        pg_catalog.jsonb_build_object('user_hash', rowseal._encoded(OLD.user_hash), 'key', OLD.key::pg_catalog.text));
    IF verdict IS NOT NULL THEN
      PERFORM rowseal._retracted(3, rowseal._encoded(OLD.user_hash), OLD.writer_pkey, OLD.writer_seq,
          pg_catalog.sha256(pg_catalog.int8send(OLD.writer_seq) OPERATOR(pg_catalog.||) coalesce(OLD.writer_prev,
          '') OPERATOR(pg_catalog.||) OLD.sign_b64), 'notes',
        rowseal._writer_text(3, rowseal._encoded(OLD.user_hash), OLD.writer_pkey), verdict,
            rowseal._envelope(pg_catalog.concat('{"row":{', pg_catalog.concat_ws(',',
               rowseal._flag('"deleted_flag":', OLD.deleted_flag),
               rowseal._text('"key":', OLD.key::pg_catalog.text),
               rowseal._string('"n":', OLD.n::pg_catalog.text),
               rowseal._string('"owner_timestamp":', OLD.owner_timestamp::pg_catalog.text),
               rowseal._string('"parent_sign_b64":', rowseal._encoded(OLD.parent_sign_b64)),
               rowseal._string('"user_hash":', rowseal._encoded(OLD.user_hash)),
               rowseal._string('"writer_pkey":', rowseal._encoded(OLD.writer_pkey)),
               rowseal._string('"writer_prev":', rowseal._encoded(OLD.writer_prev)),
               rowseal._string('"writer_seq":', OLD.writer_seq::pg_catalog.text)), '},"rowseal":1,"table":"notes"}'),
                   OLD.sign_b64));
    END IF;
    RETURN NULL;
  END IF;
  -- Most often this does.  _stored knows new owners, rows that are there, and walks that wait for this one.
  SELECT x.id, x.revocations INTO authority, revocations FROM rowseal._authority x
   WHERE x.grants OPERATOR(pg_catalog.=) 3 AND x.owner OPERATOR(pg_catalog.=) rowseal._encoded(NEW.user_hash);
  IF NOT revocations THEN
    INSERT INTO rowseal._writer_rows (authority, writer, seq, link, prev)
      VALUES (authority, NEW.writer_pkey, NEW.writer_seq,
          pg_catalog.sha256(pg_catalog.int8send(NEW.writer_seq) OPERATOR(pg_catalog.||) coalesce(NEW.writer_prev,
          '') OPERATOR(pg_catalog.||) NEW.sign_b64), NEW.writer_prev) ON CONFLICT DO NOTHING;
    IF FOUND THEN
      RETURN NULL;
    END IF;
  END IF;
  PERFORM rowseal._stored(3, rowseal._encoded(NEW.user_hash), NEW.writer_pkey, NEW.writer_seq, NEW.writer_prev,
      pg_catalog.sha256(pg_catalog.int8send(NEW.writer_seq) OPERATOR(pg_catalog.||) coalesce(NEW.writer_prev,
      '') OPERATOR(pg_catalog.||) NEW.sign_b64));
  RETURN NULL;
END

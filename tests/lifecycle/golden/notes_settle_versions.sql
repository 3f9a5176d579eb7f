#variable_conflict use_column
BEGIN
  IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
    IF NEW.sign_b64 OPERATOR(pg_catalog.=) OLD.sign_b64 THEN
      RETURN NULL;  -- it was here: _enter_stored settles when it has entered all
    END IF;
  END IF;
  IF rowseal._has_moved(3,
      pg_catalog.sha256(pg_catalog.int8send(NEW.writer_seq) OPERATOR(pg_catalog.||) coalesce(NEW.writer_prev,
      '') OPERATOR(pg_catalog.||) NEW.sign_b64)) THEN
    IF rowseal._is_tip_4(NEW.user_hash, NEW.key, NEW.sign_b64) THEN
      RETURN NULL;  -- it was here: the table's guard is about to replace it
    END IF;
    PERFORM rowseal._settle(3, rowseal._encoded(NEW.user_hash), NEW.writer_pkey, NEW.writer_seq,
        pg_catalog.sha256(pg_catalog.int8send(NEW.writer_seq) OPERATOR(pg_catalog.||) coalesce(NEW.writer_prev,
        '') OPERATOR(pg_catalog.||) NEW.sign_b64), NULL);
  END IF;
  RETURN NULL;
END

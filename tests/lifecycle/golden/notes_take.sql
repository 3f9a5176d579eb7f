#variable_conflict use_column
DECLARE
  outcome text := pg_catalog.set_config('rowseal.outcome', '', true);
BEGIN
  INSERT INTO public.notes (deleted_flag, "key", "n", owner_timestamp, parent_sign_b64, user_hash, writer_pkey,
      writer_prev, writer_seq, sign_b64) SELECT x.deleted_flag, x.key, x.n, x.owner_timestamp, CASE
      WHEN starts_with(x.parent_sign_b64, E'\\x') THEN (x.parent_sign_b64)::bytea
      ELSE decode(x.parent_sign_b64, 'base64') END::bytea, CASE WHEN starts_with(x.user_hash, E'\\x')
      THEN (x.user_hash)::bytea ELSE decode(x.user_hash, 'base64') END::bytea, CASE
      WHEN starts_with(x.writer_pkey, E'\\x') THEN (x.writer_pkey)::bytea
      ELSE decode(x.writer_pkey, 'base64') END::bytea, CASE WHEN starts_with(x.writer_prev, E'\\x')
      THEN (x.writer_prev)::bytea ELSE decode(x.writer_prev, 'base64') END::bytea, x.writer_seq, CASE
      WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v)) w("row" json, "content" json, sign_b64 text,
          "rowseal" text),
         LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1' THEN w."row" END)) x(deleted_flag boolean,
             "key" text, "n" numeric, owner_timestamp bigint, parent_sign_b64 text, user_hash text, writer_pkey text,
             writer_prev text, writer_seq bigint)
    ON CONFLICT (user_hash, "key") DO UPDATE SET deleted_flag = EXCLUDED.deleted_flag, "key" = EXCLUDED.key,
        "n" = EXCLUDED.n, owner_timestamp = EXCLUDED.owner_timestamp, parent_sign_b64 = EXCLUDED.parent_sign_b64,
        user_hash = EXCLUDED.user_hash, writer_pkey = EXCLUDED.writer_pkey, writer_prev = EXCLUDED.writer_prev,
        writer_seq = EXCLUDED.writer_seq, sign_b64 = EXCLUDED.sign_b64;
  outcome := pg_catalog.current_setting('rowseal.outcome');
  IF outcome = '' THEN
    PERFORM rowseal._unguarded('public.notes'::regclass);
  END IF;
  RETURN outcome;
END

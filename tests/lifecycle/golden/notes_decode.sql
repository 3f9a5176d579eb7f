#variable_conflict use_column
DECLARE
  r record;
  payload text;
BEGIN
  IF rowseal._moved_4(1) IS NOT NULL THEN
    RETURN NULL;
  END IF;
  SELECT * INTO r FROM (SELECT x.deleted_flag AS deleted_flag, x.key AS "key", CASE
      WHEN (x.n ~ '[0-9.][eE]') IS NOT TRUE THEN x.n::numeric
      ELSE concat('an exponent in ', left(x.n, 40))::numeric END AS "n", x.owner_timestamp AS owner_timestamp, CASE
      WHEN starts_with(x.parent_sign_b64, E'\\x') THEN (x.parent_sign_b64)::bytea
      ELSE decode(x.parent_sign_b64, 'base64') END::bytea AS parent_sign_b64, CASE
      WHEN starts_with(x.user_hash, E'\\x') THEN (x.user_hash)::bytea
      ELSE decode(x.user_hash, 'base64') END::bytea AS user_hash, CASE WHEN starts_with(x.writer_pkey, E'\\x')
      THEN (x.writer_pkey)::bytea ELSE decode(x.writer_pkey, 'base64') END::bytea AS writer_pkey, CASE
      WHEN starts_with(x.writer_prev, E'\\x') THEN (x.writer_prev)::bytea
      ELSE decode(x.writer_prev, 'base64') END::bytea AS writer_prev, x.writer_seq AS writer_seq, CASE
      WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END AS sign_b64
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
          sign_b64 text, "rowseal" text),
         LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1' THEN w."row" END)) x(deleted_flag boolean,
             "key" text, "n" text, owner_timestamp bigint, parent_sign_b64 text, user_hash text, writer_pkey text,
             writer_prev text, writer_seq bigint)
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT x.deleted_flag AS deleted_flag, x.key AS "key", CASE WHEN (x.n ~ '[0-9.][eE]') IS NOT TRUE
        THEN x.n::numeric ELSE concat('an exponent in ', left(x.n, 40))::numeric END AS "n",
        x.owner_timestamp AS owner_timestamp, x.parent_sign_b64 AS parent_sign_b64, x.user_hash AS user_hash,
        x.writer_pkey AS writer_pkey, x.writer_prev AS writer_prev, x.writer_seq AS writer_seq, x.sign_b64 AS sign_b64
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'pgtext')) x(deleted_flag boolean, "key" text,
          "n" text, owner_timestamp bigint, parent_sign_b64 bytea, user_hash bytea, writer_pkey bytea,
          writer_prev bytea, writer_seq bigint, sign_b64 bytea)
     WHERE $2 = 'pgtext') x;
  payload := concat('{"row":{', concat_ws(',',
         rowseal._flag('"deleted_flag":', r.deleted_flag),
         rowseal._text('"key":', r.key::text),
         rowseal._string('"n":', r.n::text),
         rowseal._string('"owner_timestamp":', r.owner_timestamp::text),
         rowseal._string('"parent_sign_b64":', rowseal._encoded(r.parent_sign_b64)),
         rowseal._string('"user_hash":', rowseal._encoded(r.user_hash)),
         rowseal._string('"writer_pkey":', rowseal._encoded(r.writer_pkey)),
         rowseal._string('"writer_prev":', rowseal._encoded(r.writer_prev)),
         rowseal._string('"writer_seq":', r.writer_seq::text)), '},"rowseal":1,"table":"notes"}');
  RETURN rowseal._envelope(payload, r.sign_b64);
END

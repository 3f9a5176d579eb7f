#variable_conflict use_column
DECLARE
  r record;
  payload text;
BEGIN
  IF rowseal._moved_3(1) IS NOT NULL THEN
    RETURN NULL;
  END IF;
  SELECT * INTO r FROM (SELECT x.deleted_flag AS deleted_flag, CASE WHEN starts_with(x.grantee_pkey, E'\\x')
      THEN (x.grantee_pkey)::bytea ELSE decode(x.grantee_pkey, 'base64') END::bytea AS grantee_pkey, CASE
      WHEN (x.keys::text ~ '[0-9.][eE]') IS NOT TRUE
      OR rowseal._digits(((CASE WHEN w.rowseal = '1'
      THEN w."row" END) -> 'keys')::jsonb) <= octet_length(x.keys::text)
      THEN ((CASE WHEN w.rowseal = '1' THEN w."row" END) -> 'keys')::jsonb
      ELSE concat('an exponent in ', left(x.keys::text, 40))::jsonb END AS "keys", x.may_grant AS may_grant,
      x.owner_timestamp AS owner_timestamp, CASE
      WHEN (pg_catalog.json_typeof(x.tables) = ANY ('{array,"null"}')) IS NOT FALSE THEN (SELECT h.v
    FROM pg_catalog.json_to_record(pg_catalog.json_build_object('v', x.tables)) h(v text[]))
        ELSE concat('no array or object: ', left(x.tables::text, 40))::text[] END AS "tables",
        x.tombstones AS "tombstones", x.until AS "until", CASE
        WHEN (pg_catalog.jsonb_typeof(x.upto) = ANY ('{array,"null"}')) IS NOT FALSE THEN (SELECT h.v
    FROM pg_catalog.jsonb_to_record(pg_catalog.jsonb_build_object('v',
        rowseal._hex('{"array": "bytea"}', x.upto))) h(v bytea[]))
        ELSE concat('no array or object: ', left(x.upto::text, 40))::bytea[] END AS "upto", CASE
        WHEN starts_with(x.user_hash, E'\\x') THEN (x.user_hash)::bytea
        ELSE decode(x.user_hash, 'base64') END::bytea AS user_hash, CASE WHEN starts_with(x.writer_pkey, E'\\x')
        THEN (x.writer_pkey)::bytea ELSE decode(x.writer_pkey, 'base64') END::bytea AS writer_pkey, CASE
        WHEN starts_with(x.writer_prev, E'\\x') THEN (x.writer_prev)::bytea
        ELSE decode(x.writer_prev, 'base64') END::bytea AS writer_prev, x.writer_seq AS writer_seq, CASE
        WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea
        ELSE decode(w.sign_b64, 'base64') END AS sign_b64
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
          sign_b64 text, "rowseal" text),
         LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1' THEN w."row" END)) x(deleted_flag boolean,
             grantee_pkey text, "keys" json, may_grant smallint, owner_timestamp bigint, "tables" json,
             "tombstones" boolean, "until" bigint, "upto" jsonb, user_hash text, writer_pkey text, writer_prev text,
             writer_seq bigint)
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT x.deleted_flag AS deleted_flag, x.grantee_pkey AS grantee_pkey, CASE WHEN rowseal._sparse(x.keys)
        THEN (SELECT CASE WHEN (x.keys ~ '[0-9.][eE]') IS NOT TRUE OR rowseal._digits(h.v) <= octet_length(x.keys)
        THEN h.v ELSE concat('an exponent in ', left(x.keys, 40))::jsonb END
        FROM (SELECT x.keys::jsonb OFFSET 0) h(v))
        ELSE concat('too many elements: ', left(x.keys, 40))::jsonb END AS "keys", x.may_grant AS may_grant,
        x.owner_timestamp AS owner_timestamp, CASE WHEN rowseal._sparse(x.tables)
        THEN (SELECT h.v FROM (SELECT x.tables::text[] OFFSET 0) h(v))
        ELSE concat('too many elements: ', left(x.tables, 40))::text[] END AS "tables", x.tombstones AS "tombstones",
        x.until AS "until", CASE WHEN rowseal._sparse(x.upto)
        THEN (SELECT h.v FROM (SELECT x.upto::bytea[] OFFSET 0) h(v))
        ELSE concat('too many elements: ', left(x.upto, 40))::bytea[] END AS "upto", x.user_hash AS user_hash,
        x.writer_pkey AS writer_pkey, x.writer_prev AS writer_prev, x.writer_seq AS writer_seq, x.sign_b64 AS sign_b64
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'pgtext')) x(deleted_flag boolean,
          grantee_pkey bytea, "keys" text, may_grant smallint, owner_timestamp bigint, "tables" text,
          "tombstones" boolean, "until" bigint, "upto" text, user_hash bytea, writer_pkey bytea, writer_prev bytea,
          writer_seq bigint, sign_b64 bytea)
     WHERE $2 = 'pgtext') x;
  payload := rowseal._payload_3(rowseal._one_based(r.tables) AND rowseal._one_based(r.upto),
      rowseal._few(r.tables, 262144) AND rowseal._few(r.upto, 262144),
      (r.keys IS NULL OR pg_column_size(r.keys) <= 4000 OR rowseal._digits(r.keys) <= 65011712), r.deleted_flag,
      r.grantee_pkey, CASE
      WHEN (r.keys IS NULL OR pg_column_size(r.keys) <= 4000 OR rowseal._digits(r.keys) <= 65011712) THEN r.keys END,
      r.may_grant, r.owner_timestamp, CASE WHEN rowseal._few(r.tables, 262144) THEN r.tables END, r.tombstones,
      r.until, CASE WHEN rowseal._few(r.upto, 262144) THEN r.upto END, r.user_hash, r.writer_pkey, r.writer_prev,
      r.writer_seq);
  RETURN rowseal._envelope(payload, r.sign_b64);
END

#variable_conflict use_column
DECLARE
  r record;
  payload text;
BEGIN
  IF rowseal._moved_6(1) IS NOT NULL THEN
    RETURN NULL;
  END IF;
  SELECT * INTO r FROM (SELECT x.at AS "at", x.deleted_flag AS deleted_flag, x.owner_timestamp AS owner_timestamp,
      CASE WHEN starts_with(x.parent_sign_b64, E'\\x') THEN (x.parent_sign_b64)::bytea
      ELSE decode(x.parent_sign_b64, 'base64') END::bytea AS parent_sign_b64, CASE
      WHEN starts_with(x.user_hash, E'\\x') THEN (x.user_hash)::bytea
      ELSE decode(x.user_hash, 'base64') END::bytea AS user_hash, x.uuid AS "uuid", CASE
      WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END AS sign_b64
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
          sign_b64 text, "rowseal" text),
         LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1'
             THEN w."row" END)) x("at" timestamp with time zone, deleted_flag boolean, owner_timestamp bigint,
             parent_sign_b64 text, user_hash text, "uuid" uuid)
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT x.at AS "at", x.deleted_flag AS deleted_flag, x.owner_timestamp AS owner_timestamp,
        x.parent_sign_b64 AS parent_sign_b64, x.user_hash AS user_hash, x.uuid AS "uuid", x.sign_b64 AS sign_b64
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'pgtext')) x("at" timestamp with time zone,
          deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, user_hash bytea, "uuid" uuid,
          sign_b64 bytea)
     WHERE $2 = 'pgtext') x;
  payload := rowseal._payload_6(r.at, r.deleted_flag, r.owner_timestamp, r.parent_sign_b64, r.user_hash, r.uuid);
  RETURN rowseal._envelope(payload, r.sign_b64);
END

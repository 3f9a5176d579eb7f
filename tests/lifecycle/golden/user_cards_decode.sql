#variable_conflict use_column
DECLARE
  r record;
  payload text;
BEGIN
  IF rowseal._moved_1(1) IS NOT NULL THEN
    RETURN NULL;
  END IF;
  SELECT * INTO r FROM (SELECT CASE WHEN starts_with(x.contact_cert, E'\\x') THEN (x.contact_cert)::bytea
      ELSE decode(x.contact_cert, 'base64') END::bytea AS contact_cert, CASE WHEN starts_with(x.contact_pkey, E'\\x')
      THEN (x.contact_pkey)::bytea ELSE decode(x.contact_pkey, 'base64') END::bytea AS contact_pkey, CASE
      WHEN starts_with(x.crypt_cert, E'\\x') THEN (x.crypt_cert)::bytea
      ELSE decode(x.crypt_cert, 'base64') END::bytea AS crypt_cert, CASE WHEN starts_with(x.crypt_pkey, E'\\x')
      THEN (x.crypt_pkey)::bytea ELSE decode(x.crypt_pkey, 'base64') END::bytea AS crypt_pkey,
      x.deleted_flag AS deleted_flag, x.name AS "name", x.owner_timestamp AS owner_timestamp, CASE
      WHEN starts_with(x.sign_pkey, E'\\x') THEN (x.sign_pkey)::bytea
      ELSE decode(x.sign_pkey, 'base64') END::bytea AS sign_pkey, CASE WHEN starts_with(x.user_hash, E'\\x')
      THEN (x.user_hash)::bytea ELSE decode(x.user_hash, 'base64') END::bytea AS user_hash, CASE
      WHEN starts_with(w.sign_b64, E'\\x') THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END AS sign_b64
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
          sign_b64 text, "rowseal" text),
         LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1' THEN w."row" END)) x(contact_cert text,
             contact_pkey text, crypt_cert text, crypt_pkey text, deleted_flag boolean, "name" text,
             owner_timestamp bigint, sign_pkey text, user_hash text)
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT x.contact_cert AS contact_cert, x.contact_pkey AS contact_pkey, x.crypt_cert AS crypt_cert,
        x.crypt_pkey AS crypt_pkey, x.deleted_flag AS deleted_flag, x.name AS "name",
        x.owner_timestamp AS owner_timestamp, x.sign_pkey AS sign_pkey, x.user_hash AS user_hash,
        x.sign_b64 AS sign_b64
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'pgtext')) x(contact_cert bytea, contact_pkey bytea,
          crypt_cert bytea, crypt_pkey bytea, deleted_flag boolean, "name" text, owner_timestamp bigint,
          sign_pkey bytea, user_hash bytea, sign_b64 bytea)
     WHERE $2 = 'pgtext') x;
  payload := concat('{"row":{', concat_ws(',',
         rowseal._string('"contact_cert":', rowseal._encoded(r.contact_cert)),
         rowseal._string('"contact_pkey":', rowseal._encoded(r.contact_pkey)),
         rowseal._string('"crypt_cert":', rowseal._encoded(r.crypt_cert)),
         rowseal._string('"crypt_pkey":', rowseal._encoded(r.crypt_pkey)),
         rowseal._flag('"deleted_flag":', r.deleted_flag),
         rowseal._text('"name":', r.name::text),
         rowseal._string('"owner_timestamp":', r.owner_timestamp::text),
         rowseal._string('"sign_pkey":', rowseal._encoded(r.sign_pkey)),
         rowseal._string('"user_hash":', rowseal._encoded(r.user_hash))), '},"rowseal":1,"table":"user_cards"}');
  RETURN rowseal._envelope(payload, r.sign_b64);
END

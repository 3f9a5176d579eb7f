#variable_conflict use_column
DECLARE
  r record;
  payload text;
BEGIN
  IF rowseal._moved_5(1) IS NOT NULL THEN
    RETURN NULL;
  END IF;
  SELECT * INTO r FROM (SELECT CASE
      WHEN starts_with((CASE WHEN pg_catalog.jsonb_typeof((w.content -> 'content')::jsonb) = 'string'
      THEN w.content ->> 'content' END), E'\\x')
      THEN ((CASE WHEN pg_catalog.jsonb_typeof((w.content -> 'content')::jsonb) = 'string'
      THEN w.content ->> 'content' END))::bytea
      ELSE decode((CASE WHEN pg_catalog.jsonb_typeof((w.content -> 'content')::jsonb) = 'string'
      THEN w.content ->> 'content' END), 'base64') END AS "content", x.deleted_flag AS deleted_flag,
      x.owner_timestamp AS owner_timestamp, x.up AS "up", CASE WHEN starts_with(x.user_hash, E'\\x')
      THEN (x.user_hash)::bytea ELSE decode(x.user_hash, 'base64') END::bytea AS user_hash, x.uuid AS "uuid", CASE
      WHEN starts_with(((CASE WHEN w.rowseal = '1' THEN w."row" END) -> 'content' ->> 'sha256'), E'\\x')
      THEN (((CASE WHEN w.rowseal = '1' THEN w."row" END) -> 'content' ->> 'sha256'))::bytea
      ELSE decode(((CASE WHEN w.rowseal = '1' THEN w."row" END) -> 'content' ->> 'sha256'),
      'base64') END AS content_sha256, NULL::text AS "name", CASE WHEN starts_with(w.sign_b64, E'\\x')
      THEN (w.sign_b64)::bytea ELSE decode(w.sign_b64, 'base64') END AS sign_b64
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical')) w("row" json, "content" json,
          sign_b64 text, "rowseal" text),
         LATERAL pg_catalog.json_to_record((CASE WHEN w.rowseal = '1' THEN w."row" END)) x("content" jsonb,
             deleted_flag boolean, owner_timestamp bigint, "up" text, user_hash text, "uuid" uuid)
     WHERE $2 = 'canonical'
    UNION ALL
    SELECT x.content AS "content", x.deleted_flag AS deleted_flag, x.owner_timestamp AS owner_timestamp, x.up AS "up",
        x.user_hash AS user_hash, x.uuid AS "uuid", x.content_sha256 AS content_sha256, x.name AS "name",
        x.sign_b64 AS sign_b64
      FROM (SELECT $1 AS v) e,
          LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'pgtext')) x("content" bytea, deleted_flag boolean,
          owner_timestamp bigint, "up" text, user_hash bytea, "uuid" uuid, content_sha256 bytea, "name" text,
          sign_b64 bytea)
     WHERE $2 = 'pgtext') x;
  payload := concat('{"row":{', concat_ws(',',
         (rowseal._string('"content":{"sha256":',
             rowseal._encoded((CASE WHEN r.content IS NULL THEN r.content_sha256
             ELSE sha256(r.content::bytea) END))) || '}'),
         rowseal._flag('"deleted_flag":', r.deleted_flag),
         rowseal._string('"owner_timestamp":', r.owner_timestamp::text),
         rowseal._text('"up":', r.up::text),
         rowseal._string('"user_hash":', rowseal._encoded(r.user_hash)),
         rowseal._string('"uuid":', r.uuid::text)), '},"rowseal":1,"table":"files"}');
  RETURN rowseal._envelope(payload, r.sign_b64, rowseal._content(ARRAY['content'], ARRAY[r.content::bytea]));
END

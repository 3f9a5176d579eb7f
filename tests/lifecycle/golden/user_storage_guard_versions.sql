#variable_conflict use_column
DECLARE
  stored pg_catalog.record;
  tip pg_catalog.record;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;
  has_tip pg_catalog.bool;
  respelled pg_catalog.bool;  -- the signature is here, on other content
  kept pg_catalog.bool := false;
BEGIN
  <<judged>> BEGIN
    verdict := rowseal._moved_2(1);
    EXIT judged WHEN verdict IS NOT NULL;
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
      IF ((NEW.sign_b64 OPERATOR(pg_catalog.=) OLD.sign_b64
          AND pg_catalog.record_image_eq(ROW(NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64,
          NEW.user_hash, NEW.storage_uuid, NEW.value_b64, NEW.sign_b64),
          ROW(OLD.deleted_flag, OLD.owner_timestamp, OLD.parent_sign_b64, OLD.user_hash, OLD.storage_uuid,
          OLD.value_b64, OLD.sign_b64)))) IS NOT TRUE THEN
        verdict := ROW('RS009', 'history is append-only')::rowseal.verdict;
        EXIT judged;
      END IF;
      -- unsigned columns, each server's own: replicated they would circle
      kept := pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.<>) 'replica';
      outcome := 'duplicate';
      EXIT judged;
    END IF;
    IF NEW.owner_timestamp IS NULL OR NEW.deleted_flag IS NULL OR NEW.sign_b64 IS NULL THEN
      verdict := ROW('RS001',
          'the row is not signed: key, timestamp, deletion flag or signature is missing')::rowseal.verdict;
      EXIT judged;
    END IF;

    -- 1. What is there?
    LOCK TABLE ONLY public.user_storage, ONLY public.user_cards IN ACCESS SHARE MODE;
    verdict := rowseal._moved_2(1);
    EXIT judged WHEN verdict IS NOT NULL;
    SELECT * INTO tip FROM public.user_storage t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
        AND t.uuid OPERATOR(pg_catalog.=) NEW.storage_uuid;
    has_tip := FOUND;
    IF has_tip AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 1
        AND (tip.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
        AND pg_catalog.record_image_eq(ROW(tip.deleted_flag, tip.owner_timestamp, tip.parent_sign_b64, tip.user_hash,
        tip.uuid, tip.value_b64, tip.sign_b64),
        ROW(NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash, NEW.storage_uuid,
        NEW.value_b64, NEW.sign_b64))) THEN
      -- its table's guard, about to replace it, archives it: it was verified when it came
      kept := true;
      EXIT judged;
    END IF;
    SELECT * INTO stored FROM public.user_storage_versions v WHERE v.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64;
    respelled := FOUND;

    -- 2. What is NEW to it?  No signature is looked at.
    IF respelled THEN
      IF (stored.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
          AND pg_catalog.record_image_eq(ROW(stored.deleted_flag, stored.owner_timestamp, stored.parent_sign_b64,
          stored.user_hash, stored.storage_uuid, stored.value_b64, stored.sign_b64),
          ROW(NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash, NEW.storage_uuid,
          NEW.value_b64, NEW.sign_b64))) THEN
        outcome := 'duplicate';
        EXIT judged;
      END IF;
    ELSE
      IF NOT has_tip OR ROW(NEW.owner_timestamp, NEW.deleted_flag,
          NEW.sign_b64) OPERATOR(pg_catalog.>=) ROW(tip.owner_timestamp, tip.deleted_flag, tip.sign_b64) THEN
        -- not superseded by anything yet: it belongs into the main table, whose guard decides
        INSERT INTO public.user_storage (deleted_flag, owner_timestamp, parent_sign_b64, user_hash, "uuid", value_b64,
            sign_b64) VALUES (NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash,
            NEW.storage_uuid, NEW.value_b64, NEW.sign_b64)
          ON CONFLICT (user_hash, "uuid") DO UPDATE SET deleted_flag = EXCLUDED.deleted_flag,
              owner_timestamp = EXCLUDED.owner_timestamp, parent_sign_b64 = EXCLUDED.parent_sign_b64,
              user_hash = EXCLUDED.user_hash, "uuid" = EXCLUDED.uuid, value_b64 = EXCLUDED.value_b64,
              sign_b64 = EXCLUDED.sign_b64;
        EXIT judged;
      END IF;
    END IF;

    -- 3. Is it the owner's?
    SELECT k.sign_pkey INTO public_key FROM public.user_cards k
        WHERE k.user_hash OPERATOR(pg_catalog.=) NEW.user_hash LIMIT 1;
    verdict := CASE
      WHEN NEW.user_hash IS NOT NULL AND NEW.storage_uuid IS NOT NULL AND NEW.owner_timestamp IS NOT NULL
          AND NEW.deleted_flag IS NOT NULL
       AND pg_catalog.octet_length(NEW.sign_b64) OPERATOR(pg_catalog.=) 64
           AND pg_catalog.octet_length(public_key) OPERATOR(pg_catalog.=) 32
       AND coalesce(pg_catalog.octet_length(NEW.parent_sign_b64), 0) OPERATOR(pg_catalog.<=) 4000
       AND coalesce(pg_catalog.octet_length(NEW.value_b64), 0) OPERATOR(pg_catalog.<=) 4000
       AND rowseal._verified(NEW.sign_b64,
         pg_catalog.convert_to(pg_catalog.concat('{"row":{', pg_catalog.concat_ws(',',
           rowseal._flag('"deleted_flag":', NEW.deleted_flag),
           rowseal._string('"owner_timestamp":', NEW.owner_timestamp::pg_catalog.text),
           rowseal._string('"parent_sign_b64":', rowseal._encoded(NEW.parent_sign_b64)),
           rowseal._string('"user_hash":', rowseal._encoded(NEW.user_hash)),
           rowseal._string('"uuid":', NEW.storage_uuid::pg_catalog.text),
           rowseal._string('"value_b64":', rowseal._encoded(NEW.value_b64))),
               '},"rowseal":1,"table":"user_storage"}'), 'UTF8'),
         public_key)
      THEN NULL ELSE rowseal._judge_2(public_key, NEW.sign_b64, NEW.deleted_flag, NEW.owner_timestamp,
          NEW.parent_sign_b64, NEW.user_hash, NEW.storage_uuid, NEW.value_b64)
    END;
    EXIT judged WHEN verdict IS NOT NULL;

    -- 4. It is carried out.
    IF respelled THEN
      outcome := 'duplicate';
    ELSE
      outcome := 'archived';
      kept := true;
    END IF;
  END judged;

  outcome := coalesce(verdict::pg_catalog.text, outcome);
  IF outcome IS NOT NULL AND pg_catalog.current_setting('rowseal.mode', true) OPERATOR(pg_catalog.=) 'apply' THEN
    outcome := pg_catalog.set_config('rowseal.outcome', outcome, true);
  ELSIF verdict IS NOT NULL THEN
    PERFORM rowseal._refuse(TG_RELID, rowseal._table_of(2, false), verdict,
        rowseal._payload_2(NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash,
            NEW.storage_uuid,
        NEW.value_b64), NEW.sign_b64, NEW);
  END IF;
  IF kept AND verdict IS NULL THEN
    RETURN NEW;
  END IF;
  RETURN NULL;
END

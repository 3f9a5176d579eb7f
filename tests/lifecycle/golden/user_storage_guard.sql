#variable_conflict use_column
DECLARE
  tip pg_catalog.record;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;
  known pg_catalog.bool;
  newer pg_catalog.bool := true;  -- than the tip
  kept pg_catalog.bool := false;
  whole public.user_storage;
BEGIN
  <<judged>> LOOP
    verdict := rowseal._moved_2(1);
    EXIT judged WHEN verdict IS NOT NULL;

    -- 1. What is there?
    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
      SELECT * INTO tip FROM public.user_storage t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
          AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid;
      known := FOUND;
    ELSE
      tip := OLD;
      known := true;
    END IF;

    -- 2. What is NEW to it?  No signature yet.
    IF known AND (tip.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
        AND pg_catalog.record_image_eq(ROW(tip.deleted_flag, tip.owner_timestamp, tip.parent_sign_b64, tip.user_hash,
        tip.uuid, tip.value_b64, tip.sign_b64),
        ROW(NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash, NEW.uuid, NEW.value_b64,
        NEW.sign_b64))) THEN
      outcome := 'duplicate';
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        -- unsigned columns; between servers they would circle
        kept := pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.<>) 'replica';
      END IF;
      EXIT judged;
    END IF;
    LOCK TABLE ONLY public.user_storage_versions, ONLY public.user_cards IN ACCESS SHARE MODE;
    verdict := rowseal._moved_2(1);
    EXIT judged WHEN verdict IS NOT NULL;
    IF known THEN
      IF NEW.owner_timestamp IS NULL OR NEW.deleted_flag IS NULL OR NEW.sign_b64 IS NULL THEN
        verdict := ROW('RS001',
            'the row is not signed: key, timestamp, deletion flag or signature is missing')::rowseal.verdict;
        EXIT judged;
      END IF;
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE'
          AND (NEW.user_hash OPERATOR(pg_catalog.=) tip.user_hash
          AND NEW.uuid OPERATOR(pg_catalog.=) tip.uuid) IS NOT TRUE THEN
        verdict := ROW('RS003', 'primary key and owner never change')::rowseal.verdict;
        EXIT judged;
      END IF;
      newer := (ROW(NEW.owner_timestamp, NEW.deleted_flag,
          NEW.sign_b64) OPERATOR(pg_catalog.>) ROW(tip.owner_timestamp, tip.deleted_flag,
          tip.sign_b64)) IS NOT FALSE;  -- NULL: the tip has lost its place
      IF NOT newer AND NEW.sign_b64 OPERATOR(pg_catalog.<>) tip.sign_b64 THEN
        -- late: that table's guard decides
        INSERT INTO public.user_storage_versions (deleted_flag, owner_timestamp, parent_sign_b64, user_hash,
            storage_uuid, value_b64, sign_b64)
          VALUES (NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash, NEW.uuid, NEW.value_b64,
              NEW.sign_b64) ON CONFLICT (sign_b64) DO NOTHING;
        IF NOT FOUND AND pg_catalog.current_setting('rowseal.outcome', true) OPERATOR(pg_catalog.=) 'archived' THEN
          outcome := 'duplicate';  -- of another session's
        END IF;
        EXIT judged;
      END IF;
      IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND newer THEN
        -- here again, the tip locked
        UPDATE public.user_storage t SET deleted_flag = NEW.deleted_flag, owner_timestamp = NEW.owner_timestamp,
            parent_sign_b64 = NEW.parent_sign_b64, user_hash = NEW.user_hash, "uuid" = NEW.uuid,
            value_b64 = NEW.value_b64, sign_b64 = NEW.sign_b64 WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
            AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid;
        IF NOT FOUND THEN
          verdict := rowseal._hidden(2, NEW);
        END IF;
        EXIT judged;
      END IF;
    END IF;

    -- 3. Is it the owner's?
    SELECT k.sign_pkey INTO public_key FROM public.user_cards k
        WHERE k.user_hash OPERATOR(pg_catalog.=) NEW.user_hash LIMIT 1;
    verdict := CASE
      WHEN NEW.user_hash IS NOT NULL AND NEW.uuid IS NOT NULL AND NEW.owner_timestamp IS NOT NULL
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
           rowseal._string('"uuid":', NEW.uuid::pg_catalog.text),
           rowseal._string('"value_b64":', rowseal._encoded(NEW.value_b64))),
               '},"rowseal":1,"table":"user_storage"}'), 'UTF8'),
         public_key)
      THEN NULL ELSE rowseal._judge_2(public_key, NEW.sign_b64, NEW.deleted_flag, NEW.owner_timestamp,
          NEW.parent_sign_b64, NEW.user_hash, NEW.uuid, NEW.value_b64)
    END;
    EXIT judged WHEN verdict IS NOT NULL;

    -- 4. It is carried out.
    IF NOT newer THEN
      outcome := 'duplicate';  -- spelled otherwise
    ELSE
      outcome := 'inserted';  -- once, by the primary key
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        INSERT INTO public.user_storage_versions (deleted_flag, owner_timestamp, parent_sign_b64, user_hash,
            storage_uuid, value_b64, sign_b64)
          VALUES (tip.deleted_flag, tip.owner_timestamp, tip.parent_sign_b64, tip.user_hash, tip.uuid, tip.value_b64,
              tip.sign_b64) ON CONFLICT (sign_b64) DO NOTHING;
        IF NOT FOUND THEN
          PERFORM rowseal._must_be_archived(2, tip.sign_b64);
        END IF;
        -- else the WAL lacks large values
        whole := ROW(NEW.user_hash, NEW.uuid, NEW.value_b64, NEW.deleted_flag, NEW.owner_timestamp,
            NEW.parent_sign_b64, NEW.sign_b64);
        NEW.parent_sign_b64 := whole.parent_sign_b64;
        NEW.user_hash := whole.user_hash;
        NEW.value_b64 := whole.value_b64;
        outcome := 'superseded';
      END IF;
      kept := true;
    END IF;
    EXIT judged;
  END LOOP;

  outcome := coalesce(verdict::pg_catalog.text, outcome);
  IF outcome IS NOT NULL AND pg_catalog.current_setting('rowseal.mode', true) OPERATOR(pg_catalog.=) 'apply' THEN
    outcome := pg_catalog.set_config('rowseal.outcome', outcome, true);
  ELSIF verdict IS NOT NULL THEN
    PERFORM rowseal._refuse(TG_RELID, rowseal._table_of(2, false), verdict,
        rowseal._payload_2(NEW.deleted_flag, NEW.owner_timestamp, NEW.parent_sign_b64, NEW.user_hash, NEW.uuid,
        NEW.value_b64), NEW.sign_b64, NEW);
  END IF;
  IF kept AND verdict IS NULL THEN
    RETURN NEW;
  END IF;
  RETURN NULL;
END

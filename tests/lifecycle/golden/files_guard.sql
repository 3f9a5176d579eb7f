#variable_conflict use_column
DECLARE
  tip pg_catalog.record;
  public_key pg_catalog.bytea;
  verdict rowseal.verdict;
  outcome pg_catalog.text;
  known pg_catalog.bool;
  newer pg_catalog.bool := true;  -- than the tip
  kept pg_catalog.bool := false;
  whole public.files;
BEGIN
  IF NEW.name IS NULL THEN
    NEW.name := 'v_' OPERATOR(pg_catalog.||) pg_catalog.encode(rowseal._hash('sha3-512', NEW.sign_b64), 'hex');
  END IF;
  IF NEW.content IS NOT NULL THEN
    NEW.content_sha256 := NULL;
  END IF;
  <<judged>> LOOP
    verdict := rowseal._moved_5(1);
    EXIT judged WHEN verdict IS NOT NULL;

    -- 1. What is there?
    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
      SELECT * INTO tip FROM public.files t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
          AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid;
      known := FOUND;
    ELSE
      tip := OLD;
      known := true;
    END IF;

    -- 2. What is NEW to it?  No signature yet.
    IF known AND (tip.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
        AND pg_catalog.record_image_eq(ROW(CASE WHEN tip.content IS NULL THEN tip.content_sha256
        ELSE pg_catalog.sha256(tip.content::pg_catalog.bytea) END, tip.deleted_flag, tip.owner_timestamp, tip.up,
        tip.user_hash, tip.uuid, tip.name, tip.sign_b64),
        ROW(CASE WHEN NEW.content IS NULL THEN NEW.content_sha256
        ELSE pg_catalog.sha256(NEW.content::pg_catalog.bytea) END, NEW.deleted_flag, NEW.owner_timestamp, NEW.up,
        NEW.user_hash, NEW.uuid, NEW.name, NEW.sign_b64))) THEN
      outcome := 'duplicate';
      IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND (tip.content IS NULL AND NEW.content IS NOT NULL) THEN
        UPDATE public.files t SET "content" = coalesce(t.content, NEW.content), content_sha256 = CASE
            WHEN NEW.content IS NULL THEN t.content_sha256 END
         WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid
             AND t.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64;
        IF NOT FOUND THEN
      verdict := rowseal._moved_5(1);
      EXIT judged WHEN verdict IS NOT NULL;
          IF NOT EXISTS (SELECT FROM public.files t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
              AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid AND t.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64) THEN
            CONTINUE judged;
          END IF;
        END IF;
      END IF;
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        IF pg_catalog.current_setting('rowseal.mode', true) OPERATOR(pg_catalog.=) 'apply'
            OR pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 1 THEN
          IF NEW.content IS NULL AND OLD.content IS NOT NULL THEN
            NEW.content := OLD.content;
            NEW.content_sha256 := OLD.content_sha256;
          END IF;
        END IF;
        IF (coalesce(pg_catalog.octet_length(NEW.content), 0)) OPERATOR(pg_catalog.>) 37748736 THEN
          verdict := ROW('RS006', 'more than 37748736 bytes of content')::rowseal.verdict;
        ELSIF NEW.content IS NULL AND OLD.content IS NOT NULL THEN
          verdict := ROW('RS004', 'column content is erased by rowseal.erase alone, and stays so')::rowseal.verdict;
        END IF;
        -- unsigned columns; between servers they would circle
        kept := pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.<>) 'replica'
            OR OLD.content IS NULL AND NEW.content IS NOT NULL;
      END IF;
      EXIT judged;
    END IF;
    LOCK TABLE ONLY public.files_versions, ONLY public.user_cards IN ACCESS SHARE MODE;
    verdict := rowseal._moved_5(1);
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
        INSERT INTO public.files_versions ("content", deleted_flag, owner_timestamp, "up", user_hash, "uuid",
            content_sha256, "name", sign_b64)
          VALUES (NEW.content, NEW.deleted_flag, NEW.owner_timestamp, NEW.up, NEW.user_hash, NEW.uuid,
              NEW.content_sha256, NEW.name, NEW.sign_b64) ON CONFLICT ("name") DO NOTHING;
        IF NOT FOUND AND pg_catalog.has_table_privilege('public.files_versions', 'UPDATE')
            AND EXISTS (SELECT FROM public.files_versions t WHERE t.name OPERATOR(pg_catalog.=) NEW.name
            AND (t.content IS NULL AND NEW.content IS NOT NULL)) THEN
          UPDATE public.files_versions t SET "content" = coalesce(t.content, NEW.content), content_sha256 = CASE
              WHEN NEW.content IS NULL THEN t.content_sha256 END
           WHERE t.name OPERATOR(pg_catalog.=) NEW.name;
        END IF;
        IF NOT FOUND AND pg_catalog.current_setting('rowseal.outcome', true) OPERATOR(pg_catalog.=) 'archived' THEN
          outcome := 'duplicate';  -- of another session's
        END IF;
        EXIT judged;
      END IF;
      IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND newer THEN
        -- here again, the tip locked
        UPDATE public.files t SET "content" = NEW.content, deleted_flag = NEW.deleted_flag,
            owner_timestamp = NEW.owner_timestamp, "up" = NEW.up, user_hash = NEW.user_hash, "uuid" = NEW.uuid,
            content_sha256 = NEW.content_sha256, "name" = NEW.name, sign_b64 = NEW.sign_b64
            WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid;
        IF NOT FOUND THEN
          verdict := rowseal._hidden(5, NEW);
        END IF;
        EXIT judged;
      END IF;
    END IF;

    -- 3. Is it the owner's?
    SELECT k.sign_pkey INTO public_key FROM public.user_cards k
        WHERE k.user_hash OPERATOR(pg_catalog.=) NEW.user_hash LIMIT 1;
    verdict := CASE WHEN (coalesce(pg_catalog.octet_length(NEW.content), 0)) OPERATOR(pg_catalog.>) 37748736
      THEN ROW('RS006', 'more than 37748736 bytes of content')::rowseal.verdict
          ELSE rowseal._judge_5(public_key, NEW.sign_b64, CASE WHEN NEW.content IS NULL THEN NEW.content_sha256
          ELSE pg_catalog.sha256(NEW.content::pg_catalog.bytea) END, NEW.deleted_flag, NEW.owner_timestamp, NEW.up,
          NEW.user_hash, NEW.uuid, NEW.name)
    END;
    EXIT judged WHEN verdict IS NOT NULL;

    -- 4. It is carried out.
    IF NOT newer THEN
      outcome := 'duplicate';  -- spelled otherwise
      IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND (tip.content IS NULL AND NEW.content IS NOT NULL) THEN
        UPDATE public.files t SET "content" = coalesce(t.content, NEW.content), content_sha256 = CASE
            WHEN NEW.content IS NULL THEN t.content_sha256 END
         WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid
             AND t.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64;
        IF NOT FOUND THEN
      verdict := rowseal._moved_5(1);
      EXIT judged WHEN verdict IS NOT NULL;
          IF NOT EXISTS (SELECT FROM public.files t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
              AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid AND t.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64) THEN
            CONTINUE judged;
          END IF;
        END IF;
      END IF;
    ELSE
      outcome := 'inserted';  -- once, by the primary key
      IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        INSERT INTO public.files_versions ("content", deleted_flag, owner_timestamp, "up", user_hash, "uuid",
            content_sha256, "name", sign_b64)
          VALUES (tip.content, tip.deleted_flag, tip.owner_timestamp, tip.up, tip.user_hash, tip.uuid,
              tip.content_sha256, tip.name, tip.sign_b64) ON CONFLICT ("name") DO NOTHING;
        IF NOT FOUND AND pg_catalog.has_table_privilege('public.files_versions', 'UPDATE')
            AND EXISTS (SELECT FROM public.files_versions t WHERE t.name OPERATOR(pg_catalog.=) tip.name
            AND (t.content IS NULL AND tip.content IS NOT NULL)) THEN
          UPDATE public.files_versions t SET "content" = coalesce(t.content, tip.content), content_sha256 = CASE
              WHEN tip.content IS NULL THEN t.content_sha256 END
           WHERE t.name OPERATOR(pg_catalog.=) tip.name;
        END IF;
        IF NOT FOUND THEN
          PERFORM rowseal._must_be_archived(5, tip.sign_b64);
        END IF;
        -- else the WAL lacks large values
        whole := ROW(NEW.user_hash, NEW.uuid, NEW.content, NEW.content_sha256, NEW.name, NEW.up, NEW.deleted_flag,
            NEW.owner_timestamp, NEW.sign_b64);
        NEW.content := whole.content;
        NEW.up := whole.up;
        NEW.user_hash := whole.user_hash;
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
    PERFORM rowseal._refuse(TG_RELID, rowseal._table_of(5, false), verdict,
        rowseal._payload_5(CASE WHEN NEW.content IS NULL THEN NEW.content_sha256
            ELSE pg_catalog.sha256(NEW.content::pg_catalog.bytea) END,
        NEW.deleted_flag, NEW.owner_timestamp, NEW.up, NEW.user_hash, NEW.uuid), NEW.sign_b64, NEW,
        rowseal._content(ARRAY['content'], ARRAY[NEW.content::pg_catalog.bytea]));
  END IF;
  IF kept AND verdict IS NULL THEN
    RETURN NEW;
  END IF;
  RETURN NULL;
END

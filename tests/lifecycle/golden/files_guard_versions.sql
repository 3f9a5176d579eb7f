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
  IF NEW.name IS NULL THEN
    NEW.name := 'v_' OPERATOR(pg_catalog.||) pg_catalog.encode(rowseal._hash('sha3-512', NEW.sign_b64), 'hex');
  END IF;
  IF NEW.content IS NOT NULL THEN
    NEW.content_sha256 := NULL;
  END IF;
  <<judged>> BEGIN
    verdict := rowseal._moved_5(1);
    EXIT judged WHEN verdict IS NOT NULL;
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
      IF ((NEW.sign_b64 OPERATOR(pg_catalog.=) OLD.sign_b64
          AND pg_catalog.record_image_eq(ROW(CASE WHEN NEW.content IS NULL THEN NEW.content_sha256
          ELSE pg_catalog.sha256(NEW.content::pg_catalog.bytea) END, NEW.deleted_flag, NEW.owner_timestamp, NEW.up,
          NEW.user_hash, NEW.uuid, NEW.name, NEW.sign_b64),
          ROW(CASE WHEN OLD.content IS NULL THEN OLD.content_sha256
          ELSE pg_catalog.sha256(OLD.content::pg_catalog.bytea) END, OLD.deleted_flag, OLD.owner_timestamp, OLD.up,
          OLD.user_hash, OLD.uuid, OLD.name, OLD.sign_b64)))) IS NOT TRUE THEN
        verdict := ROW('RS009', 'history is append-only')::rowseal.verdict;
        EXIT judged;
      END IF;
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
      -- unsigned columns, each server's own: replicated they would circle
      kept := pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.<>) 'replica'
          OR OLD.content IS NULL AND NEW.content IS NOT NULL;
      outcome := 'duplicate';
      EXIT judged;
    END IF;
    IF NEW.owner_timestamp IS NULL OR NEW.deleted_flag IS NULL OR NEW.sign_b64 IS NULL THEN
      verdict := ROW('RS001',
          'the row is not signed: key, timestamp, deletion flag or signature is missing')::rowseal.verdict;
      EXIT judged;
    END IF;

    -- 1. What is there?
    LOCK TABLE ONLY public.files, ONLY public.user_cards IN ACCESS SHARE MODE;
    verdict := rowseal._moved_5(1);
    EXIT judged WHEN verdict IS NOT NULL;
    SELECT * INTO tip FROM public.files t WHERE t.user_hash OPERATOR(pg_catalog.=) NEW.user_hash
        AND t.uuid OPERATOR(pg_catalog.=) NEW.uuid;
    has_tip := FOUND;
    IF has_tip AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.>) 1
        AND (tip.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
        AND pg_catalog.record_image_eq(ROW(CASE WHEN tip.content IS NULL THEN tip.content_sha256
        ELSE pg_catalog.sha256(tip.content::pg_catalog.bytea) END, tip.deleted_flag, tip.owner_timestamp, tip.up,
        tip.user_hash, tip.uuid, tip.name, tip.sign_b64),
        ROW(CASE WHEN NEW.content IS NULL THEN NEW.content_sha256
        ELSE pg_catalog.sha256(NEW.content::pg_catalog.bytea) END, NEW.deleted_flag, NEW.owner_timestamp, NEW.up,
        NEW.user_hash, NEW.uuid, NEW.name, NEW.sign_b64))) THEN
      -- its table's guard, about to replace it, archives it: it was verified when it came
      kept := true;
      EXIT judged;
    END IF;
    SELECT * INTO stored FROM public.files_versions v WHERE v.name OPERATOR(pg_catalog.=) NEW.name;
    respelled := FOUND;

    -- 2. What is NEW to it?  No signature is looked at.
    IF respelled THEN
      IF (stored.sign_b64 OPERATOR(pg_catalog.=) NEW.sign_b64
          AND pg_catalog.record_image_eq(ROW(CASE WHEN stored.content IS NULL THEN stored.content_sha256
          ELSE pg_catalog.sha256(stored.content::pg_catalog.bytea) END, stored.deleted_flag, stored.owner_timestamp,
          stored.up, stored.user_hash, stored.uuid, stored.name, stored.sign_b64),
          ROW(CASE WHEN NEW.content IS NULL THEN NEW.content_sha256
          ELSE pg_catalog.sha256(NEW.content::pg_catalog.bytea) END, NEW.deleted_flag, NEW.owner_timestamp, NEW.up,
          NEW.user_hash, NEW.uuid, NEW.name, NEW.sign_b64))) THEN
        IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND (stored.content IS NULL AND NEW.content IS NOT NULL)
            AND pg_catalog.has_table_privilege('public.files_versions', 'UPDATE') THEN
          UPDATE public.files_versions t SET "content" = coalesce(t.content, NEW.content), content_sha256 = CASE
              WHEN NEW.content IS NULL THEN t.content_sha256 END
           WHERE t.name OPERATOR(pg_catalog.=) NEW.name;
        END IF;
        outcome := 'duplicate';
        EXIT judged;
      END IF;
    ELSE
      IF NOT has_tip OR ROW(NEW.owner_timestamp, NEW.deleted_flag,
          NEW.sign_b64) OPERATOR(pg_catalog.>=) ROW(tip.owner_timestamp, tip.deleted_flag, tip.sign_b64) THEN
        -- not superseded by anything yet: it belongs into the main table, whose guard decides
        INSERT INTO public.files ("content", deleted_flag, owner_timestamp, "up", user_hash, "uuid", content_sha256,
            "name", sign_b64)
            VALUES (NEW.content, NEW.deleted_flag, NEW.owner_timestamp, NEW.up, NEW.user_hash, NEW.uuid,
            NEW.content_sha256, NEW.name, NEW.sign_b64)
          ON CONFLICT (user_hash, "uuid") DO UPDATE SET "content" = EXCLUDED.content,
              deleted_flag = EXCLUDED.deleted_flag, owner_timestamp = EXCLUDED.owner_timestamp, "up" = EXCLUDED.up,
              user_hash = EXCLUDED.user_hash, "uuid" = EXCLUDED.uuid, content_sha256 = EXCLUDED.content_sha256,
              "name" = EXCLUDED.name, sign_b64 = EXCLUDED.sign_b64;
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
    IF respelled THEN
      outcome := 'duplicate';
      IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' AND (stored.content IS NULL AND NEW.content IS NOT NULL)
          AND pg_catalog.has_table_privilege('public.files_versions', 'UPDATE') THEN
        UPDATE public.files_versions t SET "content" = coalesce(t.content, NEW.content), content_sha256 = CASE
            WHEN NEW.content IS NULL THEN t.content_sha256 END
         WHERE t.name OPERATOR(pg_catalog.=) NEW.name;
      END IF;
    ELSE
      outcome := 'archived';
      kept := true;
    END IF;
  END judged;

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

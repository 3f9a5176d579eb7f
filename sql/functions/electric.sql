-- Rows that come through Electric: rowseal pull follows shapes (plpython/rowseal/electric), and what it has read is
-- kept here.

-- SECURITY DEFINER, owner rowseal_internal: every role that may write a table keeps the offsets of its own shapes, a
-- thousand at most, and touches nobody else's, who would miss rows.
CREATE OR REPLACE FUNCTION rowseal._advance(
  relation regclass, source text, handle text, log_offset text, outcomes jsonb, up_to_date boolean)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  moment timestamptz := pg_catalog.clock_timestamp();
  named CONSTANT text[] := '{inserted,superseded,archived,stale,duplicate,deferred,rejected,deleted}';
BEGIN
  PERFORM rowseal._in_person();
  PERFORM FROM rowseal.declarations d, pg_catalog.pg_roles r
    WHERE d.relation = relation AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')  -- as in _may_ask
      AND pg_catalog.has_table_privilege(r.oid, relation, 'INSERT');
  IF NOT FOUND THEN
    RAISE insufficient_privilege USING MESSAGE = pg_catalog.format('permission denied for table %s', relation);
  END IF;
  IF NOT EXISTS (SELECT FROM rowseal.shapes s
                  WHERE s.role = session_user AND s.relation = relation AND s.source = source)
     AND (SELECT count(*) FROM rowseal.shapes s WHERE s.role = session_user) >= 1000 THEN
    RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'a role follows a thousand shapes at most',
      HINT = 'A member of rowseal_admin can DELETE FROM rowseal.shapes.';
  END IF;
  INSERT INTO rowseal.shapes AS s (role, relation, source, handle, log_offset, outcomes, up_to_date)
    VALUES (session_user, relation, source, handle, log_offset,
            (SELECT coalesce(pg_catalog.jsonb_object_agg(o, (outcomes ->> o)::bigint), '{}')
               FROM pg_catalog.unnest(named) o WHERE outcomes ? o),
            CASE WHEN up_to_date THEN moment END)
    ON CONFLICT ON CONSTRAINT shapes_pkey DO UPDATE SET handle = EXCLUDED.handle, log_offset = EXCLUDED.log_offset,
      outcomes = (SELECT coalesce(pg_catalog.jsonb_object_agg(
                           o, coalesce((s.outcomes ->> o)::bigint, 0) + coalesce((outcomes ->> o)::bigint, 0)), '{}')
                    FROM pg_catalog.unnest(named) o WHERE s.outcomes ? o OR outcomes ? o),
      changed = CASE WHEN outcomes = '{}' THEN s.changed ELSE moment END,
      up_to_date = coalesce(EXCLUDED.up_to_date, s.up_to_date);
END
$$;
COMMENT ON FUNCTION rowseal._advance(regclass, text, text, text, jsonb, boolean) IS
  'Keeps how far the session''s user has read a shape';

CREATE OR REPLACE FUNCTION rowseal._pull(
  relation regclass, source text, rows json, deletions json, handle text, log_offset text, up_to_date boolean)
RETURNS TABLE (outcome text, reason text, rows_ bigint) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  outcomes jsonb := '{}';
BEGIN
  -- Whoever carries rows cannot delete: only the owner can, by a signed row.  That the source did is evidence, no more.
  PERFORM rowseal._quarantine(d.tag, ROW('RS004', 'deleted at the source, and kept here')::rowseal.verdict, 'raw', e.v)
     FROM rowseal.declarations d, pg_catalog.json_array_elements(deletions) e(v) WHERE d.relation = relation;
  FOR outcome, reason, rows_ IN
    SELECT a.outcome, a.reason, count(*) FROM rowseal.apply(relation, rows, 'pgtext') a GROUP BY 1, 2
    UNION ALL
    SELECT 'deleted', NULL, n FROM pg_catalog.json_array_length(deletions) n WHERE n > 0
  LOOP
    outcomes := outcomes || pg_catalog.jsonb_build_object(outcome, coalesce((outcomes ->> outcome)::bigint, 0) + rows_);
    RETURN NEXT;
  END LOOP;
  PERFORM rowseal._advance(relation, source, handle, log_offset, outcomes, up_to_date);
END
$$;
COMMENT ON FUNCTION rowseal._pull(regclass, text, json, json, text, text, boolean) IS
$$One batch of rowseal pull: merges rows as rowseal.apply does (pgtext), notes deletions, keeps the offset. Returns
how many rows had which outcome, for which reason.$$;

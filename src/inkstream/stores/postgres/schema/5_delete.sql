-- Lock streams and all streams that they copy, in the order in which commit_changes locks, so that
-- transactions do not deadlock. Return the ids of all these streams.
CREATE FUNCTION inkstream.lock_streams(p_internal_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_all bigint[];
BEGIN
    WITH RECURSIVE reach (internal_id) AS (
        SELECT unnest(p_internal_ids)
        UNION
        SELECT s.forked_from FROM reach JOIN inkstream.streams s USING (internal_id)
        WHERE s.forked_from IS NOT NULL
    )
    SELECT array_agg(r.internal_id) INTO v_all FROM reach r;
    PERFORM FROM inkstream.heads h WHERE h.internal_id = ANY (v_all)
    ORDER BY h.internal_id FOR UPDATE;
    RETURN v_all;
END $$;

-- Delete streams; return how many existed. A stream with forks becomes gone instead, and is kept
-- until its last fork is deleted.
CREATE FUNCTION inkstream.delete_streams(p_internal_ids bigint[]) RETURNS integer
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    -- A deletion of a fork can also remove a gone stream that the fork copies.
    v_all bigint[] := inkstream.lock_streams(p_internal_ids);
    v_removed bigint[] := '{}';
    v_deleted integer := 0;
    v_id bigint;
    v_gone boolean;
BEGIN
    -- A fork has a larger id than the stream that it copies, so the loop deletes the fork first.
    FOR v_id, v_gone IN
        SELECT h.internal_id, h.gone FROM inkstream.heads h WHERE h.internal_id = ANY (v_all)
        ORDER BY h.internal_id DESC
    LOOP
        CONTINUE WHEN NOT v_gone AND NOT v_id = ANY (p_internal_ids);
        IF NOT v_gone THEN
            v_deleted := v_deleted + 1;
        END IF;
        IF NOT EXISTS (
            SELECT FROM inkstream.streams s
            WHERE s.forked_from = v_id AND NOT s.internal_id = ANY (v_removed)
        ) THEN
            v_removed := array_append(v_removed, v_id);
        ELSIF NOT v_gone THEN
            UPDATE inkstream.heads h SET gone = true, worker = NULL, due_at = NULL, report = false
            WHERE h.internal_id = v_id;
            UPDATE inkstream.streams s SET live = false WHERE s.internal_id = v_id;
            DELETE FROM inkstream.marks m WHERE m.internal_id = v_id;
        END IF;
    END LOOP;
    DELETE FROM inkstream.live l WHERE l.internal_id = ANY (v_removed);
    DELETE FROM inkstream.segments g WHERE g.internal_id = ANY (v_removed);
    DELETE FROM inkstream.marks m WHERE m.internal_id = ANY (v_removed);
    DELETE FROM inkstream.streams s WHERE s.internal_id = ANY (v_removed);
    DELETE FROM inkstream.heads h WHERE h.internal_id = ANY (v_removed);
    RETURN v_deleted;
END $$;

-- Delete those of the given streams that are ended streams or logs, and due; return how many.
CREATE FUNCTION inkstream.delete_due(p_internal_ids bigint[], p_now double precision)
RETURNS integer LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    PERFORM inkstream.lock_streams(p_internal_ids);
    RETURN inkstream.delete_streams(ARRAY(
        SELECT h.internal_id FROM inkstream.heads h
        WHERE h.internal_id = ANY (p_internal_ids)
            AND h.due_at <= p_now AND h.status NOT IN ('pending', 'streaming') AND NOT h.gone));
END $$;

-- Delete at most p_limit ended streams and logs that are due; return how many were deleted.
CREATE FUNCTION inkstream.expire_streams(p_now double precision, p_limit integer) RETURNS integer
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_due bigint[];
BEGIN
    -- Wait for no lock, because these locks are not in the order of the ids. SKIP LOCKED skips a
    -- stream that another transaction has locked. If that is a stream that a due stream copies,
    -- leave the due stream for a later call.
    SELECT array_agg(due.internal_id) INTO v_due FROM (
        SELECT h.internal_id FROM inkstream.heads h
        WHERE h.due_at <= p_now AND h.status NOT IN ('pending', 'streaming') AND NOT h.gone
        ORDER BY h.due_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) due;
    IF v_due IS NULL THEN
        RETURN 0;
    END IF;
    WITH RECURSIVE reach (due, internal_id) AS (
        SELECT d.due, d.due FROM unnest(v_due) AS d (due)
        UNION
        SELECT r.due, s.forked_from FROM reach r JOIN inkstream.streams s USING (internal_id)
        WHERE s.forked_from IS NOT NULL
    ), locked AS MATERIALIZED (
        SELECT h.internal_id FROM inkstream.heads h
        WHERE h.internal_id IN (SELECT r.internal_id FROM reach r) FOR UPDATE SKIP LOCKED
    )
    SELECT array_agg(free.due) INTO v_due FROM (
        SELECT r.due FROM reach r LEFT JOIN locked l USING (internal_id)
        GROUP BY r.due HAVING count(*) = count(l.internal_id)
    ) free;
    RETURN inkstream.delete_streams(v_due);
END $$;

-- Merge about p_max_bytes of one stream's segments in live, and move them to the table segments.
-- Return the number of merged bytes, or NULL if no stream needs a merge.
CREATE FUNCTION inkstream.merge_stream(p_max_bytes bigint, p_segment_bytes integer) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_id bigint;
    v_last bigint;
    v_stop bigint;
    v_starts bigint[] := '{}';
    v_run bigint := 0;
    v_bytes bigint := 0;
    v_more boolean := false;
    r record;
BEGIN
    -- This lock makes appends to the stream, and its deletion, wait until this transaction ends.
    -- SKIP LOCKED skips a stream that another transaction has locked.
    SELECT h.internal_id INTO v_id FROM inkstream.heads h WHERE h.unmerged
    ORDER BY h.internal_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- If the stream's next segment fits into its last merged segment, add it there.
    SELECT g.position INTO v_last FROM inkstream.segments g
    WHERE g.internal_id = v_id AND g.position = (
            SELECT max(m.position) FROM inkstream.segments m WHERE m.internal_id = v_id)
        AND octet_length(g.payload) + (
            SELECT octet_length(l.payload) FROM inkstream.live l WHERE l.internal_id = v_id
            ORDER BY l.position LIMIT 1) <= p_segment_bytes;
    FOR r IN
        SELECT g.position, octet_length(g.payload) AS size FROM inkstream.segments g
            WHERE g.internal_id = v_id AND g.position = v_last
        UNION ALL
        SELECT l.position, octet_length(l.payload) FROM inkstream.live l
            WHERE l.internal_id = v_id
        ORDER BY position
    LOOP
        IF v_bytes >= p_max_bytes AND v_bytes >= p_segment_bytes THEN
            v_more := true;
            EXIT;
        END IF;
        IF cardinality(v_starts) = 0 OR v_run + r.size > p_segment_bytes THEN
            v_starts := array_append(v_starts, r.position);
            v_run := 0;
        END IF;
        v_run := v_run + r.size;
        v_bytes := v_bytes + r.size;
        v_stop := r.position;
    END LOOP;
    IF v_bytes > 0 THEN
        WITH moved AS (
            DELETE FROM inkstream.live l WHERE l.internal_id = v_id AND l.position <= v_stop
            RETURNING l.position, l.count, l.payload, l.idx
        ), reopened AS (
            DELETE FROM inkstream.segments g WHERE g.internal_id = v_id AND g.position = v_last
            RETURNING g.position, g.count, g.payload, g.idx
        )
        INSERT INTO inkstream.segments (internal_id, position, count, payload, idx)
        SELECT v_id, min(m.position), sum(m.count),
            string_agg(m.payload, CAST('' AS bytea) ORDER BY m.position),
            string_agg(m.idx, CAST('' AS bytea) ORDER BY m.position)
        FROM (SELECT * FROM moved UNION ALL SELECT * FROM reopened) m
        GROUP BY width_bucket(m.position, v_starts);
    END IF;
    IF NOT v_more THEN
        UPDATE inkstream.heads h SET unmerged = false WHERE h.internal_id = v_id;
    END IF;
    RETURN v_bytes;
END $$;

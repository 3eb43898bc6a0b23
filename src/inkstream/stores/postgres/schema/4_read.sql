-- Read and find.

-- A stream's state, marks, and the messages after a position, as of the caller's one snapshot.
-- The segments come from one stream of its lineage: cut them at until_position, if there is one.
CREATE FUNCTION inkstream.read_stream(
    p_stream_id text, p_after bigint, p_max_bytes bigint, p_marks text[],
    OUT state text, OUT until_position bigint, OUT positions bigint[], OUT counts integer[],
    OUT payloads bytea[], OUT indexes bytea[], OUT mark_names text[], OUT mark_values bytea[]
) LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    v inkstream.stream_state;
    v_id bigint;
    v_from bigint;
    v_source bigint;
    v_start bigint;
    v_bytes bigint := 0;
    r record;
BEGIN
    SELECT * INTO v FROM inkstream.stream_state s WHERE s.stream_id = p_stream_id;
    state := CASE WHEN v.internal_id IS NOT NULL THEN row_to_json(v) END;
    IF v.internal_id IS NULL OR v.gone THEN
        RETURN;
    END IF;
    IF cardinality(p_marks) > 0 THEN
        SELECT array_agg(m.name), array_agg(m.value) INTO mark_names, mark_values
        FROM inkstream.marks m WHERE m.internal_id = v.internal_id AND m.name = ANY (p_marks);
    END IF;
    IF p_max_bytes <= 0 OR p_after >= v.tail THEN
        RETURN;
    END IF;
    v_id := v.internal_id;
    LOOP
        SELECT s.forked_from, s.fork_position INTO v_source, v_from
        FROM inkstream.streams s WHERE s.internal_id = v_id;
        EXIT WHEN v_source IS NULL OR p_after >= v_from;
        until_position := least(until_position, v_from);
        v_id := v_source;
    END LOOP;
    v_start := greatest(
        (SELECT max(g.position) FROM inkstream.segments g
            WHERE g.internal_id = v_id AND g.position <= p_after),
        (SELECT max(l.position) FROM inkstream.live l
            WHERE l.internal_id = v_id AND l.position <= p_after),
        0);
    FOR r IN
        SELECT g.position, g.count, g.payload, g.idx FROM inkstream.segments g
            WHERE g.internal_id = v_id AND g.position >= v_start
        UNION ALL
        SELECT l.position, l.count, l.payload, l.idx FROM inkstream.live l
            WHERE l.internal_id = v_id AND l.position >= v_start
        ORDER BY position
    LOOP
        v_bytes := v_bytes + octet_length(r.payload);
        EXIT WHEN r.position >= until_position
            OR (v_bytes > p_max_bytes AND cardinality(positions) > 0);
        positions := array_append(positions, r.position);
        counts := array_append(counts, r.count);
        payloads := array_append(payloads, r.payload);
        indexes := array_append(indexes, r.idx);
    END LOOP;
END $$;

-- States, newest first. The text of the query is made of the conditions that were given, so that
-- its plan is made for them alone; and its shape leaves only plans that stop at the limit.
CREATE FUNCTION inkstream.find_streams(
    p_stream_ids text[], p_owner text, p_group text, p_statuses text[],
    p_any_worker boolean, p_worker text, p_due_before double precision, p_unreported boolean,
    p_before bigint, p_limit integer
) RETURNS SETOF text LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    v_cold text := '';
    v_hot text := ' AND NOT h.gone';
    v_status text := '';
    v_found text;
BEGIN
    IF p_stream_ids IS NOT NULL THEN v_cold := v_cold || ' AND s.stream_id = ANY ($1)'; END IF;
    IF p_owner IS NOT NULL THEN v_cold := v_cold || ' AND s.owner = $2'; END IF;
    IF p_group IS NOT NULL THEN v_cold := v_cold || ' AND s."group" = $3'; END IF;
    IF p_worker IS NOT NULL THEN v_hot := v_hot || ' AND h.worker = $5'; END IF;
    IF p_due_before IS NOT NULL THEN v_hot := v_hot || ' AND h.due_at <= $6'; END IF;
    IF p_unreported THEN
        v_hot := v_hot
            || $q$ AND h.report AND h.status IN ('done', 'error', 'cancelled', 'timeout')$q$;
    END IF;
    IF p_statuses IS NOT NULL THEN
        v_status := ' AND h.status = ANY ($4)';
    END IF;
    IF v_cold = '' AND p_worker IS NULL AND p_due_before IS NULL AND NOT p_unreported
        AND p_statuses IS NOT NULL
    THEN
        -- The newest of each status, then the newest of those. Each by its literal name: as a
        -- parameter, a rare status would be taken for a common one.
        SELECT 'SELECT internal_id FROM (' || string_agg(format(
            '(SELECT h.internal_id FROM inkstream.heads h WHERE h.status = %L{hot}'
            ' ORDER BY h.internal_id DESC LIMIT $8)', wanted), ' UNION ALL ') || ') h'
        INTO v_found FROM unnest(p_statuses || '{none}') AS wanted;
    ELSIF v_cold = '' THEN
        v_found := 'SELECT h.internal_id FROM inkstream.heads h WHERE true{hot}' || v_status;
    ELSE
        IF p_statuses <@ '{pending,streaming}' THEN v_cold := v_cold || ' AND s.live'; END IF;
        IF p_before IS NOT NULL THEN v_cold := v_cold || ' AND s.internal_id < $7'; END IF;
        v_found := 'SELECT s.internal_id FROM inkstream.streams s CROSS JOIN LATERAL ('
            || ' SELECT * FROM inkstream.heads h WHERE h.internal_id = s.internal_id LIMIT 1) h'
            || ' WHERE true' || v_cold || '{hot}' || v_status;
    END IF;
    IF p_worker IS NULL AND NOT p_any_worker THEN v_hot := v_hot || ' AND h.worker IS NULL'; END IF;
    IF p_before IS NOT NULL THEN v_hot := v_hot || ' AND h.internal_id < $7'; END IF;
    RETURN QUERY EXECUTE
        'SELECT (SELECT CAST(row_to_json(v) AS text) FROM inkstream.stream_state v'
        || ' WHERE v.internal_id = found.internal_id) FROM ('
        || replace(v_found, '{hot}', v_hot) || ' ORDER BY internal_id DESC LIMIT $8'
        || ') found ORDER BY found.internal_id DESC'
    USING p_stream_ids, p_owner, p_group, p_statuses, p_worker, p_due_before, p_before, p_limit;
END $$;

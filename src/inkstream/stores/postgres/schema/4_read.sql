-- Return one page for each of several streams, all from one snapshot: the stream's state, its
-- messages after a position, and its marks. There is one row per stream, in the given order. If a
-- stream does not exist, its row has no state. All segments of a page are stored with one stream:
-- the stream itself or, for a fork, a stream that it copies. If until_position is set, the caller
-- must cut the segments at that position.
CREATE FUNCTION inkstream.read_streams(
    p_stream_id text[], p_after bigint[], p_max_bytes bigint, p_marks text[]
) RETURNS TABLE (
    state text, until_position bigint, positions bigint[], counts integer[], payloads bytea[],
    indexes bytea[], mark_names text[], mark_values bytea[]
) LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_mergejoin = off
  SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE asked AS MATERIALIZED (
        SELECT a.n, a.after, v.*
        FROM unnest(p_stream_id, p_after) WITH ORDINALITY AS a (stream_id, after, n)
        LEFT JOIN LATERAL (
            SELECT s.internal_id, s.gone, s.tail, CAST(row_to_json(s) AS text) AS state
            FROM inkstream.stream_state s WHERE s.stream_id = a.stream_id LIMIT 1
        ) v ON true
    ), lineage AS (
        -- The stream itself, then the stream that it copies, and so on, up to the stream that
        -- stores the first message after the position "after".
        SELECT a.n, a.after, a.internal_id AS holder, CAST(NULL AS bigint) AS until_position
        FROM asked a WHERE NOT a.gone AND a.after < a.tail AND p_max_bytes > 0
        UNION ALL
        SELECT l.n, l.after, s.forked_from, least(l.until_position, s.fork_position)
        FROM lineage l CROSS JOIN LATERAL (
            SELECT * FROM inkstream.streams s WHERE s.internal_id = l.holder LIMIT 1
        ) s WHERE l.after < s.fork_position
    ), holding AS MATERIALIZED (
        -- For each read, take the last stream of the lineage. A copied stream is older than its
        -- forks, so the last stream has the smallest id.
        SELECT DISTINCT ON (l.n) l.*, coalesce(
            (SELECT max(v.position) FROM inkstream.live v
                WHERE v.internal_id = l.holder AND v.position <= l.after),
            (SELECT max(g.position) FROM inkstream.segments g
                WHERE g.internal_id = l.holder AND g.position <= l.after),
            0) AS start
        FROM lineage l ORDER BY l.n, l.holder
    )
    SELECT a.state, h.until_position, p.positions, p.counts, p.payloads, p.indexes,
        m.names, m.values
    FROM asked a LEFT JOIN holding h ON h.n = a.n
    LEFT JOIN LATERAL (
        SELECT array_agg(s.position) AS positions, array_agg(s.count) AS counts,
            array_agg(s.payload) AS payloads, array_agg(s.idx) AS indexes
        FROM (
            SELECT r.*, sum(octet_length(r.payload)) OVER w AS bytes,
                sum(r.count) OVER w AS messages, first_value(r.position) OVER w AS first
            FROM (
                (SELECT g.position, g.count, g.payload, g.idx FROM inkstream.segments g
                    WHERE g.internal_id = h.holder AND g.position >= h.start
                    ORDER BY g.position LIMIT 2 + p_max_bytes / 32768)
                UNION ALL
                (SELECT v.position, v.count, v.payload, v.idx FROM inkstream.live v
                    WHERE v.internal_id = h.holder AND v.position >= h.start
                    ORDER BY v.position LIMIT 1000)
            ) r WINDOW w AS (ORDER BY r.position ROWS UNBOUNDED PRECEDING)
        ) s
        -- A page has at least one segment, and no gap. Without the comparison of counts, a page
        -- could contain segments of live although LIMIT left out an earlier merged segment.
        WHERE s.position = s.first OR s.bytes <= p_max_bytes
            AND s.position + s.count = s.first + s.messages
            AND (h.until_position IS NULL OR s.position < h.until_position)
    ) p ON h.n IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT array_agg(k.name) AS names, array_agg(k.value) AS values FROM inkstream.marks k
        WHERE k.internal_id = a.internal_id AND NOT a.gone AND k.name = ANY (p_marks)
    ) m ON cardinality(p_marks) > 0
    ORDER BY a.n;
END $$;

-- Return states, newest stream first. The function builds a query that contains only the given
-- filters, so that PostgreSQL plans the query for these filters.
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
        -- Find the newest streams of each status, then the newest of all of these. Each status is
        -- a literal, because for a parameter the planner cannot see that a status is rare.
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

-- enable_seqscan is off in functions with cached plans. Otherwise a plan that was made while a
-- table was small would scan the whole table until the next ANALYZE, even if the table has grown.

-- Begin a new generation.
CREATE FUNCTION inkstream.draw_generation() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_drawn integer;
BEGIN
    INSERT INTO inkstream.generation AS old (value, server_started)
    VALUES (1 + CAST(floor(random() * 16777215) AS integer), pg_postmaster_start_time())
    ON CONFLICT (one) DO UPDATE
        SET value = CASE WHEN excluded.value = old.value THEN 1 + excluded.value % 16777215
                ELSE excluded.value END,
            beats = CASE WHEN old.server_started = excluded.server_started THEN old.beats ELSE 0 END,
            server_started = excluded.server_started
    RETURNING value INTO v_drawn;
    RETURN v_drawn;
END $$;

-- The current generation. The first call after a restart of the server begins a new generation.
CREATE FUNCTION inkstream.current_generation() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_generation integer;
BEGIN
    SELECT g.value INTO v_generation FROM inkstream.generation g
    WHERE g.server_started = pg_postmaster_start_time();
    RETURN coalesce(v_generation, inkstream.draw_generation());
END $$;

-- The runs of a stream after a commit whose first message has the position p_first. p_runs are the
-- runs before the commit. If the stream then has 33 runs, its first two runs become one run (see
-- _runs.py).
CREATE FUNCTION inkstream.extend_runs(p_runs json, p_first bigint, p_generation integer)
RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_runs bigint[] := ARRAY(SELECT CAST(r AS bigint) FROM json_array_elements_text(p_runs) AS r);
BEGIN
    WHILE v_runs[cardinality(v_runs) - 1] >= p_first LOOP
        v_runs := v_runs[:cardinality(v_runs) - 2];
    END LOOP;
    IF v_runs[cardinality(v_runs)] IS DISTINCT FROM p_generation THEN
        v_runs := v_runs || p_first || CAST(p_generation AS bigint);
    END IF;
    IF cardinality(v_runs) > 64 THEN
        v_runs := v_runs[1] || v_runs[4:];
    END IF;
    RETURN array_to_json(v_runs);
END $$;

-- Create a stream. The function returns a refusal as an outcome and does not raise an error,
-- because an error would abort the application's transaction in which the function may run.
CREATE FUNCTION inkstream.create_stream(
    p_stream_id text, p_kind text, p_status text, p_content_type text, p_owner text, p_group text,
    p_metadata text, p_created_at double precision, p_due_at double precision,
    p_ttl_s double precision, p_retain_s double precision, p_takeover_within_s double precision,
    p_report boolean, p_ending text, p_max_live integer,
    p_source bigint, p_position bigint,
    p_count integer, p_payload bytea, p_idx bytea,
    p_mark_names text[], p_mark_values bytea[],
    OUT outcome text, OUT state text
) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_id bigint;
    v_generation integer := inkstream.current_generation();
    v_source inkstream.stream_state;
    v_live boolean := p_status IN ('pending', 'streaming');
BEGIN
    outcome := 'created';
    IF p_source IS NOT NULL THEN
        -- This lock keeps other transactions from deleting the stream that is copied. The writer
        -- of that stream can go on.
        PERFORM FROM inkstream.heads h WHERE h.internal_id = p_source FOR KEY SHARE;
        SELECT * INTO v_source FROM inkstream.stream_state v WHERE v.internal_id = p_source;
    END IF;
    IF p_max_live IS NOT NULL AND p_owner IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('inkstream owner ' || p_owner, 0));
    END IF;
    IF EXISTS (SELECT FROM inkstream.streams s WHERE s.stream_id = p_stream_id) THEN
        outcome := 'exists';
    ELSIF p_source IS NOT NULL AND v_source.internal_id IS NULL THEN
        outcome := 'no source';
    ELSIF v_source.gone THEN
        outcome := 'source gone';
        state := row_to_json(v_source);
    ELSIF p_position > v_source.tail THEN
        outcome := 'past tail';
        state := row_to_json(v_source);
    ELSIF p_max_live IS NOT NULL AND p_owner IS NOT NULL AND p_max_live <= (
        SELECT count(*) FROM inkstream.streams s WHERE s.owner = p_owner AND s.live
    ) THEN
        outcome := 'too many';
    END IF;
    IF outcome <> 'created' THEN
        RETURN;
    END IF;
    INSERT INTO inkstream.streams (
        stream_id, kind, content_type, owner, "group", metadata, created_at, ended_at, ttl_s,
        retain_s, takeover_within_s, ending, live, forked_from, fork_position,
        runs
    ) VALUES (
        p_stream_id, p_kind, p_content_type, p_owner, p_group, CAST(p_metadata AS json),
        p_created_at, CASE WHEN p_ending IS NOT NULL THEN p_created_at END, p_ttl_s, p_retain_s,
        p_takeover_within_s, CAST(p_ending AS json), v_live, p_source, coalesce(p_position, 0),
        inkstream.extend_runs(coalesce(v_source.runs, '[]'), coalesce(p_position, 0), v_generation)
    ) ON CONFLICT (stream_id) DO NOTHING RETURNING internal_id INTO v_id;
    IF v_id IS NULL THEN
        outcome := 'exists';
        RETURN;
    END IF;
    INSERT INTO inkstream.heads (
        internal_id, status, tail, size, due_at, report, unmerged, appended_at, generation
    ) VALUES (
        v_id, p_status, coalesce(p_position, 0) + coalesce(p_count, 0),
        coalesce(octet_length(p_payload), 0), p_due_at, p_report,
        p_ending IS NOT NULL AND p_count IS NOT NULL,
        CASE WHEN p_count IS NOT NULL THEN extract(epoch FROM clock_timestamp()) END, v_generation);
    IF p_count IS NOT NULL THEN
        INSERT INTO inkstream.live (internal_id, position, count, payload, idx)
        VALUES (v_id, coalesce(p_position, 0), p_count, p_payload, p_idx);
    END IF;
    IF cardinality(p_mark_names) > 0 THEN
        INSERT INTO inkstream.marks (internal_id, name, value)
        SELECT v_id, m.name, m.value FROM unnest(p_mark_names, p_mark_values) AS m (name, value);
    END IF;
    SELECT row_to_json(v) INTO state FROM inkstream.stream_state v WHERE v.internal_id = v_id;
END $$;

-- Apply a batch of changes. Each array holds one field of all changes, or is empty if no change has
-- this field. In a condition, NULL means "not checked". In a new value, NULL means "unchanged". For
-- a worker, '' means "no worker". For due_at, NaN means "never".
--
-- Changes with the same number in p_group are a group: the function applies all of them or none.
-- With an empty p_group, each change is a group of its own. The changes come in waves. No two
-- changes of a wave touch the same stream, and each wave sees the effects of earlier waves. p_waves
-- has the number of the last change of each wave.
--
-- The function returns a row for each applied change. For each refused group, it returns one row,
-- with the group's first refused change and the state of that change's stream.
CREATE FUNCTION inkstream.commit_changes(
    p_waves integer[], p_internal_id bigint[], p_group integer[],
    p_if_epoch bigint[], p_if_tail bigint[], p_if_status text[], p_if_worker text[],
    p_count integer[], p_payload bytea[], p_idx bytea[],
    p_next_epoch boolean[], p_status text[], p_ending text[], p_at double precision[],
    p_worker text[], p_due_at double precision[], p_report boolean[], p_max_marks integer[],
    p_mark_change integer[], p_mark_name text[], p_mark_value bytea[]
) RETURNS TABLE (
    change integer, refused boolean, epoch bigint, tail bigint, size bigint,
    generation integer, state text
) LANGUAGE plpgsql SET enable_seqscan = off SET enable_mergejoin = off
  SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    -- Read the generation before the locks on heads. Otherwise a deadlock is possible: this
    -- transaction has locked heads and waits for the generation, while another transaction has
    -- locked the generation and waits for the heads.
    v_generation integer := inkstream.current_generation();
    v_first integer := 1;
    v_last integer;
    v_now double precision;
BEGIN
    -- Lock the heads in the order of their ids, so that batches with common streams do not
    -- deadlock. Lock in a separate statement, so that the next statement has a newer snapshot and
    -- sees all commits of the transactions that held these locks before.
    PERFORM FROM inkstream.heads h WHERE h.internal_id = ANY (p_internal_id)
    ORDER BY h.internal_id FOR NO KEY UPDATE;
    v_now := extract(epoch FROM clock_timestamp());
    FOREACH v_last IN ARRAY p_waves LOOP
        RETURN QUERY
        WITH wanted AS MATERIALIZED (
            SELECT CAST(w.n AS integer) + v_first - 1 AS n,
                coalesce(w.grp, CAST(w.n AS integer)) AS grp,
                w.internal_id, w.if_epoch, w.if_tail, w.if_status, w.if_worker,
                w.count, w.payload, w.idx, coalesce(w.next_epoch, false) AS next_epoch, w.status,
                w.ending, w.at, w.worker, w.due_at, w.report, w.max_marks
            FROM unnest(
                p_internal_id[v_first:v_last], p_group[v_first:v_last],
                p_if_epoch[v_first:v_last], p_if_tail[v_first:v_last],
                p_if_status[v_first:v_last], p_if_worker[v_first:v_last],
                p_count[v_first:v_last], p_payload[v_first:v_last], p_idx[v_first:v_last],
                p_next_epoch[v_first:v_last], p_status[v_first:v_last],
                p_ending[v_first:v_last], p_at[v_first:v_last], p_worker[v_first:v_last],
                p_due_at[v_first:v_last], p_report[v_first:v_last], p_max_marks[v_first:v_last])
            WITH ORDINALITY AS w (internal_id, grp, if_epoch, if_tail, if_status,
                if_worker, count, payload, idx, next_epoch, status, ending, at,
                worker, due_at, report, max_marks, n)
        ), judged AS MATERIALIZED (
            -- LATERAL with a LIMIT, and the joins by ctid below, make PostgreSQL look up each
            -- change's row separately. Otherwise the planner may choose a join that reads the whole
            -- table.
            SELECT w.*, h.ctid AS head, h.epoch AS old_epoch, h.tail AS old_tail,
                h.size AS old_size, h.generation AS old_generation,
                -- A late result replaces the end of an ended stream. Readers may already have
                -- the offset of the old end. So the new end begins no run, and this offset
                -- stays valid.
                coalesce(w.count IS NOT NULL OR w.ending IS NOT NULL, false)
                    AND h.status IN ('pending', 'streaming', 'open')
                    AND h.generation <> v_generation AS begins_run,
                NOT h.gone
                AND (w.if_epoch IS NULL OR w.if_epoch = h.epoch)
                AND (w.if_tail IS NULL OR w.if_tail = h.tail)
                AND (w.if_status IS NULL OR h.status = ANY (string_to_array(w.if_status, ',')))
                AND (w.if_worker IS NULL OR w.if_worker = coalesce(h.worker, ''))
                AND (w.max_marks IS NULL OR inkstream.marks_fit(
                    w.internal_id, w.max_marks, w.n, p_mark_change, p_mark_name)) AS holds
            FROM wanted w LEFT JOIN LATERAL (
                SELECT h.ctid, h.* FROM inkstream.heads h
                WHERE h.internal_id = w.internal_id LIMIT 1
            ) h ON true
        ), decided AS MATERIALIZED (
            SELECT j.*, min(j.n) FILTER (WHERE j.holds IS NOT TRUE) OVER (PARTITION BY j.grp)
                AS culprit
            FROM judged j
        ), taken AS MATERIALIZED (
            SELECT d.*, d.old_tail + coalesce(d.count, 0) AS new_tail,
                d.old_size + coalesce(octet_length(d.payload), 0) AS new_size
            FROM decided d WHERE d.culprit IS NULL
        ), moved AS (
            UPDATE inkstream.heads h SET
                status = coalesce(t.status, h.status),
                epoch = h.epoch + CAST(t.next_epoch AS integer),
                tail = t.new_tail,
                size = t.new_size,
                worker = CASE WHEN t.worker IS NULL THEN h.worker ELSE nullif(t.worker, '') END,
                due_at = CASE WHEN t.due_at IS NULL THEN h.due_at ELSE nullif(t.due_at, 'NaN') END,
                report = coalesce(t.report, h.report),
                appended_at = CASE WHEN t.count IS NULL THEN h.appended_at ELSE v_now END,
                generation = CASE WHEN t.begins_run THEN v_generation ELSE h.generation END,
                unmerged = h.unmerged OR t.ending IS NOT NULL AND t.new_size > 0
                    OR t.new_size / 32768 > t.old_size / 32768
            FROM taken t WHERE h.ctid = t.head
        ), appended AS (
            INSERT INTO inkstream.live (internal_id, position, count, payload, idx)
            SELECT t.internal_id, t.old_tail, t.count, t.payload, t.idx
            FROM taken t WHERE t.count IS NOT NULL
        ), turned AS (
            UPDATE inkstream.streams s SET
                live = CASE WHEN t.status IS NULL THEN s.live
                    ELSE t.status IN ('pending', 'streaming') END,
                started_at = CASE WHEN t.status = 'streaming' THEN coalesce(s.started_at, t.at)
                    ELSE s.started_at END,
                ended_at = CASE WHEN t.ending IS NULL THEN s.ended_at ELSE t.at END,
                ending = coalesce(CAST(t.ending AS json), s.ending),
                writer = CASE WHEN t.status = 'streaming' THEN coalesce(nullif(t.worker, ''),
                    s.writer) ELSE s.writer END,
                runs = CASE WHEN t.begins_run
                    THEN inkstream.extend_runs(s.runs, t.old_tail, v_generation) ELSE s.runs END
            FROM (
                SELECT t.*, cold.ctid AS cold FROM taken t CROSS JOIN LATERAL (
                    SELECT s.ctid FROM inkstream.streams s
                    WHERE s.internal_id = t.internal_id LIMIT 1
                ) cold WHERE t.status IS NOT NULL OR t.begins_run
            ) t WHERE s.ctid = t.cold
        ), marked AS (
            INSERT INTO inkstream.marks AS old (internal_id, name, value)
            SELECT t.internal_id, m.name, m.value
            FROM unnest(p_mark_change, p_mark_name, p_mark_value) AS m (change, name, value)
            JOIN taken t ON t.n = m.change
            ON CONFLICT (internal_id, name) DO UPDATE SET value = excluded.value
        )
        SELECT d.n, d.culprit IS NOT NULL, d.old_epoch + CAST(d.next_epoch AS integer),
            d.old_tail + coalesce(d.count, 0), d.old_size + coalesce(octet_length(d.payload), 0),
            CASE WHEN d.begins_run THEN v_generation ELSE d.old_generation END,
            CASE WHEN d.culprit IS NOT NULL THEN (
                SELECT CAST(row_to_json(v) AS text) FROM inkstream.stream_state v
                WHERE v.internal_id = d.internal_id) END
        FROM decided d WHERE d.culprit IS NULL OR d.culprit = d.n;
        v_first := v_last + 1;
    END LOOP;
END $$;

-- Return whether a change sets no new mark, or leaves its stream with at most p_max_marks marks.
CREATE FUNCTION inkstream.marks_fit(
    p_internal_id bigint, p_max_marks integer, p_change integer,
    p_mark_change integer[], p_mark_name text[]
) RETURNS boolean LANGUAGE sql STABLE SET enable_seqscan = off AS $$
    SELECT fresh.count = 0 OR fresh.count + (
        SELECT count(*) FROM inkstream.marks m WHERE m.internal_id = p_internal_id
    ) <= p_max_marks
    FROM (
        SELECT count(*) FROM unnest(p_mark_change, p_mark_name) AS n (change, name)
        WHERE n.change = p_change AND NOT EXISTS (
            SELECT FROM inkstream.marks m WHERE m.internal_id = p_internal_id AND m.name = n.name)
    ) fresh
$$;

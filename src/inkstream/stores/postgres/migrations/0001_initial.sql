-- The first schema.

-- The files of the folder schema/, in order, are the schema. A test checks that the files
-- in migrations/ create the same schema.
--
-- Each atomic operation is one function, so the store calls it in one round trip. During a deploy,
-- old and new versions of the library call these functions. So never change a function's signature:
-- add a new function in a migration, and drop the old function in a later migration.

DO $$ BEGIN
    IF to_regnamespace('inkstream') IS NULL THEN
        CREATE SCHEMA inkstream;
    END IF;
END $$;

CREATE TABLE inkstream.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    -- The oldest schema version that a version of the library must know to use this database.
    needs integer NOT NULL,
    -- The digest of the applied SQL. It shows that a development version applied other SQL under
    -- the same version number.
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Streams --------------------------------------------------------------------------------------

-- The columns that rarely change. To change a row, a transaction must hold the lock on the stream's
-- row in heads.
CREATE TABLE inkstream.streams (
    internal_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_id text COLLATE "C" NOT NULL UNIQUE,
    kind text NOT NULL,
    content_type text NOT NULL,
    owner text COLLATE "C",
    "group" text COLLATE "C",
    metadata json NOT NULL,
    -- Times are Unix seconds, as the library gave them.
    created_at double precision NOT NULL,
    started_at double precision,
    ended_at double precision,
    ttl_s double precision,
    retain_s double precision,
    takeover_within_s double precision NOT NULL,
    -- The code, message and result of the end. They are JSON, because a column of the type text
    -- cannot contain the character NUL.
    ending json,
    -- True for pending and streaming streams that are not gone. max_live limits how many of these an
    -- owner may have.
    live boolean NOT NULL,
    forked_from bigint,
    fork_position bigint NOT NULL DEFAULT 0,
    -- The worker that last claimed or took over the stream. Unlike heads.worker, this column keeps
    -- its value after the stream has ended.
    writer text,
    -- A flat array with two numbers for each run: the position of its first message, and its
    -- generation.
    runs json NOT NULL
);
CREATE INDEX streams_by_owner ON inkstream.streams (owner, internal_id) WHERE owner IS NOT NULL;
CREATE INDEX streams_live_by_owner ON inkstream.streams (owner, internal_id)
    WHERE live AND owner IS NOT NULL;
CREATE INDEX streams_by_group ON inkstream.streams ("group", internal_id)
    WHERE "group" IS NOT NULL;
CREATE INDEX streams_forks ON inkstream.streams (forked_from) WHERE forked_from IS NOT NULL;

-- The columns that commits change often. Each page keeps free space for new versions of its rows,
-- and most appends change no column that an index uses. So for most appends, PostgreSQL need not
-- write the indexes (heap-only updates).
CREATE TABLE inkstream.heads (
    internal_id bigint PRIMARY KEY,
    status text NOT NULL CHECK (status IN
        ('pending', 'streaming', 'open', 'done', 'error', 'cancelled', 'timeout')),
    epoch bigint NOT NULL DEFAULT 0,
    tail bigint NOT NULL,
    size bigint NOT NULL DEFAULT 0,
    worker text,
    due_at double precision,
    report boolean NOT NULL,
    gone boolean NOT NULL DEFAULT false,
    -- Whether tidy should merge the stream's segments in the table live.
    unmerged boolean NOT NULL DEFAULT false,
    -- The server's time at the last commit of messages.
    appended_at double precision,
    -- The generation of the stream's last run.
    generation integer NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX heads_by_status ON inkstream.heads (status, internal_id);
CREATE INDEX heads_by_worker ON inkstream.heads (worker, internal_id) WHERE worker IS NOT NULL;
CREATE INDEX heads_due ON inkstream.heads (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX heads_unreported ON inkstream.heads (internal_id)
    WHERE report AND status IN ('done', 'error', 'cancelled', 'timeout');
CREATE INDEX heads_unmerged ON inkstream.heads (internal_id) WHERE unmerged;

-- Segments as they were committed. tidy later merges them, and moves them to the table segments.
CREATE TABLE inkstream.live (
    internal_id bigint,
    position bigint,
    count integer NOT NULL,
    payload bytea NOT NULL,
    idx bytea NOT NULL,
    PRIMARY KEY (internal_id, position)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);
ALTER TABLE inkstream.live ALTER payload SET STORAGE EXTERNAL;

-- Merged segments, each up to 64 KiB, unless a segment in live was larger. A stream's positions in
-- this table are below its positions in live.
CREATE TABLE inkstream.segments (
    internal_id bigint,
    position bigint,
    count integer NOT NULL,
    payload bytea NOT NULL,
    idx bytea NOT NULL,
    PRIMARY KEY (internal_id, position)
);
ALTER TABLE inkstream.segments ALTER payload SET STORAGE EXTERNAL;

CREATE TABLE inkstream.marks (
    internal_id bigint,
    name text COLLATE "C",
    value bytea NOT NULL,
    PRIMARY KEY (internal_id, name)
);

-- Workers --------------------------------------------------------------------------------------

CREATE TABLE inkstream.workers (
    worker text COLLATE "C" PRIMARY KEY,
    beats bigint NOT NULL,
    -- For operators only: the server's time of the last beat, and the worker's description of
    -- itself, as JSON. No decision depends on these two columns.
    beat_at double precision NOT NULL,
    said text NOT NULL
) WITH (fillfactor = 50);

-- The workers that took a lock. server_started is the start time of the server that gave the lock.
-- The table is unlogged on purpose: a crash or a failover releases all locks, and also empties this
-- table. If a worker has no row in this table, a free lock does not prove that the worker is dead.
CREATE UNLOGGED TABLE inkstream.worker_locks (
    worker text COLLATE "C" PRIMARY KEY,
    server_started timestamptz NOT NULL,
    released boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- The current generation. The table is unlogged on purpose. A crash, a promotion or a restored base
-- backup may lose commits, and also empties this table or changes the server's start time. Then a
-- new generation begins.
CREATE UNLOGGED TABLE inkstream.generation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    value integer NOT NULL,
    server_started timestamptz NOT NULL,
    -- The number of beats of all workers. If a worker has seen a larger number, the database was
    -- restored while the worker ran, so a new generation begins.
    beats bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Views ----------------------------------------------------------------------------------------

-- The states of streams. The columns have the names of the fields of the library's StreamState.
CREATE VIEW inkstream.stream_state AS
SELECT h.internal_id, s.stream_id, s.kind, s.content_type, h.status, h.epoch, h.worker, h.tail,
    h.size, s.owner, s."group", s.metadata, s.created_at, s.started_at, s.ended_at, h.due_at,
    s.ttl_s, s.retain_s, s.takeover_within_s, s.ending, h.report, h.gone, h.appended_at, s.writer,
    s.runs
FROM inkstream.heads h JOIN inkstream.streams s ON s.internal_id = h.internal_id;

-- The text of streams, for people who read the database with SQL.

-- The streams that store messages of the stream p_internal_id: this stream and, if it is a fork,
-- the streams that it copies. The stream of a row stores the messages from from_position to before
-- until_position. The row of p_internal_id comes first, with until_position NULL.
CREATE FUNCTION inkstream.lineage(p_internal_id bigint)
RETURNS TABLE (internal_id bigint, from_position bigint, until_position bigint)
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE chain AS (
        SELECT s.internal_id, s.fork_position AS from_position,
            CAST(NULL AS bigint) AS until_position, s.forked_from
        FROM inkstream.streams s WHERE s.internal_id = p_internal_id
        UNION ALL
        SELECT s.internal_id, least(s.fork_position, c.from_position), c.from_position,
            s.forked_from
        FROM chain c JOIN inkstream.streams s ON s.internal_id = c.forked_from
        WHERE c.from_position > 0
    )
    SELECT c.internal_id, c.from_position, c.until_position FROM chain c
$$;

-- The pieces of text of one segment, joined, from the position p_from to before p_until. p_idx is
-- the segment's index. The index has one LEB128 number for each message: 2 * its length in bytes,
-- plus 1 if the message is JSON.
CREATE FUNCTION inkstream.segment_text(
    p_payload bytea, p_idx bytea, p_position bigint, p_from bigint, p_until bigint
) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_text bytea := '';
    v_byte integer;
    v_number bigint := 0;
    v_shift integer := 0;
    v_start integer := 1;
    v_position bigint := p_position;
BEGIN
    FOR i IN 0 .. octet_length(p_idx) - 1 LOOP
        v_byte := get_byte(p_idx, i);
        v_number := v_number | (CAST(v_byte & 127 AS bigint) << v_shift);
        v_shift := v_shift + 7;
        CONTINUE WHEN v_byte >= 128;
        IF v_number & 1 = 0 AND v_position >= p_from
            AND (p_until IS NULL OR v_position < p_until)
        THEN
            v_text := v_text || substring(p_payload FROM v_start FOR (v_number >> 1)::integer);
        END IF;
        v_start := v_start + (v_number >> 1)::integer;
        v_position := v_position + 1;
        v_number := 0;
        v_shift := 0;
    END LOOP;
    RETURN v_text;
END $$;

-- A stream's text. The character NUL becomes U+FFFD, because the type text cannot contain NUL. The
-- function returns NULL if the bytes are not UTF-8.
CREATE FUNCTION inkstream.text_of(p_internal_id bigint) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_text bytea;
    v_nul integer;
BEGIN
    SELECT string_agg(
        CASE WHEN octet_length(m.idx) > 0 THEN
            inkstream.segment_text(m.payload, m.idx, m.position, l.from_position, l.until_position)
        ELSE substring(m.payload
            FROM greatest(l.from_position - m.position, 0)::integer + 1
            FOR (least(m.position + m.count, l.until_position)
                - greatest(m.position, l.from_position))::integer)
        END, CAST('' AS bytea) ORDER BY m.position)
    INTO v_text
    FROM inkstream.lineage(p_internal_id) l
    CROSS JOIN LATERAL (
        SELECT * FROM inkstream.segments g WHERE g.internal_id = l.internal_id
        UNION ALL
        SELECT * FROM inkstream.live v WHERE v.internal_id = l.internal_id
    ) m
    WHERE m.position + m.count > l.from_position
        AND (l.until_position IS NULL OR m.position < l.until_position);
    v_text := coalesce(v_text, '');
    LOOP
        v_nul := position('\x00'::bytea IN v_text);
        EXIT WHEN v_nul = 0;
        v_text := overlay(v_text PLACING '\xefbfbd'::bytea FROM v_nul FOR 1);
    END LOOP;
    RETURN convert_from(v_text, 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
    RETURN NULL;
END $$;

-- Every stream that is not gone, with its text so far. Select only the rows that you need, because
-- the view reads the whole text of each selected row.
CREATE VIEW inkstream.stream_text AS
SELECT s.stream_id, s.internal_id, s.kind, s.status, s.owner, s."group",
    to_timestamp(s.created_at) AS created_at, to_timestamp(s.ended_at) AS ended_at, s.ending,
    inkstream.text_of(s.internal_id) AS text
FROM inkstream.stream_state s WHERE NOT s.gone;

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

-- Take the worker's lock. The lock becomes free when this session ends. The lock is shared, because
-- the worker must get the lock on a new connection while the old session may still hold it.
CREATE FUNCTION inkstream.lock_worker(p_worker text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_lock_shared(hashtextextended('inkstream worker ' || p_worker, 0));
    INSERT INTO inkstream.worker_locks AS old (worker, server_started)
    VALUES (p_worker, pg_postmaster_start_time())
    ON CONFLICT (worker) DO UPDATE
        SET server_started = excluded.server_started, released = false;
END $$;

-- Record the state of a worker's lock. With p_released, the worker gave up its lock, so other
-- workers take this worker for dead. Without p_released, the worker lives but lost its connection,
-- so the state of this lock becomes "unknown".
CREATE FUNCTION inkstream.unlock_worker(p_worker text, p_released boolean) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_released THEN
        UPDATE inkstream.worker_locks w SET released = true WHERE w.worker = p_worker;
    ELSE
        DELETE FROM inkstream.worker_locks w WHERE w.worker = p_worker;
    END IF;
END $$;

-- Begin a new generation, unless another worker holds its lock. Such a worker shows that no backup
-- was just restored, because a backup may be restored only while all workers are stopped. A worker
-- calls this function before it takes its own lock. So if several workers start together, at least
-- one of them sees no other worker.
CREATE FUNCTION inkstream.draw_if_alone() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM inkstream.worker_locks l JOIN pg_locks k
            ON (CAST(k.classid AS bigint) << 32) | CAST(k.objid AS bigint)
                = hashtextextended('inkstream worker ' || l.worker, 0)
        WHERE l.server_started = pg_postmaster_start_time()
            AND k.locktype = 'advisory' AND k.objsubid = 1 AND k.granted
            AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    ) THEN
        PERFORM inkstream.draw_generation();
    END IF;
END $$;

-- Beat for p_worker if p_beat is set, forget the workers in p_forget, and return all workers. The
-- column lock is held, free, released or unknown. A free lock alone does not prove that the worker
-- is dead, because the worker may take the lock again on a new connection. beaten is the number of
-- beats of all workers. p_beaten is the value of beaten after this worker's last beat.
CREATE FUNCTION inkstream.heartbeat(
    p_worker text, p_beat boolean, p_beaten bigint, p_forget text[], p_said text
) RETURNS TABLE (worker text, beats bigint, lock text, beaten bigint) LANGUAGE plpgsql AS $$
BEGIN
    -- Do not wait for the disk. If the server crashes and loses this beat, the next beat replaces
    -- the lost beat.
    PERFORM set_config('synchronous_commit', 'off', true);
    -- After a failover, the old server may still answer reads. Without this error, the worker
    -- would stay connected to the old server for ever.
    IF current_setting('transaction_read_only') = 'on' THEN
        RAISE read_only_sql_transaction USING MESSAGE = 'the database takes no writes';
    END IF;
    IF p_beat THEN
        PERFORM inkstream.current_generation();
        IF EXISTS (SELECT FROM inkstream.generation g WHERE g.beats > 0 AND g.beats < p_beaten) THEN
            PERFORM inkstream.draw_generation();
        END IF;
        UPDATE inkstream.generation g SET beats = greatest(g.beats, p_beaten) + 1;
        INSERT INTO inkstream.workers AS old (worker, beats, beat_at, said)
        VALUES (p_worker, 1, extract(epoch FROM clock_timestamp()), coalesce(p_said, '{}'))
        ON CONFLICT ON CONSTRAINT workers_pkey DO UPDATE SET
            beats = old.beats + 1, beat_at = excluded.beat_at, said = coalesce(p_said, old.said);
    END IF;
    IF cardinality(p_forget) > 0 THEN
        DELETE FROM inkstream.workers w WHERE w.worker = ANY (p_forget)
            AND NOT EXISTS (SELECT FROM inkstream.heads h WHERE h.worker = w.worker);
        DELETE FROM inkstream.worker_locks l WHERE l.worker = ANY (p_forget)
            AND NOT EXISTS (SELECT FROM inkstream.workers w WHERE w.worker = l.worker);
    END IF;
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT (CAST(k.classid AS bigint) << 32) | CAST(k.objid AS bigint) AS key
        FROM pg_locks k WHERE k.locktype = 'advisory' AND k.objsubid = 1 AND k.granted
            AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    )
    SELECT w.worker, w.beats, CASE
        -- Test for "released" before "held": a worker with a blocked event loop gives up its
        -- streams with unlock_worker, but its session still holds the lock.
        WHEN l.released AND l.server_started = pg_postmaster_start_time() THEN 'released'
        WHEN EXISTS (SELECT FROM held WHERE
            held.key = hashtextextended('inkstream worker ' || w.worker, 0)) THEN 'held'
        WHEN l.worker IS NULL OR l.server_started <> pg_postmaster_start_time() THEN 'unknown'
        ELSE 'free' END, (SELECT g.beats FROM inkstream.generation g)
    FROM inkstream.workers w LEFT JOIN inkstream.worker_locks l ON l.worker = w.worker;
END $$;

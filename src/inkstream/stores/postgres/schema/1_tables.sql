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

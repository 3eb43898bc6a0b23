-- The files of this folder, in order, are the schema. A test checks that the files
-- in migrations/ create the same schema.
--
-- Each atomic operation is a function, so that a batch is one round trip on any connection. During
-- a deploy, several versions of the library run, so a function's signature never changes: a
-- migration adds a new function, and a later migration drops the old one.

DO $$ BEGIN
    IF to_regnamespace('inkstream') IS NULL THEN
        CREATE SCHEMA inkstream;
    END IF;
END $$;

CREATE TABLE inkstream.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    -- A library can use this database only if it knows this schema version or a later version.
    needs integer NOT NULL,
    -- The digest of the applied SQL, because a development version may have applied other SQL.
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
    -- Times are Unix seconds, exactly as the application's clock gave them.
    created_at double precision NOT NULL,
    started_at double precision,
    ended_at double precision,
    ttl_s double precision,
    retain_s double precision,
    takeover_within_s double precision NOT NULL,
    -- code, message and result, as JSON because text cannot hold NUL.
    ending json,
    -- True for pending or streaming streams that are not deleted; max_live counts these.
    live boolean NOT NULL,
    forked_from bigint,
    fork_position bigint NOT NULL DEFAULT 0,
    -- The worker of the last claim. Unlike heads.worker, this column keeps its value after the end.
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

-- The columns that commits change often. The pages have room for the next version of a row, and
-- most appends change no column that an index uses. So most appends are heap-only updates.
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
    -- Whether the table live has enough segments of this stream to be worth merging.
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

-- Segments as they were committed. tidy later moves them to the table segments.
CREATE TABLE inkstream.live (
    internal_id bigint,
    position bigint,
    count integer NOT NULL,
    payload bytea NOT NULL,
    idx bytea NOT NULL,
    PRIMARY KEY (internal_id, position)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);
ALTER TABLE inkstream.live ALTER payload SET STORAGE EXTERNAL;

-- Merged segments, each up to 64 KiB, unless one message is larger. All segments of a stream in
-- this table come before the stream's segments in live.
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
-- The table is unlogged on purpose. A crash or a failover releases all locks, so a lock that is free
-- afterwards does not prove that its worker is dead. The crash or failover also empties this table.
-- A worker without a row has taken no lock since then.
CREATE UNLOGGED TABLE inkstream.worker_locks (
    worker text COLLATE "C" PRIMARY KEY,
    server_started timestamptz NOT NULL,
    released boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- The current generation. The table is unlogged on purpose: every event that may lose commits
-- empties the table (a crash, a promotion, a restored base backup) or changes the server's start
-- time.
CREATE UNLOGGED TABLE inkstream.generation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    value integer NOT NULL,
    server_started timestamptz NOT NULL,
    -- The number of beats of all workers. If a worker has seen a larger number, the database was
    -- restored while the worker ran, so a new generation begins.
    beats bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Views ----------------------------------------------------------------------------------------

-- A stream's state, with the library's names.
CREATE VIEW inkstream.stream_state AS
SELECT h.internal_id, s.stream_id, s.kind, s.content_type, h.status, h.epoch, h.worker, h.tail,
    h.size, s.owner, s."group", s.metadata, s.created_at, s.started_at, s.ended_at, h.due_at,
    s.ttl_s, s.retain_s, s.takeover_within_s, s.ending, h.report, h.gone, h.appended_at, s.writer,
    s.runs
FROM inkstream.heads h JOIN inkstream.streams s ON s.internal_id = h.internal_id;

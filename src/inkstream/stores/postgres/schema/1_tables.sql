-- The schema is the files of this folder, in order. A test holds it equal to what migrations/
-- make.
--
-- All that must be atomic is a function: a batch is then one round trip, on any connection it
-- goes through. Several versions of the library run during a deploy, so a function's signature
-- never changes: a migration adds one beside it, and a later one drops the old.

DO $$ BEGIN
    IF to_regnamespace('inkstream') IS NULL THEN
        CREATE SCHEMA inkstream;
    END IF;
END $$;

CREATE TABLE inkstream.migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    -- The oldest schema version that a library may know and still work with this database.
    needs integer NOT NULL,
    -- Of the SQL that was applied: a development version may have applied another one.
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Streams --------------------------------------------------------------------------------------

-- What moves a few times in a stream's life. Changed only by who holds the lock on its head.
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
    -- code, message and result; JSON, for text cannot hold NUL.
    ending json,
    -- pending or streaming, and not deleted: what max_live counts.
    live boolean NOT NULL,
    forked_from bigint,
    fork_position bigint NOT NULL DEFAULT 0,
    -- The worker that claimed it last; unlike heads.worker it stays after the end.
    writer text,
    -- The generations of its messages: pairs of first message and generation, in one flat array.
    runs json NOT NULL
);
CREATE INDEX streams_by_owner ON inkstream.streams (owner, internal_id) WHERE owner IS NOT NULL;
CREATE INDEX streams_live_by_owner ON inkstream.streams (owner, internal_id)
    WHERE live AND owner IS NOT NULL;
CREATE INDEX streams_by_group ON inkstream.streams ("group", internal_id)
    WHERE "group" IS NOT NULL;
CREATE INDEX streams_forks ON inkstream.streams (forked_from) WHERE forked_from IS NOT NULL;

-- What moves with every commit: narrow, with room on each page for the next version of a row, and
-- no index on what an append changes, so that appends stay heap-only updates.
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
    -- Whether live holds enough of it to be worth merging.
    unmerged boolean NOT NULL DEFAULT false,
    -- When the last message came, by the server's clock.
    appended_at double precision,
    -- That of its last run.
    generation integer NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX heads_by_status ON inkstream.heads (status, internal_id);
CREATE INDEX heads_by_worker ON inkstream.heads (worker, internal_id) WHERE worker IS NOT NULL;
CREATE INDEX heads_due ON inkstream.heads (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX heads_unreported ON inkstream.heads (internal_id)
    WHERE report AND status IN ('done', 'error', 'cancelled', 'timeout');
CREATE INDEX heads_unmerged ON inkstream.heads (internal_id) WHERE unmerged;

-- Segments as they were committed. The heap is in commit order; its rows move to segments soon.
CREATE TABLE inkstream.live (
    internal_id bigint,
    position bigint,
    count integer NOT NULL,
    payload bytea NOT NULL,
    idx bytea NOT NULL,
    PRIMARY KEY (internal_id, position)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.2);
ALTER TABLE inkstream.live ALTER payload SET STORAGE EXTERNAL;

-- Segments merged, each of up to 64 KiB; all of one stream's lie before those it has in live.
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
    -- For operators, no decision rests on them: when it beat last by the server's clock, and what
    -- it said about itself, as JSON.
    beat_at double precision NOT NULL,
    said text NOT NULL
) WITH (fillfactor = 50);

-- Who holds a lock, of this life of the server. Unlogged on purpose: a crash or a failover empties
-- it together with the locks, and so a lock that is free afterwards is no sign of anybody's death.
CREATE UNLOGGED TABLE inkstream.worker_locks (
    worker text COLLATE "C" PRIMARY KEY,
    server_started timestamptz NOT NULL,
    released boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- The generation in which messages are committed now. Unlogged on purpose: whatever may lose
-- commits empties it (a crash, a promotion, a restored base backup), or changes the server's start.
CREATE UNLOGGED TABLE inkstream.generation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    value integer NOT NULL,
    server_started timestamptz NOT NULL,
    -- How often all workers beat. Less than a worker has seen: the database was restored under it.
    beats bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Views ----------------------------------------------------------------------------------------

-- A stream's state, with the names that the library has for everything.
CREATE VIEW inkstream.stream_state AS
SELECT h.internal_id, s.stream_id, s.kind, s.content_type, h.status, h.epoch, h.worker, h.tail,
    h.size, s.owner, s."group", s.metadata, s.created_at, s.started_at, s.ended_at, h.due_at,
    s.ttl_s, s.retain_s, s.takeover_within_s, s.ending, h.report, h.gone, h.appended_at, s.writer,
    s.runs
FROM inkstream.heads h JOIN inkstream.streams s ON s.internal_id = h.internal_id;

-- name: schema
-- All tables of inkstream in a SQLite file. Their names begin with inkstream_, because an
-- application may keep its own tables in the same file. For the same reason, the schema's version
-- is in inkstream_meta: PRAGMA user_version belongs to the application.

-- A stream's rarely changed columns. Of these, an append changes only runs, and only when the file
-- has a new generation.
CREATE TABLE inkstream_streams (
    internal_id       INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused, even after a delete
    stream_id         TEXT NOT NULL UNIQUE,
    kind              TEXT NOT NULL,
    content_type      TEXT NOT NULL,
    status            TEXT NOT NULL,
    worker            TEXT,
    owner             TEXT,
    group_name        TEXT,
    metadata          TEXT NOT NULL,
    created_at        REAL NOT NULL,
    started_at        REAL,
    ended_at          REAL,
    due_at            REAL,
    ttl_s             REAL,
    retain_s          REAL,
    takeover_within_s REAL NOT NULL,
    code              TEXT,
    message           TEXT,
    result            TEXT,
    report            INTEGER NOT NULL,
    gone              INTEGER NOT NULL DEFAULT 0,
    unmerged          INTEGER NOT NULL DEFAULT 0,          -- ended, with live rows left to merge
    fork_source       INTEGER,
    fork_position     INTEGER NOT NULL DEFAULT 0,
    writer            TEXT,                               -- worker of the last claim or take-over, also after the end
    runs              TEXT NOT NULL                       -- pairs: first message, generation
);
CREATE INDEX inkstream_streams_owner ON inkstream_streams (owner) WHERE owner IS NOT NULL;
CREATE INDEX inkstream_streams_group ON inkstream_streams (group_name) WHERE group_name IS NOT NULL;
CREATE INDEX inkstream_streams_worker ON inkstream_streams (worker) WHERE worker IS NOT NULL;
CREATE INDEX inkstream_streams_due ON inkstream_streams (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX inkstream_streams_report ON inkstream_streams (internal_id) WHERE report = 1;
CREATE INDEX inkstream_streams_live ON inkstream_streams (owner)
    WHERE status IN ('pending', 'streaming', 'open');
CREATE INDEX inkstream_streams_fork ON inkstream_streams (fork_source) WHERE fork_source IS NOT NULL;
CREATE INDEX inkstream_streams_unmerged ON inkstream_streams (internal_id) WHERE unmerged = 1;

-- A stream's head: the columns that an append checks and changes. A head is small, so that many
-- heads share a page of the file.
CREATE TABLE inkstream_heads (
    internal_id INTEGER PRIMARY KEY,
    status      INTEGER,           -- the ordinal of the stream's status; NULL refuses every change
    epoch       INTEGER NOT NULL,
    tail        INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    last_live   INTEGER,           -- the newest row of the stream in inkstream_live
    chain       INTEGER NOT NULL,  -- how many rows the stream has in inkstream_live
    appended_at REAL,              -- time of the last commit of messages, by this machine's clock
    generation  INTEGER NOT NULL   -- the generation of the stream's last run
);

-- Segments as they were committed. The segments of all streams follow one another, so that an
-- append writes only at the end of the table. The table has no index. A read finds a stream's
-- segments backwards, from last_live in inkstream_heads along prev.
CREATE TABLE inkstream_live (
    id          INTEGER PRIMARY KEY,
    internal_id INTEGER NOT NULL,
    prev        INTEGER,
    position    INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    payload     BLOB NOT NULL,
    message_ends BLOB NOT NULL
);

-- Merged segments. A stream's positions here are below its positions in inkstream_live.
CREATE TABLE inkstream_segments (
    id          INTEGER PRIMARY KEY,
    internal_id INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    payload     BLOB NOT NULL,
    message_ends BLOB NOT NULL
);
CREATE UNIQUE INDEX inkstream_segments_position ON inkstream_segments (internal_id, position);

CREATE TABLE inkstream_marks (
    internal_id INTEGER NOT NULL,
    name        TEXT NOT NULL,
    value       BLOB NOT NULL,
    PRIMARY KEY (internal_id, name)
) WITHOUT ROWID;

CREATE TABLE inkstream_workers (
    worker TEXT PRIMARY KEY,
    beats  INTEGER NOT NULL,
    host   TEXT NOT NULL,          -- the worker's host and boot; other hosts cannot test its lock
    beat_at REAL NOT NULL,         -- time of the last beat, for operators; no decision depends on it
    said   TEXT NOT NULL           -- the worker's description of itself, as JSON
) WITHOUT ROWID;

-- The journal: streams that changed in any way other than an append, in the order of the commits.
-- Other processes read the journal to learn which streams have changed.
CREATE TABLE inkstream_journal (
    id        INTEGER PRIMARY KEY,
    stream_id TEXT NOT NULL
);

CREATE TABLE inkstream_meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO inkstream_meta (key, value) VALUES
    ('schema_version', 1), ('last_live', 0), ('generation', 1 + abs(random() % 16777215));

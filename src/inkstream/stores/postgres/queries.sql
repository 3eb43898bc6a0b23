-- The store's statements. They use CAST instead of ::, because some drivers read a colon as the
-- start of a parameter.

-- name: create_stream
-- Create a stream. The column outcome says "created", or why the stream was not created. There is
-- no row if an identity was given ($23) and this database has another identity.
SELECT outcome, state FROM inkstream.create_stream(
    CAST($1 AS text), CAST($2 AS text), CAST($3 AS text), CAST($4 AS text), CAST($5 AS text),
    CAST($6 AS text), CAST($7 AS text), CAST($8 AS double precision),
    CAST($9 AS double precision), CAST($10 AS double precision), CAST($11 AS double precision),
    CAST($12 AS double precision), CAST($13 AS boolean), CAST($14 AS text), CAST($15 AS integer),
    CAST($16 AS bigint), CAST($17 AS bigint), CAST($18 AS integer), CAST($19 AS bytea),
    CAST($20 AS bytea), CAST($21 AS text[]), CAST($22 AS bytea[]))
WHERE CAST($23 AS text) IS NULL OR CAST($23 AS text) = (SELECT md5(concat_ws(' ', d.oid, d.datname, extract(epoch FROM m.applied_at)))
    FROM pg_database d, inkstream.migrations m
    WHERE d.datname = current_database() AND m.version = 1);

-- name: commit_changes
-- Apply a batch of changes (see schema/3_write.sql).
SELECT change, refused, epoch, tail, size, generation, state FROM inkstream.commit_changes(
    CAST($1 AS integer[]), CAST($2 AS bigint[]), CAST($3 AS integer[]), CAST($4 AS bigint[]),
    CAST($5 AS bigint[]), CAST($6 AS text[]), CAST($7 AS text[]), CAST($8 AS integer[]),
    CAST($9 AS bytea[]), CAST($10 AS bytea[]), CAST($11 AS boolean[]), CAST($12 AS text[]),
    CAST($13 AS text[]), CAST($14 AS double precision[]), CAST($15 AS text[]),
    CAST($16 AS double precision[]), CAST($17 AS boolean[]), CAST($18 AS integer[]),
    CAST($19 AS integer[]), CAST($20 AS text[]), CAST($21 AS bytea[]))
ORDER BY change;

-- name: read_streams
-- One page for each of the given streams, in the given order, with the stream's state and marks.
SELECT state, until_position, positions, counts, payloads, indexes, mark_names, mark_values
FROM inkstream.read_streams(
    CAST($1 AS text[]), CAST($2 AS bigint[]), CAST($3 AS bigint), CAST($4 AS text[]));

-- name: find_streams
-- The states of the streams that match all given values. With a time in $7, a stream must be due by
-- that time and by the server's clock.
SELECT f FROM inkstream.find_streams(
    CAST($1 AS text[]), CAST($2 AS text), CAST($3 AS text), CAST($4 AS text[]),
    CAST($5 AS boolean), CAST($6 AS text),
    CASE WHEN CAST($7 AS double precision) IS NOT NULL THEN least(CAST($7 AS double precision),
        CAST(extract(epoch FROM clock_timestamp()) AS double precision)) END,
    CAST($8 AS boolean),
    CAST($9 AS bigint), CAST($10 AS integer)) AS f;

-- name: delete_streams
-- Delete streams with all their data.
SELECT inkstream.delete_streams(CAST($1 AS bigint[]));

-- name: delete_due
-- Delete those of the given streams that are due by the given time and by the server's clock.
SELECT inkstream.delete_due(CAST($1 AS bigint[]), least(CAST($2 AS double precision),
    CAST(extract(epoch FROM clock_timestamp()) AS double precision)));

-- name: expire_streams
-- Delete some of the ended streams and logs that are due by the given time and by the server's
-- clock. Return how many were deleted, and the server's time.
SELECT inkstream.expire_streams(least(CAST($1 AS double precision), server.now), CAST($2 AS integer)),
    server.now
FROM (SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now) AS server;

-- name: merge_stream
-- Merge some segments of one stream.
SELECT inkstream.merge_stream(CAST($1 AS bigint), CAST($2 AS integer));

-- name: heartbeat
-- Beat and forget workers, if the arguments ask for it. Return all workers.
SELECT worker, beats, lock, beaten
FROM inkstream.heartbeat(
    CAST($1 AS text), CAST($2 AS boolean), CAST($3 AS bigint), CAST($4 AS text[]),
    CAST($5 AS text));

-- name: roster
-- The server's time, and each worker's last description of itself.
SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision), w.worker, w.beat_at, w.said
FROM (SELECT 1) AS one LEFT JOIN inkstream.workers w ON true;

-- name: draw_if_alone
-- Begin a new generation, unless another worker holds its lock.
SELECT inkstream.draw_if_alone();

-- name: set_setting
-- Set one of the session's settings.
SELECT set_config(CAST($1 AS text), CAST($2 AS text), false);

-- name: lock_worker
-- Take the worker's lock. The lock becomes free when this session ends.
SELECT inkstream.lock_worker(CAST($1 AS text));

-- name: unlock_worker
-- Record that a worker released its lock, or that it lost its session.
SELECT inkstream.unlock_worker(CAST($1 AS text), CAST($2 AS boolean));

-- name: schema_version
-- The schema version of the database, the oldest version that the library must know, the encoding,
-- and all migrations with their digests. If a development version made the table without the column
-- digest, to_jsonb returns NULL instead of an error.
SELECT coalesce(max(m.version), 0), coalesce(max(m.needs), 0), current_setting('server_encoding'),
    coalesce(array_agg(m.version ORDER BY m.version), '{}'),
    coalesce(array_agg(to_jsonb(m) ->> 'digest' ORDER BY m.version), '{}')
FROM inkstream.migrations m;

-- name: identity
-- The identity of the database, and the server's time. Two databases with the schema have different
-- identities, unless one database is a copy of the other database's files.
SELECT md5(concat_ws(' ', d.oid, d.datname, extract(epoch FROM m.applied_at))),
        CAST(extract(epoch FROM clock_timestamp()) AS double precision)
    FROM pg_database d, inkstream.migrations m
    WHERE d.datname = current_database() AND m.version = 1;

-- name: announce
-- Send a hint about streams when the caller's transaction commits. If the ids are too long, the
-- hint says that any stream may have changed. There is no row if an identity was given ($3) and
-- this database has another identity.
SELECT pg_notify(CAST($1 AS text), CASE WHEN octet_length(named) < 7900 THEN named ELSE '1' END)
FROM (SELECT '1' || coalesce(string_agg(chr(10) || stream_id, ''), '') AS named
    FROM inkstream.streams WHERE internal_id = ANY (CAST($2 AS bigint[]))) AS changed
WHERE CAST($3 AS text) IS NULL OR CAST($3 AS text) = (SELECT md5(concat_ws(' ', d.oid, d.datname, extract(epoch FROM m.applied_at)))
    FROM pg_database d, inkstream.migrations m
    WHERE d.datname = current_database() AND m.version = 1);

-- name: notify
-- Send a hint, in a transaction that does not wait for the disk.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(CAST($1 AS text), CAST($2 AS text));

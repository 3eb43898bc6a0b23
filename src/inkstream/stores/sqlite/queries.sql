-- name: schema_exists
-- Whether the file has inkstream's tables.
SELECT count(*) FROM sqlite_schema WHERE name = 'inkstream_meta';

-- name: schema_version
-- The version of the schema in this file.
SELECT value FROM inkstream_meta WHERE key = 'schema_version';

-- name: states
-- Whole states. The caller adds a WHERE clause. _rows.state relies on the order of the columns.
SELECT s.internal_id, s.stream_id, s.kind, s.content_type, s.status, h.epoch, s.worker, h.tail,
       h.size, s.owner, s.group_name, s.metadata, s.created_at, s.started_at, s.ended_at, s.due_at,
       s.ttl_s, s.retain_s, s.takeover_within_s, s.code, s.message, s.result, s.report, s.gone,
       h.appended_at, s.writer, s.runs
FROM inkstream_streams s JOIN inkstream_heads h ON h.internal_id = s.internal_id;

-- name: state_by_name
-- A stream's state and newest live row. For a fork, also the stream that it copies, and the number
-- of messages that it inherits.
SELECT s.internal_id, s.stream_id, s.kind, s.content_type, s.status, h.epoch, s.worker, h.tail,
       h.size, s.owner, s.group_name, s.metadata, s.created_at, s.started_at, s.ended_at, s.due_at,
       s.ttl_s, s.retain_s, s.takeover_within_s, s.code, s.message, s.result, s.report, s.gone,
       h.appended_at, s.writer, s.runs, h.last_live, s.fork_source, s.fork_position
FROM inkstream_streams s JOIN inkstream_heads h ON h.internal_id = s.internal_id
WHERE s.stream_id = ?;

-- name: lineage
-- A stream's newest live row. If the stream is a fork itself, also the stream that it copies, and
-- the number of messages that it inherits.
SELECT h.last_live, s.fork_source, s.fork_position
FROM inkstream_streams s JOIN inkstream_heads h ON h.internal_id = s.internal_id
WHERE s.internal_id = ?;

-- name: merged_segments
-- A stream's merged segments, from the segment with the position :after up to the position :until.
SELECT position, count, payload, message_ends FROM inkstream_segments
WHERE internal_id = :internal_id
  AND position >= coalesce((SELECT max(position) FROM inkstream_segments
                            WHERE internal_id = :internal_id AND position <= :after), 0)
  AND position < :until
ORDER BY position;

-- name: live_chain
-- A stream's live rows, newest first, until a row begins at or before the position :after. No
-- payload is read.
WITH RECURSIVE chain (id, prev, position, count, size) AS (
    SELECT id, prev, position, count, length(payload) FROM inkstream_live WHERE id = :last_live
    UNION ALL
    SELECT l.id, l.prev, l.position, l.count, length(l.payload)
    FROM chain JOIN inkstream_live l ON l.id = chain.prev
    WHERE chain.position > :after AND l.internal_id = :internal_id
)
SELECT id, position, count, size FROM chain;

-- name: live_segments
-- Live rows by their ids, oldest first.
SELECT position, count, payload, message_ends FROM inkstream_live
WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id;

-- name: marks
-- The marks of a stream that have one of the given names.
SELECT name, value FROM inkstream_marks
WHERE internal_id = ? AND name IN (SELECT value FROM json_each(?));

-- name: stream_exists
-- Whether a stream with this id exists.
SELECT 1 FROM inkstream_streams WHERE stream_id = ?;

-- name: fork_source
-- The columns that a new fork needs of the stream that it copies.
SELECT s.stream_id, s.gone, h.tail, s.runs
FROM inkstream_streams s JOIN inkstream_heads h ON h.internal_id = s.internal_id
WHERE s.internal_id = ?;

-- name: count_live
-- How many streams of an owner are pending or streaming. SQLite can use the index
-- inkstream_streams_live only if the query has the index's WHERE clause, with its three statuses.
SELECT count(*) FROM inkstream_streams
WHERE status IN ('pending', 'streaming', 'open') AND owner = ?
  AND status <> 'open' AND NOT gone;

-- name: insert_stream
-- Insert the rarely changed columns of a new stream.
INSERT INTO inkstream_streams (
    stream_id, kind, content_type, status, owner, group_name, metadata, created_at, ended_at,
    due_at, ttl_s, retain_s, takeover_within_s, code, message, result, report, unmerged,
    fork_source, fork_position, runs)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_head
-- Insert the often changed columns of a new stream.
INSERT INTO inkstream_heads
    (internal_id, status, epoch, tail, size, last_live, chain, appended_at, generation)
VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?);

-- name: heads
-- The heads of the streams in a commit.
SELECT internal_id, status, epoch, tail, size, last_live, chain, appended_at, generation
FROM inkstream_heads
WHERE internal_id IN (SELECT value FROM json_each(?));

-- name: head
-- The head of one stream. Most commits change one stream, and this query is cheaper than "heads".
SELECT internal_id, status, epoch, tail, size, last_live, chain, appended_at, generation
FROM inkstream_heads
WHERE internal_id = ?;

-- name: replace_head
-- Replace all columns of a head. The caller may add more rows to the statement.
REPLACE INTO inkstream_heads
    (internal_id, status, epoch, tail, size, last_live, chain, appended_at, generation)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: take_write_lock
-- Begin to write, without any effect on the tables.
DELETE FROM inkstream_meta WHERE false;

-- name: basis
-- The facts that a write needs: the generation, and the largest id that any live row ever had. The
-- ids of deleted rows count too, so that no id is used twice.
SELECT max((SELECT value FROM inkstream_meta WHERE key = 'last_live'),
           coalesce((SELECT max(id) FROM inkstream_live), 0)),
       (SELECT value FROM inkstream_meta WHERE key = 'generation');

-- name: set_generation
-- Begin another generation.
UPDATE inkstream_meta SET value = ? WHERE key = 'generation';

-- name: runs
-- A stream's runs.
SELECT runs FROM inkstream_streams WHERE internal_id = ?;

-- name: set_runs
-- Set a stream's runs.
UPDATE inkstream_streams SET runs = ? WHERE internal_id = ?;

-- name: keep_last_live
-- Store the largest id that any live row ever had. Run this before live rows are deleted, so that
-- no id is used twice.
UPDATE inkstream_meta SET value = max(value, coalesce((SELECT max(id) FROM inkstream_live), 0))
WHERE key = 'last_live';

-- name: insert_live
-- Append a segment as a live row. The caller may add more rows to the statement.
INSERT INTO inkstream_live (id, internal_id, prev, position, count, payload, message_ends)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: worker_of
-- The worker that must act next on a stream.
SELECT worker FROM inkstream_streams WHERE internal_id = ?;

-- name: update_stream
-- Change a stream's rarely changed columns. A column with a flag (:starts, :ends, :set_worker or
-- :set_due_at) keeps its old value if the flag is off. status and report keep their old values if
-- their parameters are NULL.
UPDATE inkstream_streams SET
    status = coalesce(:status, status),
    started_at = CASE WHEN :starts THEN coalesce(started_at, :at) ELSE started_at END,
    ended_at = CASE WHEN :ends THEN :at ELSE ended_at END,
    code = CASE WHEN :ends THEN :code ELSE code END,
    message = CASE WHEN :ends THEN :message ELSE message END,
    result = CASE WHEN :ends THEN :result ELSE result END,
    unmerged = CASE WHEN :ends THEN :unmerged ELSE unmerged END,
    worker = CASE WHEN :set_worker THEN :worker ELSE worker END,
    writer = CASE WHEN :starts THEN coalesce(:worker, writer) ELSE writer END,
    due_at = CASE WHEN :set_due_at THEN :due_at ELSE due_at END,
    report = coalesce(:report, report)
WHERE internal_id = :internal_id;

-- name: count_marks
-- How many marks a stream has, and how many of these marks have one of the given names.
SELECT count(*), count(*) FILTER (WHERE name IN (SELECT value FROM json_each(:names)))
FROM inkstream_marks WHERE internal_id = :internal_id;

-- name: set_mark
-- Set a mark.
INSERT INTO inkstream_marks (internal_id, name, value) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET value = excluded.value;

-- name: note_change
-- Record in the journal that a stream changed.
INSERT INTO inkstream_journal (stream_id) SELECT stream_id FROM inkstream_streams WHERE internal_id = ?;

-- name: is_deletable
-- Whether a stream has forks. There is no row if the stream does not exist or is gone. With
-- due_before, there is also no row if the stream is pending or streaming, or is not due at this time.
SELECT EXISTS (SELECT 1 FROM inkstream_streams f WHERE f.fork_source = s.internal_id)
FROM inkstream_streams s WHERE s.internal_id = :internal_id AND NOT s.gone
    AND (:due_before IS NULL
        OR (s.due_at <= :due_before AND s.status NOT IN ('pending', 'streaming')));

-- name: set_gone
-- Make a stream gone: its messages are kept only for its forks.
UPDATE inkstream_streams SET gone = 1, worker = NULL, due_at = NULL, report = 0 WHERE internal_id = ?;

-- name: seal_head
-- Make a stream refuse every change.
UPDATE inkstream_heads SET status = NULL WHERE internal_id = ?;

-- name: delete_marks
-- Remove a stream's marks.
DELETE FROM inkstream_marks WHERE internal_id = :internal_id;

-- name: delete_live
-- Remove a stream's live rows.
WITH RECURSIVE chain (id, prev) AS (
    SELECT id, prev FROM inkstream_live
    WHERE id = (SELECT last_live FROM inkstream_heads WHERE internal_id = :internal_id)
    UNION ALL
    SELECT l.id, l.prev FROM chain JOIN inkstream_live l ON l.id = chain.prev
    WHERE l.internal_id = :internal_id
)
DELETE FROM inkstream_live WHERE id IN (SELECT id FROM chain);

-- name: delete_segments
-- Remove a stream's merged segments.
DELETE FROM inkstream_segments WHERE internal_id = :internal_id;

-- name: delete_head
-- Remove a stream's head.
DELETE FROM inkstream_heads WHERE internal_id = :internal_id;

-- name: delete_stream
-- Remove a stream's row.
DELETE FROM inkstream_streams WHERE internal_id = ? RETURNING fork_source;

-- name: is_orphan
-- Whether a stream is gone and has no forks any more.
SELECT 1 FROM inkstream_streams s WHERE s.internal_id = ? AND s.gone
  AND NOT EXISTS (SELECT 1 FROM inkstream_streams f WHERE f.fork_source = s.internal_id);

-- name: beat
-- Add one to a worker's counter.
INSERT INTO inkstream_workers (worker, beats, host, beat_at, said)
VALUES (:worker, 1, :host, :beat_at, coalesce(:said, '{}'))
ON CONFLICT DO UPDATE SET
    beats = beats + 1, host = excluded.host, beat_at = excluded.beat_at,
    said = coalesce(:said, said);

-- name: forget_worker
-- Remove a worker, unless a stream still names this worker.
DELETE FROM inkstream_workers WHERE worker = :worker
  AND NOT EXISTS (SELECT 1 FROM inkstream_streams WHERE worker = :worker) RETURNING worker;

-- name: workers
-- Every worker.
SELECT worker, beats, host FROM inkstream_workers;

-- name: roster
-- Every worker, with its description of itself.
SELECT worker, host, beat_at, said FROM inkstream_workers;

-- name: unmerged
-- The oldest 1000 ended streams that have segments left to merge.
SELECT internal_id FROM inkstream_streams WHERE unmerged = 1 ORDER BY internal_id LIMIT 1000;

-- name: last_segment
-- A stream's last merged segment.
SELECT position, count, payload, message_ends, id FROM inkstream_segments
WHERE internal_id = ? ORDER BY position DESC LIMIT 1;

-- name: insert_segment
-- Add a merged segment.
INSERT INTO inkstream_segments (internal_id, position, count, payload, message_ends)
VALUES (?, ?, ?, ?, ?);

-- name: delete_segment
-- Remove one merged segment.
DELETE FROM inkstream_segments WHERE id = ?;

-- name: delete_live_rows
-- Remove live rows by their ids.
DELETE FROM inkstream_live WHERE id IN (SELECT value FROM json_each(?));

-- name: shorten_chain
-- Set how many live rows a stream has left. If none is left, clear the pointer to the newest row.
UPDATE inkstream_heads
SET chain = :left, last_live = CASE WHEN :left THEN last_live END WHERE internal_id = :internal_id;

-- name: set_merged
-- Record that a stream has nothing left to merge.
UPDATE inkstream_streams SET unmerged = 0 WHERE internal_id = ?;

-- name: expired
-- The 100 ended streams and logs that have been due for the longest time.
SELECT s.internal_id, h.size FROM inkstream_streams s
JOIN inkstream_heads h ON h.internal_id = s.internal_id
WHERE s.due_at <= ? AND s.status NOT IN ('pending', 'streaming') AND NOT s.gone
ORDER BY s.due_at LIMIT 100;

-- name: trim_journal
-- Delete all journal rows except the newest 4096. The newest row must stay, so that no id is used
-- twice.
DELETE FROM inkstream_journal WHERE id <= (SELECT max(id) FROM inkstream_journal) - 4096;

-- name: ends
-- The largest id that any live row ever had, and the largest id in the journal.
SELECT (SELECT max((SELECT value FROM inkstream_meta WHERE key = 'last_live'),
                   coalesce((SELECT max(id) FROM inkstream_live), 0))),
       coalesce((SELECT max(id) FROM inkstream_journal), 0);

-- name: appended_since
-- Streams that have a live row with an id above the first value and up to the second value.
SELECT DISTINCT s.stream_id FROM inkstream_live l
JOIN inkstream_streams s ON s.internal_id = l.internal_id WHERE l.id > ? AND l.id <= ?;

-- name: changed_since
-- Streams that the journal lists in rows with an id above the first value and up to the second.
SELECT DISTINCT stream_id FROM inkstream_journal WHERE id > ? AND id <= ?;

-- name: journal_begin
-- The oldest id that is still in the journal.
SELECT coalesce(min(id), 0) FROM inkstream_journal;

-- name: checked_streams
-- For each stream, the columns with which the stream's segments must agree.
SELECT s.internal_id, s.stream_id, s.status, h.status, h.tail, h.size, h.last_live, h.chain,
       s.fork_position, s.gone, s.ended_at, s.runs, h.generation
FROM inkstream_streams s JOIN inkstream_heads h ON h.internal_id = s.internal_id
ORDER BY s.internal_id;

-- name: checked_segments
-- A stream's merged segments.
SELECT position, count, CAST(payload AS BLOB), message_ends FROM inkstream_segments
WHERE internal_id = ? ORDER BY position;

-- name: checked_chain
-- A stream's live rows, newest first.
WITH RECURSIVE chain (id, prev, position, count, payload, message_ends) AS (
    SELECT id, prev, position, count, CAST(payload AS BLOB), message_ends
    FROM inkstream_live WHERE id = :last_live AND internal_id = :internal_id
    UNION ALL
    SELECT l.id, l.prev, l.position, l.count, CAST(l.payload AS BLOB), l.message_ends
    FROM chain JOIN inkstream_live l ON l.id = chain.prev WHERE l.internal_id = :internal_id
)
SELECT position, count, payload, message_ends FROM chain;

-- name: lost_states
-- Streams that lack one of their two rows: the row in inkstream_streams, or the head.
SELECT internal_id FROM inkstream_streams
WHERE internal_id NOT IN (SELECT internal_id FROM inkstream_heads)
UNION SELECT internal_id FROM inkstream_heads
WHERE internal_id NOT IN (SELECT internal_id FROM inkstream_streams);

-- name: lost_segments
-- Segments, live rows and marks whose stream is missing.
SELECT internal_id FROM inkstream_segments
WHERE internal_id NOT IN (SELECT internal_id FROM inkstream_streams)
UNION SELECT internal_id FROM inkstream_live
WHERE internal_id NOT IN (SELECT internal_id FROM inkstream_streams)
UNION SELECT internal_id FROM inkstream_marks
WHERE internal_id NOT IN (SELECT internal_id FROM inkstream_streams);

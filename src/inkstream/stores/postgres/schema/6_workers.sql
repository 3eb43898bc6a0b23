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

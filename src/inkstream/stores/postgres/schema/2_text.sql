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

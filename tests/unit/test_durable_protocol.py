"""The rules of the Durable Streams protocol, without any I/O."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstream._types import (
    JSON_CONTENT,
    KEEP,
    End,
    Kind,
    Segment,
    Status,
    StreamId,
    StreamState,
)
from inkstream.engine.settings import Limits
from inkstream.http.durable import creation, protocol
from inkstream.http.durable.polling import ClosedPolls
from inkstream.http.durable.protocol import Attempt, append, foreseen
from inkstream.http.durable.reading import CURSOR_EPOCH, Chunk, Events, next_cursor
from inkstream.http.durable.refusal import Refusal, Reply
from inkstream.http.durable.requests import (
    append_request,
    create_request,
    lifetime_of,
    read_request,
)
from inkstream.wire import Offset

NOW = 1_800_000_000.0
LIMITS = Limits(message_bytes=100, stream_bytes=1000)


def log(**fields: Any) -> StreamState:
    return replace(
        StreamState(
            internal_id=7,
            stream_id=StreamId("s"),
            kind=Kind.LOG,
            content_type="text/plain",
            status=Status.OPEN,
            epoch=0,
            worker=None,
            tail=10,
            size=10,
            owner=None,
            group=None,
            metadata={},
            created_at=NOW,
        ),
        **fields,
    )


def text(status: Status = Status.STREAMING, **fields: Any) -> StreamState:
    return log(kind=Kind.TEXT, content_type=JSON_CONTENT, status=status, **fields)


CLOSED = log(status=Status.DONE)


def post(state: StreamState, body: bytes = b"x", marks: Any = None, **headers: Any) -> Any:
    sent = {"content-type": "text/plain"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return append(state, marks or {}, append_request(sent, body), NOW, LIMITS)


def producing(epoch: int, seq: int, name: str = "p") -> dict[str, Any]:
    return {"producer_id": name, "producer_epoch": str(epoch), "producer_seq": str(seq)}


def refused(state: StreamState, body: bytes = b"x", marks: Any = None, **headers: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        post(state, body, marks, **headers)
    return caught.value


# Append and close --------------------------------------------------------------------------------


def test_a_plain_append_is_conditional_on_the_status_alone() -> None:
    """So that any number of them ride in one batch, whoever came first."""
    attempt = post(log())
    assert isinstance(attempt, Attempt)
    change = attempt.change
    assert change.append == Segment(0, 1, b"x", b"")
    assert (change.if_status, change.if_tail, change.if_epoch) == ((Status.OPEN,), None, None)
    assert attempt.reply(log(tail=12)) == Reply(204, {"stream-next-offset": str(Offset(7, 12))})


def test_closing_with_a_last_append_is_one_change() -> None:
    attempt = post(log(), stream_closed="TRUE")
    assert attempt.change.append is not None
    assert attempt.change.end == End(Status.DONE)
    reply = attempt.reply(log(status=Status.DONE, tail=11))
    assert (reply.status, reply.headers["stream-closed"]) == (204, "true")


@pytest.mark.parametrize("value", ["false", "yes", "1", ""])
def test_any_other_word_does_not_close(value: str) -> None:
    assert post(log(), stream_closed=value).change.end is None


def test_a_closed_stream_takes_nothing_but_another_close() -> None:
    refusal = refused(CLOSED)
    assert (refusal.status, refusal.headers["stream-closed"]) == (409, "true")
    assert refusal.headers["stream-next-offset"] == str(Offset(7, 10))
    assert refused(CLOSED, stream_closed="true").status == 409
    assert post(CLOSED, b"", stream_closed="true").status == 204
    # The closed stream is told before the wrong type, so that clients see it (5.2).
    assert "stream-closed" in refused(CLOSED, content_type="image/png").headers


@pytest.mark.parametrize("status", [Status.PENDING, Status.STREAMING])
@pytest.mark.parametrize("closed", ["true", "false"])
def test_a_text_is_written_by_its_writer_alone(status: Status, closed: str) -> None:
    """G3: nobody gets past the writer that owns a stream over the protocol."""
    assert refused(text(status), stream_closed=closed).code == "writer_owned"
    with pytest.raises(Refusal) as caught:
        protocol.check_deletable(text(status))
    assert caught.value.status == 409


def test_an_ended_text_is_a_closed_stream() -> None:
    ended = text(Status.ERROR, code="shutdown")
    assert refused(ended, content_type=JSON_CONTENT).headers == {
        "stream-next-offset": str(Offset(7, 10, ended=True)),
        "stream-closed": "true",
        "inkstream-status": "error",
        "inkstream-code": "shutdown",
    }
    protocol.check_deletable(ended)


def test_content_types_are_compared_without_case_and_parameters() -> None:
    assert isinstance(post(log(), content_type="TEXT/plain; charset=utf-8"), Attempt)
    assert refused(log(), content_type="text/html").code == "content_type_mismatch"


def test_seq_must_grow_as_bytes_do() -> None:
    assert refused(log(), marks={"seq": b"2"}, stream_seq="10").code == "seq_regression"
    assert refused(log(), marks={"seq": b"2"}, stream_seq="2").code == "seq_regression"
    assert refused(log(), marks={"seq": b"a"}, stream_seq="B").code == "seq_regression"
    attempt = post(log(epoch=3), marks={"seq": b"09"}, stream_seq="10")
    assert attempt.change.marks == {"seq": b"10"}
    assert (attempt.change.if_epoch, attempt.change.next_epoch) == (3, True)


@pytest.mark.parametrize(
    ("mark", "epoch", "seq", "expected"),
    [
        (None, 0, 0, "accepted"),
        (None, 5, 0, "accepted"),
        (None, 0, 1, "producer_gap"),
        (b"0:3", 0, 4, "accepted"),
        (b"0:3", 0, 3, "duplicate"),
        (b"0:3", 0, 0, "duplicate"),
        (b"0:3", 0, 5, "producer_gap"),
        (b"0:3", 1, 0, "accepted"),
        (b"0:3", 1, 1, "invalid_producer"),
        (b"2:3", 1, 4, "stale_producer"),
    ],
)
def test_the_table_of_producers(mark: bytes | None, epoch: int, seq: int, expected: str) -> None:
    marks = {} if mark is None else {"p:p": mark}
    headers: dict[str, Any] = producing(epoch, seq)
    if expected == "accepted":
        attempt = post(log(), marks=marks, **headers)
        assert attempt.change.marks == {"p:p": b"%d:%d" % (epoch, seq)}
        assert attempt.reply(log()).status == 200
    elif expected == "duplicate":
        assert post(log(), marks=marks, **headers) == Reply(
            204, {"producer-epoch": "0", "producer-seq": "3"}
        )
    else:
        refusal = refused(log(), marks=marks, **headers)
        assert refusal.code == expected
        if expected == "producer_gap":
            last = -1 if mark is None else 3
            assert refusal.headers["producer-expected-seq"] == str(last + 1)
            assert refusal.headers["producer-received-seq"] == str(seq)


def test_a_duplicate_is_told_before_a_seq_that_is_old() -> None:
    marks = {"p:p": b"0:0", "seq": b"5"}
    assert post(log(), marks=marks, stream_seq="5", **producing(0, 0)).status == 204


def test_the_append_that_closed_is_known_again_and_no_other() -> None:
    attempt = post(log(), stream_closed="true", **producing(0, 2), marks={"p:p": b"0:1"})
    marks = {"p:p": b"0:1"} | dict(attempt.change.marks)
    again = post(CLOSED, b"other", marks, stream_closed="true", **producing(0, 2))
    assert (again.status, again.headers["producer-seq"]) == (204, "2")
    assert again.headers["stream-closed"] == "true"
    assert refused(CLOSED, marks=marks, **producing(0, 3)).status == 409
    assert refused(CLOSED, marks=marks, **producing(0, 2, "q")).status == 409
    assert refused(CLOSED, b"", marks, stream_closed="true", **producing(0, 3)).status == 409


@given(
    st.lists(st.tuples(st.sampled_from("pq"), st.integers(0, 2), st.integers(0, 4)), max_size=30)
)
def test_each_append_of_a_producer_is_taken_once_and_in_order(
    sent: list[tuple[str, int, int]],
) -> None:
    """Whatever is repeated, reordered or lost, what is stored counts up from 0 in each epoch."""
    state, marks = log(tail=0, size=0), dict[str, bytes]()
    stored: dict[str, list[tuple[int, int]]] = {"p": [], "q": []}
    for name, epoch, seq in sent:
        try:
            decided = post(state, marks=marks, **producing(epoch, seq, name))
        except Refusal:
            continue
        if isinstance(decided, Attempt):
            assert decided.change.if_epoch == state.epoch
            marks |= decided.change.marks
            state = foreseen(state, decided.change)
            stored[name].append((epoch, seq))
    for taken in stored.values():
        assert taken == sorted(set(taken))
        for (epoch, seq), (next_epoch, next_seq) in zip(taken, taken[1:], strict=False):
            assert (next_epoch, next_seq) == (epoch, seq + 1) or (
                next_epoch > epoch and next_seq == 0
            )
    assert state.tail == sum(map(len, stored.values()))


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.booleans()), min_size=1))
def test_joined_appends_leave_behind_what_each_alone_would(sent: list[tuple[bytes, bool]]) -> None:
    """G2: whoever shares a commit with others is told the offset after his own text."""
    state, marks, attempts, expected = log(), dict[str, bytes](), list[Attempt](), list[Any]()
    for seq, (body, closes) in enumerate(sent):
        closing = {"stream_closed": "true"} if closes and seq == len(sent) - 1 else {}
        attempt = post(state, body, marks, **producing(0, seq), **closing)
        marks |= attempt.change.marks
        state = foreseen(state, attempt.change)
        attempts.append(attempt)
        expected.append(attempt.reply(state))
    change = protocol.join(attempts)
    assert change.append is not None
    assert change.append.payload == b"".join(body for body, _ in sent)
    assert (change.if_epoch, change.marks, change.end) == (0, marks, attempts[-1].change.end)
    done = foreseen(log(), change)
    left = protocol.left_behind(done, attempts)
    assert [a.reply(s) for a, s in zip(attempts, left, strict=True)] == expected


def test_limits_of_messages_and_streams() -> None:
    as_json = log(content_type=JSON_CONTENT)
    body = b'"' + b"x" * 100 + b'"'
    assert refused(as_json, body, content_type=JSON_CONTENT).status == 413
    assert refused(log(size=999), b"xx").code == "stream_too_large"
    assert refused(as_json, b"[]", content_type=JSON_CONTENT).code == "empty_array"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"x", {"content-type": ""}),
        (b"x", {"content-type": "nonsense"}),
        (b"x", {"producer-id": "p"}),
        (b"x", {"producer-id": "", "producer-epoch": "0", "producer-seq": "0"}),
        (b"x", {"producer-id": "p", "producer-epoch": "1e3", "producer-seq": "0"}),
        (b"x", {"producer-id": "p", "producer-epoch": "0", "producer-seq": "9007199254740992"}),
        (b"x", {"producer-id": "p", "producer-epoch": "0", "producer-seq": "\u00b2"}),
    ],
)
def test_malformed_appends(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(Refusal) as caught:
        append_request({"content-type": "text/plain"} | headers, body)
    assert caught.value.status == 400


# Expiry ------------------------------------------------------------------------------------------


def test_a_stream_that_is_due_is_gone_at_once_but_never_under_a_writer() -> None:
    assert protocol.is_absent(log(due_at=NOW), NOW)
    assert not protocol.is_absent(log(due_at=NOW + 0.1), NOW)
    assert protocol.is_absent(text(Status.DONE, due_at=NOW - 1), NOW)
    assert not protocol.is_absent(text(Status.STREAMING, due_at=NOW - 1), NOW)
    assert not protocol.is_absent(text(Status.PENDING, due_at=NOW - 1), NOW)


def test_an_access_puts_a_sliding_expiry_off_now_and_then() -> None:
    state = log(ttl_s=100.0, due_at=NOW + 100)
    assert protocol.renewed(state, NOW) is KEEP
    due_at = protocol.renewed(state, NOW + 1)
    assert due_at == pytest.approx(NOW + 1 + 105)
    state = log(ttl_s=100.0, due_at=due_at)
    assert protocol.renewed(state, NOW + 5) is KEEP  # a write at most every 5 %
    assert protocol.renewed(state, NOW + 7) is not KEEP
    assert protocol.renewed(log(due_at=NOW + 5), NOW) is KEEP  # absolute


@pytest.mark.parametrize("ttl", ["-1", "+1", "01", "1.0", "1e3", "", " 1", "x", "\u0663"])
def test_a_ttl_is_a_whole_number(ttl: str) -> None:
    with pytest.raises(Refusal):
        lifetime_of({"stream-ttl": ttl})


@pytest.mark.parametrize(
    "at", ["2030-01-01", "2030-01-01T00:00:00", "2030-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "x"]
)
def test_an_expiry_is_an_rfc_3339_timestamp(at: str) -> None:
    with pytest.raises(Refusal):
        lifetime_of({"stream-expires-at": at})
    with pytest.raises(Refusal):
        lifetime_of({"stream-ttl": "1", "stream-expires-at": "2030-01-01T00:00:00Z"})


def test_timestamps_with_any_zone() -> None:
    _, first = lifetime_of({"stream-expires-at": "2030-01-01T01:30:00.250+01:30"})
    _, second = lifetime_of({"stream-expires-at": "2030-01-01t00:00:00.250z"})
    assert first == second
    head = protocol.head(log(due_at=second))
    assert head.headers["stream-expires-at"] == "2030-01-01T00:00:00.250Z"


# Create and fork ---------------------------------------------------------------------------------


def put(body: bytes = b"", source: str | None = None, **headers: Any) -> Any:
    sent = {k.replace("_", "-"): v for k, v in headers.items()}
    return create_request(StreamId("new"), sent, StreamId(source) if source else None, body)


def test_a_put_makes_a_log_of_its_type() -> None:
    new = creation.create(put(b"hi", content_type="text/plain", stream_ttl="60"), NOW, LIMITS)
    assert (new.kind, new.content_type, new.ttl_s, new.due_at) == (
        Kind.LOG,
        "text/plain",
        60.0,
        NOW + 60,
    )
    assert new.append == Segment(0, 2, b"hi", b"")
    assert creation.create(put(), NOW, LIMITS).content_type == "application/octet-stream"
    empty = creation.create(put(b"[]", content_type=JSON_CONTENT), NOW, LIMITS)
    assert (empty.append, empty.end) == (None, None)
    assert creation.create(put(stream_closed="true"), NOW, LIMITS).end == End(Status.DONE)


def test_the_same_put_again_is_answered_200_another_409() -> None:
    state = log(ttl_s=60.0, due_at=NOW + 60)
    same: dict[str, Any] = {"content_type": "Text/Plain; charset=utf-8", "stream_ttl": "60"}
    assert creation.exists(state, {}, put(**same)).status == 200
    for change in (
        {"stream_ttl": "61"},
        {"content_type": "text/html"},
        {"stream_closed": "true"},
        {"source": "other"},
    ):
        with pytest.raises(Refusal) as caught:
            creation.exists(state, {}, put(**{**same, **change}))
        assert caught.value.status == 409


def fork(source: StreamState, marks: Any = None, **headers: Any) -> Any:
    return creation.fork(put(source="src", **headers), source, marks or {}, NOW, LIMITS)


def test_where_a_fork_branches_off() -> None:
    source = log(tail=10)
    assert fork(source).fork.position == 10
    assert fork(source, stream_fork_offset=str(Offset(7, 4))).fork.position == 4
    at = {"stream_fork_offset": str(Offset(7, 4)), "stream_fork_sub_offset": "3"}
    assert fork(source, **at).fork.position == 7
    assert fork(source, stream_fork_offset="0" * 16 + "_" + "0" * 16).fork.position == 0
    for wrong in (
        {"stream_fork_offset": str(Offset(7, 11))},
        {"stream_fork_offset": str(Offset(8, 4))},
        {"stream_fork_offset": str(Offset(7, 4)), "stream_fork_sub_offset": "7"},
        {"stream_fork_sub_offset": "1"},
    ):
        with pytest.raises(Refusal) as caught:
            fork(source, **wrong)
        assert caught.value.status == 400
    with pytest.raises(Refusal) as caught:
        fork(source, content_type="text/html")
    assert caught.value.status == 409


def test_a_fork_takes_over_neither_the_end_nor_the_producers_of_its_source() -> None:
    new = fork(text(Status.DONE, tail=3), stream_fork_offset=str(Offset(7, 3, ended=True)))
    assert (new.fork.position, new.end, list(new.marks)) == (3, None, ["fork"])
    assert (new.kind, new.content_type) == (Kind.LOG, JSON_CONTENT)


@pytest.mark.parametrize(
    ("source", "asked", "expected"),
    [
        ({}, {}, (None, None)),
        ({}, {"stream_ttl": "5"}, (5.0, NOW + 5)),
        ({"ttl_s": 9.0, "due_at": NOW + 3}, {}, (9.0, NOW + 9)),
        ({"ttl_s": 9.0, "due_at": NOW + 3}, {"stream_ttl": "5"}, (5.0, NOW + 5)),
        ({"due_at": NOW + 3}, {}, (None, NOW + 3)),
        ({"due_at": NOW + 3}, {"stream_ttl": "5"}, (5.0, NOW + 5)),
        (
            {"due_at": NOW + 3},
            {"stream_expires_at": "2030-01-01T00:00:00Z"},
            (None, 1_893_456_000.0),
        ),
    ],
)
def test_the_table_of_fork_lifetimes(
    source: dict[str, Any], asked: dict[str, str], expected: tuple[float | None, float | None]
) -> None:
    new = fork(log(**source), **asked)
    assert (new.ttl_s, new.due_at) == expected


def test_a_fork_knows_the_offsets_of_its_ancestors_up_to_where_it_left_them() -> None:
    """G10: what lies past the branch is of the source alone."""
    first = fork(log(internal_id=1, tail=10), stream_fork_offset=str(Offset(1, 8)))
    child = log(internal_id=2, tail=20)
    second = fork(child, first.marks, stream_fork_offset=str(Offset(1, 6)))
    grandchild = log(internal_id=3, tail=30)
    positions = {
        offset: creation.position_of(grandchild, second.marks, offset)
        for offset in (
            *(Offset(3, 30), Offset(3, 31), Offset(2, 6), Offset(2, 7)),
            *(Offset(1, 6), Offset(1, 7), Offset(9, 1)),
        )
    }
    assert list(positions.values()) == [30, None, 6, None, 6, None, None]


def test_the_same_fork_again_even_after_the_source_grew() -> None:
    new = fork(log(tail=10, ttl_s=9.0, due_at=NOW + 9))
    made = log(internal_id=8, tail=10, ttl_s=9.0, due_at=NOW + 9)
    assert creation.exists(made, new.marks, put(source="src")).status == 200
    at_ten: dict[str, Any] = {"stream_fork_offset": str(Offset(7, 10))}
    assert creation.exists(made, new.marks, put(source="src", **at_ten)).status == 200
    for other in (
        put(),
        put(source="another"),
        put(source="src", stream_fork_offset=str(Offset(7, 9))),
        put(source="src", stream_fork_sub_offset="1"),
        put(source="src", stream_ttl="9"),
    ):
        with pytest.raises(Refusal):
            creation.exists(made, new.marks, other)


# Read --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        [("offset", "")],
        [("offset", "1"), ("offset", "2")],
        [("offset", "-1"), ("live", "maybe")],
        [("live", "sse")],
        [("live", "long-poll")],
        [("offset", "\u0660" * 16 + "_" + "\u0660" * 16)],
    ],
)
def test_malformed_reads(query: list[tuple[str, str]]) -> None:
    """G10."""
    with pytest.raises(Refusal) as caught:
        read_request(query)
    assert caught.value.status == 400


def test_an_end_offset_is_of_an_ended_text_alone() -> None:
    end = Offset(7, 10, ended=True)
    assert creation.position_of(text(Status.DONE), {}, end) == 10
    assert creation.position_of(text(Status.STREAMING), {}, end) is None
    assert creation.position_of(log(status=Status.DONE), {}, end) is None
    assert creation.position_of(text(Status.DONE), {}, Offset(7, 9, ended=True)) is None


def chunk(payload: bytes, start: int, **fields: Any) -> Chunk:
    segments = (Segment(start, len(payload), payload, b""),) if payload else ()
    position = start + len(payload)
    given: dict[str, Any] = {"at_tail": True, "end": None} | fields
    return Chunk(log(), start, segments, position, given["at_tail"], given["end"])


def test_tags_change_with_data_and_with_the_end() -> None:
    tags = {
        chunk(b"ab", 0).etag(),
        chunk(b"abc", 0).etag(),
        chunk(b"b", 1).etag(),
        chunk(b"ab", 0, end=End(Status.DONE)).etag(),
    }
    assert len(tags) == 4


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=20),
    st.data(),
)
def test_text_over_events_is_whole_characters_however_it_was_appended(
    message: str, data: st.DataObject
) -> None:
    """G2: after every event, what was sent is what lies before the offset that was told."""
    raw = message.encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=6)) | {0, len(raw)})
    events, sent = Events(log()), ""
    for start, stop in zip(cuts, cuts[1:], strict=False):
        piece = chunk(raw[start:stop], start)
        event = events.data(piece).decode()
        if event:
            lines = event.removesuffix("\n\n").split("\n")[1:]
            sent += "\n".join([line.removeprefix("data:").removeprefix(" ") for line in lines])
        control = json.loads(events.control(piece, "1").decode().partition("data:")[2])
        assert control["streamNextOffset"] == str(Offset(7, len(sent.encode())))
        assert control.get("upToDate", False) is (len(sent.encode()) == stop)
    assert sent == message


def test_half_a_character_at_the_end_is_not_waited_for() -> None:
    events = Events(log())
    assert events.data(chunk("ä".encode()[:1], 0)) == b""
    assert (
        events.data(chunk(b"", 1, end=End(Status.DONE))) == "event: data\ndata:\ufffd\n\n".encode()
    )


def test_what_is_neither_text_nor_json_goes_as_base64() -> None:
    events = Events(log(content_type="image/png"))
    assert events.is_base64
    assert events.data(chunk(b"\x89P", 0)) == b"event: data\ndata:iVA=\n\n"


def test_no_text_can_forge_an_event() -> None:
    event = Events(log()).data(chunk(b"a\n\nevent: control\rdata: {}\r\n x", 0)).decode()
    assert all(line.startswith("data:") for line in event.strip("\n").split("\n")[1:])
    assert "\ndata:  x\n" in event


def test_cursors_only_go_forward() -> None:
    assert next_cursor(CURSOR_EPOCH + 41, None) == "2"
    assert next_cursor(CURSOR_EPOCH + 41, 1) == "2"
    assert 3 <= int(next_cursor(CURSOR_EPOCH + 41, 2)) <= 2 + 180
    assert int(next_cursor(CURSOR_EPOCH + 41, 500)) > 500


class Stopped:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


def test_hot_polls_of_a_closed_stream_are_slowed_for_that_client_alone() -> None:
    """G9."""
    clock = Stopped()
    polls = ClosedPolls(clock, rate=2, burst=3, remembered=2)
    assert [polls.allow(1, "a") for _ in range(4)] == [True, True, True, False]
    assert polls.allow(1, "b")
    clock.now = 0.5
    assert [polls.allow(1, "a") for _ in range(2)] == [True, False]
    assert polls.allow(2, "c")  # forgets the longest unseen
    assert polls.allow(2, "d")
    assert polls.allow(1, "a")


HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("content-type", "stream-ttl", "stream-expires-at", "stream-closed", "stream-seq"),
            *("producer-id", "producer-epoch", "producer-seq"),
            *("stream-fork-offset", "stream-fork-sub-offset"),
        ]
    ),
    st.text(alphabet=st.characters(max_codepoint=255), max_size=12)
    | st.sampled_from(["0", "1", "-1", "true", "text/plain", JSON_CONTENT, "2030-01-01T00:00:00Z"]),
)


@given(HEADERS, st.binary(max_size=8))
def test_no_header_does_more_than_be_refused(headers: dict[str, str], body: bytes) -> None:
    as_json = log(content_type=JSON_CONTENT)
    new, source = StreamId("new"), StreamId("src")
    for check in (
        lambda: append(as_json, {}, append_request(headers, body), NOW, LIMITS),
        lambda: creation.create(create_request(new, headers, None, body), NOW, LIMITS),
        lambda: creation.fork(create_request(new, headers, source, body), as_json, {}, NOW, LIMITS),
    ):
        status = 0
        try:
            check()
        except Refusal as refusal:
            status = refusal.status
        assert status == 0 or 400 <= status < 500

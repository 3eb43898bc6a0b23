"""Appends, closes and producers follow the rules of Durable Streams. No test needs a store."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstream._types import (
    JSON_CONTENT,
    End,
    Segment,
    Status,
    StreamState,
    applied,
)
from inkstream.durable import protocol
from inkstream.durable.protocol import Attempt, append
from inkstream.durable.refusal import Refusal, Reply
from inkstream.durable.requests import (
    append_request,
)
from inkstream.wire import Offset
from tests.unit.durable_streams import CLOSED, LIMITS, NOW, log, text


def post(state: StreamState, body: bytes = b"x", marks: Any = None, **headers: Any) -> Any:
    sent = {"content-type": "text/plain"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return append(state, marks or {}, append_request(sent, body), NOW, LIMITS)


def producing(epoch: int, seq: int, name: str = "p") -> dict[str, Any]:
    return {"producer_id": name, "producer_epoch": str(epoch), "producer_seq": str(seq)}


def refused(state: StreamState, body: bytes = b"x", marks: Any = None, **headers: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        post(state, body, marks, **headers)
    return caught.value


def test_plain_append_checks_only_the_status() -> None:
    """A plain append's only condition is the status, so one commit may hold many plain appends."""
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
def test_only_true_closes(value: str) -> None:
    assert post(log(), stream_closed=value).change.end is None


def test_closed_stream_accepts_only_another_close() -> None:
    refusal = refused(CLOSED)
    assert (refusal.status, refusal.headers["stream-closed"]) == (409, "true")
    assert refusal.headers["stream-next-offset"] == str(Offset(7, 10))
    assert refused(CLOSED, stream_closed="true").status == 409
    assert post(CLOSED, b"", stream_closed="true").status == 204
    # Even if the content type is wrong, the client must learn that the stream is closed (5.2).
    assert "stream-closed" in refused(CLOSED, content_type="image/png").headers


@pytest.mark.parametrize("status", [Status.PENDING, Status.STREAMING])
@pytest.mark.parametrize("closed", ["true", "false"])
def test_protocol_cannot_append_to_a_text(status: Status, closed: str) -> None:
    """G3: a client of the protocol cannot append to a text stream, or delete it before its end."""
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


def test_content_type_comparison() -> None:
    assert isinstance(post(log(), content_type="TEXT/plain; charset=utf-8"), Attempt)
    assert refused(log(), content_type="text/html").code == "content_type_mismatch"


def test_seq_is_compared_as_bytes() -> None:
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


def test_duplicate_is_reported_before_old_seq() -> None:
    marks = {"p:p": b"0:0", "seq": b"5"}
    assert post(log(), marks=marks, stream_seq="5", **producing(0, 0)).status == 204


def test_only_the_closing_append_is_recognised() -> None:
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
def test_producer_appends_are_stored_once_in_order(
    sent: list[tuple[str, int, int]],
) -> None:
    """If requests are repeated, reordered or lost, no append is stored twice or out of order."""
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
            state = applied(state, decided.change)
            stored[name].append((epoch, seq))
    for taken in stored.values():
        assert taken == sorted(set(taken))
        for (epoch, seq), (next_epoch, next_seq) in zip(taken, taken[1:], strict=False):
            assert (next_epoch, next_seq) == (epoch, seq + 1) or (
                next_epoch > epoch and next_seq == 0
            )
    assert state.tail == sum(map(len, stored.values()))


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.booleans()), min_size=1))
def test_joined_appends_equal_single_appends(sent: list[tuple[bytes, bool]]) -> None:
    """G2: if a commit holds several appends, each append returns the offset after its own text."""
    state, marks, attempts, expected = log(), dict[str, bytes](), list[Attempt](), list[Any]()
    for seq, (body, closes) in enumerate(sent):
        closing = {"stream_closed": "true"} if closes and seq == len(sent) - 1 else {}
        attempt = post(state, body, marks, **producing(0, seq), **closing)
        marks |= attempt.change.marks
        state = applied(state, attempt.change)
        attempts.append(attempt)
        expected.append(attempt.reply(state))
    change = protocol.join(attempts)
    assert change.append is not None
    assert change.append.payload == b"".join(body for body, _ in sent)
    assert (change.if_epoch, change.marks, change.end) == (0, marks, attempts[-1].change.end)
    done = applied(log(), change)
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

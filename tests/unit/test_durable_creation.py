"""New streams, forks and expiry follow the rules of Durable Streams. No test needs a store."""

from __future__ import annotations

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
from inkstream.durable import creation, protocol
from inkstream.durable.protocol import append
from inkstream.durable.refusal import Refusal
from inkstream.durable.requests import (
    append_request,
    create_request,
    lifetime_of,
)
from inkstream.wire import Offset
from tests.unit.durable_streams import LIMITS, NOW, log, text


def test_due_stream_is_gone_unless_it_has_a_writer() -> None:
    assert protocol.is_absent(log(due_at=NOW), NOW)
    assert not protocol.is_absent(log(due_at=NOW + 0.1), NOW)
    assert protocol.is_absent(text(Status.DONE, due_at=NOW - 1), NOW)
    assert not protocol.is_absent(text(Status.STREAMING, due_at=NOW - 1), NOW)
    assert not protocol.is_absent(text(Status.PENDING, due_at=NOW - 1), NOW)


def test_access_moves_a_sliding_expiry() -> None:
    state = log(ttl_s=100.0, due_at=NOW + 100)
    assert protocol.renewed(state, NOW) is KEEP
    due_at = protocol.renewed(state, NOW + 1)
    assert due_at == pytest.approx(NOW + 1 + 105)
    state = log(ttl_s=100.0, due_at=due_at)
    # The expiry is written at most once per 5 % of the time to live.
    assert protocol.renewed(state, NOW + 5) is KEEP
    assert protocol.renewed(state, NOW + 7) is not KEEP
    assert protocol.renewed(log(due_at=NOW + 5), NOW) is KEEP  # an absolute expiry does not move


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


def put(body: bytes = b"", source: str | None = None, **headers: Any) -> Any:
    sent = {k.replace("_", "-"): v for k, v in headers.items()}
    return create_request(StreamId("new"), sent, StreamId(source) if source else None, body)


def test_put_creates_a_log() -> None:
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


def test_same_put_gets_200_another_409() -> None:
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


def test_fork_position() -> None:
    source = log(tail=10)
    assert fork(source).fork.position == 10
    assert fork(source, stream_fork_offset=str(Offset(7, 4))).fork.position == 4
    at = {"stream_fork_offset": str(Offset(7, 4)), "stream_fork_sub_offset": "3"}
    assert fork(source, **at).fork.position == 7
    assert fork(source, stream_fork_offset="-1").fork.position == 0
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


def test_fork_inherits_no_end_and_no_producers() -> None:
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


def test_fork_accepts_inherited_offsets() -> None:
    """G10: a fork accepts offsets of its source only up to the fork's position."""
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
def test_bad_headers_are_refused(headers: dict[str, str], body: bytes) -> None:
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

"""Readers get each message once from a tail, and a tail needs limited memory (G2, G9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstream import wire
from inkstream._runs import Run
from inkstream._types import Kind, Segment, Status, StreamId, StreamState
from inkstream.engine.tail import Tail
from tests.simulation.follower import flat_frames
from tests.simulation.witness import flat


def state(tail: int = 0) -> StreamState:
    return StreamState(
        internal_id=7,
        stream_id=StreamId("s"),
        kind=Kind.TEXT,
        content_type="application/json",
        status=Status.STREAMING,
        epoch=1,
        worker=None,
        tail=tail,
        size=0,
        owner=None,
        group=None,
        metadata={},
        created_at=0.0,
    )


def encode(*batches: list[str | dict[str, int]], start: int = 0) -> list[Segment]:
    segments: list[Segment] = []
    for batch in batches:
        messages = [m if isinstance(m, str) else wire.dump_object(m) for m in batch]
        segments += wire.encode_messages(messages, segments[-1].end if segments else start)
    return segments


BATCHES = st.lists(
    st.lists(
        st.one_of(st.text(max_size=4), st.fixed_dictionaries({"n": st.integers()})),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=12,
)


@given(BATCHES, st.data())
def test_overlapping_publishes_give_the_same_messages(
    batches: list[list[str | dict[str, int]]], data: st.DataObject
) -> None:
    """G2: if the committer and reads both publish a message, the tail has the message once."""
    segments = encode(*batches)
    tail = Tail(state(), 10**6, 0.0)
    reached = 0
    while reached < len(segments):
        again = data.draw(st.integers(0, reached))
        reached = data.draw(st.integers(reached + 1, len(segments)))
        tail.publish(wire.merge(segments[again:reached]))
        assert tail.position == segments[reached - 1].end
    for after in range(tail.position):
        expected = [piece for s in segments if (piece := wire.cut(s, after)) is not None]
        found = tail.segments_after(after)
        assert found is not None
        assert flat(found) == flat(expected)
        frames = tail.frames_after(after)
        assert frames is not None
        assert flat_frames(frames) == flat(expected)


@given(BATCHES, st.integers(1, 30))
def test_tail_keeps_the_newest_segments(
    batches: list[list[str | dict[str, int]]], max_bytes: int
) -> None:
    """G9: a tail keeps at most its limit plus one segment, and returns ``None`` for older text."""
    segments = encode(*batches)
    tail = Tail(state(), max_bytes, 0.0)
    for segment in segments:
        tail.publish([segment])
        assert tail.frames_after(segment.position) is not None
        assert sum(len(s.payload) for s in tail._segments[:-1]) <= max_bytes
        framed = zip(tail._segments, tail._frames, strict=True)
        assert all(frame is None for s, frame in framed if s.count == 0)
        assert tail._segments[-1].end == tail.position
    for after in range(tail.position):
        found = tail.segments_after(after)
        if found is not None:
            assert flat(found) == flat(
                piece for s in segments if (piece := wire.cut(s, after)) is not None
            )


def test_gap_is_read_from_the_store() -> None:
    """G2: a tail with a gap returns no text from before the gap."""
    first, second, third = encode(["a"], ["b"], ["c"])
    tail = Tail(state(), 10**6, 0.0)
    tail.publish([first])
    tail.publish([third])
    assert tail.position == 3
    assert tail.segments_after(0) is None
    assert tail.frames_after(1) is None
    assert tail.segments_after(second.end) == [third]


def test_tail_from_the_middle() -> None:
    tail = Tail(state(tail=5), 10**6, 0.0)
    assert tail.segments_after(3) is None
    tail.publish(encode(["x"], start=5))
    assert tail.segments_after(4) is None
    assert flat(tail.segments_after(5) or []) == "x"


def test_frames_are_encoded_once_for_all_readers() -> None:
    """G9: all readers at one position get the same bytes object."""
    tail = Tail(state(), 10**6, 0.0)
    tail.publish(encode(["a"], [{"n": 1}], ["b"]))
    assert tail.frames_after(0) is tail.frames_after(0)
    late = tail.frames_after(2)
    tail.publish(encode(["c"], start=3))
    assert late is not None
    assert (tail.frames_after(2) or b"").startswith(late)


def test_trimming_drops_the_list_too() -> None:
    """G9: a tail trims its lists too, so its memory does not grow with the stream's length."""
    tail = Tail(state(), 10, 0.0)
    for position in range(10_000):
        tail.publish(encode(["0123456789"], start=position))
    assert len(tail._segments) < 200
    assert len(tail._frames) == len(tail._starts) == len(tail._segments)


@pytest.mark.parametrize("learn", [Tail.learn, Tail.learn_runs, Tail.claimed])
def test_old_state_does_not_change_the_end_offset(
    learn: Callable[[Tail, StreamState], None],
) -> None:
    """G10: a late read of the store must not change the offset of the end."""
    before = replace(state(tail=2), runs=(Run(0, 5),))
    ended = replace(before, status=Status.TIMEOUT, runs=(Run(0, 5), Run(2, 9)))
    tail = Tail(before, 10**6, 0.0)
    tail.publish(encode(["a", "b"]))
    tail.learn(ended)
    tail.end = ended.end
    given_out = tail.here
    learn(tail, before)
    assert tail.here == given_out
    assert given_out.lies_in(ended)


def test_old_state_does_not_change_an_offset_past_the_tail() -> None:
    """G10: a late read must not remove newer runs, because a reader past the tail may use them."""
    now = replace(state(), tail=7, runs=(Run(0, 1), Run(4, 2)))
    tail = Tail(state(), 10**6, 0.0)
    tail.learn_runs(now)
    given_out = wire.Offset.at(tail, 7)
    for learn in (tail.learn, tail.learn_runs):
        learn(replace(now, tail=4, runs=(Run(0, 1),)))
        assert wire.Offset.at(tail, 7) == given_out
        assert given_out.lies_in(now)


def test_restored_runs_replace_lost_runs() -> None:
    tail = Tail(replace(state(), runs=(Run(0, 1), Run(4, 2))), 10**6, 0.0)
    restored = replace(state(), tail=6, runs=(Run(0, 1), Run(3, 5)))
    tail.learn(restored)
    assert wire.Offset.at(tail, 6).lies_in(restored)

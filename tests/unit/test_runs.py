"""After any losses of messages, an offset is accepted only if the messages before it are stored."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from inkstream._runs import MAX_RUNS, Runs, extended, generation_of

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3)),
        st.tuples(st.just("draw"), st.just(0)),
        st.tuples(st.just("lose"), st.integers(0, 50)),
    ),
    max_size=60,
)


@dataclass(frozen=True)
class Stream:
    """The runs and the messages of a stream in a store. Each message is a unique number."""

    messages: tuple[int, ...] = ()
    runs: Runs = ()


@dataclass(frozen=True)
class Given:
    """An offset of a client, and the messages that the client had read before the offset."""

    position: int
    tag: int
    read: tuple[int, ...]


@given(STEPS)
def test_draws_and_losses(steps: list[tuple[str, int]]) -> None:
    """G2, G10: after any losses and new generations, the server refuses each wrong offset.

    An offset is right if the messages before it are still those that its client has read. A stream
    with fewer than ``MAX_RUNS`` runs accepts each right offset.

    The step ``draw`` begins a new generation, as after a restart of the database. The step ``lose``
    restores an earlier state of the stream, and also begins a new generation.
    """
    generation, names = 1, 0
    stream, backups, clients = Stream(), [Stream()], list[Given]()
    for what, number in steps:
        if what == "append":
            runs = extended(stream.runs, len(stream.messages), generation)
            new = tuple(range(names, names + number))
            names += number
            stream = Stream(stream.messages + new, runs)
            clients += [
                Given(at, generation_of(runs, at), stream.messages[:at])
                for at in range(len(stream.messages) + 1)
            ]
            backups.append(stream)
        else:
            generation += 1
            if what == "lose":
                stream = backups[number % len(backups)]
        for client in clients:
            accepted = (
                client.position <= len(stream.messages)
                and generation_of(stream.runs, client.position) == client.tag
            )
            is_right = stream.messages[: client.position] == client.read
            assert is_right or not accepted, "a reader would get a mixture of two texts"
            if not any(len(each.runs) >= MAX_RUNS for each in backups):
                assert accepted or not is_right, "a draw made a right offset useless"

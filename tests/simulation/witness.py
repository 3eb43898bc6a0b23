"""Checks the database after each write, and raises if the write broke a guarantee."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from inkstream import wire
from inkstream._types import Segment, Status, StreamState
from inkstream.stores.memory import MemoryDatabase
from inkstream.wire import Offset


def flat(segments: Iterable[Segment]) -> str:
    """Return messages as one string, in which each object stands between NULs."""
    return "".join(
        message if isinstance(message, str) else f"\0{message.raw.decode()}\0"
        for message in wire.decode_messages(segments)
    )


@dataclass
class History:
    """The history of one stream: its last state, its text, and its workers in order."""

    state: StreamState
    text: str = ""
    deleted: bool = False
    owners: list[str] = field(default_factory=list)


class Witness:
    def __init__(self, database: MemoryDatabase) -> None:
        self.histories: dict[int, History] = {}
        self._streams = database._streams
        database.after = self._look

    def _look(self, method: str) -> None:
        present = self._streams._by_id
        for internal_id, stream in present.items():
            state = stream.snapshot()
            history = self.histories.get(internal_id)
            if history is None:
                history = self.histories[internal_id] = History(replace(state, tail=0))
            before = history.state
            if state is before:
                continue
            assert state.epoch >= before.epoch, "an epoch went back"
            assert state.tail >= before.tail, "a tail went back (G2)"
            if before.ended:
                assert state.tail == before.tail, "text after the end (G5)"
                assert state.end == before.end, "a second end (G5)"
            if state.tail > before.tail:
                new = (wire.cut(s, before.tail) for s in stream.messages_after(before.tail))
                history.text += flat(piece for piece in new if piece is not None)
            owner = state.worker if state.status is Status.STREAMING else None
            if owner is not None and history.owners[-1:] != [owner]:
                assert state.epoch > before.epoch, "a worker without a claim (G3)"
                history.owners.append(owner)
            history.state = state
        for internal_id, history in self.histories.items():
            if internal_id not in present:
                history.deleted = True

    def check_offset(self, offset: Offset) -> None:
        """Raise if a reader with this offset would get 410 although the stream exists (G10)."""
        history = self.histories[offset.internal_id]
        assert history.deleted or offset.lies_in(history.state), (
            f"the reader of {offset} would get 410 from {history.state} (G10)"
        )

    def recheck(self) -> None:
        """Compare every stored text, merged or not, with the text that was written (G2, G11)."""
        for internal_id, stream in self._streams._by_id.items():
            assert flat(stream.messages_after(0)) == self.histories[internal_id].text

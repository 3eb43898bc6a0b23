"""A client that follows one stream in spite of faults, and checks the text that it receives."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable

from inkstream import OffsetGone, StoreUnavailable, StreamId, StreamNotFound
from inkstream.engine.reader import Reader, ReaderSentAway
from inkstream.wire import Offset
from tests.simulation.cluster import Worker
from tests.simulation.witness import Witness, flat


def flat_frames(frames: bytes) -> str:
    """Return the messages of event frames as one string, as ``flat`` does for segments."""
    text = ""
    for line in frames.decode().split("\n"):
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
            value = json.loads(data)
            text += value if isinstance(value, str) else f"\0{data}\0"
    return text


class Follower:
    """Reads from one worker after another, each time after the last message that it received."""

    def __init__(
        self,
        stream_id: str,
        witness: Witness,
        rng: random.Random,
        choose: Callable[[], Worker],
    ) -> None:
        self.text = ""
        self.saw_end = False
        self._stream_id = StreamId(stream_id)
        self._offset: Offset | None = None
        self._witness = witness
        self._rng = rng
        self._choose = choose

    async def run(self) -> None:
        """Follow until the end is received, or until the stream does not exist any more."""
        while not self.saw_end:
            worker = self._choose()
            try:
                reader = await worker.engine.readers.open(self._stream_id, self._offset)
            except StreamNotFound:
                return
            except OffsetGone:
                assert self._offset is not None
                assert self._witness.histories[self._offset.internal_id].deleted, "G10"
                return
            except StoreUnavailable:
                await asyncio.sleep(0.5)
                continue
            if not worker.alive:  # the worker died during ``open``
                reader.close()
                continue
            worker.readers[reader] = None
            try:
                await self._read(reader)
            except StreamNotFound:
                return
            except (ReaderSentAway, StoreUnavailable):
                await asyncio.sleep(self._rng.random() * 0.3)
            finally:
                worker.readers.pop(reader, None)
                reader.close()

    async def _read(self, reader: Reader) -> None:
        """Read until the end of the stream, but make at most a random number of reads."""
        history = self._witness.histories[reader.tail.internal_id]
        slow_s = self._rng.choice([0.0, 0.0, 1.0])
        with_frames = self._rng.random() < 0.5
        for _ in range(self._rng.choice([1, 3, 1000])):
            self.text += (
                flat_frames(await reader.frames()) if with_frames else flat(await reader.segments())
            )
            self._offset = reader.offset
            self._witness.check_offset(self._offset)
            assert history.text.startswith(self.text), "received text that is not stored (G1, G2)"
            if reader.end is not None:
                assert reader.end == history.state.end, "the end differs from the stored end (G5)"
                assert self.text == history.text, "the end arrived before the last text (G5)"
                self.saw_end = True
                # A read of the store that began before the end may return now. This read must not
                # change ``reader.offset``, because a response uses this offset after its last send.
                await asyncio.sleep(self._rng.random() * 0.6)
                assert reader.offset == self._offset, "the offset of the end changed (G10)"
                return
            await asyncio.sleep(self._rng.random() * slow_s)

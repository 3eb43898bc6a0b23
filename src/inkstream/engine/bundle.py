"""One wait over the readers of many streams, for an answer that follows them all."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from typing import Final

from inkstream._errors import StreamNotFound
from inkstream.engine.reader import Reader

TURN_BYTES: Final = 64 * 1024
"""What one reader gives in its turn, so that one that catches up does not starve the others."""


class _Ring:
    """Ends the bundle's wait when one reader has news."""

    __slots__ = ("_bundle", "_reader")

    def __init__(self, bundle: Bundle, reader: Reader) -> None:
        self._bundle = bundle
        self._reader = reader

    def done(self) -> bool:
        return self._reader in self._bundle.ready

    def set_result(self, result: None, /) -> None:
        self._bundle.woken(self._reader)


class Bundle:
    """Readers that are asked in turn, each for a little.

    Attributes:
        readers: Those that are followed.
        ready: Those that may have news, in the order in which they are asked.
        alarm_at: When, on the engine's monotonic clock, ``alarm`` is to be called.
    """

    def __init__(self, detach: Callable[[Bundle], None]) -> None:
        self.readers: dict[Reader, None] = {}
        self.ready: dict[Reader, None] = {}
        self.alarm_at = math.inf
        self.alarm: Callable[[], None] = self.interrupt
        self._detach = detach
        self._news = asyncio.Event()
        self._closed = False

    def add(self, reader: Reader) -> None:
        """Follow one more; it is closed with the bundle."""
        if self._closed:
            reader.close()
            return
        self.readers[reader] = None
        reader.share(_Ring(self, reader))
        self.woken(reader)

    def woken(self, reader: Reader) -> None:
        """Note that a reader may have news."""
        if reader in self.readers:
            self.ready[reader] = None
            self._news.set()

    def remove(self, reader: Reader) -> None:
        """Follow one no more."""
        self.readers.pop(reader, None)
        self.ready.pop(reader, None)
        reader.close()

    async def wait(self) -> None:
        """Wait until a reader may have news, or for an interruption."""
        await self._news.wait()
        self._news.clear()

    async def turns(self) -> AsyncGenerator[tuple[Reader, bytes | None], None]:
        """Yield what is new, a turn of each ready reader, until none has more.

        ``b""``: that reader has seen its end. ``None``: its stream was deleted. Both are removed.

        Raises:
            ReaderCut: Go away without a terminal event.
        """
        while self.ready:
            reader = next(iter(self.ready))
            del self.ready[reader]
            try:
                frames = await reader.frames_now(TURN_BYTES)
            except StreamNotFound:
                self.remove(reader)
                yield reader, None
                continue
            if frames is None:
                continue
            if frames:
                self.ready[reader] = None
            else:
                self.remove(reader)
            yield reader, frames

    def interrupt(self) -> None:
        """End the wait under way, or the next one."""
        self._news.set()

    def close(self) -> None:
        """Close all readers, and end the wait."""
        if self._closed:
            return
        self._closed = True
        self.alarm_at = math.inf
        del self.alarm  # it is a cycle
        for reader in list(self.readers):
            self.remove(reader)
        self.interrupt()
        self._detach(self)

"""Lets one response follow many streams: one wait for all of their readers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from typing import Final

from inkstream._errors import StreamNotFound
from inkstream.engine.reader import Reader

TURN_BYTES: Final = 64 * 1024
"""How many bytes a reader returns in its turn at most, so that no reader starves the others."""


class _Ring:
    """A wait that all readers of a bundle share. News for one reader ends the bundle's wait."""

    __slots__ = ("_bundle", "_reader")

    def __init__(self, bundle: Bundle, reader: Reader) -> None:
        self._bundle = bundle
        self._reader = reader

    def done(self) -> bool:
        return self._reader in self._bundle.ready

    def set_result(self, result: None, /) -> None:
        self._bundle.woken(self._reader)


class Bundle:
    """A set of readers that take turns. In each turn, a reader returns a limited number of bytes.

    Attributes:
        readers: The readers in the bundle.
        ready: The readers that may have news, in the order of their turns.
        alarm_at: The engine's monotonic time at which ``alarm`` is called.
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
        """Add a reader. The bundle will close the reader."""
        if self._closed:
            reader.close()
            return
        self.readers[reader] = None
        reader.share(_Ring(self, reader))
        self.woken(reader)

    def woken(self, reader: Reader) -> None:
        """Record that a reader may have news."""
        if reader in self.readers:
            self.ready[reader] = None
            self._news.set()

    def remove(self, reader: Reader) -> None:
        """Remove a reader."""
        self.readers.pop(reader, None)
        self.ready.pop(reader, None)
        reader.close()

    async def wait(self) -> None:
        """Wait until a reader may have news, or until ``interrupt``."""
        await self._news.wait()
        self._news.clear()

    async def turns(self) -> AsyncGenerator[tuple[Reader, bytes | None], None]:
        """Yield new bytes, one turn per ready reader, until no reader has more.

        ``b""`` means that the reader's stream has ended. ``None`` means that its stream was
        deleted. In both cases the bundle removes the reader.

        Raises:
            ReaderCut: The response must close without a terminal event.
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
        """End the current wait. If nothing waits now, end the next wait."""
        self._news.set()

    def close(self) -> None:
        """Close all readers, and end the wait."""
        if self._closed:
            return
        self._closed = True
        self.alarm_at = math.inf
        del self.alarm  # breaks a reference cycle
        for reader in list(self.readers):
            self.remove(reader)
        self.interrupt()
        self._detach(self)

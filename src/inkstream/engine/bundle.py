"""Lets one response follow many streams. The readers of these streams share one wait."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from typing import Final

from inkstream._errors import StreamNotFound
from inkstream.engine.reader import Reader

TURN_BYTES: Final = 64 * 1024
"""A reader's turn ends after about this many bytes, or earlier if the reader has no more bytes."""


class _Ring:
    """The wait of one reader in a bundle. News for the reader ends the wait of the whole bundle."""

    __slots__ = ("_bundle", "_reader")

    def __init__(self, bundle: Bundle, reader: Reader) -> None:
        self._bundle = bundle
        self._reader = reader

    def done(self) -> bool:
        return self._reader in self._bundle.ready

    def set_result(self, result: None, /) -> None:
        self._bundle.woken(self._reader)


class Bundle:
    """A set of readers that take turns, so that no reader delays the others for long.

    Attributes:
        readers: The readers in the bundle.
        ready: The readers that may have news, in the order of their turns.
        alarm: The function that ``Readers.tick`` calls at ``alarm_at``.
        alarm_at: A time of the engine's monotonic clock. ``math.inf`` means never.
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
        """Add a reader, which the bundle will close. A closed bundle closes the reader at once."""
        if self._closed:
            reader.close()
            return
        self.readers[reader] = None
        reader.share(_Ring(self, reader))
        self.woken(reader)

    def woken(self, reader: Reader) -> None:
        """Record that ``reader`` may have news, and end the bundle's wait."""
        if reader in self.readers:
            self.ready[reader] = None
            self._news.set()

    def remove(self, reader: Reader) -> None:
        """Remove and close a reader."""
        self.readers.pop(reader, None)
        self.ready.pop(reader, None)
        reader.close()

    async def wait(self) -> None:
        """Wait until a reader may have news, or until somebody calls ``interrupt``."""
        await self._news.wait()
        self._news.clear()

    async def turns(self) -> AsyncGenerator[tuple[Reader, bytes | None], None]:
        """Give each ready reader a turn, again and again, until no reader has new bytes.

        Each item is a reader and its new bytes. Empty bytes mean that the reader's stream has
        ended. ``None`` means that the reader's stream was deleted. In both cases, the bundle has
        removed the reader.

        Raises:
            ReaderSentAway: The response must close without a terminal event.
            StoreUnavailable: The store is away, and a reader's next messages are not in memory.
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
        """End the bundle's current wait. If the bundle does not wait now, end its next wait."""
        self._news.set()

    def close(self) -> None:
        """Close all readers, and end the bundle's wait."""
        if self._closed:
            return
        self._closed = True
        self.alarm_at = math.inf
        del self.alarm  # breaks a reference cycle
        for reader in list(self.readers):
            self.remove(reader)
        self.interrupt()
        self._detach(self)

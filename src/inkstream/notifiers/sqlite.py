"""Hints between processes that share a SQLite file: its own commits are the signal."""
# ruff: noqa: D102  (what the methods promise stands in abc.Notifier)

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Protocol

from inkstream._types import StreamId


class Watchable(Protocol):
    """What ``SQLiteStore`` offers to a notifier, which may not import it."""

    def watch(self, on_change: Callable[[list[StreamId] | None], None] | None) -> None:
        """Call back, from any thread, with what others changed; ``None``: no more."""


class SQLiteNotifier:
    """Tell which streams other processes changed, by looking at the file every few milliseconds.

    It looks only while somebody waits, every 5 ms while others write and every 20 ms while they
    rest, on the thread of the store that writes, where a commit of this process is no news.

    Args:
        store: The open store whose file to watch.
    """

    def __init__(self, store: Watchable) -> None:
        self._store = store
        self._on_hint: Callable[[Collection[StreamId] | None], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watching = False

    async def open(self, on_hint: Callable[[Collection[StreamId] | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_hint = on_hint

    async def notify(self, stream_ids: Collection[StreamId]) -> None:
        """Do nothing: the commit itself is what others see."""

    def watch(self, watching: bool) -> None:
        if watching != self._watching:
            self._watching = watching
            self._store.watch(self._pass_on if watching else None)

    async def close(self) -> None:
        """Stop calling ``on_hint``; to be called before the store is closed."""
        self.watch(False)
        self._on_hint = None

    def _pass_on(self, changed: Collection[StreamId] | None) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed without close()
                self._loop.call_soon_threadsafe(self._hint, changed)

    def _hint(self, changed: Collection[StreamId] | None) -> None:
        if self._on_hint is not None:
            self._on_hint(changed)

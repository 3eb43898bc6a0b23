"""Gives hints to processes that share a SQLite file. Each process polls the file for commits."""
# ruff: noqa: D102  (abc.Notifier documents the methods)

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Protocol

from inkstream._types import StreamId


class Watchable(Protocol):
    """The members of ``SQLiteStore`` that ``SQLiteNotifier`` uses."""

    def watch(self, on_change: Callable[[list[StreamId] | None], None] | None) -> None:
        """Begin to call ``on_change``, on any thread, with streams that other processes changed.

        ``on_change`` gets ``None`` if any stream may have changed. ``watch(None)`` stops the calls.
        """


class SQLiteNotifier:
    """Poll a SQLite file to find out which streams other processes changed.

    The store polls the file only while this process writes or follows a live stream: every
    5 ms while other processes write, and every 20 ms otherwise.
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
        """Do nothing, because other processes poll the file and find each commit."""

    def watch(self, watching: bool) -> None:
        if watching != self._watching:
            self._watching = watching
            self._store.watch(self._pass_on if watching else None)

    async def close(self) -> None:
        """Stop calling ``on_hint``. Call this method before the store is closed."""
        self.watch(False)
        self._on_hint = None

    def _pass_on(self, changed: Collection[StreamId] | None) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop was closed before the notifier
                self._loop.call_soon_threadsafe(self._hint, changed)

    def _hint(self, changed: Collection[StreamId] | None) -> None:
        if self._on_hint is not None:
            self._on_hint(changed)

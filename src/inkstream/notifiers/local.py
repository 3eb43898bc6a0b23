"""Sends hints between the engines of one process. Each engine may have its own event loop."""
# ruff: noqa: D102  (abc.Notifier documents the methods)

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Collection

from inkstream._types import StreamId

_listeners: defaultdict[str, set[LocalNotifier]] = defaultdict(set)
_registry = threading.Lock()


class LocalNotifier:
    """Send hints to all other engines in this process whose notifier has the same ``database``.

    Args:
        database: A name for the database, for instance its URL.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._on_hint: Callable[[Collection[StreamId] | None], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, on_hint: Callable[[Collection[StreamId] | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_hint = on_hint
        with _registry:
            _listeners[self._database].add(self)

    async def notify(self, stream_ids: Collection[StreamId]) -> None:
        with _registry:
            others = [other for other in _listeners[self._database] if other is not self]
        hint = tuple(stream_ids)
        for other in others:
            other._pass_on(hint)

    def watch(self, watching: bool) -> None:
        """Do nothing, because it costs nothing to wait for hints."""

    async def close(self) -> None:
        self._on_hint = None
        with _registry:
            listeners = _listeners[self._database]
            listeners.discard(self)
            if not listeners:
                del _listeners[self._database]

    def _pass_on(self, hint: Collection[StreamId]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop was closed before the notifier
                self._loop.call_soon_threadsafe(self._hint, hint)

    def _hint(self, hint: Collection[StreamId]) -> None:
        if self._on_hint is not None:
            self._on_hint(hint)

"""Combines several observers into one observer."""
# ruff: noqa: D102  (the docstrings of ``Observer`` describe the methods)

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import Context

from inkstream._types import Group, StreamState
from inkstream.engine.observer import Ended, Gauges, Observer

_log = logging.getLogger("inkstream")


class Observers(Observer):
    """Pass each event to several observers, in their order.

    If an observer raises an exception, this class logs the exception and goes on. If the exception
    reached the committer, the committer's task would end, and nothing could be committed any more.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers
        self._takers = {
            event: tuple(
                taker
                for observer in observers
                if getattr(taker := getattr(observer, event), "__func__", None) is not nothing
            )
            for event, nothing in vars(Observer).items()
            if callable(nothing)
        }
        self.samples_sends = any(observer.samples_sends for observer in observers)

    def _pass(self, event: str, *arguments: object) -> None:
        for taker in self._takers[event]:
            try:
                taker(*arguments)
            except Exception:
                _log.exception("an observer failed in %s()", event)

    def opened(self, gauges: Callable[[], Gauges]) -> None:
        self._pass("opened", gauges)

    def closed(self, gauges: Callable[[], Gauges]) -> None:
        self._pass("closed", gauges)

    def sent(self, seconds: float) -> None:
        self._pass("sent", seconds)

    def claimed(self, stream: StreamState) -> None:
        self._pass("claimed", stream)

    def running(self, stream: StreamState, context: Context) -> None:
        self._pass("running", stream, context)

    def first_piece(self, stream: StreamState, seconds: float) -> None:
        self._pass("first_piece", stream, seconds)

    def ended(self, ended: Ended) -> None:
        self._pass("ended", ended)

    def fenced(self, stream: StreamState, status: str | None) -> None:
        self._pass("fenced", stream, status)

    def committed(self, seconds: float, groups: Sequence[Group]) -> None:
        self._pass("committed", seconds, groups)

    def store_failed(self, error: Exception) -> None:
        self._pass("store_failed", error)

    def store_away(self, error: Exception) -> None:
        self._pass("store_away", error)

    def store_back(self, seconds: float) -> None:
        self._pass("store_back", seconds)

    def worker_dead(self, worker: str, streams: int) -> None:
        self._pass("worker_dead", worker, streams)

    def swept(self, seconds: float) -> None:
        self._pass("swept", seconds)

    def tidied(self, seconds: float) -> None:
        self._pass("tidied", seconds)

    def lagged(self, seconds: float) -> None:
        self._pass("lagged", seconds)

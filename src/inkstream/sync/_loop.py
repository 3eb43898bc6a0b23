"""The one event loop of a process whose own code has none."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401  (see _stop)
import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from inkstream._errors import NotRunning
from inkstream.engine.life import inline
from inkstream.facade.streaming import PersistentTextStreaming
from inkstream.sync._gevent import new_event_loop

T = TypeVar("T")

_STOP_S: Final = 10.0


class LoopThread:
    """An event loop on a thread of its own, and the instances that run on it."""

    def __init__(self) -> None:
        self.loop = new_event_loop()
        self._pid = os.getpid()
        self._running: dict[object, PersistentTextStreaming] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="inkstream-sync", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        # For what is called at the end, on_end among it: Python 3.12 begins no thread by then.
        self.loop.run_in_executor(None, int)
        self.loop.run_forever()
        self.loop.close()

    @property
    def here(self) -> bool:
        """False in a child that was forked since: there is no such thread."""
        return self._pid == os.getpid()

    def call(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return its result; interrupted, cancel it."""
        if not self.here:
            coro.close()
            raise NotRunning("this was begun in the process that this one was forked from")
        if threading.current_thread() is self._thread:
            coro.close()
            raise NotRunning("inkstream.sync was called on its own event loop, which it would stop")
        future = asyncio.run_coroutine_threadsafe(coro, self.loop)
        try:
            return future.result()
        finally:
            future.cancel()

    async def acall(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return its result, to another loop."""
        if not self.here:
            coro.close()
            raise NotRunning("this was begun in the process that this one was forked from")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coro, self.loop))

    def running(
        self, key: object, make: Callable[[], PersistentTextStreaming]
    ) -> PersistentTextStreaming:
        """Return the instance that runs here for a key, made and started if there is none."""
        with _starting:
            streams = self._running.get(key)
            if streams is None:
                streams = make()
                self.call(streams.__aenter__())
                self._running[key] = streams
            return streams

    def leave(self, key: object) -> None:
        """Stop the instance that runs here for a key, if there is one."""
        with _starting:
            streams = self._running.pop(key, None)
        if streams is not None:
            self.call(streams.__aexit__(None, None, None))

    def abandon(self, key: object) -> None:
        """Stop the instance that runs here for a key, some time soon; for a finalizer.

        It takes no lock and waits for nothing: garbage is collected on any thread, also on the
        loop's own or while ``running`` waits for that.
        """
        streams = self._running.pop(key, None)
        if streams is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the instance with it
                self.loop.call_soon_threadsafe(self._leave_soon, streams)

    def _leave_soon(self, streams: PersistentTextStreaming) -> None:
        task = self.loop.create_task(streams.__aexit__(None, None, None))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def stop(self) -> None:
        """Stop every instance, then the loop."""

        async def leave() -> None:
            leaving = [streams.__aexit__(None, None, None) for streams in self._running.values()]
            await asyncio.gather(*leaving, *self._leaving, return_exceptions=True)
            # The last calls may leave generators behind that nobody read to the end.
            await self.loop.shutdown_asyncgens()

        # Not shutdown_default_executor(): it begins a thread, which Python 3.12 refuses by now.
        self.call(leave())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_STOP_S)


_starting = threading.RLock()
_thread: LoopThread | None = None


def this_process() -> LoopThread:
    """Return this process's event loop, begun now if there is none."""
    global _thread
    with _starting:
        if _thread is None:
            _thread = LoopThread()
        return _thread


def abandon(key: object) -> None:
    """Give back what runs in this process for an instance that was dropped."""
    if _thread is not None and _thread.here:
        _thread.abandon(key)


_parents: list[LoopThread | None] = []


def _forget() -> None:
    """Leave the parent's loop to the parent: its thread is not in this child, nor its locks."""
    global _starting, _thread
    _starting = threading.RLock()
    # Kept, for what it holds must not be closed here: PostgreSQL would end the parent's sessions,
    # and a SQLite connection that a fork could not wait for would remove the parent's log.
    _parents.append(_thread)
    _thread = None


def _stop() -> None:
    global _thread
    with _starting:
        thread, _thread = _thread, None
    if thread is not None:
        thread.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
# The way to stop while threads can still be used, and none of it is public: what an interpreter
# does first when it ends is to call these, the last one registered first. The pool of threads that
# asyncio.to_thread takes is closed by one of them, so it was imported before, above. A thread that
# waits for threading.main_thread(), and atexit, come after all of them: there, nothing that the
# stores have on threads works any more, and writers would count as dead instead of ended.
getattr(threading, "_register_atexit", atexit.register)(_stop)


def at_once(coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, as one on the caller's own connection does."""
    context = contextvars.copy_context()
    context.run(inline.set, True)
    try:
        context.run(coro.send, None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        coro.close()
    raise TypeError("connection must be a synchronous one: this one waits on an event loop")

"""The one event loop that ``inkstream.sync`` runs in a process."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import concurrent.futures.thread  # (see the comment after _stop)
import contextlib
import contextvars
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from inkstream._errors import NotRunning
from inkstream.engine.life import inline
from inkstream.facade.streaming import PersistentTextStreaming
from inkstream.sync._gevent import new_event_loop

T = TypeVar("T")

_log = logging.getLogger("inkstream")

_STOP_S: Final = 10.0
_LOOK_S: Final = 1.0
"""Every ``_LOOK_S`` seconds, a waiting call checks whether the loop's thread has ended."""
_ENDED: Final = "the event loop of inkstream.sync has ended; the next call starts another one"


class LoopThread:
    """An event loop on a separate thread, and the instances that run on this loop."""

    def __init__(self) -> None:
        self.loop = new_event_loop()
        self._pid = os.getpid()
        self._running: dict[object, PersistentTextStreaming] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="inkstream-sync", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        # Start the executor's thread now, because Python 3.12 starts no threads during shutdown,
        # when on_end and other calls still need one.
        self.loop.run_in_executor(None, int)
        while not self._stopping:
            # Other code on the loop may stop the loop, or end it with a SystemExit. Ctrl-C does not
            # end the loop, because Python raises KeyboardInterrupt only on the main thread.
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                _log.exception("the event loop of inkstream.sync goes on after this exception")
        self.loop.close()

    @property
    def alive(self) -> bool:
        """Whether the loop's thread runs."""
        return self._thread.is_alive()

    @property
    def here(self) -> bool:
        """Whether this process runs the loop; false in a forked child."""
        return self._pid == os.getpid()

    def call(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return its result.

        If an exception such as ``KeyboardInterrupt`` ends the wait, the coroutine is cancelled.

        Raises:
            NotRunning: This process does not run the loop, the loop's thread has ended, or the
                caller runs on the loop's thread.
        """
        if not self.here:
            coro.close()
            raise NotRunning("this object belongs to the parent process, before the fork")
        if threading.current_thread() is self._thread:
            coro.close()
            raise NotRunning(
                "inkstream.sync was called on its own event loop, and would block that loop"
            )
        future = self._submit(coro)
        try:
            # A loop that has ended would never finish the coroutine.
            while not concurrent.futures.wait((future,), _LOOK_S).done:
                if not self.alive:
                    raise NotRunning(_ENDED)
            return future.result()
        finally:
            if self.alive:
                future.cancel()

    async def acall(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return its result, for a caller on another loop."""
        if not self.here:
            coro.close()
            raise NotRunning("this object belongs to the parent process, before the fork")
        return await asyncio.wrap_future(self._submit(coro))

    def _submit(self, coro: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        try:
            return asyncio.run_coroutine_threadsafe(coro, self.loop)
        except RuntimeError:  # the loop is closed
            coro.close()
            raise NotRunning(_ENDED) from None

    def running(
        self, key: object, make: Callable[[], PersistentTextStreaming]
    ) -> PersistentTextStreaming:
        """Return the running instance for a key. If there is none, create and start it.

        Each ``inkstream.sync`` object has its own ``key``.
        """
        with _starting:
            streams = self._running.get(key)
            if streams is None:
                streams = make()
                self.call(streams.__aenter__())
                self._running[key] = streams
            return streams

    def leave(self, key: object) -> None:
        """Stop the running instance for a key, if there is one."""
        with _starting:
            streams = self._running.pop(key, None)
        if streams is not None:
            self.call(streams.__aexit__(None, None, None))

    def abandon(self, key: object) -> None:
        """Stop the running instance for a key, without a lock and without waiting.

        The garbage collector may call this method on any thread: on the loop's thread, or on a
        thread that waits for the loop. On these threads, a wait for the loop would never end.
        """
        streams = self._running.pop(key, None)
        if streams is not None:
            self.soon(lambda: streams.__aexit__(None, None, None))

    def soon(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine on the loop, without waiting for its result."""
        if self.here:
            with contextlib.suppress(RuntimeError):  # the loop has ended, with all its tasks
                self.loop.call_soon_threadsafe(self._begin, begin)

    def _begin(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self.loop.create_task(begin())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def stop(self) -> None:
        """Stop every instance, and then the loop."""

        async def leave() -> None:
            leaving = [streams.__aexit__(None, None, None) for streams in self._running.values()]
            await asyncio.gather(*leaving, *self._leaving, return_exceptions=True)
            # Close the generators that the last calls did not read to the end.
            await self.loop.shutdown_asyncgens()

        # shutdown_default_executor() is not called, because it starts a thread, and Python 3.12
        # refuses to start threads during shutdown.
        self.call(leave())
        self._stopping = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_STOP_S)


_starting = threading.RLock()
_thread: LoopThread | None = None


def this_process() -> LoopThread:
    """Return this process's event loop. If there is none, start it."""
    global _thread
    with _starting:
        if _thread is None or not _thread.alive:
            _thread = LoopThread()
        return _thread


def abandon(key: object) -> None:
    """Stop the instance that ran for an ``inkstream.sync`` object which was garbage-collected."""
    if _thread is not None and _thread.here:
        _thread.abandon(key)


_parents: list[LoopThread | None] = []


def _forget() -> None:
    """Forget the parent's loop in a forked child, in which the loop's thread does not run."""
    global _starting, _thread
    _starting = threading.RLock()  # a lock that was held at the fork is never released
    # Keep the parent's loop. Otherwise the child's garbage collector would close the connections
    # that the child inherited. This would end a PostgreSQL session of the parent, or could remove
    # the write-ahead log of a SQLite file that the parent still uses.
    _parents.append(_thread)
    _thread = None


def _stop() -> None:
    global _thread
    with _starting:
        thread, _thread = _thread, None
    if thread is not None and thread.alive:
        thread.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
# Stop the loop while the stores' threads still work. Otherwise running streams could not be ended,
# and other workers would take this worker for dead. The functions of atexit run too late, and so do
# threads that wait for threading.main_thread(). The functions of threading._register_atexit (which
# is not public) run earlier, in the reverse order of their registration. The function of
# concurrent.futures.thread closes the thread pool of asyncio.to_thread. This module imports
# concurrent.futures.thread first, so that the pool is closed after the loop has stopped.
getattr(threading, "_register_atexit", atexit.register)(_stop)


def at_once(coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, such as a call with a synchronous connection."""
    context = contextvars.copy_context()
    context.run(inline.set, True)
    try:
        context.run(coro.send, None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        coro.close()
    raise TypeError("connection must be synchronous, but this connection waits on an event loop")

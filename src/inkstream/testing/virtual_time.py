"""An event loop with virtual time, in which hours pass in milliseconds.

When no task is ready, the loop does not sleep. Instead, its clock jumps to the next timer. Threads
and sockets do not use virtual time, so use a real loop for a source that runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")

_REAL_WAIT_S = 5.0
"""How many real seconds a loop without a timer waits for a thread before it gives up."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Run tasks in virtual time, which begins at 0.

    Args:
        limit_s: The virtual time, in seconds, after which the loop raises ``TimeoutError``. Without
            a limit, tasks that poll would run for ever if a test waits for something that never
            happens.
    """

    def __init__(self, limit_s: float = 3600.0) -> None:
        self.limit_s = limit_s
        self._now = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        """Return the virtual seconds since the loop was created."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the loop's time forward by ``seconds``, as if the process had been paused.

        Timers that become due run late.
        """
        self._now += seconds

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads in real time.

        Since Python 3.12, asyncio limits this wait with a timer, to which virtual time would jump.
        """
        await super().shutdown_default_executor()


class _Jump(selectors.DefaultSelector):
    """Move the loop's time to its next timer instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(_REAL_WAIT_S)
            if not ready:
                raise TimeoutError("every task waits, and nothing can wake one")
            return ready
        self._loop.jump(max(timeout, 0.0))
        if self._loop.time() > self._loop.limit_s:
            raise TimeoutError(f"not done after {self._loop.limit_s:g} virtual seconds")
        return ready


class VirtualClock:
    """The ``Clock`` for the running ``VirtualLoop``."""

    def __init__(self, wall: float = 1_800_000_000.0) -> None:
        self._wall = wall

    def monotonic(self) -> float:
        """Return the running loop's time."""
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        """Return a wall time that advances with the loop's time."""
        return self._wall + self.monotonic()

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or a bad time server does."""
        self._wall += seconds


def run_virtual(main: Coroutine[Any, Any, _T], *, limit_s: float = 3600.0) -> _T:
    """Run a coroutine to its end in virtual time, as ``asyncio.run`` does in real time.

    Raises:
        TimeoutError: The coroutine was not done after ``limit_s`` virtual seconds, or nothing could
            wake its tasks any more.
    """
    with contextlib.closing(main):
        runner = asyncio.Runner(loop_factory=lambda: VirtualLoop(limit_s))
        try:
            return runner.run(main)
        except TimeoutError:
            loop = runner.get_loop()
            assert isinstance(loop, VirtualLoop)
            loop.limit_s = float("inf")  # the cancelled tasks need time to finish
            raise
        finally:
            runner.close()


def in_virtual_time(test: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, _T]:
    """Make an async test run in virtual time, in its own loop."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return run_virtual(test(*args, **kwargs))

    return run

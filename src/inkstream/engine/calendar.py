"""Detects large jumps of the wall clock, so that a jump does not end or delete streams at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from inkstream.abc import Clock

_log = logging.getLogger("inkstream")

JUMP_S: Final = 60.0
TRUSTED_AFTER_S: Final = 3600.0


class Calendar:
    """A clock that compares the wall clock with the monotonic clock at every call.

    After a jump of more than ``JUMP_S``, the wall clock is not trusted for ``TRUSTED_AFTER_S``. If
    an operator or NTP undoes the jump, the clock is trusted again at once. After
    ``TRUSTED_AFTER_S``, the clock is trusted again, because the new time may be right: for example,
    the machine was suspended.
    """

    def __init__(self, clock: Clock, behind_s: Callable[[], float] = lambda: 0.0) -> None:
        """Use ``clock``. ``behind_s`` says how far the clock is behind the store's clock."""
        self._clock = clock
        self._behind_s = behind_s
        self._trusted_behind_s = 0.0
        self.monotonic = clock.monotonic
        self._offset = clock.wall() - clock.monotonic()
        self._jumped_at: float | None = None

    def wall(self) -> float:
        """Return the wall time from which a stream's times are counted.

        If the store has a clock of its own and this clock is behind, the difference is added.
        Otherwise other hosts could end a new stream too early.

        After a jump, the result is the later of two times: the clock's time, and the time that the
        clock would show without the jump. If a new stream's ``due_at`` were counted from the
        earlier time, the stream could be due at once when the clock is set right.
        """
        wall, reckoned = self._clock.wall(), self.monotonic() + self._offset
        corrected = wall + self._behind_s()
        if abs(wall - reckoned) <= JUMP_S:
            return corrected
        return max(corrected, reckoned + self._trusted_behind_s)

    def now(self) -> float | None:
        """Return the clock's own time, or ``None`` while the clock is not trusted."""
        wall, monotonic = self._clock.wall(), self.monotonic()
        jump = wall - monotonic - self._offset
        if abs(jump) > JUMP_S:
            if self._jumped_at is None:
                self._jumped_at = monotonic
                _log.warning(
                    "the wall clock jumped by %.0f s: no stream expires or comes due for an hour, "
                    "unless the clock jumps back",
                    jump,
                )
            if monotonic - self._jumped_at < TRUSTED_AFTER_S:
                return None
        if self._jumped_at is not None:
            self._jumped_at = None
            _log.warning("streams expire and come due again: the wall clock is trusted again")
        # Over weeks, small corrections of the wall clock may add up to more than ``JUMP_S``. Their
        # sum must not look like a jump, so the next call measures only the change since this call.
        self._offset = wall - monotonic
        self._trusted_behind_s = self._behind_s()
        return wall

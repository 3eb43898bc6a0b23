"""How long a reader waits before the next request, and when it gives up."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from inkstream.client._errors import Unreachable

_LONGEST_S: Final = 5.0
"""The longest random wait."""

_LONGEST_ASKED_S: Final = 1e9
"""A longer ``Retry-After`` counts as this many seconds: ``time.sleep`` refuses very long waits."""

_LASTED_S: Final = 10.0
"""After a connection that lasted this many seconds, earlier failures no longer count."""


def passes(status: int) -> bool:
    """Return whether a retry may help, because the server or a proxy restarts or is overloaded."""
    return status in (408, 425, 429) or status >= 502


def retry_after(headers: Mapping[str, str]) -> float:
    """Return for how many seconds a response asks the client to wait; 0 if it does not ask.

    ``Retry-After`` contains seconds or a date.
    """
    value = headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_ASKED_S)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), _LONGEST_ASKED_S)


class Backoff:
    """Random waits, so that many clients do not send their requests at the same moment.

    The longest random wait doubles with each failure, up to ``_LONGEST_S``.
    ``patience_s`` says how many seconds to wait without receiving anything; ``None``: for ever.
    """

    def __init__(self, url: str, patience_s: float | None) -> None:
        self.base_s = 1.0
        self._url = url
        self._patience_s = patience_s
        self._failures = 0
        self._reason = "no answer"
        self._heard_at = self._asked_at = time.monotonic()
        self._busy_until = self._resume_at = 0.0

    def began(self) -> None:
        """Record that an iteration starts. The time before its start does not count as silence."""
        self._heard_at = time.monotonic()

    def asked(self) -> None:
        """Record that a request is sent."""
        self._asked_at = time.monotonic()

    def heard(self) -> None:
        """Record that bytes arrived."""
        self._heard_at = time.monotonic()

    def moved(self) -> None:
        """Record that a new message arrived, so that the next failure counts as the first."""
        self._failures = 0

    def failed(self, reason: str, extra_s: float = 0.0) -> None:
        """Record that a request failed, or that a response ended early."""
        now = time.monotonic()
        if now - self._asked_at >= _LASTED_S:
            self._failures = 0
        self._failures += 1
        limit = min(_LONGEST_S, self.base_s * 2.0 ** min(self._failures - 1, 10))
        self._busy_until = now + extra_s
        self._resume_at = self._busy_until + random.random() * limit
        self._reason = reason

    def pause(self) -> float:
        """Return how many seconds to wait before the next request; 0 if no request has failed.

        If the caller has cut a wait short, the next call returns the rest of this wait.

        Raises:
            Unreachable: Nothing was received for ``patience_s``, or the server asks for a wait that
                would exceed ``patience_s``.
        """
        if not self._failures:
            return 0.0
        now = time.monotonic()
        silent_s, asked_s = now - self._heard_at, max(0.0, self._busy_until - now)
        if self._patience_s is not None and silent_s + asked_s >= self._patience_s:
            raise Unreachable(self._url, self._patience_s, self._reason, silent_s, asked_s)
        return max(0.0, self._resume_at - now)

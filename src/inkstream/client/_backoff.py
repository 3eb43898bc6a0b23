"""How long to wait before asking again, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Final

from inkstream.client._errors import Unreachable

_LONGEST_S: Final = 5.0
"""Waits are short: the text is safe, and jitter spreads a crowd well enough over this."""

_LASTED_S: Final = 10.0
"""A connection that lasted this long is no failure, even if it brought no message."""


def passes(status: int) -> bool:
    """Say whether an HTTP status passes by itself: a restart, an overload, a busy proxy."""
    return status in (408, 425, 429) or status >= 502


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that the server asks to wait; 0 without a word of it."""
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0


class Backoff:
    """Waits with full jitter that grow until something was heard.

    Args:
        url: For the error.
        patience_s: How long nothing may be heard; ``None``: for ever.
    """

    def __init__(self, url: str, patience_s: float | None) -> None:
        self.base_s = 1.0
        self._url = url
        self._patience_s = patience_s
        self._failures = 0
        self._extra_s = 0.0
        self._reason = "no answer"
        self._heard_at = self._asked_at = time.monotonic()

    def began(self) -> None:
        """Note that somebody asks anew: the time before does not count."""
        self._heard_at = time.monotonic()

    def asked(self) -> None:
        """Note that a request is made."""
        self._asked_at = time.monotonic()

    def heard(self) -> None:
        """Note that bytes came."""
        self._heard_at = time.monotonic()

    def moved(self) -> None:
        """Note that a new message came: the next failure is the first."""
        self._failures = 0

    def failed(self, reason: str, extra_s: float = 0.0) -> None:
        """Note that a request failed or its answer ended early."""
        if time.monotonic() - self._asked_at >= _LASTED_S:
            self._failures = 0
        self._failures += 1
        self._extra_s = extra_s
        self._reason = reason

    def pause(self) -> float:
        """Return how long to wait before the next request; 0 before the first.

        Raises:
            Unreachable: Nothing was heard for too long, or would be.
        """
        if not self._failures:
            return 0.0
        limit = min(_LONGEST_S, self.base_s * 2.0 ** min(self._failures - 1, 10))
        silent_s = time.monotonic() - self._heard_at
        if self._patience_s is not None and silent_s + self._extra_s >= self._patience_s:
            raise Unreachable(self._url, self._patience_s, self._reason)
        return self._extra_s + random.random() * limit

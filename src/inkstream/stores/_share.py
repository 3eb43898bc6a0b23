"""Divides the byte limit of a read equally between several streams."""

from __future__ import annotations


def share_of(max_bytes: int, streams: int) -> int:
    """Return each stream's equal share of ``max_bytes``.

    The share is 0 only if ``max_bytes`` is 0, because a read of 0 bytes returns only the state.
    """
    return max(max_bytes // max(streams, 1), min(max_bytes, 1))

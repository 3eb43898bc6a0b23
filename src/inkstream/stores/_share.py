"""Divides the byte limit of a read equally between several streams."""

from __future__ import annotations


def share_of(max_bytes: int, streams: int) -> int:
    """Return each stream's equal share of ``max_bytes``.

    If ``max_bytes`` is not 0, the share is at least 1, because a read of 0 bytes returns no
    messages.
    """
    return max(max_bytes // max(streams, 1), min(max_bytes, 1))

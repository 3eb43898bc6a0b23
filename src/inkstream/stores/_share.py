"""Divides the byte limit of a read equally between several streams."""

from __future__ import annotations


def share_of(max_bytes: int, streams: int) -> int:
    """Return an equal share, at least 1 byte, because 0 bytes would mean "only the state"."""
    return max(max_bytes // max(streams, 1), min(max_bytes, 1))

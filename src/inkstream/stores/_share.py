"""The share of one answer that each of several streams may take."""

from __future__ import annotations


def share_of(max_bytes: int, streams: int) -> int:
    """Return an equal share, and never none of something: no bytes would mean the state alone."""
    return max(max_bytes // max(streams, 1), min(max_bytes, 1))

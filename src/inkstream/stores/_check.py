"""Whether a stored segment says of itself what it holds."""

from __future__ import annotations

from inkstream import wire


def index_fault(count: int, size: int, index: bytes) -> str | None:
    """Return a fault of a segment's index; a byte stream's has none, and each byte counts."""
    if not index:
        return None if count == size else f"says {count} bytes and has {size}"
    if index[-1] >= 128:
        return "has an index that breaks off"
    lengths = [length for length, _ in wire.index_entries(bytes(index))]
    if len(lengths) != count:
        return f"says {count} messages and has {len(lengths)}"
    if sum(lengths) != size:
        return f"says {sum(lengths)} bytes and has {size}"
    return None

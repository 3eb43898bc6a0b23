"""The text that a writer has accepted but not committed: its pieces and its size."""

from __future__ import annotations

from typing import Final

from inkstream import wire
from inkstream._types import Segment, StreamState
from inkstream.engine.settings import Limits

_YIELD_EVERY: Final = 64
"""After this many messages, a source that never waits must let other tasks run."""

_HALF_BYTES: Final = 3
"""The stored size of half a surrogate pair. U+FFFD replaces a half whose other half never comes."""


class SharedRoom:
    """The buffer space that all writers of an engine share.

    Attributes:
        used: Bytes that all writers have accepted but not committed.
        limit: The maximum of ``used``.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.used = 0
        self.limit = limit


class Buffer:
    """The pieces of one writer. The buffer never waits: the writer calls ``fits`` and waits itself.

    Attributes:
        characters: Characters accepted so far, those of JSON messages included.
        pending_bytes: Bytes accepted and not committed yet, including those in a running commit.
    """

    __slots__ = (
        "_limits",
        "_pieces",
        "_room",
        "_shared",
        "_stream_bytes",
        "_stream_id",
        "_taken_bytes",
        "characters",
        "pending_bytes",
    )

    def __init__(self, state: StreamState, limits: Limits, shared: SharedRoom) -> None:
        self.characters = 0
        self.pending_bytes = 0
        self._stream_id = state.stream_id
        self._stream_bytes = state.size
        self._limits = limits
        self._shared = shared
        self._pieces: list[str | wire.RawJSON] = []
        self._taken_bytes = 0
        self._room = 0
        """How many bytes ``push`` may accept without checking a limit; 0 after ``close``."""

    @property
    def ready(self) -> bool:
        """True if there is something to commit.

        Half a surrogate pair alone waits for its other half.
        """
        pieces = self._pieces
        return len(pieces) > 1 or (len(pieces) == 1 and not _is_half(pieces[0]))

    @property
    def busy(self) -> bool:
        """True if the next piece should let other tasks run first."""
        return len(self._pieces) % _YIELD_EVERY == _YIELD_EVERY - 1

    def push(self, message: object) -> bool:
        """Accept a text that needs no check; return False for any other message."""
        if not isinstance(message, str):
            return False
        try:
            size = len(message) if message.isascii() else len(message.encode())
        except UnicodeEncodeError:  # the text has half a surrogate pair
            return False
        pieces, shared = self._pieces, self._shared
        if (
            not 0 < size <= self._room
            or len(pieces) % _YIELD_EVERY == _YIELD_EVERY - 1
            or shared.used >= shared.limit
        ):
            return False
        pieces.append(message)
        self.characters += len(message)
        self._room -= size
        self.pending_bytes += size
        self._stream_bytes += size
        shared.used += size
        return True

    def check(self, size: int) -> None:
        """Raise ``MessageTooLarge`` or ``StreamTooLarge`` if the piece can never fit."""
        self._limits.check_message(self._stream_id, size)
        self._limits.check_stream(self._stream_id, self._stream_bytes + size)

    def fits(self, size: int) -> bool:
        """Return whether there is room now.

        If no other text waits for a commit, any piece fits, because no commit would make more room.
        """
        if not self._taken_bytes and not self.ready:
            return True
        shared = self._shared
        return self.pending_bytes + size <= self._limits.buffer_bytes and shared.used < shared.limit

    def put(self, piece: str | wire.RawJSON, size: int) -> None:
        """Accept a piece that fits and has passed ``check``."""
        self._pieces.append(piece)
        if isinstance(piece, str):
            # The second half of a surrogate pair is not counted: the first half was counted.
            self.characters += len(piece) - ("\udc00" <= piece[:1] <= "\udfff")
        else:
            raw = piece.raw
            self.characters += len(raw) if raw.isascii() else len(raw.decode())
        self._grow(size)
        limits = self._limits
        self._room = min(
            limits.message_bytes,
            limits.buffer_bytes - self.pending_bytes,
            limits.stream_bytes - self._stream_bytes,
        )

    def take(self, position: int, *, last: bool) -> list[Segment]:
        """Return all pieces as segments to commit, from a position on.

        Half a surrogate pair at the end is kept, because the next piece may bring its other half.
        With ``last``, that half is returned too.
        """
        pieces, half = self._pieces, ""
        if pieces and not last:
            final = pieces[-1]
            if isinstance(final, str) and "\ud800" <= final[-1:] <= "\udbff":
                half = final[-1]
                pieces[-1] = final[:-1]
        segments = wire.encode_messages(pieces, position)
        pieces.clear()
        kept = _HALF_BYTES if half else 0
        if half:
            pieces.append(half)
        # Two joined halves take fewer bytes than two separate halves.
        if len(segments) == 1:  # true for nearly every commit
            size = len(segments[0].payload)
        else:
            size = sum(len(segment.payload) for segment in segments)
        if size + kept != self.pending_bytes:
            self._grow(size + kept - self.pending_bytes)
        self._taken_bytes = size
        return segments

    def release(self) -> None:
        """Free the room of the pieces that ``take`` returned, because they are committed now."""
        self.pending_bytes -= self._taken_bytes
        self._shared.used -= self._taken_bytes
        self._taken_bytes = 0

    def close(self) -> None:
        """Make ``push`` refuse every further message, so that the writer checks each message."""
        self._room = 0

    def drop(self) -> None:
        """Discard all pieces, including those in the commit that is running."""
        self._pieces.clear()
        self._grow(-self.pending_bytes, stored=True)
        self._taken_bytes = 0
        self._room = 0

    def _grow(self, size: int, *, stored: bool = False) -> None:
        self.pending_bytes += size
        self._shared.used += size
        if not stored:
            self._stream_bytes += size


def _is_half(piece: str | wire.RawJSON) -> bool:
    return isinstance(piece, str) and len(piece) == 1 and "\ud800" <= piece <= "\udbff"

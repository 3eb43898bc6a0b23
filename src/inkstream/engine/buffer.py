"""The messages that a writer has accepted but not committed, and their size."""

from __future__ import annotations

from typing import Final

from inkstream import wire
from inkstream._types import Segment, StreamState
from inkstream.engine.settings import Limits

FEW_PIECES: Final = 4
"""A writer seldom gets more pieces than this between two commits, unless it blocks the loop."""

_HALF_BYTES: Final = 3
"""The size of U+FFFD in bytes. U+FFFD replaces half a surrogate pair if no other half comes."""


class SharedRoom:
    """The buffer space that all writers of an engine share.

    Attributes:
        used: Bytes that all writers have accepted but not committed.
        limit: When ``used`` reaches this number of bytes, a writer with uncommitted text waits.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.used = 0
        self.limit = limit


class Buffer:
    """Keep the pieces of one writer: texts and JSON messages. The buffer never waits for room.

    Attributes:
        characters: The number of characters accepted so far, including those of JSON messages.
        pending_bytes: The number of bytes accepted but not committed, including the bytes in a
            running commit.
        look_at: When the buffer holds this many pieces, ``push`` refuses the next piece. The writer
            then looks whether the event loop has run.
        first_look: The value of ``look_at`` after each ``take``.
    """

    __slots__ = (
        "_halves",
        "_limits",
        "_pieces",
        "_room",
        "_shared",
        "_stream_bytes",
        "_stream_id",
        "_taken_bytes",
        "characters",
        "first_look",
        "look_at",
        "pending_bytes",
    )

    def __init__(self, state: StreamState, limits: Limits, shared: SharedRoom) -> None:
        self.characters = 0
        self.pending_bytes = 0
        self.first_look = self.look_at = FEW_PIECES
        self._stream_id = state.stream_id
        self._stream_bytes = state.size
        self._limits = limits
        self._shared = shared
        self._pieces: list[str | wire.RawJSON] = []
        self._halves = False
        """True if a piece may end with the first half of a surrogate pair."""
        self._taken_bytes = 0
        self._room = 0
        """The number of bytes that ``push`` may accept before a limit must be checked again."""

    @property
    def ready(self) -> bool:
        """True if the buffer has more to commit than half a surrogate pair."""
        pieces = self._pieces
        return bool(pieces) and (not self._halves or len(pieces) > 1 or not _is_half(pieces[0]))

    @property
    def busy(self) -> bool:
        """True if the writer must look whether the loop has run, before it puts the next piece."""
        return len(self._pieces) >= self.look_at

    def look_after(self, pieces: int) -> None:
        """Set ``look_at`` so that the buffer gets ``pieces`` more pieces before the next look."""
        self.look_at = len(self._pieces) + pieces

    def push(self, message: object) -> bool:
        """Accept text that needs no check and no wait. Return False for any other message."""
        if not isinstance(message, str):
            return False
        try:
            size = len(message) if message.isascii() else len(message.encode())
        except UnicodeEncodeError:  # the text has half a surrogate pair
            return False
        pieces, shared = self._pieces, self._shared
        if not 0 < size <= self._room or len(pieces) >= self.look_at or shared.used >= shared.limit:
            return False
        pieces.append(message)
        self.characters += len(message)
        self._room -= size
        self.pending_bytes += size
        self._stream_bytes += size
        shared.used += size
        return True

    def check(self, size: int) -> None:
        """Raise ``MessageTooLarge`` or ``StreamTooLarge`` if ``size`` more bytes can never fit.

        A piece that passes this check fits as soon as enough other text is committed.
        """
        self._limits.check_message(self._stream_id, size)
        self._limits.check_stream(self._stream_id, self._stream_bytes + size)

    def fits(self, size: int) -> bool:
        """Return whether there is room for ``size`` bytes now.

        If no text of this buffer waits for a commit, every piece fits. Without this rule, a piece
        that is larger than ``Limits.buffer_bytes`` would wait for ever.
        """
        if not self._taken_bytes and not self.ready:
            return True
        shared = self._shared
        return self.pending_bytes + size <= self._limits.buffer_bytes and shared.used < shared.limit

    def put(self, piece: str | wire.RawJSON, size: int) -> None:
        """Accept a piece that fits and has passed ``check``."""
        self._pieces.append(piece)
        if isinstance(piece, str):
            # The second half of a surrogate pair does not count, because the first half counts.
            self.characters += len(piece) - ("\udc00" <= piece[:1] <= "\udfff")
            self._halves = self._halves or "\ud800" <= piece[-1:] <= "\udbff"
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
        """Return all pieces as segments to commit. The first segment begins at ``position``.

        If the last piece ends with half a surrogate pair, the buffer keeps this half for the next
        piece, which may begin with the other half. With ``last``, the buffer keeps nothing.
        """
        pieces = self._pieces
        half = self._cut_half() if self._halves and not last else ""
        segments = wire.encode_messages(pieces, position)
        pieces.clear()
        self.look_at = self.first_look
        if self._halves:
            # If two halves of a surrogate pair were joined, they have fewer bytes than counted.
            size = sum([len(segment.payload) for segment in segments])
            self._grow(size + (_HALF_BYTES if half else 0) - self.pending_bytes)
            self._halves = bool(half)
            if half:
                pieces.append(half)
            self._taken_bytes = size
        else:
            self._taken_bytes = self.pending_bytes
        return segments

    def _cut_half(self) -> str:
        """Remove half a surrogate pair from the end of the last piece, and return this half."""
        pieces = self._pieces
        final = pieces[-1] if pieces else ""
        if not isinstance(final, str) or not "\ud800" <= final[-1:] <= "\udbff":
            return ""
        pieces[-1] = final[:-1]
        return final[-1]

    def release(self) -> None:
        """Free the room of the pieces that ``take`` returned last. These are committed now."""
        self.pending_bytes -= self._taken_bytes
        self._shared.used -= self._taken_bytes
        self._taken_bytes = 0

    def close(self) -> None:
        """Make ``push`` refuse every further message."""
        self._room = 0

    def drop(self) -> None:
        """Discard all pieces, and free the room of the pieces in the running commit too."""
        self._pieces.clear()
        self._halves = False
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

"""Which stream a URL below the mount names: routed on the raw path, decoded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.types import Scope

from inkstream._errors import InvalidStreamId
from inkstream._types import StreamId
from inkstream.durable.refusal import Refusal

RESERVED: Final = "__ds"


@dataclass(frozen=True, slots=True)
class Target:
    """A stream's URL: the mount's path and the rest, both as they were sent."""

    mount: str
    rest: str

    @property
    def path(self) -> str:
        """The whole path, as it was sent."""
        return self.mount + self.rest

    def stream_id(self) -> StreamId:
        """Return the stream that the rest of the path names.

        Raises:
            Refusal: None can be named so, or the path is reserved.
        """
        return _stream_id(self.rest)

    def other(self, url: str) -> StreamId:
        """Return the stream below the same mount that a path (or a URL) names.

        Raises:
            Refusal: It names none.
        """
        try:
            path = urlsplit(url).path
        except ValueError as exc:
            raise Refusal(400, "invalid_fork", "Stream-Forked-From is not a path.") from exc
        if not path.startswith(self.mount):
            raise Refusal(404, "not_found", "Stream-Forked-From names no stream of this server.")
        return _stream_id(path[len(self.mount) :])


def target_of(scope: Scope) -> Target:
    """Return what the request's URL names."""
    raw = scope.get("raw_path") or scope["path"].encode()
    path = bytes(raw).partition(b"?")[0].decode("latin-1")
    # root_path is decoded, raw_path is not: the prefix is skipped segment by segment.
    at = 0
    for _ in [part for part in scope.get("root_path", "").split("/") if part]:
        at = path.find("/", at + 1)
        if at < 0:
            return Target(path, "")
    return Target(path[: at + 1], path[at + 1 :])


def _stream_id(rest: str) -> StreamId:
    try:
        decoded = unquote_to_bytes(rest).decode()
        stream_id = StreamId(decoded)
    except (UnicodeError, InvalidStreamId) as exc:
        raise Refusal(404, "not_found", "No stream can have this name.") from exc
    segments = decoded.split("/")
    if RESERVED in segments:
        raise Refusal(
            501,
            "subscriptions_not_supported",
            "Paths with __ds are reserved for subscriptions, which this server does not offer.",
        )
    if "." in segments or ".." in segments:
        raise Refusal(404, "not_found", "A stream's path has no dot segments.")
    return stream_id

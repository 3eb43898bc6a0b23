"""Find the stream id in a request's raw path, and decode the id exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.types import Scope

from inkstream._errors import InvalidStreamId
from inkstream._types import StreamId
from inkstream.durable.refusal import Refusal
from inkstream.http.asgi import Place, place_of

RESERVED: Final = "__ds"


@dataclass(frozen=True, slots=True)
class Target:
    """A stream's URL, as the client sent it."""

    place: Place

    @property
    def path(self) -> str:
        """The whole path, including the part that a proxy removed."""
        return self.place.prefix + self.place.mount + self.place.rest

    def stream_id(self) -> StreamId:
        """Return the stream id in the path. Raise ``Refusal`` if the id is invalid or reserved."""
        return _stream_id(self.place.rest)

    def other(self, url: str) -> StreamId:
        """Return the stream id in another URL below the same mount, or raise ``Refusal``."""
        try:
            path = urlsplit(url).path
        except ValueError as exc:
            raise Refusal(400, "invalid_fork", "Stream-Forked-From is not a path.") from exc
        # Behind a proxy that removes a prefix, a client sends the path with the prefix, and a
        # backend may send the path without it. So accept both paths.
        for mount in (self.place.prefix + self.place.mount, self.place.mount):
            if path.startswith(mount):
                return _stream_id(path[len(mount) :])
        raise Refusal(404, "not_found", "Stream-Forked-From is not the path of a stream here.")


def target_of(scope: Scope) -> Target:
    """Return the target of a request."""
    return Target(place_of(scope))


def _stream_id(rest: str) -> StreamId:
    try:
        decoded = unquote_to_bytes(rest).decode()
        stream_id = StreamId(decoded)
    except (UnicodeError, InvalidStreamId) as exc:
        raise Refusal(404, "not_found", "This is not a valid name of a stream.") from exc
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

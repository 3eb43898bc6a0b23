"""Limits of the protocol's mount: sizes, numbers and times."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

from inkstream._arguments import MOST_BYTES, check_count, check_seconds, check_type


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableSettings:
    """Limits for requests of the open protocol.

    Attributes:
        owner: Owner of all streams that are created over the protocol. An application can list the
            streams of this owner.
        max_streams: Largest number of streams of this ``owner``, including closed streams. Several
            processes that create streams at the same time may exceed this number. At this number,
            a PUT that would create a stream gets 429.
        body_bytes: Largest body of one request. A larger body gets 413, because each body is
            committed as a whole.
        bodies_bytes: Largest total size of the bodies that this process holds. A request whose body
            would exceed this total gets 503.
        body_s: How long a body may take to arrive. A slower body gets 408.
        long_poll_s: How long a long-poll waits for messages.
        live_s: How long an event stream lasts, up to a quarter more or less, before the client must
            reconnect.
        closed_polls_per_s: How many times a second, on average, one client may ask for more after
            the end of a closed stream. Further requests get 429.
        closed_poll_burst: How many times one client may ask, without a pause, for more after the
            end of a closed stream, before ``closed_polls_per_s`` limits the client.
    """

    owner: str = "durable-streams"
    max_streams: int = 100_000
    body_bytes: int = 4 * 1024 * 1024
    bodies_bytes: int = 64 * 1024 * 1024
    body_s: float = 30.0
    long_poll_s: float = 20.0
    live_s: float = 60.0
    closed_polls_per_s: float = 5.0
    closed_poll_burst: int = 100

    def __post_init__(self) -> None:
        check_type("DurableSettings.owner", self.owner, str, "a string")
        check_count("DurableSettings.max_streams", self.max_streams)
        check_count("DurableSettings.body_bytes", self.body_bytes, most=MOST_BYTES)
        check_count("DurableSettings.bodies_bytes", self.bodies_bytes)
        check_seconds("DurableSettings.body_s", self.body_s, zero=False)
        check_seconds("DurableSettings.long_poll_s", self.long_poll_s)
        check_seconds("DurableSettings.live_s", self.live_s)
        check_type("DurableSettings.closed_polls_per_s", self.closed_polls_per_s, Real, "a number")
        check_count("DurableSettings.closed_poll_burst", self.closed_poll_burst)

"""What the protocol's mount may cost, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

from inkstream._arguments import MOST_BYTES, check_count, check_kind, check_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableSettings:
    """Bound requests of the open protocol.

    Attributes:
        owner: Whose the streams are that are made over the protocol, so that they can be listed.
        max_streams: How many of them there may be, closed ones included; one more is answered 429.
        body_bytes: One request's body; a larger one is answered 413. It is committed as one.
        bodies_bytes: All bodies that this process reads and holds at once; one more is answered
            503.
        body_s: How long a body may take to arrive; then 408.
        long_poll_s: How long a long-poll waits for news.
        live_s: How long an event stream lives, a quarter more or less, before the client has to
            reconnect.
        closed_polls_per_s: How often, on the average, one client may ask what follows the end of
            a closed stream; answered 429 above that.
        closed_poll_burst: The same at once.
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
        check_kind("DurableSettings.owner", self.owner, str, "a string")
        check_count("DurableSettings.max_streams", self.max_streams)
        check_count("DurableSettings.body_bytes", self.body_bytes, most=MOST_BYTES)
        check_count("DurableSettings.bodies_bytes", self.bodies_bytes)
        check_seconds("DurableSettings.body_s", self.body_s, zero=False)
        check_seconds("DurableSettings.long_poll_s", self.long_poll_s)
        check_seconds("DurableSettings.live_s", self.live_s)
        check_kind("DurableSettings.closed_polls_per_s", self.closed_polls_per_s, Real, "a number")
        check_count("DurableSettings.closed_poll_burst", self.closed_poll_burst)

"""Checks whether this process can serve requests, for Kubernetes, load balancers and people."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any, Final

from inkstream._errors import StoreError
from inkstream.engine.engine import Engine

_TURNS_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """Whether this process works and can serve requests.

    Attributes:
        live: Whether the engine runs and the event loop is not blocked. If false, restart the
            process.
        ready: Whether the process is live and not draining, and a write succeeded in time. If
            false, send requests to other processes.
        reasons: Why the process is not live or not ready: ``"not_started"``, ``"stalled"``,
            ``"draining"``, ``"store_away"``, ``"store_slow"``.
        write_s: How many seconds the write took; ``None`` if the write failed or was not tried.
    """

    live: bool
    ready: bool
    reasons: tuple[str, ...] = ()
    write_s: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return these attributes as a JSON object that contains nothing secret."""
        return asdict(self)


NOT_STARTED: Final = Health(False, False, ("not_started",))


async def check_health(engine: Engine, within_s: float) -> Health:
    """Check an engine with a write that must be committed within ``within_s`` seconds."""
    if engine.condition.stalled_s() > _TURNS_WITHIN_S:
        return Health(False, False, ("stalled",))
    if engine.life.draining:
        return Health(True, False, ("draining",))
    clock = engine.clock
    began = clock.monotonic()
    try:
        async with asyncio.timeout(within_s):
            # A beat writes to the database, changes no stream, and works with any store.
            await engine.store.heartbeat(beat=True)
    except TimeoutError:
        return Health(True, False, ("store_slow",))
    except StoreError:
        return Health(True, False, ("store_away",))
    return Health(True, True, (), clock.monotonic() - began)

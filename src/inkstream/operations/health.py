"""Whether this process can serve: for Kubernetes, load balancers, and people."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any, Final

from inkstream._errors import StoreError
from inkstream.engine.engine import Engine

_TURNS_WITHIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """How this process is.

    Attributes:
        live: Its event loop turns and its engine runs. If not, restart it.
        ready: It can take requests: live, not draining, and a write works in time. If not, send
            requests elsewhere.
        reasons: Why it is not: ``"not_started"``, ``"stalled"``, ``"draining"``, ``"store_away"``,
            ``"store_slow"``.
        write_s: How long the write took; ``None`` if it did not succeed.
    """

    live: bool
    ready: bool
    reasons: tuple[str, ...] = ()
    write_s: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object; no word in it is secret."""
        return asdict(self)


NOT_STARTED: Final = Health(False, False, ("not_started",))


async def check_health(engine: Engine, within_s: float) -> Health:
    """Check an engine, by a write that must be committed in time."""
    if engine.condition.stalled_s() > _TURNS_WITHIN_S:
        return Health(False, False, ("stalled",))
    if engine.life.draining:
        return Health(True, False, ("draining",))
    clock = engine.clock
    began = clock.monotonic()
    try:
        async with asyncio.timeout(within_s):
            # A beat: it writes, changes nothing that matters, and any store has it.
            await engine.store.heartbeat(beat=True)
    except TimeoutError:
        return Health(True, False, ("store_slow",))
    except StoreError:
        return Health(True, False, ("store_away",))
    return Health(True, True, (), clock.monotonic() - began)

from __future__ import annotations

from typing import Any

import pytest

from inkstream.stores.postgres._lock_holders import LockHolders


class Connection:
    """A connection that has the process id ``pid`` for the driver, and ``here`` for the server."""

    def __init__(self, pid: int, here: int) -> None:
        self.pid = pid
        self.here = here

    def get_server_pid(self) -> int:
        return self.pid

    async def fetch(self, sql: str, pid: int, timeout: float) -> list[dict[str, Any]]:
        return [{"pid": 9, "application_name": "reports", "state": "active", "here": self.here}]


@pytest.mark.parametrize(
    ("here", "found"), [(2, "session 9 (reports, active) keeps a lock"), (7, None)]
)
async def test_a_pooler_hides_the_holder(here: int, found: str | None) -> None:
    """A pooler makes up process ids, so a query about such an id may find a wrong session."""
    assert await LockHolders().find(Connection(2, here), Connection(1, 1)) == found

"""Finds out which session holds the lock for which a statement waits."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

_log = logging.getLogger("inkstream")

SAY_AFTER_S: Final = 1.0
"""After this time without an answer, the store asks whether the statement waits for a lock."""
ASK_S: Final = 2.0
"""How long this question itself may take."""
_SAY_AGAIN_S: Final = 60.0

_HOLDERS: Final = """
SELECT b.pid, a.application_name, a.state, pg_backend_pid() AS here
FROM unnest(pg_blocking_pids($1)) AS b (pid) LEFT JOIN pg_stat_activity a ON a.pid = b.pid
"""


class LockHolders:
    """Finds the holders of locks, and logs the same holders at most once a minute."""

    def __init__(self) -> None:
        self._said: str | None = None
        self._said_at = 0.0

    async def find(self, asking: Any, waiting: Any) -> str | None:
        """Return which sessions block the statement of a connection; ``None`` if none is found.

        Args:
            asking: Another connection to the same server.
            waiting: The connection with the statement.
        """
        rows = await asking.fetch(_HOLDERS, waiting.get_server_pid(), timeout=ASK_S)
        # A pooler gives its clients process ids that differ from the server's.
        if not rows or rows[0]["here"] != asking.get_server_pid():
            return None
        sessions = sorted({(row["pid"], _session(row)) for row in rows})
        who = " and ".join(text for _, text in sessions)
        found = f"{who} {'keeps' if len(sessions) == 1 else 'keep'} a lock"
        now = time.monotonic()
        if found != self._said or now >= self._said_at + _SAY_AGAIN_S:
            self._said, self._said_at = found, now
            _log.warning("waiting for PostgreSQL: %s", found)
        return found


def _session(row: Any) -> str:
    if row["pid"] == 0:
        return "a prepared transaction"
    known = [text for text in (row["application_name"], row["state"]) if text]
    return f"session {row['pid']}" + (f" ({', '.join(known)})" if known else "")

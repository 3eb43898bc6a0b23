"""Executes LISTEN and NOTIFY for ``notifiers.postgres``, on the store's own connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from inkstream.stores.postgres._session import Session


class Channel:
    """One channel of notifications. ``name`` is its name in PostgreSQL."""

    def __init__(
        self, name: str, session: Session | None, send: Callable[[str, str], Awaitable[None]]
    ) -> None:
        self.name = name
        self._session = session
        self._send = send
        self._on_payload: Callable[[str], None] | None = None
        self._on_listening: Callable[[], None] | None = None

    async def listen(
        self, on_payload: Callable[[str], None], on_listening: Callable[[], None]
    ) -> bool:
        """Begin to call ``on_payload``; return False if there is no connection to listen on.

        ``on_listening`` is called whenever this channel begins to listen on a connection.
        Notifications that were sent before this moment may be lost.
        """
        if self._session is None:
            return False
        self._on_payload, self._on_listening = on_payload, on_listening
        await self._session.attach(self._begin)
        return True

    async def unlisten(self) -> None:
        """Stop calling ``on_payload``."""
        if self._session is not None and self._on_payload is not None:
            self._on_payload = self._on_listening = None
            await self._session.detach(self._begin, self._end)

    async def send(self, payload: str) -> None:
        """Notify all listeners. Raise ``StoreError`` if the notification cannot be sent."""
        await self._send(self.name, payload)

    async def _begin(self, connection: asyncpg.Connection[Any]) -> None:
        try:
            await connection.add_listener(self.name, self._receive)
        except asyncpg.ReadOnlySQLTransactionError:
            return  # a standby: readers poll until the session finds a server that takes writes
        if self._on_listening is not None:
            self._on_listening()

    async def _end(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.remove_listener(self.name, self._receive)

    def _receive(self, connection: object, pid: int, channel: str, payload: object) -> None:
        if self._on_payload is not None:
            self._on_payload(str(payload))

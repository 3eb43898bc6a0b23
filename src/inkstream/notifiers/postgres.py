"""Sends hints between processes with PostgreSQL's ``LISTEN`` and ``NOTIFY``.

The first line of a payload is the version ``1`` and the sender's token, which may be empty. Each
further line is the id of a stream. A payload without ids means that any stream may have changed. A
payload in an unknown format, for example from another version of inkstream, has the same meaning.

A hint is sent after the commit that it announces, in a second transaction. PostgreSQL holds a lock
of the whole server while it commits a transaction with a notification. If a commit of text had the
notification, other commits with a notification would have to wait until the text is on disk.

If a change belongs to an application's transaction, the store sends the hint in this transaction,
because inkstream cannot see when the transaction commits.
"""
# ruff: noqa: D102  (abc.Notifier documents the methods)

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection
from typing import Final, Protocol

from inkstream._errors import InvalidStreamId, StoreError
from inkstream._types import StreamId

_log = logging.getLogger("inkstream")

_VERSION: Final = "1"

_MAX_BYTES: Final = 7900
"""The maximum size of a payload. PostgreSQL refuses a payload of 8,000 bytes or more."""

_MAX_NAMES: Final = 300


class Channel(Protocol):
    """Sends and receives payloads of notifications."""

    async def listen(
        self, on_payload: Callable[[str], None], on_listening: Callable[[], None]
    ) -> bool:
        """Begin to call ``on_payload`` for each payload; return False if that is impossible.

        ``on_listening`` is called whenever listening begins, also after a reconnection.
        """

    async def unlisten(self) -> None:
        """Stop calling ``on_payload``."""

    async def send(self, payload: str) -> None:
        """Send a payload to all listeners. Raise ``StoreError`` if the payload cannot be sent."""


class HasChannel(Protocol):
    """The members of ``PostgresStore`` that ``PostgresNotifier`` uses."""

    @property
    def channel(self) -> Channel:
        """The channel of the store's database and schema."""


class PostgresNotifier:
    """Send hints to other processes through the connections of a ``PostgresStore``.

    If the store has no connection that listens (see its argument ``listener_url``), no hint
    arrives. This process then learns only from its polls what other processes changed.
    """

    def __init__(self, store: HasChannel) -> None:
        self._channel = store.channel
        self._token = secrets.token_urlsafe(6)
        self._on_hint: Callable[[Collection[StreamId] | None], None] | None = None

    async def open(self, on_hint: Callable[[Collection[StreamId] | None], None]) -> None:
        self._on_hint = on_hint
        if not await self._channel.listen(self._receive, self._listening):
            _log.info("no direct connection to PostgreSQL: streams written elsewhere are polled")

    async def notify(self, stream_ids: Collection[StreamId]) -> None:
        if not stream_ids:
            return
        try:
            await self._channel.send(encode_hint(self._token, stream_ids))
        except StoreError as exc:
            _log.debug("a hint was lost: %r", exc)

    def watch(self, watching: bool) -> None:
        """Do nothing, because it costs nothing to listen until a hint comes."""

    async def close(self) -> None:
        self._on_hint = None
        await self._channel.unlisten()

    def _receive(self, payload: str) -> None:
        token, stream_ids = decode_hint(payload)
        if self._on_hint is not None and token != self._token:
            self._on_hint(stream_ids)

    def _listening(self) -> None:
        if self._on_hint is not None:
            self._on_hint(None)


def encode_hint(token: str, stream_ids: Collection[StreamId]) -> str:
    """Return a payload with the ids of the streams, or if these do not fit, without ids."""
    if len(stream_ids) <= _MAX_NAMES:
        payload = "\n".join((_VERSION + token, *stream_ids))
        if len(payload.encode()) <= _MAX_BYTES:
            return payload
    return _VERSION + token


def decode_hint(payload: str) -> tuple[str, tuple[StreamId, ...] | None]:
    """Return the sender's token, and the streams' ids or ``None`` (any stream may have changed)."""
    if not payload.startswith(_VERSION):
        return "", None
    token, *names = payload.removeprefix(_VERSION).split("\n")
    try:
        return token, tuple(StreamId(name) for name in names) or None
    except InvalidStreamId:
        return token, None

"""Hints between processes over PostgreSQL's ``LISTEN`` and ``NOTIFY``.

A payload is the version ``1``, the sender's token (may be empty), and the streams' ids, one per
line. A payload without ids means that any stream may have changed. A payload in an unknown format
means the same: during a deploy another version of inkstream may send such a payload, and any role
of the database can send one.

A hint is sent after the commit of its streams, in a transaction of its own. PostgreSQL locks
the whole server while a transaction with a notification commits, and a commit of text must not hold
that lock while it is written to disk.
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
    """Sends and receives payloads."""

    async def listen(
        self, on_payload: Callable[[str], None], on_listening: Callable[[], None]
    ) -> bool:
        """Begin to call ``on_payload``, and ``on_listening`` after each (re)connection."""

    async def unlisten(self) -> None:
        """Stop calling ``on_payload``."""

    async def send(self, payload: str) -> None:
        """Send a payload to all listeners. Raises ``StoreError`` if that failed."""


class HasChannel(Protocol):
    """A store with a channel: ``PostgresStore``."""

    @property
    def channel(self) -> Channel:
        """The channel of the store's database and schema."""


class PostgresNotifier:
    """Send hints to other processes through the store's own connections.

    Behind a transaction pooler, without ``listener_url``, no hint arrives. Readers then rely on
    polling.

    Args:
        store: The ``PostgresStore`` whose streams the hints are about.
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
        """Do nothing, because listening costs nothing until a hint comes."""

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
    """Return a payload with the ids of the streams, or without ids if there are too many."""
    if len(stream_ids) <= _MAX_NAMES:
        payload = "\n".join((_VERSION + token, *stream_ids))
        if len(payload.encode()) <= _MAX_BYTES:
            return payload
    return _VERSION + token


def decode_hint(payload: str) -> tuple[str, tuple[StreamId, ...] | None]:
    """Return the sender's token and the streams; ``None`` if any stream may have changed."""
    if not payload.startswith(_VERSION):
        return "", None
    token, *names = payload.removeprefix(_VERSION).split("\n")
    try:
        return token, tuple(StreamId(name) for name in names) or None
    except InvalidStreamId:
        return token, None

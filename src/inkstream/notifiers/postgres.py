"""Hints between processes over PostgreSQL's ``LISTEN`` and ``NOTIFY``.

A payload is the version ``1``, the sender's token (may be empty), and the streams' ids, a line
each; no ids mean: any stream. During a deploy another version may send a payload that this one does
not know, and any role of the database may send anything: that, too, means any stream.

It is sent after the commit, in a transaction of its own: a notification takes a lock on the whole
server for as long as its transaction takes to commit, and must not hold it while a batch goes to
disk.
"""
# ruff: noqa: D102  (what the methods promise stands in abc.Notifier)

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
"""PostgreSQL refuses a payload of 8,000 bytes."""

_MAX_NAMES: Final = 300


class Channel(Protocol):
    """It carries the payloads."""

    async def listen(
        self, on_payload: Callable[[str], None], on_listening: Callable[[], None]
    ) -> bool:
        """Begin to call; ``on_listening`` each time that listening begins anew."""

    async def unlisten(self) -> None:
        """Stop calling."""

    async def send(self, payload: str) -> None:
        """Send to all that listen; raises ``StoreError`` if that failed."""


class HasChannel(Protocol):
    """A store with a channel: ``PostgresStore``."""

    @property
    def channel(self) -> Channel:
        """The channel of its database and schema."""


class PostgresNotifier:
    """Tell other processes through the store's own connections.

    Where there is nothing to listen on (a transaction pooler, and no ``listener_url``) no hint
    ever comes, and readers rely on re-reading now and then.

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
        """Do nothing: a listener costs nothing until a hint comes."""

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
    """Return a payload that names the streams, or none where they are too many."""
    if len(stream_ids) <= _MAX_NAMES:
        payload = "\n".join((_VERSION + token, *stream_ids))
        if len(payload.encode()) <= _MAX_BYTES:
            return payload
    return _VERSION + token


def decode_hint(payload: str) -> tuple[str, tuple[StreamId, ...] | None]:
    """Return the sender's token and the streams; ``None`` where any may have changed."""
    if not payload.startswith(_VERSION):
        return "", None
    token, *names = payload.removeprefix(_VERSION).split("\n")
    try:
        return token, tuple(StreamId(name) for name in names) or None
    except InvalidStreamId:
        return token, None

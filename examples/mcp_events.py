"""An MCP server's `EventStore` on persistent streams: after a lost connection, clients resume."""

import uuid
from contextlib import aclosing, suppress
from typing import Any

from mcp.server import Server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import JSONRPCMessage, jsonrpc_message_adapter

from inkstream import InkstreamError, PersistentTextStreaming, StreamExists


class SessionEvents(EventStore):
    """The events of one session. Each session has its own store, and gets only its own events.

    The SDK's ``stream_id`` is the id of a JSON-RPC request, which every session counts from 1.
    """

    def __init__(self, streams: PersistentTextStreaming, group: str) -> None:
        self._streams = streams
        self._group = group
        self._log = f"mcp/{uuid.uuid4()}"

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        with suppress(StreamExists):
            await self._streams.create(self._log, kind="log", group=self._group)
        # A client's first event has no message (None), but only an id from which to resume.
        event = (
            message.model_dump(mode="json", by_alias=True, exclude_unset=True) if message else None
        )
        offset = await self._streams.post(self._log, {"of": stream_id, "event": event})
        return f"{offset}/{stream_id}"

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> None:
        offset, _, stream_id = last_event_id.partition("/")
        with suppress(InkstreamError):  # the id of another session: there is nothing to replay
            async with aclosing(self._streams.follow(self._log, offset)) as following:
                async for item in following:  # the missed events, and then new events
                    match item:
                        case {"of": of, "event": dict(event)} if of == stream_id:
                            message = jsonrpc_message_adapter.validate_python(event)
                            event_id = f"{following.offset}/{stream_id}"
                            await send_callback(EventMessage(message, event_id))
                            if "method" not in event:
                                return  # this was the result, which is the last event


class ResumableSessions(StreamableHTTPSessionManager):
    """The SDK's manager reads ``event_store`` once for each session, and gets a new store."""

    def __init__(
        self, app: Server[Any], streams: PersistentTextStreaming, group: str = "mcp", **options: Any
    ):
        self._new_store = lambda: SessionEvents(streams, group)
        super().__init__(app, retry_interval=100, **options)

    event_store = property(lambda self: self._new_store(), lambda self, store: None)

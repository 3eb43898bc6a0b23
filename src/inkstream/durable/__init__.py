"""The open Durable Streams protocol. ``app.DurableStreams`` is its ASGI app."""

from inkstream.durable.settings import DurableSettings
from inkstream.http.asgi import Authorize

__all__ = ["Authorize", "DurableSettings"]

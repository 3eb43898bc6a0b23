"""The open Durable Streams protocol, over any engine: ``app.DurableStreams`` is its ASGI app."""

from inkstream.durable.app import Authorize
from inkstream.durable.settings import DurableSettings

__all__ = ["Authorize", "DurableSettings"]

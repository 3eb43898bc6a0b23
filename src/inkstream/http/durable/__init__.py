"""The open Durable Streams protocol, over any engine: ``app.DurableStreams`` is its ASGI app."""

"""Calls a mount for the Durable Streams protocol without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from inkstream.durable.app import DurableStreams

JSON: Final = {"content-type": "application/json"}
TEXT: Final = {"content-type": "text/plain"}


@asynccontextmanager
async def client_of(app: DurableStreams) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://durable.example") as client:
        yield client


def producing(seq: int, name: str = "p", epoch: int = 0) -> dict[str, str]:
    return {"producer-id": name, "producer-epoch": str(epoch), "producer-seq": str(seq)}

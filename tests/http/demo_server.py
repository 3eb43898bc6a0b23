"""Runs the demo in a process of its own, and sends requests to it as a browser does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx

from tests.http.sse import Heard, Parser

_MAIN = "from inkstream.cli import main; main()"


class Demo:
    """A demo server that can be killed and started again on the same port and database."""

    def __init__(self, database: Path, environment: dict[str, str] | None = None) -> None:
        self.url = ""
        self._database = database
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")
        } | (environment or {})
        self._process: Process | None = None

    async def start(self) -> None:
        """Start the server. When this method returns, the server answers at ``url``."""
        port = self.url.rstrip("/").rpartition(":")[2] or "0"
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _MAIN, "demo", "--json", "--port", port),
            *("--database", f"sqlite:///{self._database}"),
            stdin=DEVNULL,
            stdout=PIPE,
            env=self._environment,
        )
        assert self._process.stdout is not None
        told = json.loads(await self._process.stdout.readline())
        assert told["pid"] == self._process.pid, "the server must be the started process"
        self.url = told["url"]

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def terminate(self) -> int:
        assert self._process is not None
        self._process.terminate()
        await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode


class Visitor:
    """Sends a browser's requests to one conversation of the demo."""

    def __init__(self, client: httpx.AsyncClient, conversation: str) -> None:
        self._client = client
        self.base = f"/c/{conversation}"

    @classmethod
    async def arrive(cls, client: httpx.AsyncClient) -> Visitor:
        """Follow the redirect of the front page to the newest conversation."""
        response = await client.get("/")
        assert response.status_code == 303
        return cls(client, response.headers["location"].removeprefix("/c/"))

    async def ask(self, prompt: str) -> httpx.Response:
        return await self._client.post(f"{self.base}/messages", json={"prompt": prompt})

    async def stream_of(self, prompt: str) -> str:
        response = await self.ask(prompt)
        assert response.status_code == 202, response.text
        return str(response.json()["stream"])

    async def messages(self) -> list[Any]:
        response = await self._client.get(f"{self.base}/messages", params={"format": "json"})
        return list(response.json()["parts"])

    async def snapshot(self, stream: str) -> dict[str, Any]:
        response = await self._client.get(
            f"{self.base}/streams/{stream}", params={"format": "json"}
        )
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def stop(self, stream: str) -> int:
        return (await self._client.post(f"{self.base}/streams/{stream}/stop")).status_code

    async def follow(
        self,
        stream: str | None,
        heard: Heard,
        until: Callable[[Heard], bool] = lambda heard: False,
    ) -> None:
        """Follow an answer, or the list of messages if ``stream`` is ``None``.

        Continue after the last event of ``heard``. Return at the end of the stream, or when
        ``until`` returns true.
        """
        path = f"{self.base}/messages" if stream is None else f"{self.base}/streams/{stream}"
        headers = {"last-event-id": heard.last_id} if heard.last_id else {}
        parser = Parser(last_id=heard.last_id)
        async with self._client.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200
            async for data in response.aiter_bytes():
                for event in parser.feed(data):
                    heard.take(event)
                if until(heard):
                    return


@contextlib.asynccontextmanager
async def demo_server(
    database: Path, environment: dict[str, str] | None = None
) -> AsyncIterator[tuple[Demo, httpx.AsyncClient]]:
    demo = Demo(database, environment)
    await demo.start()
    client = await asyncio.to_thread(httpx.AsyncClient, base_url=demo.url, timeout=10)
    try:
        async with client:
            yield demo, client
    finally:
        await demo.kill()

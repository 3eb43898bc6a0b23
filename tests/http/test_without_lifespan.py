"""Servers without a lifespan, as in docs/servers.md: the message in the log, and the workaround."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from inkstream import NotRunning, PersistentTextStreaming
from tests.http.asgi import ask

DOCUMENT = (Path(__file__).parents[2] / "docs" / "servers.md").read_text()


async def test_the_log_names_the_solution(caplog: pytest.LogCaptureFixture) -> None:
    """A request to ``asgi`` raises an error that names the solution. Servers log such errors.

    A request to ``durable_streams`` gets 500, and inkstream itself logs the error.
    """
    streams = PersistentTextStreaming("memory://")
    with pytest.raises(NotRunning, match=r"lifespan=streams\.lifespan.*--lifespan off"):
        await ask(streams.asgi(allow_anonymous=True), "/s")
    assert (await ask(streams.durable_streams(allow_anonymous=True), "/s")).status == 500
    assert "--lifespan off" in caplog.text


async def test_documented_wrapper_starts_once() -> None:
    code = re.search(r"```python\n(import asyncio\n.*?class Started.*?)```", DOCUMENT, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    streams = PersistentTextStreaming("memory://")
    app = names["Started"](streams.asgi(allow_anonymous=True), streams)
    try:
        answers = await asyncio.gather(*[ask(app, "/absent") for _ in range(3)])
        assert {answer.status for answer in answers} == {404}
        name = await streams.create()
        streams.start(name, ["one ", "two"])
        assert (await ask(app, f"/{name}")).heard.text == "one two"
    finally:
        await streams.__aexit__(None, None, None)
    with pytest.raises(NotRunning):
        await streams.create()

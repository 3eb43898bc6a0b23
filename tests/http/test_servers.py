from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.http import hostile
from tests.http.client import Broken, fetch, post, requesting
from tests.http.servers import Server, serving

SERVERS = ("uvicorn", "hypercorn", "granian")
MIDDLEWARE = ("", "base", "gzip cors")
GZIP = {"accept-encoding": "gzip"}


@pytest.fixture(
    scope="module",
    params=[(server, stack) for server in SERVERS for stack in MIDDLEWARE],
    ids=lambda param: f"{param[0]}-{param[1].replace(' ', '+') or 'bare'}",
)
def setting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    server, stack = request.param
    directory: Path = tmp_path_factory.mktemp(server)
    environment = {"TEST_MIDDLEWARE": stack, "TEST_FASTAPI": "yes"}
    with serving(directory, server=server, environment=environment) as running:
        yield running, stack


@pytest.fixture
def port(setting: tuple[Server, str]) -> int:
    return setting[0].port


async def started(port: int, stream_id: str | None = None) -> str:
    """Start a stream that gets its text through ``say``, and return the stream's id."""
    query = f"&id={quote(stream_id, safe='')}" if stream_id else ""
    created: str = (await post(port, f"/create?start=1{query}"))["id"]
    return created


async def say(port: int, stream_id: str, *items: Any) -> None:
    await post(port, f"/say/{quote(stream_id, safe='')}", items)


@pytest.mark.parametrize("place", ["/live/", "/streams/", "/api/streams/"])
async def test_each_piece_is_live_and_a_reconnect_misses_none(port: int, place: str) -> None:
    """G2, G5: the application's own route, a mount, and FastAPI's router each send live pieces."""
    name = await started(port)
    async with requesting(port, place + name, headers=GZIP) as first:
        assert first.status == 200
        assert first.headers["content-type"] == "text/event-stream"
        assert "content-encoding" not in first.headers
        await say(port, name, "one ")
        await first.until(lambda: first.heard.text == "one ")
    last = {"last-event-id": first.heard.last_id}
    async with requesting(port, place + name, headers=last) as second:
        await say(port, name, "two ", {"three": 3})
        await second.until(lambda: second.heard.objects)
        assert second.heard.text == "two "
        await say(port, name, {"end": "done"})
        await second.rest()
    assert second.heard.end is not None
    assert second.heard.end["status"] == "done"
    seen = await fetch(port, place + name, headers={"last-event-id": second.heard.last_id})
    assert (seen.status, seen.body) == (204, b"")


async def test_hostile_text_comes_back_from_every_format(
    port: int, setting: tuple[Server, str]
) -> None:
    """G11: ``events``, ``json`` and ``text`` return difficult text unchanged.

    Only half a surrogate pair changes: it becomes U+FFFD.
    """
    name = await started(port)
    async with requesting(port, f"/streams/{name}") as live:
        for number, piece in enumerate(hostile.PIECES, 1):
            await say(port, name, piece)
            # The test waits, so that the server commits and sends each piece alone.
            shown = hostile.text_of(hostile.PIECES[:number])
            await live.until(lambda shown=shown: live.heard.text == shown)
        await say(port, name, hostile.OBJECT, hostile.LONE, {"end": "done"})
        await live.rest()
    expected = hostile.TEXT + hostile.LONE_TEXT
    stored = await fetch(port, f"/streams/{name}")
    for answer in (live, stored):
        assert answer.heard.text == expected
        assert answer.heard.objects == [hostile.OBJECT]
        assert answer.heard.end is not None
    snapshot = await fetch(port, f"/streams/{name}?format=json", headers=GZIP)
    assert snapshot.json["parts"] == [hostile.TEXT, hostile.OBJECT, hostile.LONE_TEXT]
    text = await fetch(port, f"/streams/{name}?format=text", headers=GZIP)
    if "base" in setting[1]:
        assert text.status == 406
    else:
        assert text.body == expected.encode()


@pytest.mark.parametrize("end", ["done", "error"])
async def test_text_is_live_and_ends_cleanly_only_when_done(
    port: int, setting: tuple[Server, str], end: str
) -> None:
    """G5: if a middleware makes a broken response look complete, the server refuses ``text``."""
    name = await started(port)
    await say(port, name, "half ")
    async with requesting(port, f"/streams/{name}?format=text", headers=GZIP) as answer:
        if "base" in setting[1]:
            assert answer.status == 406
            return
        await answer.until(lambda: answer.body == b"half ")
        await say(port, name, "whole", {"end": end})
        if end == "done":
            assert await answer.rest() == b"half whole"
        else:
            with pytest.raises(Broken):
                await answer.rest()


async def test_a_disconnect_is_noticed_and_the_answer_continues(port: int) -> None:
    """G6, G9: the server notices that all clients of a stream have left. The answer continues."""
    name = (await post(port, "/create"))["id"]
    async with (
        requesting(port, f"/drive/{name}", method="POST", body=b"") as driver,
        requesting(port, f"/streams/{name}") as other,
    ):
        await say(port, name, "one ")
        await driver.until(lambda: driver.heard.text == "one ")
        await other.until(lambda: other.heard.text == "one ")
    async with asyncio.timeout(5):
        while (await fetch(port, "/readers")).body != b"0":
            pass
    await say(port, name, "two", {"end": "done"})
    after = await fetch(port, f"/streams/{name}")
    assert after.heard.text == "one two"
    assert after.heard.end is not None
    assert after.heard.end["status"] == "done"


async def test_stop_reaches_every_reader(port: int) -> None:
    name = await started(port)
    async with requesting(port, f"/api/streams/{name}") as reader:
        await say(port, name, "half")
        await reader.until(lambda: reader.heard.text == "half")
        stop = await fetch(port, f"/streams/{name}/cancel", method="POST", body=b"")
        assert stop.status == 204
        await reader.rest()
    assert reader.heard.end is not None
    assert reader.heard.end["status"] == "cancelled"


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", "ü ß?"])
async def test_any_id_survives_the_server_and_a_mount(port: int, name: str) -> None:
    await started(port, name)
    async with requesting(port, "/streams/" + quote(name, safe="")) as reader:
        await post(port, "/streams/" + quote(name, safe="") + "/cancel")
        await reader.rest()
        assert reader.status == 200
        assert reader.heard.end is not None
        assert reader.heard.end["status"] == "cancelled"


async def test_head_and_refusals_are_whole_answers(port: int, setting: tuple[Server, str]) -> None:
    name = (await post(port, "/create"))["id"]
    for format_ in ("events", "json"):
        head = await fetch(port, f"/streams/{name}?format={format_}", method="HEAD")
        assert head.status == 200
    gone = await fetch(port, f"/streams/{name}?offset=9999999999_000000001_AAAA")
    assert (gone.status, gone.json["code"]) == (410, "offset_gone")
    origin = {"origin": "https://page.example"}
    snapshot = await fetch(port, f"/streams/{name}?format=json", headers=origin)
    same = await fetch(
        port, f"/streams/{name}?format=json", headers={"if-none-match": snapshot.headers["etag"]}
    )
    assert (same.status, same.body) == (304, b"")
    if "cors" in setting[1]:
        assert snapshot.headers["access-control-allow-origin"] == "https://page.example"

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import httpx
import pytest

from inkstream.demo.offline import OfflineResponder
from inkstream.demo.responder import ChatMessage
from tests.http.demo_server import Visitor, demo_server
from tests.http.provider import delta, playing_provider
from tests.http.sse import Heard

QUESTION = "What is an offset, and how does a reader go on from one?"


async def test_g2_two_panes_agree_after_a_reload(tmp_path: Path) -> None:
    async with demo_server(tmp_path / "demo.db") as (_, client):
        one = await Visitor.arrive(client)
        two = await Visitor.arrive(client)
        listed = Heard()
        listening = asyncio.create_task(two.follow(None, listed, lambda h: len(h.objects) == 2))
        stream = await one.stream_of(QUESTION)
        await listening
        assert listed.objects == [
            {"role": "user", "text": QUESTION},
            {"role": "assistant", "stream": stream},
        ]

        left, right = Heard(), Heard()
        following = asyncio.create_task(one.follow(stream, left))
        await two.follow(stream, right, lambda heard: len(heard.text) > 40)
        await asyncio.gather(following, two.follow(stream, right))
        assert left.text == right.text
        assert left.end == right.end
        assert left.end is not None
        assert left.end["status"] == "done"
        snapshot = await one.snapshot(stream)
        assert snapshot["parts"] == [left.text]


async def test_g6_stop_ends_the_answer_in_both_panes(tmp_path: Path) -> None:
    async with (
        playing_provider(delta("half an ans")) as provider,
        demo_server(tmp_path / "demo.db", provider.environment) as (_, client),
    ):
        visitor = await Visitor.arrive(client)
        stream = await visitor.stream_of("Go on for ever.")
        heard = Heard()
        await visitor.follow(stream, heard, lambda heard: heard.text != "")
        assert (await visitor.ask("Another?")).status_code == 409, "only one answer at a time"
        assert await visitor.stop(stream) == 204
        await visitor.follow(stream, heard)
        assert heard.end is not None
        assert heard.end["status"] == "cancelled"
        assert (await visitor.snapshot(stream))["parts"] == [heard.text] == ["half an ans"]
        assert (await visitor.ask("Another?")).status_code == 202
        assert len(await visitor.messages()) == 4


async def test_g1_g7_seen_text_survives_kill_9(tmp_path: Path) -> None:
    async with (
        playing_provider(*[delta(f"word {n} ") for n in range(20)]) as provider,
        demo_server(tmp_path / "demo.db", provider.environment) as (demo, client),
    ):
        visitor = await Visitor.arrive(client)
        stream = await visitor.stream_of("Go on for ever.")
        heard = Heard()
        shown = asyncio.Event()

        def show(heard: Heard) -> bool:
            if heard.text:
                shown.set()
            return False

        reading = asyncio.create_task(visitor.follow(stream, heard, show))
        await shown.wait()
        await demo.kill()
        with pytest.raises(httpx.TransportError):
            await reading
        on_screen = heard.text
        assert not heard.end, "no event may say that the answer ended"

        await demo.start()
        await visitor.follow(stream, heard)
        assert heard.text.startswith(on_screen)
        assert heard.end is not None
        assert (heard.end["status"], heard.end["code"]) == ("timeout", "writer_lost")
        assert (await visitor.snapshot(stream))["parts"] == [heard.text]
        assert [entry["role"] for entry in await visitor.messages()] == ["user", "assistant"]
        assert (await Visitor.arrive(client)).base == visitor.base, "the front page leads back"
        assert (await visitor.ask("And now?")).status_code == 202


async def test_g8_server_with_open_readers_stops(tmp_path: Path) -> None:
    async with demo_server(tmp_path / "demo.db") as (demo, client):
        visitor = await Visitor.arrive(client)
        stream = await visitor.stream_of("xyzzy plugh")
        heard, listed = Heard(), Heard()
        both = asyncio.Semaphore(0)

        def tell(heard: Heard) -> bool:
            both.release()
            return False

        following = asyncio.create_task(visitor.follow(stream, heard, tell))
        listening = asyncio.create_task(visitor.follow(None, listed, tell))
        while not (heard.ids and listed.ids):
            await both.acquire()
        assert await demo.terminate() in (0, -signal.SIGTERM)
        await asyncio.gather(following, listening)
        assert heard.end is not None, "the answer must end before the server"
        assert listed.end is None, "the list must not end with the server"


async def test_other_streams_of_the_database_are_not_shown(tmp_path: Path) -> None:
    async with demo_server(tmp_path / "demo.db") as (_, client):
        visitor = await Visitor.arrive(client)
        stream = await visitor.stream_of("xyzzy plugh")
        other = str((await client.post("/conversations")).json()["id"])
        for path in (
            f"/c/{other}/streams/{stream}",
            f"/c/{stream}/messages",
            "/c/absent/messages",
            f"{visitor.base}/streams/absent",
        ):
            assert (await client.get(path, params={"format": "json"})).status_code == 404, path
        assert (await client.post(f"/c/{other}/streams/{stream}/stop")).status_code == 404
        assert (await client.post("/c/absent/messages", json={"prompt": "x"})).status_code == 404


async def test_page_is_complete_and_guarded(tmp_path: Path) -> None:
    async with demo_server(tmp_path / "demo.db") as (_, client):
        visitor = await Visitor.arrive(client)
        for path in (visitor.base, f"{visitor.base}/pane"):
            page = await client.get(path)
            assert page.status_code == 200
            assert page.headers["content-security-policy"].startswith("default-src 'self'")
            assert "http://" not in page.text
            parts = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
            assert "/page/style.css" in parts
            assert any(part.endswith(".js") for part in parts)
            for part in parts:
                assert (await client.get(part)).status_code == 200, part
        about = (await client.get("/about")).json()
        assert "prepared texts" in about["name"]
        assert "OPENAI_API_KEY" in about["note"]
        forged = {"sec-fetch-site": "cross-site"}
        assert (await client.post("/conversations", headers=forged)).status_code == 403
        for body in (b"", b"[]", b'{"prompt": 1}', b'{"prompt": " "}', b"\xff"):
            response = await client.post(f"{visitor.base}/messages", content=body)
            assert response.status_code == 400, body
        assert (await visitor.ask("x" * 8001)).status_code == 400
        assert await visitor.messages() == []


async def answer_to(question: str) -> str:
    pieces = OfflineResponder(pace=0).answer([ChatMessage("user", question)])
    return "".join([piece async for piece in pieces if isinstance(piece, str)])


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("How do I stop an answer?", "Press Stop"),
        ("What happens when the server is killed?", "Kill the server now"),
        ("What happens when I reload?", "Reload one pane"),
        ("Why is the sky blue?", "Reload one pane"),
    ],
)
async def test_prepared_answers_say_that_no_model_answers(question: str, said: str) -> None:
    answer = await answer_to(question)
    assert answer.startswith("I am not a model")
    assert said in answer

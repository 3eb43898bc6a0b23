from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from inkstream import PersistentTextStreaming
from inkstream.inspector.app import page

ROUTES = [
    ("GET", "", "look"),
    ("GET", "api/overview", "look"),
    ("GET", "api/streams", "look"),
    ("GET", "api/streams/live", "look"),
    ("GET", "api/streams/done/text", "text"),
    ("POST", "api/streams/live/stop", "stop"),
]


class Operator:
    """The actions that ``authorize`` allows, and the actions for which ``authorize`` was called."""

    def __init__(self) -> None:
        self.may: Any = {"look", "text", "stop"}
        self.asked: list[str] = []

    async def authorize(self, request: Request, action: str) -> bool:
        self.asked.append(action)
        return action in self.may


@pytest.fixture
def instance(tmp_path: Path) -> PersistentTextStreaming:
    return PersistentTextStreaming(f"sqlite:///{tmp_path / 's.db'}")


@pytest.fixture
def app(instance: PersistentTextStreaming, operator: Operator) -> Starlette:
    return Starlette(
        routes=[
            Mount("/ops/inspector", instance.inspector(authorize=operator.authorize)),
            Mount("/health", instance.health_app()),
        ]
    )


@pytest.fixture
async def streams(instance: PersistentTextStreaming) -> AsyncIterator[PersistentTextStreaming]:
    async with instance as streams:
        await streams.create("done", owner="ann", group="g")
        async with streams.write("done") as writer:
            await writer.append("secret text")
            writer.result = {"note": "secret result"}
        await streams.create("live", owner="bob")
        yield streams


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
async def client(
    streams: PersistentTextStreaming, app: Starlette
) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(("method", "path", "action"), ROUTES)
async def test_everything_is_denied_by_default(
    client: httpx.AsyncClient, operator: Operator, method: str, path: str, action: str
) -> None:
    operator.may = {"look", "text", "stop"} - {action}
    answer = await client.request(method, f"/ops/inspector/{path}")
    assert answer.status_code == 403
    assert "secret" not in answer.text
    operator.may = {action}
    assert (await client.request(method, f"/ops/inspector/{path}")).status_code == 200


async def test_only_true_allows(
    client: httpx.AsyncClient, streams: PersistentTextStreaming
) -> None:
    """An ``authorize`` that returns a user instead of ``True`` allows nothing."""

    async def wrong(request: Request, action: str) -> Any:
        return "ann"

    transport = httpx.ASGITransport(streams.inspector(authorize=wrong))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as other:
        for method, path, _ in ROUTES:
            assert (await other.request(method, f"/{path}")).status_code == 403
    with pytest.raises(TypeError):
        streams.inspector()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="authorize"):
        streams.inspector(authorize=lambda request, action: True)  # type: ignore[arg-type,return-value]


async def test_no_text_without_the_right(client: httpx.AsyncClient, operator: Operator) -> None:
    operator.may = {"look"}
    for path in ("api/streams", "api/streams/done", "api/overview"):
        assert "secret" not in (await client.get(f"/ops/inspector/{path}")).text
    operator.may = {"look", "text"}
    described = (await client.get("/ops/inspector/api/streams/done")).json()
    assert described["end"]["result"] == {"note": "secret result"}
    assert "secret text" in (await client.get("/ops/inspector/api/streams/done/text")).text


async def test_the_list_is_filtered(client: httpx.AsyncClient) -> None:
    async def ids(query: str) -> list[str]:
        answer = await client.get(f"/ops/inspector/api/streams?{query}")
        return [stream["stream_id"] for stream in answer.json()["streams"]]

    assert await ids("") == ["live", "done"]
    assert await ids("status=pending") == ["live"]
    assert await ids("owner=ann&group=g") == ["done"]
    assert await ids("id=done") == ["done"]
    for wrong in ("status=none", "cursor=-1", "cursor=²"):
        answer = await client.get(f"/ops/inspector/api/streams?{wrong}")
        assert answer.status_code == 400, wrong


async def test_an_id_that_is_not_utf8(client: httpx.AsyncClient) -> None:
    assert (await client.get("/ops/inspector/api/streams/%FF")).status_code == 400


async def test_stop(client: httpx.AsyncClient, streams: PersistentTextStreaming) -> None:
    foreign = {"cookie": "session=1", "origin": "https://evil.example"}
    path = "/ops/inspector/api/streams/live/stop"
    assert (await client.post(path, headers=foreign)).status_code == 403
    assert (await client.get(path)).status_code == 404
    assert (await client.post(path)).json() == {"cancelled": True}
    assert (await streams.read("live")).status == "cancelled"
    assert (await client.post(path.replace("live", "none"))).status_code == 404


async def test_the_page_makes_no_foreign_request(client: httpx.AsyncClient) -> None:
    """The page's security policy allows no foreign script, no foreign style and no other host."""
    answer = await client.get("/ops/inspector/")
    policy = answer.headers["content-security-policy"]
    (nonce,) = set(re.findall(r"'nonce-([^']+)'", policy))
    assert "default-src 'none'" in policy
    assert answer.text.count(f'nonce="{nonce}"') == 2
    assert nonce not in (await client.get("/ops/inspector/")).text
    assert re.search(r"https?:|//|innerHTML|style=\"| on\w+=\"", page()) is None
    bare = await client.get("/ops/inspector", follow_redirects=True)
    assert bare.url.path == "/ops/inspector/"


async def test_probes(client: httpx.AsyncClient, streams: PersistentTextStreaming) -> None:
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert ready.json()["write_s"] > 0
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/")).status_code == 404
    assert (await client.post("/health/ready")).status_code == 405
    streams.engine.life.draining = True
    health = await streams.health()
    assert (health.live, health.ready, health.reasons) == (True, False, ("draining",))


async def test_a_process_that_is_not_started_is_not_ready() -> None:
    streams = PersistentTextStreaming("memory://")
    assert (await streams.health()).reasons == ("not_started",)
    transport = httpx.ASGITransport(streams.health_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/live")).status_code == 503


async def test_a_read_only_database_is_not_ready(
    streams: PersistentTextStreaming, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G12: a process with a read-only database is live but not ready.

    So a load balancer sends requests to other processes, and no supervisor restarts this process.
    """
    from inkstream import StoreUnavailable

    async def away(**options: object) -> None:
        raise StoreUnavailable("read-only")

    monkeypatch.setattr(streams.engine.store, "heartbeat", away)
    health = await streams.health()
    assert (health.live, health.ready, health.reasons) == (True, False, ("store_away",))

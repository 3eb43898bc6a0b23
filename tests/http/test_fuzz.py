from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import ASGIApp

from inkstream import HTTPSettings, PersistentTextStreaming
from inkstream._types import StreamState
from inkstream.durable.settings import DurableSettings
from tests.durable.mount import TEXT, client_of
from tests.http.asgi import Call, Gate, ShiftedClock, scope_of

SECRET = "never for the denied"
LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=20)
OFFSETS = st.one_of(
    st.sampled_from(
        [
            *("-1", "0", "now", "", "0000000000000000_0000000000000000", "NaN", "1e9", "%00"),
            *("0000000001_000000001_AAAA", "0000000001_000000001_AAAA.end", "~", "a~b~c"),
            "9" * 5000,
        ]
    ),
    st.from_regex(
        r"[0-9a-v]{10}_[0-9a-v]{9}_[-_A-Za-z0-9]{4}(\.end)?(~[a-z0-9.]{0,9})?", fullmatch=True
    ),
    LATIN,
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("accept", "last-event-id", "if-none-match", "range", "origin", "cookie", "referer"),
            *("authorization", "sec-fetch-site", "content-type", "content-length", "host"),
            *("stream-ttl", "stream-expires-at", "stream-closed", "stream-seq", "expect"),
            *("producer-id", "producer-epoch", "producer-seq", "stream-forked-from"),
            *(
                "stream-fork-offset",
                "stream-fork-sub-offset",
                "transfer-encoding",
                "x-forwarded-for",
            ),
        ]
    ),
    st.one_of(
        OFFSETS.filter(lambda text: not set(text) & set("\r\n\0")),
        st.sampled_from(
            [
                *(
                    "*/*",
                    "text/event-stream",
                    "text/plain;q=0",
                    "application/json",
                    "a/b;q=x",
                    ";,;",
                ),
                *("*", 'W/"x"', "http://[::1", "null", "http://app.example", "true", "/s", "/../s"),
                *("-1", "18446744073709551616", "9" * 400, "1969-12-31T00:00:00Z", "chunked"),
                *("9999-12-31T23:59:59.999999999+23:59", "cross-site", "bytes=0-1", "100-continue"),
            ]
        ),
    ),
    max_size=5,
)
NAMES = st.one_of(
    st.sampled_from(
        ["secret", "absent", "follow", "%2e%2e", "__ds", "secret/cancel", "", "//", "%ff"]
    ),
    st.sampled_from(["secret/", "secret%2Fcancel", "secret%00", "a" * 3000, "secret/cancel/x"]),
    LATIN.map(lambda text: quote(text, safe="")),
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(
            ["offset", "live", "format", "cursor", "lastEventId", "evs_last_event_id", "x"]
        ),
        st.one_of(OFFSETS, st.sampled_from(["sse", "long-poll", "events", "json", "text", "png"])),
    ),
    max_size=3,
).map(lambda pairs: "&".join(f"{name}={quote(value)}" for name, value in pairs))
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
BODIES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [
            b'{"streams":{"secret":null}}',
            b'{"streams":{"secret":"' + b"9" * 999 + b'"}}',
            b'{"streams":[1]}',
            b"[[[" * 2000,
            b"[1,2,NaN]",
            b'{"streams":{"\\ud800":null}}',
            b"\xff\xfe[\x001\x00]\x00",
        ]
    ),
)


async def denied(request: Request, stream: StreamState, action: str) -> bool:
    return False


@contextmanager
def mounts() -> Iterator[tuple[asyncio.Runner, dict[str, ASGIApp]]]:
    """Create two streams with secret text. Yield mounts that allow everybody or nobody to read."""
    with asyncio.Runner() as runner:
        running = _running()
        yield runner, runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


@asynccontextmanager
async def _running() -> Any:
    clock = ShiftedClock()
    http = HTTPSettings(life_s=0.5)
    async with PersistentTextStreaming("memory://", clock=clock, http=http) as streams:
        gate = Gate()
        await streams.create("secret")
        streams.start("secret", gate)
        gate.say(SECRET)
        short = DurableSettings(long_poll_s=0.1, live_s=0.2)
        everybody = streams.durable_streams(allow_anonymous=True, settings=short)
        async with client_of(everybody) as client:
            await client.put("/s", headers=TEXT, content=SECRET.encode())
        yield {
            "main, everybody": streams.asgi(allow_anonymous=True),
            "main, nobody": streams.asgi(authorize=denied),
            "durable, everybody": everybody,
            "durable, nobody": streams.durable_streams(authorize=denied, settings=short),
        }


class Unread(Call):
    """A call that does not parse the events, because they may belong to several streams."""

    def hear(self, data: bytes) -> None:
        pass


async def ask(app: ASGIApp, scope: dict[str, Any], body: bytes) -> Call:
    """Make a request, and disconnect if the response has not ended 0.02 s after its headers."""
    call = Unread(app, scope, body)
    async with asyncio.timeout(8):
        await call.started()
        await asyncio.wait([call.task], timeout=0.02)
        call.disconnect()
        await asyncio.wait([call.task])
    return call


@pytest.mark.usefixtures("absent_at_once")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "mount", ["main, everybody", "main, nobody", "durable, everybody", "durable, nobody"]
)
def test_any_request(mount: str) -> None:
    """G9, G10: every request gets a response, whatever the request's headers, offset and id are."""
    with mounts() as (runner, apps):

        @given(METHODS, NAMES, QUERIES, HEADERS, BODIES)
        @example("POST", "secret/cancel", "", {"origin": "http://[::1", "cookie": "a=b"}, b"")
        @example("GET", "s", "offset=-1", {}, b"")
        @example("GET", "secret", "format=json", {}, b"")
        @example("POST", "follow", "", {}, b'{"streams":{"secret":null}}')
        @example(
            "POST", "follow", "", {"accept": "application/json"}, b'{"streams":{"secret":null}}'
        )
        def check(method: str, name: str, query: str, headers: dict[str, str], body: bytes) -> None:
            scope = scope_of(method, f"/{name}", headers, query=query)
            call = runner.run(ask(apps[mount], scope, body))
            assert call.task.exception() is None
            assert call.status < 500 or (call.status, "__ds" in name) == (501, True)
            if mount.endswith("nobody"):
                sent = b"".join(message.get("body", b"") for message in call.messages)
                assert SECRET.encode() not in sent
                assert call.status >= 400 or method in ("OPTIONS", "POST")

        check()

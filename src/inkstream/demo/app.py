"""The demo's application. Conversations are logs, and answers are text streams."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inkstream._errors import InkstreamError
from inkstream._types import StreamId
from inkstream.demo.responder import ChatMessage, Responder
from inkstream.engine.settings import Timing
from inkstream.facade.streaming import PersistentTextStreaming
from inkstream.http.bundle import browser_files
from inkstream.http.problems import Problem, problem_handler

OWNER: Final = "inkstream-demo"
"""The owner of the demo's streams, so that the demo shows no other streams of the database."""

CONVERSATIONS: Final = "inkstream-demo-conversations"
PROMPT_CHARACTERS: Final = 8000

_PAGE = files("inkstream.demo") / "page"
_POLICY = (
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'self'"
)


def demo_app(database: str, responder: Responder) -> Starlette:
    """Return the demo as an ASGI app."""
    # The request that creates an answer also starts the answer. If an answer stays pending for
    # 10 s, the server probably died before it started the answer.
    streams = PersistentTextStreaming(database, timing=Timing(start_within_s=10.0))
    chat = Chat(streams, responder)
    routes = [
        Route("/", chat.newest),
        Route("/about", chat.about),
        Route("/conversations", chat.new, methods=["POST"]),
        Route("/c/{conversation}", _html("index.html")),
        Route("/c/{conversation}/pane", _html("pane.html")),
        Route("/c/{conversation}/messages", chat.messages),
        Route("/c/{conversation}/messages", chat.ask, methods=["POST"]),
        Route("/c/{conversation}/streams/{stream}", chat.follow),
        Route("/c/{conversation}/streams/{stream}/stop", chat.stop, methods=["POST"]),
        Mount("/inkstream", browser_files()),
        Mount("/page", StaticFiles(packages=[("inkstream.demo", "page")])),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with streams:
            yield

    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(_Guard)],
        exception_handlers={InkstreamError: problem_handler},
    )


class Chat:
    """The routes of the conversations. All data of the conversations is stored in streams."""

    def __init__(self, streams: PersistentTextStreaming, responder: Responder) -> None:
        self._streams = streams
        self._responder = responder
        self._asking = asyncio.Lock()

    async def newest(self, request: Request) -> Response:
        """Redirect to the newest conversation."""
        page = await self._streams.list(owner=OWNER, group=CONVERSATIONS, limit=1)
        newest = page.streams[0].stream_id if page.streams else await self._create()
        return RedirectResponse(f"/c/{newest}", 303)

    async def new(self, request: Request) -> Response:
        """Begin a conversation."""
        return JSONResponse({"id": await self._create()}, 201)

    async def _create(self) -> StreamId:
        return await self._streams.create(kind="log", owner=OWNER, group=CONVERSATIONS)

    async def about(self, request: Request) -> Response:
        """Return the name and the note of the responder."""
        return JSONResponse({"name": self._responder.name, "note": self._responder.note})

    async def messages(self, request: Request) -> Response:
        """Follow the list of messages."""
        return self._streams.response(
            request, request.path_params["conversation"], owner=OWNER, group=CONVERSATIONS
        )

    async def ask(self, request: Request) -> Response:
        """Add a prompt and start its answer, unless another answer is still being written."""
        prompt = await _prompt_of(request)
        if isinstance(prompt, Problem):
            return prompt
        streams, conversation = self._streams, StreamId(request.path_params["conversation"])
        async with self._asking:
            turns = await self._turns(conversation)
            newest = await streams.list(owner=OWNER, group=conversation, limit=1)
            if any(not state.ended for state in newest.streams):
                return Problem(409, "answering", "The last answer is still being written.")
            stream_id = await streams.create(owner=OWNER, group=conversation)
            await streams.post(
                conversation,
                {"role": "user", "text": prompt},
                {"role": "assistant", "stream": stream_id},
            )
        source = functools.partial(self._responder.answer, [*turns, ChatMessage("user", prompt)])
        streams.start(stream_id, source)
        return JSONResponse({"stream": stream_id}, 202)

    async def _turns(self, conversation: StreamId) -> list[ChatMessage]:
        """Return the conversation so far, without answers that have no text."""
        body = await self._streams.read(conversation, owner=OWNER, group=CONVERSATIONS)
        entries = [part for part in body.parts if isinstance(part, Mapping)]
        ids = [str(entry["stream"]) for entry in entries if "stream" in entry]
        answers = await self._streams.read_many(ids, owner=OWNER)
        turns = []
        for entry in entries:
            if "stream" not in entry:
                turns.append(ChatMessage("user", str(entry["text"])))
                continue
            answer = answers.get(StreamId(str(entry["stream"])))
            if answer is not None and answer.text:
                turns.append(ChatMessage("assistant", answer.text))
        return turns

    async def follow(self, request: Request) -> Response:
        """Follow an answer."""
        return self._streams.response(
            request,
            request.path_params["stream"],
            owner=OWNER,
            group=request.path_params["conversation"],
        )

    async def stop(self, request: Request) -> Response:
        """Stop an answer."""
        await self._streams.cancel(
            request.path_params["stream"],
            owner=OWNER,
            group=request.path_params["conversation"],
        )
        return Response(status_code=204)


async def _prompt_of(request: Request) -> str | Problem:
    try:
        prompt = json.loads(await request.body())["prompt"].strip()
    except (ValueError, KeyError, TypeError, AttributeError):
        return Problem(400, "invalid", 'Send {"prompt": "…"}.')
    if not prompt or len(prompt) > PROMPT_CHARACTERS:
        return Problem(400, "invalid", f"A prompt must have 1 to {PROMPT_CHARACTERS} characters.")
    return str(prompt)


def _html(name: str) -> Callable[[Request], Awaitable[Response]]:
    page = (_PAGE / name).read_text(encoding="utf-8")

    async def show(request: Request) -> Response:
        StreamId(request.path_params["conversation"])
        return Response(page, media_type="text/html", headers={"cache-control": "no-cache"})

    return show


class _Guard:
    """Refuse changes by pages of other origins, and let the demo's pages load only its own files.

    The demo has no login, so every user of this computer may use the demo and its API key. But a
    page of another origin in the same browser must not use the demo.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        site = headers.get(b"sec-fetch-site", b"none")
        if scope["method"] not in ("GET", "HEAD") and site not in (b"same-origin", b"none"):
            await Problem(403, "cross_site", "Another origin sent this.")(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["content-security-policy"] = _POLICY
            await send(message)

        await self._app(scope, receive, send_with_policy)

"""The server of `inkstream serve`: the open protocol under `/v1/stream/`, and nothing else.

Worker processes import this module and read their configuration from one environment variable, so
that tokens and a database's password do not appear in a command line.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from inkstream._types import StreamState
from inkstream.cli.tokens import Rights, Tokens
from inkstream.durable.settings import DurableSettings
from inkstream.facade.streaming import PersistentTextStreaming
from inkstream.http.asgi import Authorize
from inkstream.http.problems import Problem

PATH: Final = "/v1/stream"
VARIABLE: Final = "INKSTREAM_SERVE_CONFIG"
FACTORY: Final = "inkstream.cli.standalone:from_environment"

_USER_TIMEOUT_MS: Final = 30_000
_EXPOSED: Final = (
    "etag",
    "location",
    "retry-after",
    "stream-next-offset",
    "stream-cursor",
    "stream-up-to-date",
    "stream-closed",
    "stream-ttl",
    "stream-expires-at",
    "stream-sse-data-encoding",
    "producer-epoch",
    "producer-seq",
    "producer-expected-seq",
    "producer-received-seq",
    "inkstream-status",
    "inkstream-code",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """The configuration of every worker process. ``tokens=None`` allows anonymous clients."""

    database: str
    tokens: str | None
    cors_origins: tuple[str, ...]
    long_poll_s: float
    max_streams: int

    def dump(self) -> str:
        """Return the configuration as text for the environment."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> ServeConfig:
        """Parse the text that ``dump`` returned."""
        fields = json.loads(text)
        return cls(**{**fields, "cors_origins": tuple(fields["cors_origins"])})


class BearerOnly:
    """Allow only requests with a known token, and keep the token's rights for ``_has_right``."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 to a request without a known token; pass every other request to the app."""
        if scope["type"] == "http":
            request = Request(scope)
            rights = self._tokens.rights(request.headers.get("authorization"))
            if rights is None:
                problem = Problem(
                    401,
                    "unauthorized",
                    "Send a valid bearer token.",
                    {"www-authenticate": "Bearer", "x-content-type-options": "nosniff"},
                )
                await problem(scope, receive, send)
                return
            request.state.rights = rights
        await self._app(scope, receive, send)


async def _has_right(request: Request, stream: StreamState, action: str) -> bool:
    rights: tuple[Rights, ...] = request.state.rights
    return any(right.allow(stream.stream_id, action) for right in rights)


def standalone_app(config: ServeConfig) -> Starlette:
    """Return the server's app."""
    streams = PersistentTextStreaming(config.database)
    authorize: Authorize | None = None
    middleware: list[Middleware] = []
    if config.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=config.cors_origins,
                allow_methods=["GET", "HEAD", "PUT", "POST", "DELETE"],
                allow_headers=["*"],
                expose_headers=_EXPOSED,
            )
        )
    if config.tokens is not None:
        authorize = _has_right
        middleware.append(Middleware(BearerOnly, tokens=Tokens.parse(config.tokens)))
    protocol = streams.durable_streams(
        authorize=authorize,
        allow_anonymous=config.tokens is None,
        settings=DurableSettings(long_poll_s=config.long_poll_s, max_streams=config.max_streams),
    )
    return Starlette(
        lifespan=streams.lifespan, middleware=middleware, routes=[Mount(PATH, protocol)]
    )


def from_environment() -> Starlette:
    """Return the app of a worker process."""
    return standalone_app(ServeConfig.load(os.environ[VARIABLE]))


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    On Linux, the socket's connections end if the client acknowledges no sent data for 30 s.

    Raises:
        OSError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Accepted connections inherit this option. Without it, the connection of a client that
            # has vanished would stay open for minutes.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        listener.bind((host, port))
        listener.listen(
            2048
        )  # clients that connect before the workers run must wait instead of being refused
        listener.set_inheritable(True)
    except BaseException:
        listener.close()
        raise
    return listener

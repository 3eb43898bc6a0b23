"""The response that follows a stream, for servers that call an application in a thread (WSGI).

The ASGI response runs on the event loop's thread, and this module takes its ASGI messages one at a
time. So no queue grows for a slow client.
"""

from __future__ import annotations

import asyncio
import errno
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Self

from starlette.types import ASGIApp, Message, Scope

from inkstream.http.formats import BODY_MAY_NOT_BREAK
from inkstream.sync._loop import LoopThread

StartResponse = Callable[..., object]


def environ_of(request: object) -> Mapping[str, Any]:
    """Return the WSGI environment of a request.

    Raises:
        TypeError: The value is neither a WSGI environment nor a request that has one.
    """
    # A Django request on ASGI has no environ, but its META has the same names.
    for given in (request, getattr(request, "environ", None), getattr(request, "META", None)):
        if isinstance(given, Mapping) and "REQUEST_METHOD" in given:
            return given
    raise TypeError(
        "request must be a WSGI environ, or a request of Flask or Django, not "
        f"{type(request).__module__}.{type(request).__qualname__}"
    )


def scope_of(environ: Mapping[str, Any]) -> Scope:
    """Return the ASGI scope for a WSGI environment (PEP 3333)."""
    headers = [
        (name[5:].replace("_", "-").lower().encode("latin-1"), str(value).encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": str(environ.get("SERVER_PROTOCOL", "HTTP/1.1")).rpartition("/")[2],
        "method": environ["REQUEST_METHOD"],
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": environ.get("PATH_INFO", "/"),
        "root_path": environ.get("SCRIPT_NAME", ""),
        "query_string": str(environ.get("QUERY_STRING", "")).encode("latin-1"),
        "headers": headers,
        "extensions": {BODY_MAY_NOT_BREAK: {}},
    }


class Exchange:
    """One ASGI response. Its methods run on the event loop."""

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._gone = asyncio.Event()
        self._handed = asyncio.Queue[Message | None](1)
        self._task = asyncio.get_running_loop().create_task(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._handed.put)
        finally:
            if not self._gone.is_set():
                await self._handed.put(None)

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def next(self) -> Message:
        """Return the next ASGI message. Raise the exceptions of the ASGI response.

        Raises:
            ConnectionResetError: The response broke off. The server must close the connection, so
                that the client notices.
        """
        message = await self._handed.get()
        if message is None:
            await self._task  # raises the response's exception
            # After this error, many servers close the connection without printing a traceback.
            raise ConnectionResetError(errno.ECONNRESET, "the stream's response broke off")
        return message

    async def close(self) -> None:
        """Disconnect, as a client does."""
        self._gone.set()
        self._task.cancel()
        await asyncio.wait((self._task,))
        if not self._task.cancelled():
            self._task.exception()  # marks the error as seen, because nobody awaits the task


class StreamAnswer:
    """Follow a stream from the request's offset. The method ``response`` returns this object.

    A view of Flask can return this object, because it is a WSGI application. For other frameworks,
    it is also an iterable of bytes: ``StreamingHttpResponse(answer, status=answer.status_code,
    headers=answer.headers)``. Under WSGI, the object occupies a thread (or greenlet) of the server
    while it follows the stream. The object can be sent only once, and the server closes it.

    Attributes:
        status_code: 200, or the status of a problem document; 204 if the client has seen the end;
            304 if the client has the same JSON.
        header_list: The headers as pairs of a name and a value.
    """

    def __init__(
        self, streams: object, thread: LoopThread, exchange: Exchange, start: Message
    ) -> None:
        self._streams = streams  # garbage collection of the instance would end this response
        self._thread = thread
        self._exchange = exchange
        # Some callers never close this object, such as test clients that look only at the status.
        # Without this finalizer, their exchanges would never end.
        self._dropped = weakref.finalize(self, thread.soon, exchange.close)
        self._dropped.atexit = False  # at exit, the loop ends before this call
        self._is_over = False
        self.status_code: int = start["status"]
        self.header_list: list[tuple[str, str]] = [
            (name.decode("latin-1").title(), value.decode("latin-1"))
            for name, value in start["headers"]
        ]

    @property
    def headers(self) -> dict[str, str]:
        """The headers, by name."""
        return dict(self.header_list)

    def __call__(
        self, environ: Mapping[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """Respond as a WSGI application."""
        status = HTTPStatus(self.status_code)
        start_response(f"{status.value} {status.phrase}", self.header_list)
        return self

    # There is no __next__, because Flask would treat this object as a mere body with status 200.
    def __iter__(self) -> Iterator[bytes]:
        """Yield the body as it arrives.

        Raises (while iterating):
            ConnectionResetError: The response broke off. The server must close the connection, so
                that the client notices.
        """
        while not self._is_over:
            body = self._take(self._thread.call(self._exchange.next()))
            if body:  # some servers treat an empty piece as the end
                yield body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Do the same as ``__iter__`` on another event loop, without blocking that loop."""
        while not self._is_over:
            body = self._take(await self._thread.acall(self._exchange.next()))
            if body:
                yield body

    def _take(self, message: Message) -> bytes:
        """Return the bytes of a message. Record whether the message is the last."""
        self._is_over = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    def close(self) -> None:
        """Stop following."""
        self._is_over = True
        self._dropped.detach()
        if self._thread.here:
            self._thread.call(self._exchange.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

"""The response that follows a stream, for servers that call an application in a thread (WSGI).

The ASGI response runs on the event loop's thread, and this module takes its ASGI messages one at a
time. So the body has the same bytes as in ASGI, and no queue grows for a slow client.
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
        """Return the next ASGI message.

        If the ASGI response raises an exception, this method raises the same exception.

        Raises:
            ConnectionResetError: The response broke off. The server must close the connection, so
                that the client notices.
        """
        message = await self._handed.get()
        if message is None:
            await self._task  # raises the response's exception
            # The error is the same as for a disconnect, because servers then close the connection
            # without printing a traceback.
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

    The object is a WSGI application, which a view of Flask can return. For other frameworks, the
    object is also an iterable of bytes with a status and headers: ``StreamingHttpResponse(
    answer, status=answer.status_code, headers=answer.headers)``. Under WSGI, the object occupies a
    thread (or greenlet) of the server while it follows the stream. The object can be sent only
    once, and the server closes it.

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
        # So the garbage collection of this object also ends its exchange.
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

    # There is no __next__, because Flask treats an object with __next__ as a mere body, and sends
    # status 200.
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
        """Yield the body as it arrives, on another event loop, without blocking that loop.

        Raises (while iterating):
            ConnectionResetError: The response broke off. The server must close the connection, so
                that the client notices.
        """
        while not self._is_over:
            body = self._take(await self._thread.acall(self._exchange.next()))
            if body:
                yield body

    def _take(self, message: Message) -> bytes:
        """Return the bytes of a message, and note whether it is the last."""
        self._is_over = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    def close(self) -> None:
        """Stop following."""
        self._is_over = True
        self._dropped.detach()
        if self._thread.here:
            self._thread.call(self._exchange.close())

    def __enter__(self) -> Self:
        """Return this object. The end of the ``with`` block closes it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop following."""
        self.close()

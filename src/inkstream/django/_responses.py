"""The response of a view that follows a stream, under WSGI and ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from inkstream.django._streams import streams
from inkstream.http.formats import Format
from inkstream.sync import StreamAnswer


class _Body:
    """A response's body for Django under ASGI.

    From a plain iterable, Django would collect the whole body before it sends anything.
    """

    def __init__(self, answer: StreamAnswer) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answer.__aiter__()

    def close(self) -> None:
        self._answer.close()


def stream_response(
    request: HttpRequest,
    stream_id: str,
    *,
    owner: str | None = None,
    group: str | None = None,
    format: str | Format | None = None,  # noqa: A002 - the word on the wire
    headers: Mapping[str, str] | None = None,
) -> StreamingHttpResponse:
    """Return the response that follows a stream from the request's offset; see docs/django.md.

    Under WSGI, the response occupies a thread while it follows the stream. Under ASGI, it does not.
    In an async view, use ``astream_response``.

    Args:
        request: The view's request.
        stream_id: The stream to follow. If it is absent, the response is a 404, after a short wait.
        owner: If the stream has another owner, the response is the same 404.
        group: If the stream has another group, the response is the same 404.
        format: See ``inkstream.sync.PersistentTextStreaming.response``.
        headers: Further headers of the response.
    """
    answer = streams.response(
        request, stream_id, owner=owner, group=group, format=format, headers=headers
    )
    body = _Body(answer) if isinstance(request, ASGIRequest) else answer
    response = StreamingHttpResponse(body, status=answer.status_code, headers=answer.headers)
    # Without this header, GZipMiddleware would delay events until its buffer is full.
    response.headers.setdefault("Content-Encoding", "identity")
    return response


async def astream_response(
    request: HttpRequest,
    stream_id: str,
    *,
    owner: str | None = None,
    group: str | None = None,
    format: str | Format | None = None,  # noqa: A002 - the word on the wire
    headers: Mapping[str, str] | None = None,
) -> StreamingHttpResponse:
    """Return what ``stream_response`` returns, without blocking an async view's event loop."""
    response: StreamingHttpResponse = await sync_to_async(stream_response, thread_sensitive=False)(
        request, stream_id, owner=owner, group=group, format=format, headers=headers
    )
    return response

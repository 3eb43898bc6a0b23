"""Responses for an application's own routes."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from inkstream._arguments import (
    check_kind,
    check_names,
)
from inkstream._errors import (
    InvalidInput,
    InvalidStreamId,
    ShuttingDown,
    TooManyStreams,
)
from inkstream._types import (
    StreamId,
    StreamState,
)
from inkstream.engine.generation import Source
from inkstream.http.crosssite import cross_site_problem
from inkstream.http.follow import Allow, Follow, requested_offset
from inkstream.http.formats import Format, check_format
from inkstream.http.many import FollowMany, ManyResponse, check_wanted
from inkstream.http.problems import Problem, problem_for
from inkstream.http.response import StreamResponse

if TYPE_CHECKING:
    pass

from inkstream.facade.calls import Calls, OnDisconnect, belongs, cancels

STREAM_ID_HEADER: Final = "stream-id"
"""The header with the stream's id, with which a client can return to the stream later."""

_UNRESERVED: Final = "!$&'()*+,;=:@/"


class Responses(Calls):
    """The part of ``PersistentTextStreaming`` that answers the application's own routes."""

    def response(
        self,
        request: Request,
        stream_id: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        format: str | Format | None = None,  # noqa: A002 - the word on the wire
        headers: Mapping[str, str] | None = None,
    ) -> StreamResponse:
        """Return the response that follows a stream from the request's offset; see docs/http.md.

        Args:
            request: The request. Its ``Accept``, ``Last-Event-ID``, ``?format=`` and ``?offset=``
                are used.
            stream_id: The stream. If the stream is absent, the response is a 404, after a short
                wait.
            owner: A stream of another owner gets the answer of an absent one.
            group: A stream of another group gets the answer of an absent one.
            format: ``"events"``, ``"text"`` or ``"json"``, overriding the request; or a format of
                ``inkstream.formats``, or a ``Format`` of your own.
            headers: Further headers of the response.
        """
        _check_request(request, format, owner, group)
        try:
            return self._respond(
                request, StreamId(stream_id), _allow(owner, group), format, headers
            )
        except InvalidStreamId as exc:
            return StreamResponse(problem_for(exc))

    def stream(
        self,
        request: Request,
        stream_id: str,
        source: Source,
        *,
        owner: str | None = None,
        group: str | None = None,
        on_disconnect: OnDisconnect = "continue",
        format: str | Format | None = None,  # noqa: A002 - the word on the wire
        headers: Mapping[str, str] | None = None,
    ) -> StreamResponse:
        """Start a stream unless it has started, and return the response that follows it.

        This method combines ``start`` and ``response`` in one request, for a page that starts its
        own answer. A request with a cookie must come from this site or ``allowed_origins``. If the
        stream cannot be started, the response is an error.
        """
        _check_request(request, format, owner, group)
        without_readers = cancels(on_disconnect)
        if without_readers and isinstance(format, Format) and not format.abort_stops:
            raise ValueError(
                "on_disconnect='cancel' is not for this format: its clients abort requests for "
                "many reasons, so an abort is not a Stop; leave it out, and cancel with "
                "streams.cancel"
            )
        problem = self.refusal(request)
        if problem is not None:
            return StreamResponse(problem)
        try:
            claimed = self.engine.starts.start_for_request(
                StreamId(stream_id),
                source,
                allow=lambda state: belongs(state, owner, group),
                cancel_without_readers=without_readers,
            )
        except (InvalidStreamId, ShuttingDown, TooManyStreams) as exc:
            return StreamResponse(problem_for(exc))
        return self._respond(
            request, StreamId(stream_id), _allow(owner, group), format, headers, claimed
        )

    def refusal(self, request: Request) -> Problem | None:
        """Return the 403 for a request that another site made with a user's cookie, else ``None``.

        Use it in your own routes that change something and know their user by a cookie. See
        ``allowed_origins``.
        """
        return cross_site_problem(request, self._allowed_origins)

    def response_many(
        self,
        request: Request,
        wanted: Mapping[str, str | None],
        *,
        owner: str | None = None,
        group: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return one response that follows many streams, for a route of your own.

        A client ``POST``s the list of streams; docs/http.md describes the answer. Each stream is
        found, checked and resumed separately. An absent or denied stream is refused inside the
        answer, and does not delay the others. The npm package uses a route of your own only if
        the answers of single streams name it, in the header ``Stream-Follow``.

        Args:
            request: Its ``Accept`` decides between events and one JSON batch.
            wanted: The streams' ids, 1 to 64, each with the offset to continue from (``None``: the
                start).
            owner: A stream of another owner gets the answer of an absent one.
            group: A stream of another group gets the answer of an absent one.
            headers: Further headers of the response.
        """
        _check_request(request, None, owner, group)
        check_kind("wanted", wanted, Mapping, "a mapping of ids to offsets")
        problem = cross_site_problem(request, self._allowed_origins)
        if problem is not None:
            return ManyResponse(problem)
        try:
            check_wanted(wanted)
        except InvalidInput as exc:
            return ManyResponse(problem_for(exc))
        return self._respond_many(request, wanted, _allow(owner, group), headers=headers)

    def _respond_many(
        self,
        request: Request,
        wanted: Mapping[str, str | None],
        allow: Allow | None,
        *,
        ask_again: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> ManyResponse:
        engine = self.engine

        def follow(stream_id: StreamId, offset: str | None) -> Follow:
            return Follow(
                engine=engine,
                stream_id=stream_id,
                request=request,
                given=offset,
                settings=self._http,
                allow=allow,
                ask_again=ask_again,
            )

        many = FollowMany(
            engine=engine, request=request, settings=self._http, follow=follow, wanted=wanted
        )
        return ManyResponse(many, headers=headers)

    def _respond(
        self,
        request: Request,
        stream_id: StreamId,
        allow: Allow | None,
        format: str | Format | None = None,  # noqa: A002
        headers: Mapping[str, str] | None = None,
        started: Awaitable[object] | None = None,
        *,
        ask_again: bool = False,
    ) -> StreamResponse:
        follow = Follow(
            engine=self.engine,
            stream_id=stream_id,
            request=request,
            given=requested_offset(request),
            settings=self._http,
            format=format,
            allow=allow,
            started=started,
            ask_again=ask_again,
        )
        # The id is percent-encoded, because a header can contain only Latin-1.
        named = {STREAM_ID_HEADER: quote(stream_id, safe=_UNRESERVED)}
        return StreamResponse(follow, headers=named | dict(headers or {}))


def _check_request(
    request: object,
    format: str | Format | None,  # noqa: A002
    owner: object,
    group: object,
) -> None:
    check_kind("request", request, Request, "the starlette (or FastAPI) Request to answer")
    check_names(owner=owner, group=group)
    check_format(format)


def _allow(owner: str | None, group: str | None) -> Allow | None:
    if owner is None and group is None:
        return None

    async def allow(state: StreamState) -> bool:
        return belongs(state, owner, group)

    return allow

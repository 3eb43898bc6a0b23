"""Responses for an application's own routes."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from inkstream._arguments import check_names, check_type
from inkstream._errors import InvalidInput, InvalidStreamId, ShuttingDown, TooManyStreams
from inkstream._types import StreamId, StreamState
from inkstream.engine.generation import Source
from inkstream.facade.calls import Calls, OnDisconnect, belongs, cancels
from inkstream.http.crosssite import cross_site_problem
from inkstream.http.follow import Allow, Follow, requested_offset
from inkstream.http.formats import Format, check_format
from inkstream.http.many import FollowMany, ManyResponse, check_wanted
from inkstream.http.problems import Problem, problem_for
from inkstream.http.response import StreamResponse

STREAM_ID_HEADER: Final = "stream-id"
"""The response header with the stream's id. A client needs the id to follow the stream again."""

_UNRESERVED: Final = "!$&'()*+,;=:@/"


class Responses(Calls):
    """The part of ``PersistentTextStreaming`` that makes responses for an application's routes."""

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
            owner: If the stream has another owner, the response is as for an absent stream.
            group: If the stream has another group, the response is as for an absent stream.
            format: ``"events"``, ``"text"``, ``"json"``, a format of ``inkstream.formats``, or a
                ``Format`` of your own. The request then cannot choose a format.
            headers: Further headers of the response.
        """
        _check_request(request, format, owner, group)
        try:
            return self._respond(
                request, StreamId(stream_id), _allow(owner, group), format, headers
            )
        except InvalidStreamId as exc:
            if not isinstance(stream_id, str):
                raise  # the application's own mistake, which a client must not see
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

        This method does the work of ``start`` and ``response`` in one request. A request with a
        cookie must come from a page of this origin or of ``allowed_origins``. If the stream cannot
        be started, the response is a problem document.
        """
        _check_request(request, format, owner, group)
        without_readers = cancels(on_disconnect)
        if without_readers and isinstance(format, Format) and not format.abort_stops:
            raise ValueError(
                "on_disconnect='cancel' is not for this format: its clients abort requests for "
                "many reasons, so an abort is not a Stop; leave on_disconnect out, and cancel with "
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
            if not isinstance(stream_id, str):
                raise
            return StreamResponse(problem_for(exc))
        return self._respond(
            request, StreamId(stream_id), _allow(owner, group), format, headers, claimed
        )

    def refusal(self, request: Request) -> Problem | None:
        """Return a 403 if a page of another origin made the request with a cookie or password.

        Return ``None`` for all other requests. Call this method in each of your own routes that
        changes something and recognizes its user by a cookie. See ``allowed_origins``.
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

        A client sends the list of streams with ``POST``; docs/http.md describes the response. An
        absent or denied stream is refused inside the response. In a response of events, the
        other streams do not wait for such a stream. A JSON batch waits for it up to a second. The
        npm package uses your route only if your responses for single streams name the route's path
        in the header ``Stream-Follow``.

        Args:
            request: Its ``?format=`` or ``Accept`` decides between events and one JSON batch.
            wanted: At least one and at most 64 stream ids, each with the offset to continue from.
                ``None`` is the start of the stream.
            owner: A stream of another owner is refused as if the stream were absent.
            group: A stream of another group is refused as if the stream were absent.
            headers: Further headers of the response.
        """
        _check_request(request, None, owner, group)
        check_type("wanted", wanted, Mapping, "a mapping of ids to offsets")
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
    check_type("request", request, Request, "the starlette (or FastAPI) Request to answer")
    check_names(owner=owner, group=group)
    check_format(format)


def _allow(owner: str | None, group: str | None) -> Allow | None:
    if owner is None and group is None:
        return None

    async def allow(state: StreamState) -> bool:
        return belongs(state, owner, group)

    return allow

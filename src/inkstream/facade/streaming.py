"""The facade that an application holds: ``PersistentTextStreaming``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from inkstream._arguments import check_seconds
from inkstream._errors import StreamGone, StreamNotFound
from inkstream._types import StreamId
from inkstream.facade.responses import Responses
from inkstream.http.asgi import Authorize, require_authorize
from inkstream.http.doctor_probe import AuthorizeProbe, DoctorProbe
from inkstream.http.follow import Allow
from inkstream.http.health import HealthRoutes
from inkstream.http.routes import StreamRoutes

# Most applications mount none of these apps, so only the methods that return an app import it.
if TYPE_CHECKING:
    from fastapi import APIRouter

    from inkstream.durable.app import DurableStreams
    from inkstream.durable.settings import DurableSettings
    from inkstream.inspector.app import AuthorizeOperator, Inspector


class PersistentTextStreaming(Responses):
    """Stream text to its readers while storing it in a database.

    Create one instance per application, when the application's module is imported. The instance
    does nothing until ``lifespan=streams.lifespan`` or ``async with streams:`` starts it. Call its
    methods only on the event loop on which it was started.

    Args:
        database: A URL (see ``open_database``), an asyncpg pool or an SQLAlchemy engine. The
            default is the environment variable ``INKSTREAM_DATABASE``, or else
            ``sqlite:///inkstream.db``. Pass a pair of ``Store`` and ``Notifier`` for a database of
            your own.
        on_end: Called with the ``StreamBody`` of each stream that has ended, whatever the reason,
            in one process that has an ``on_end``. ``on_end`` is called at least once for each
            stream that was created while ``on_end`` was set, unless the stream was deleted before.
            After an error, ``on_end`` is called again a few times.
        allowed_origins: Other origins whose pages may start and cancel streams with this origin's
            cookie, such as ``"https://app.example"``.
        limits, timing, http: See ``Limits``, ``Timing`` and ``HTTPSettings``.
        clock: A clock of your own, for tests and simulations.
        observer: Metrics and traces: ``inkstream.telemetry.OpenTelemetry()``, or an ``Observer`` of
            your own.
    """

    def _routes(self, authorize: Authorize | None, allow_anonymous: bool) -> StreamRoutes:
        def follow(request: Request, stream_id: StreamId, allow: Allow | None) -> Response:
            return self._respond(request, stream_id, allow, ask_again=True)

        def follow_many(
            request: Request, wanted: Mapping[str, str | None], allow: Allow | None
        ) -> Response:
            return self._respond_many(request, wanted, allow, ask_again=True)

        async def cancel(stream_id: StreamId, allow: Allow | None) -> None:
            try:
                state = await self.engine.readers.state(stream_id)
            except StreamGone as exc:
                if allow is None:
                    raise
                raise StreamNotFound(stream_id) from exc
            if allow is not None and not await allow(state):
                raise StreamNotFound(stream_id)
            await self.engine.changes.cancel(state)

        return StreamRoutes(
            follow,
            follow_many,
            cancel,
            require_authorize(authorize, allow_anonymous, self._http.authorize_timeout_s),
            self._allowed_origins,
        )

    def asgi(
        self, *, authorize: Authorize | None = None, allow_anonymous: bool = False
    ) -> StreamRoutes:
        """Return an ASGI app to mount: ``GET /{id}``, ``POST /{id}/cancel`` and ``POST /follow``.

        A mounted app's lifespan does not run, so start the streams in the lifespan of the main app.

        Args:
            authorize: Decides about each request; see ``Authorize``. A denied stream looks absent.
            allow_anonymous: True allows everything to everybody, if ``authorize`` is not given.
        """
        return self._routes(authorize, allow_anonymous)

    def health_app(self, *, within_s: float = 2.0) -> HealthRoutes:
        """Return an ASGI app of ``GET /live`` and ``GET /ready`` for probes, to mount.

        Both routes answer 200 or 503, with ``Health`` as JSON, and need no permission. ``health``
        describes ``within_s``.
        """
        check_seconds("within_s", within_s, zero=False)
        return HealthRoutes(lambda: self.health(within_s=within_s))

    def doctor_probe(self, *, authorize: AuthorizeProbe) -> DoctorProbe:
        """Return an ASGI app for ``inkstream doctor URL``, to mount on a separate path.

        The doctor uses this app to find out what proxies do to responses. The app neither reads nor
        changes any stream.

        Args:
            authorize: ``async authorize(request) -> bool``: whether this request may use the probe.
        """
        return DoctorProbe(authorize, self._http)

    def inspector(self, *, authorize: AuthorizeOperator) -> Inspector:
        """Return an ASGI app with a page for operators, which shows streams and can stop them.

        Mount the app on a separate path.

        Args:
            authorize: ``async authorize(request, action) -> bool``, with ``"look"``, ``"text"`` or
                ``"stop"`` as the action. Only a result of ``True`` allows the action.
        """
        from inkstream.inspector.app import Inspector

        return Inspector(lambda: self.engine, authorize, self._http, self._allowed_origins)

    def router(
        self, *, authorize: Authorize | None = None, allow_anonymous: bool = False
    ) -> APIRouter:
        """Return the routes of ``asgi`` as a FastAPI router for ``app.include_router``."""
        from inkstream.http.fastapi_router import fastapi_router

        return fastapi_router(self._routes(authorize, allow_anonymous))

    def durable_streams(
        self,
        *,
        authorize: Authorize | None = None,
        allow_anonymous: bool = False,
        settings: DurableSettings | None = None,
    ) -> DurableStreams:
        """Return an ASGI app of the open Durable Streams protocol, to mount on a separate path.

        Args:
            authorize: Decides about each request; see ``Authorize``.
            allow_anonymous: True allows everything to everybody, if ``authorize`` is not given.
            settings: See ``DurableSettings``.
        """
        from inkstream.durable.app import DurableStreams

        return DurableStreams(
            lambda: self.engine,
            authorize=authorize,
            allow_anonymous=allow_anonymous,
            settings=settings,
            http=self._http,
            allowed_origins=self._allowed_origins,
        )

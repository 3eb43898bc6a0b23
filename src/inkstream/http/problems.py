"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from inkstream import _errors as e

_log = logging.getLogger("inkstream")

_RETRY_AFTER_S = "1"


class CheckFailed(e.InkstreamError):
    """A permission check took too long. The client may send the request again."""

    code = "check_failed"

    def __init__(self) -> None:
        super().__init__("The permission check took too long: try again.")


_STATUS: tuple[tuple[type[e.InkstreamError], int], ...] = (
    (e.MessageTooLarge, 413),
    (e.StreamTooLarge, 413),
    (e.InvalidInput, 400),
    (e.StreamGone, 410),
    (e.StreamNotFound, 404),
    (e.OffsetGone, 410),
    (e.StreamExists, 409),
    (e.StreamConflict, 409),
    (e.WriterFenced, 409),
    (e.TooManyStreams, 429),
    (e.TooManyReaders, 429),
    (e.ShuttingDown, 503),
    (e.StoreUnavailable, 503),
    (CheckFailed, 503),
)


class Problem(Response):
    """A problem document with a stable ``code``.

    With status 429 or 503, it has ``Retry-After``, unless the code is ``outcome_unknown``.
    """

    media_type = "application/problem+json"

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        document = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
        }
        merged = {"cache-control": "no-store", **(headers or {})}
        if status in (429, 503) and code != e.OutcomeUnknown.code:
            merged.setdefault("retry-after", _RETRY_AFTER_S)
        self.code = code
        super().__init__(json.dumps(document), status_code=status, headers=merged)


def problem_for(error: e.InkstreamError) -> Problem:
    """Return the problem document for an error.

    The details of a ``StoreUnavailable`` may name hosts or files. So the server logs these details,
    and the document does not contain them.
    """
    if isinstance(error, e.StoreUnavailable):
        _log.warning("answered 503: %s", error)
        if isinstance(error, e.OutcomeUnknown):
            # A client that repeats the request could change the data twice. So this text does not
            # say "try again", and there is no Retry-After, with which some clients try again.
            return Problem(503, error.code, "The change may have been stored; read to find out.")
        return Problem(503, error.code, "The database is away for the moment; try again.")
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return Problem(status, error.code, str(error))
    _log.error("answered 500", exc_info=error)
    return Problem(500, "internal", "The server could not do this.")


async def problem_handler(request: Request, error: Exception) -> Response:
    """Answer an inkstream error that an endpoint raised.

    Register this function once: ``app.add_exception_handler(InkstreamError, problem_handler)``.
    """
    if not isinstance(error, e.InkstreamError):
        raise error
    return problem_for(error)

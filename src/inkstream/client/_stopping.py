"""Interpret the response to a request that stops a stream."""

from __future__ import annotations

import httpx

from inkstream._errors import StreamNotFound
from inkstream.client._backoff import Backoff, passes, retry_after
from inkstream.client._errors import RequestRefused


def stopped(url: str, response: httpx.Response, backoff: Backoff) -> bool:
    """Return whether the server confirmed the stop. If not, the caller must repeat the request.

    Raises:
        StreamNotFound, RequestRefused
    """
    status = response.status_code
    if response.is_success:
        return True
    if passes(status):
        backoff.failed(f"{status} to Stop", retry_after(response.headers))
        return False
    if status == 404:
        raise StreamNotFound(url, f"there is no stream to stop at {url}")
    raise RequestRefused(url, status, "stop_refused", response.text[:200])

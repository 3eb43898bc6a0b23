"""Refuse requests that a page of another origin made with this origin's cookie or password.

The check applies to requests with credentials that a browser adds by itself: cookies, and the
credentials of Basic, Digest, Negotiate and NTLM authentication. A request with a token in
``Authorization`` needs no check, because a page of another origin does not know the token. A
request without credentials needs no check, because anybody could send that request.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from starlette.requests import HTTPConnection

from inkstream._arguments import as_items
from inkstream.http.problems import Problem

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@A-Z\s]+")
_ADDED_BY_BROWSERS: Final = ("basic", "digest", "negotiate", "ntlm")


def origins(given: Collection[str]) -> frozenset[str]:
    """Return the origins as a set.

    Raises:
        ValueError: An origin is not written as browsers write origins, so it would never match.
    """
    wanted = frozenset(as_items("allowed_origins", given))
    for origin in wanted:
        if not isinstance(origin, str) or _ORIGIN.fullmatch(origin) is None:
            raise ValueError(
                f"{origin!r:.80} is not an origin: write scheme and host as a browser does, "
                "'https://app.example' (a port if it is not the usual one, lower case, no path)"
            )
    return wanted


def _is_same(origin: str, host: str) -> bool:
    # Compare text, because urlsplit raises an error for some origins ("http://[::1").
    _, _, netloc = origin.partition("://")
    return netloc != "" and netloc.lower() == host.lower()


def cross_site_problem(request: HTTPConnection, allowed_origins: Collection[str]) -> Problem | None:
    """Return a 403 to send, or ``None`` if the request is allowed.

    A request with credentials is allowed if its ``Origin`` is in ``allowed_origins``. If not,
    ``Sec-Fetch-Site`` (Fetch Metadata, W3C) must be ``same-origin`` or ``none``. If the request has
    no ``Sec-Fetch-Site``, its ``Origin`` must be absent, or name the same host as ``Host``.
    """
    headers = request.headers
    scheme = headers.get("authorization", "").partition(" ")[0].lower()
    if scheme not in _ADDED_BY_BROWSERS and ("cookie" not in headers or scheme):
        return None
    origin = headers.get("origin")
    if origin is not None and origin in allowed_origins:
        return None
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site in ("same-origin", "none"):
            return None
    elif origin is None or _is_same(origin, headers.get("host", "")):
        return None
    if origin is not None and _ORIGIN.fullmatch(origin) is None:
        advice = (
            "This page has no origin that allowed_origins could contain: perhaps it is a file, or "
            "in a sandboxed iframe, or its Referrer-Policy is no-referrer. Change that, serve the "
            "page over HTTPS from this host, or send a token in Authorization instead."
        )
    else:
        wanted = origin or "https://its.example"
        advice = (
            "If that origin is yours, add it: PersistentTextStreaming(…, "
            f"allowed_origins=[{wanted!r}])."
        )
    return Problem(
        403,
        "cross_site",
        f"A cookie or password came with a request from another origin ({origin or site}). "
        + advice,
    )

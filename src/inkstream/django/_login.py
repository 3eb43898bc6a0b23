"""Find the owner of a request's streams: the user who is logged in."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest


def owner_of(request: HttpRequest) -> str:
    """Return the owner of a request's streams: the primary key of the request's user, as text.

    Raises:
        PermissionDenied: No user is logged in. Django answers 403.
    """
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        raise PermissionDenied("log in to see this stream")
    return str(user.pk)

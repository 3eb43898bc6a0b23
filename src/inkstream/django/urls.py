"""Routes for logged-in users: ``path("streams/", include("inkstream.django.urls"))``.

A user can follow and stop the streams whose ``owner`` is ``owner_of(request)``. For all other
streams the response is a 404. Django's CSRF middleware protects the route that stops a stream.
"""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.http import require_POST, require_safe

from inkstream._errors import StreamNotFound
from inkstream.django._login import owner_of
from inkstream.django._responses import stream_response
from inkstream.django._streams import streams

app_name = "inkstream"


@require_safe
def follow(request: HttpRequest, stream_id: str) -> StreamingHttpResponse:
    """Follow a stream of the user."""
    return stream_response(request, stream_id, owner=owner_of(request))


@require_POST
def cancel(request: HttpRequest, stream_id: str) -> HttpResponse:
    """Stop a stream of the user."""
    try:
        streams.cancel(stream_id, owner=owner_of(request))
    except StreamNotFound:
        raise Http404 from None
    return HttpResponse(status=204)


urlpatterns = [
    path("<str:stream_id>", follow, name="stream"),
    path("<str:stream_id>/cancel", cancel, name="cancel"),
]

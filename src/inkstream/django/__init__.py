"""Streams for Django: an app for ``INSTALLED_APPS``, with settings in ``INKSTREAM``.

``streams`` is an ``inkstream.sync.PersistentTextStreaming``. At its first use, it reads the
settings, such as the database. A view returns ``stream_response``, under WSGI and ASGI::

    from inkstream.django import owner_of, stream_response, streams

    def live(request, stream_id):
        return stream_response(request, stream_id, owner=owner_of(request))
"""

from __future__ import annotations

from inkstream.django._login import owner_of
from inkstream.django._responses import astream_response, stream_response
from inkstream.django._streams import streams

__all__ = ["astream_response", "owner_of", "stream_response", "streams"]

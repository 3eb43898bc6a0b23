"""Streams in the admin: a read-only list, for users with the permission to view streams."""

from __future__ import annotations

import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from inkstream.django._streams import streams
from inkstream.django.models import Stream

_PAGE = 100


@admin.register(Stream)
class StreamAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # the class is generic only in stubs
    """List streams of the configured database, newest first."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse, because the project's code creates the streams."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Refuse, because text that users have seen must not change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Refuse, because the project's code deletes streams together with the project's rows."""
        return False

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Refuse, because only a stream's owner may read its text."""
        raise Http404

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show a page of streams, filtered by ``?owner=``, ``?group=`` and ``?status=``."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = {
            name: request.GET[name]
            for name in ("owner", "group", "status", "cursor")
            if request.GET.get(name)
        }
        try:
            listing = streams.list(limit=_PAGE, **asked)
        except ValueError:
            raise Http404 from None
        rows = [
            (state, datetime.datetime.fromtimestamp(state.created_at, datetime.UTC))
            for state in listing.streams
        ]
        following = request.GET.copy()
        following["cursor"] = listing.cursor or ""
        context = {
            **self.admin_site.each_context(request),
            "title": "Streams",
            "opts": self.model._meta,
            "rows": rows,
            "asked": asked,
            "next": following.urlencode() if listing.cursor else "",
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/inkstream/stream/change_list.html", context)

"""The model that the admin shows. It has no table, because the admin reads from ``streams``."""

from __future__ import annotations

from django.db import models


class Stream(models.Model):
    """A stream, for the admin's index and for Django's permissions."""

    class Meta:
        """Django creates no table, and only the permission to view."""

        managed = False
        default_permissions = ("view",)

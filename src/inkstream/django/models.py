"""What the admin calls a stream. There is no table of it: the admin asks ``streams``."""

from __future__ import annotations

from django.db import models


class Stream(models.Model):
    """A stream, for the admin's index and its permissions."""

    class Meta:
        """Django makes no table, and permission to view only."""

        managed = False
        default_permissions = ("view",)

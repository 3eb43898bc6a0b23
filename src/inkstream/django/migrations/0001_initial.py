"""Version 1 of the schema."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models

from inkstream.django import _schema


def _apply(apps: Any, editor: Any) -> None:
    _schema.apply(editor, 1)


def _drop(apps: Any, editor: Any) -> None:
    _schema.drop(editor)


class Migration(migrations.Migration):
    """Create the schema, and the model from which Django makes the permission to view streams."""

    initial = True
    operations = (
        migrations.RunPython(_apply, _drop),
        migrations.CreateModel(
            name="Stream",
            fields=[("id", models.BigAutoField(primary_key=True, serialize=False))],
            options={"managed": False, "default_permissions": ("view",)},
        ),
    )

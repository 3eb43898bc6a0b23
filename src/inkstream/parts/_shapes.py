"""Defines which JSON objects are known parts. All other objects belong to the application."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from inkstream.parts._vocabulary import Part


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_provider_metadata(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(v, Mapping) for v in value.values())


def _is_anything(value: object) -> bool:
    return True


_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "reasoning-start": ("id",),
    "reasoning-delta": ("id", "delta"),
    "reasoning-end": ("id",),
    "tool-input-start": ("toolCallId", "toolName"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
    "tool-input-available": ("toolCallId", "toolName", "input"),
    "tool-input-error": ("toolCallId", "toolName", "input", "errorText"),
    "tool-approval-request": ("approvalId", "toolCallId"),
    "tool-output-available": ("toolCallId", "output"),
    "tool-output-error": ("toolCallId", "errorText"),
    "tool-output-denied": ("toolCallId",),
    "source-url": ("sourceId", "url"),
    "source-document": ("sourceId", "mediaType", "title"),
    "file": ("url", "mediaType"),
    "start-step": (),
    "finish-step": (),
    "message-metadata": ("messageMetadata",),
}

_CHECKS: Final[Mapping[str, Callable[[object], bool]]] = {
    "input": _is_anything,
    "output": _is_anything,
    "messageMetadata": _is_object,
    "data": _is_anything,
    "approvalDescriptor": _is_anything,
    "inputSchemaInput": _is_anything,
    "providerExecuted": _is_flag,
    "dynamic": _is_flag,
    "preliminary": _is_flag,
    "transient": _is_flag,
    "providerMetadata": _is_provider_metadata,
    "toolMetadata": _is_object,
    "inputEncoding": lambda value: value in ("json", "text"),
}
"""The checks of fields that need not be text.

A required field that is not in this table must be text. A field in ``_OPTIONAL_TEXT`` must be text
too, and so must the ``id`` of a ``data-…`` part. ``as_known`` does not check other fields.
"""

_OPTIONAL_TEXT: Final = frozenset({"title", "filename", "signature"})

_SCHEMES: Final = {
    "source-url": frozenset({"http", "https", "mailto"}),
    "file": frozenset({"http", "https", "data", "blob"}),
}
_IGNORED: Final = re.compile(r"[\x00-\x20]+")
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE | re.ASCII)


def is_safe_link(kind: str, url: str) -> bool:
    """Return whether a page can safely link to ``url``, or show the image at ``url``.

    The link is safe if it has no scheme, or a scheme that is allowed for parts of type ``kind``.
    Another scheme, such as ``javascript:``, could run a script.
    """
    # A browser ignores spaces and control characters in a scheme, so this check ignores them too.
    match = _SCHEME.match(_IGNORED.sub("", url))
    return match is None or match[1].lower() in _SCHEMES[kind]


def as_known(part: Mapping[str, Any]) -> Part | None:
    """Return ``part`` if it is a known part with valid fields; otherwise return ``None``.

    A part with an unsafe link is not a known part, so ``fold`` does not return it as a link.
    """
    kind = part.get("type")
    if not isinstance(kind, str):
        return None
    if kind.startswith("data-"):
        required: tuple[str, ...] | None = ("data",)
        if not isinstance(part.get("id", ""), str):
            return None
    else:
        required = _REQUIRED.get(kind)
    if required is None or any(name not in part for name in required):
        return None
    for name, value in part.items():
        check = _CHECKS.get(name)
        if check is None:
            check = _is_text if name in required or name in _OPTIONAL_TEXT else _is_anything
        if not check(value):
            return None
    if kind in _SCHEMES and not is_safe_link(kind, part["url"]):
        return None
    return cast("Part", part)

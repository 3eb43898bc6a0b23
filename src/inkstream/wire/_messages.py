"""Messages: pieces of text, and JSON values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from inkstream._arguments import described
from inkstream._errors import InvalidMessage
from inkstream._types import JSON

MAX_JSON_DEPTH: Final = 128
"""How deep the arrays and objects of a JSON message may be nested."""

END_KEY: Final = "inkstream:end"
"""A reserved key. In Durable Streams, an object with this key says how a text stream ended."""


@dataclass(frozen=True, slots=True)
class RawJSON:
    """A JSON value as its exact bytes, so that ``1.0`` stays ``1.0``."""

    raw: bytes


def clean_text(text: str) -> str:
    """Return text that UTF-8 can encode.

    A surrogate pair becomes one character. Half a pair becomes U+FFFD.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def size_of(message: str | RawJSON) -> int:
    """Return the size of a stored message in bytes."""
    return len(clean_text(message).encode()) if isinstance(message, str) else len(message.raw)


def dump_json(value: JSON, *, any_depth: bool = False) -> bytes:
    """Return a JSON value as JSON text in UTF-8, without spaces between tokens.

    Use ``any_depth`` for a stored value inside a new object. Otherwise a value that is stored with
    the greatest depth could not be sent.

    Raises:
        InvalidMessage: The value is not JSON (an unknown type, NaN or infinity), or is nested too
            deep.
    """
    try:
        text = json.dumps(
            value, default=_refuse, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidMessage(f"not a JSON value: {exc}") from exc
    if not isinstance(value, str) and not any_depth:
        check_depth(text, 0, len(text))
    return clean_text(text).encode()


_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def check_depth(text: str, start: int, end: int) -> None:
    """Raise ``InvalidMessage`` if ``text[start:end]`` is nested deeper than ``MAX_JSON_DEPTH``."""
    if text.count("[", start, end) + text.count("{", start, end) <= MAX_JSON_DEPTH:
        return
    depth = 0
    for token in _JSON_TOKEN.finditer(text, start, end):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                raise InvalidMessage(f"JSON may be nested {MAX_JSON_DEPTH} deep")
        elif first in "]}":
            depth -= 1


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"it holds {described(value)}")


def dump_object(value: Mapping[str, JSON]) -> RawJSON:
    """Return a JSON object in its stored form.

    Raises:
        InvalidMessage: The value is not a JSON object, is nested too deep, or has ``END_KEY``.
    """
    if not isinstance(value, Mapping):
        raise InvalidMessage(
            f"a message is text (str) or a JSON object (dict), not {described(value)}"
        )
    if END_KEY in value:
        raise InvalidMessage(f"the key {END_KEY!r} is reserved: it says how a stream ended")
    return RawJSON(dump_json(dict(value)))


def load_json(raw: bytes) -> Any:
    """Return the Python value of a stored JSON message."""
    return json.loads(raw)

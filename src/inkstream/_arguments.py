"""Checks of the arguments of public functions. The errors say what the caller must pass."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar, cast

E = TypeVar("E", bound=StrEnum)

MOST: Final = 2**31 - 2
"""The largest count that a caller may pass. Every database can store this number plus 1."""

MOST_BYTES: Final = 2**53
MOST_S: Final = 100 * 366 * 86_400.0
"""The longest time that a caller may pass: a hundred years, in seconds.

The current time plus a larger number may overflow.
"""

NAME_BYTES: Final = 1024
"""The maximum size of a name, for example of an owner or a group, in bytes of UTF-8.

PostgreSQL cannot index long names.
"""


def check_type(name: str, value: object, kind: type, wanted: str) -> None:
    """Raise ``TypeError`` unless ``value`` has the type ``kind``, which ``wanted`` describes."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {wanted}, not {value!r:.80} ({type(value).__name__})")


def check_text(**texts: object) -> None:
    """Raise ``TypeError`` unless each value is text or ``None``.

    A number, such as a user id, would never equal the text that a store keeps.
    """
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(
                f"{name} must be a string, not {type(value).__name__}: use str({value!r:.80})"
            )


def check_names(**names: object) -> None:
    """Raise unless each value is ``None``, or text that every database can index.

    Raises:
        TypeError: A value is neither text nor ``None``.
        ValueError: A value is longer than ``NAME_BYTES``.
    """
    check_text(**names)
    for name, value in names.items():
        if isinstance(value, str) and len(value.encode("utf-8", "replace")) > NAME_BYTES:
            raise ValueError(f"{name} is longer than {NAME_BYTES} bytes: {value[:80]!r}…")


def check_storable(**names: str | None) -> None:
    """Raise ``ValueError`` for text that a database would refuse.

    PostgreSQL accepts neither NUL nor half a surrogate pair. Other stores may accept them. Without
    this check, an application would get the error only after it has moved to PostgreSQL.
    """
    for name, value in names.items():
        if value is not None and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
            raise ValueError(f"{name} contains NUL or half a surrogate pair: {value!r:.80}")


def check_object(name: str, value: object) -> None:
    """Raise ``TypeError`` unless ``value`` is a JSON object or ``None``."""
    if value is not None:
        check_type(name, value, Mapping, "a JSON object (dict)")


def check_count(name: str, value: object, *, most: int = MOST) -> None:
    """Raise ``ValueError`` unless ``value`` is a whole number from 1 to ``most``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number above 0, not {value!r:.80}")
    if value > most:
        raise ValueError(f"{name} must be at most {most:,}")


def check_seconds(name: str, value: object, *, none: bool = False, zero: bool = True) -> None:
    """Raise ``ValueError`` unless ``value`` is a number of seconds, at most a hundred years.

    With ``none``, the value may be ``None``. With ``zero``, the value may be 0.
    """
    if value is None and none:
        return
    or_none = ", or None" if none else ""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 <= value < math.inf
        or (value == 0 and not zero)
    ):
        least = "0 or more" if zero else "more than 0"
        if none and not zero:
            or_none = ", or None for no limit"
        raise ValueError(f"{name} must be {least} seconds{or_none}, not {value!r:.80}")
    if value > MOST_S:
        raise ValueError(f"{name} must be at most a hundred years in seconds{or_none}")


def check_async(name: str, value: object, arguments: str) -> None:
    """Raise ``TypeError`` unless ``value`` is an async function or has an async ``__call__``.

    If Python knows the signature of the function, the function must also accept ``arguments``.
    """
    call = getattr(value, "__call__", None)  # noqa: B004 - an object may have an async __call__
    if not (inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call)):
        raise TypeError(f"{name} must be an async function of ({arguments}), not {value!r:.80}")
    try:
        signature = inspect.signature(cast("Callable[..., object]", value))
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments.split(", "))
    except TypeError:
        raise TypeError(
            f"{name} is called with ({arguments}), but {value!r:.80} accepts {signature}"
        ) from None


def one_of(name: str, kind: type[E], value: object) -> E:
    """Return the member of ``kind`` with this value. Raise ``ValueError`` if no member has it."""
    try:
        return kind(value)  # type: ignore[arg-type]
    except ValueError:
        words = ", ".join(repr(member.value) for member in kind)
        raise ValueError(f"{name} must be one of {words}, not {value!r:.80}") from None


def as_items(name: str, value: Any) -> list[Any]:
    """Return a list of the items of ``value``. Raise ``TypeError`` if ``value`` is a string."""
    if isinstance(value, str | bytes):
        raise TypeError(f"{name} must be a list, not one string: [{value!r:.80}]")
    return list(value)


def described(value: object) -> str:
    """Return the name of the type of ``value``. For a common mistake, also say what to do."""
    remedy = _remedy(value)
    name = "None" if value is None else type(value).__name__
    return f"{name} ({remedy})" if remedy else name


def _remedy(value: object) -> str:
    if value is None:
        return 'perhaps a model\'s delta without text: use `delta or ""`'
    if isinstance(value, bytes | bytearray | memoryview):
        return (
            "decode it first: `data.decode()`, or codecs.iterdecode where chunks split characters"
        )
    if hasattr(value, "model_dump"):
        return 'give `value.model_dump(mode="json")`, or the piece of text in it'
    if dataclasses.is_dataclass(value):
        return "give `dataclasses.asdict(value)`, or the piece of text in it"
    if inspect.isawaitable(value):
        return "`await` it first"
    if hasattr(value, "__aiter__"):
        return "give its items: `async for item in value`"
    if isinstance(value, bool | int | float):
        return "give `str(value)`"
    if isinstance(value, list | tuple | set | frozenset) or hasattr(value, "__next__"):
        return "give its items one by one"
    return ""

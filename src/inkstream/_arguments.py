"""What a caller gives, looked at where it is given: what cannot be right is told at once."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

E = TypeVar("E", bound=StrEnum)


def check_kind(name: str, value: object, kind: type, wanted: str) -> None:
    """Raise ``TypeError`` unless a value is of a kind; ``wanted`` says in words what is."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {wanted}, not {value!r:.80} ({type(value).__name__})")


def check_text(**texts: object) -> None:
    """Refuse what is easily given for text, a user's number: it would equal nothing stored."""
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} is a string, not {type(value).__name__}: use str({value!r})")


def check_object(name: str, value: object) -> None:
    """Raise ``TypeError`` unless a value is a JSON object, or ``None``."""
    if value is not None:
        check_kind(name, value, Mapping, "a JSON object (dict)")


def check_count(name: str, value: object) -> None:
    """Raise ``ValueError`` unless a value is a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number above 0, not {value!r}")


def check_seconds(name: str, value: object, *, none: bool = False, zero: bool = True) -> None:
    """Raise ``ValueError`` unless a value is a finite number of seconds.

    Args:
        name: What it is called where it is given.
        value: It.
        none: ``None`` is right, too.
        zero: 0 is right, too.
    """
    if value is None and none:
        return
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 <= value < math.inf
        or (value == 0 and not zero)
    ):
        least = "0 or more" if zero else "more than 0"
        or_none = ", or None" if none else ""
        raise ValueError(f"{name} must be {least} seconds{or_none}, not {value!r}")


def check_async(name: str, value: object, arguments: str) -> None:
    """Raise ``TypeError`` unless a value is an async function."""
    call = getattr(value, "__call__", None)  # noqa: B004 - of an object that has it, the method
    if not (inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call)):
        raise TypeError(f"{name} is an async function of ({arguments}), not {value!r:.80}")


def one_of(name: str, kind: type[E], value: object) -> E:
    """Return a word as the member of an enumeration that it stands for.

    Raises:
        ValueError: It stands for none.
    """
    try:
        return kind(value)  # type: ignore[arg-type]
    except ValueError:
        words = ", ".join(repr(member.value) for member in kind)
        raise ValueError(f"{name} is one of {words}, not {value!r:.80}") from None


def as_items(name: str, value: Any) -> list[Any]:
    """Return the items of several; a single string is none, though it can be iterated."""
    if isinstance(value, str | bytes):
        raise TypeError(f"{name} are several in a list, not one string: [{value!r:.80}]")
    return list(value)

"""Bearer tokens and what they allow: the rights of `inkstream serve`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_ACTIONS: Final[Mapping[str, frozenset[str]]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"create", "append", "close"}),
    "delete": frozenset({"delete"}),
}


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of a token: actions, on streams whose id begins with a prefix."""

    actions: frozenset[str]
    prefix: str

    def allow(self, stream_id: str, action: str) -> bool:
        """Tell if an action on a stream is among them."""
        return action in self.actions and stream_id.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that are known, by digest, so that the time of a lookup tells nothing of them."""

    _rights: Mapping[bytes, tuple[Rights, ...]] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Tokens:
        """Return the tokens of a file: on each line a token, its rights, and a prefix if any.

        Rights are words joined by commas: ``read``, ``write`` (create, append, close), ``delete``.
        Empty lines and those that begin with ``#`` are skipped. A token on several lines has the
        rights of all of them.

        Raises:
            ValueError: A line is none of that; the message says which, and not the token.
        """
        found: dict[bytes, tuple[Rights, ...]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if not 2 <= len(words) <= 3:
                raise ValueError(f"line {number}: give a token, its rights, and a prefix if any")
            unknown = set(words[1].split(",")) - set(_ACTIONS)
            if unknown:
                raise ValueError(f"line {number}: rights are {', '.join(_ACTIONS)}")
            if len(words[0]) < 16:
                raise ValueError(f"line {number}: a token has 16 characters at least")
            actions = frozenset().union(*[_ACTIONS[word] for word in words[1].split(",")])
            rights = Rights(actions, words[2] if len(words) == 3 else "")
            digest = _digest(words[0])
            found[digest] = (*found.get(digest, ()), rights)
        if not found:
            raise ValueError("there is no token")
        return cls(found)

    def rights(self, authorization: str | None) -> tuple[Rights, ...] | None:
        """Return what an ``Authorization`` header allows; ``None``: nobody is known by it."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return self._rights.get(_digest(token.strip()))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()

"""Bearer tokens and their rights, for `inkstream serve`."""

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
    """The rights of a token: which actions it allows, on streams whose id begins with a prefix."""

    actions: frozenset[str]
    prefix: str

    def allow(self, stream_id: str, action: str) -> bool:
        """Return whether these rights allow an action on a stream."""
        return action in self.actions and stream_id.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The digests of the known tokens.

    A lookup by digest protects the tokens: from the time that a lookup takes, an attacker cannot
    guess a token piece by piece.
    """

    _rights: Mapping[bytes, tuple[Rights, ...]] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Tokens:
        """Parse a file of tokens: on each line a token, its rights, and an optional prefix.

        Rights are words separated by commas: ``read``, ``write`` (create, append, close),
        ``delete``. Empty lines and lines that begin with ``#`` are skipped. A token on several
        lines has the rights of all those lines.

        Raises:
            ValueError: A line is malformed, or there is no token. The message names the line, and
                not the token.
        """
        found: dict[bytes, tuple[Rights, ...]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if not 2 <= len(words) <= 3:
                raise ValueError(
                    f"line {number}: write a token, its rights, and an optional prefix"
                )
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
        """Return the rights of an ``Authorization`` header; ``None`` for an unknown token."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return self._rights.get(_digest(token.strip()))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()

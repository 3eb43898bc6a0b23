"""The findings of the doctor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """Whether a check succeeded."""

    FINE = "fine"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Its stable name.
        verdict: Whether it succeeded.
        message: The observation, in one line.
        mend: What to change, for each program that can change it; empty if nothing.
    """

    check: str
    verdict: Verdict
    message: str
    mend: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def fine(check: str, message: str) -> Finding:
    """Return the finding of a check that succeeded."""
    return Finding(check, Verdict.FINE, message)


def unknown(check: str, message: str) -> Finding:
    """Return the finding of a check that could not decide."""
    return Finding(check, Verdict.UNKNOWN, message)

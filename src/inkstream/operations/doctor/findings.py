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
        check: The stable name of the check.
        verdict: Whether the check succeeded.
        message: What the check observed, in one line.
        mend: What to change in the configuration of each program; empty if nothing must change.
    """

    check: str
    verdict: Verdict
    message: str
    mend: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object."""
        return asdict(self)


def fine(check: str, message: str) -> Finding:
    """Return the finding of a check that succeeded."""
    return Finding(check, Verdict.FINE, message)


def unknown(check: str, message: str) -> Finding:
    """Return the finding of a check that could not decide whether it succeeded."""
    return Finding(check, Verdict.UNKNOWN, message)

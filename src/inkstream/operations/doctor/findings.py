"""What the doctor finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """Whether something is as it should be."""

    FINE = "fine"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: Its stable name.
        verdict: How it is.
        message: What was seen, in one line.
        mend: What to change, by the program in which to change it; empty if nothing.
    """

    check: str
    verdict: Verdict
    message: str
    mend: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def fine(check: str, message: str) -> Finding:
    """Return a finding of something that is as it should be."""
    return Finding(check, Verdict.FINE, message)


def unknown(check: str, message: str) -> Finding:
    """Return a finding of something that cannot be known from here."""
    return Finding(check, Verdict.UNKNOWN, message)

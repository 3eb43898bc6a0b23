"""The two outcomes of the protocol's rules: a reply, or a refusal that is raised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful response without a body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """The response is a problem document, and the request has changed nothing.

    ``code`` is a stable word for programs. ``detail`` tells people what happened and what to do.
    """

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})

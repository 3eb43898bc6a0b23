"""Choose the responder of the demo: a model behind an endpoint, or prepared texts."""

from __future__ import annotations

import os
from collections.abc import Mapping

from inkstream.demo.offline import OfflineResponder
from inkstream.demo.provider import DEFAULT_BASE_URL, DEFAULT_MODEL, ProviderResponder
from inkstream.demo.responder import Responder


def choose_responder(environment: Mapping[str, str] = os.environ) -> Responder:
    """Return the provider if ``OPENAI_API_KEY`` is set, else the offline responder."""
    key = environment.get("OPENAI_API_KEY", "").strip()
    if not key:
        return OfflineResponder()
    return ProviderResponder(
        key,
        base_url=environment.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL,
        model=environment.get("OPENAI_MODEL") or DEFAULT_MODEL,
    )

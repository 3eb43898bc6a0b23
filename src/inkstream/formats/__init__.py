"""Formats for ``streams.response(…, format=…)``, for clients other than inkstream's own.

Each format works for live and for finished streams, from the start or from the middle.
"""

from inkstream.formats._ag_ui import ag_ui
from inkstream.formats._ai_sdk import ai_sdk, ai_sdk_7
from inkstream.formats._ndjson import ndjson
from inkstream.formats._openai_chat import openai_chat
from inkstream.http.formats import Encoder, Format, event

__all__ = [
    "Encoder",
    "Format",
    "ag_ui",
    "ai_sdk",
    "ai_sdk_7",
    "event",
    "ndjson",
    "openai_chat",
]

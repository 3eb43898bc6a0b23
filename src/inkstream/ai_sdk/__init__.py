"""The AI SDK's ``useChat``, served whole: ask, resume, stop, history. See docs/ai-sdk.md."""

from inkstream.ai_sdk._chat import UIMessageChat

__all__ = ["UIMessageChat"]

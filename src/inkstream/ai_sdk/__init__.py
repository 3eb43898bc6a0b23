"""The routes that the AI SDK's ``useChat`` needs: ask, resume, stop, history (docs/ai-sdk.md)."""

from inkstream.ai_sdk._chat import UIMessageChat

__all__ = ["UIMessageChat"]

"""Sources that read the answer of a model's SDK, without importing the SDK.

Each source takes the object that the SDK's streaming call returns (``ChatCompletions`` makes the
call itself). The source yields what a stream stores: text, parts for reasoning, tool calls and
citations, and a ``Result`` with ``finish_reason``, ``model`` and ``usage``. A provider's error
becomes a ``StreamError`` with a code that readers may see. If the provider's answer breaks off, the
source raises an error, so that the answer does not look complete. But if a provider does not always
say why an answer stopped, ``langchain`` and ``pydantic_ai`` may not notice that the answer broke
off. If a stream is stopped, the source closes the provider's connection.
"""

from inkstream.sources._faults import provider_faults
from inkstream.sources.anthropic import anthropic
from inkstream.sources.chat_completions import ChatCompletions
from inkstream.sources.google_genai import google_genai
from inkstream.sources.langchain import langchain
from inkstream.sources.openai_agents import openai_agents
from inkstream.sources.openai_chat import openai_chat
from inkstream.sources.openai_responses import openai_responses
from inkstream.sources.pydantic_ai import pydantic_ai
from inkstream.sources.ui_chunks import ui_chunks

__all__ = [
    "ChatCompletions",
    "anthropic",
    "google_genai",
    "langchain",
    "openai_agents",
    "openai_chat",
    "openai_responses",
    "provider_faults",
    "pydantic_ai",
    "ui_chunks",
]

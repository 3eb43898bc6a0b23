"""Sources: a model's SDK in, text and parts out. None of them imports the SDK it reads.

Each takes what the SDK's streaming call returns, and gives it as what a stream keeps: text, parts
for reasoning, calls of tools and sources, and a ``Result`` with ``finish_reason``, ``model`` and
``usage``. A provider's errors become codes that readers may see; an answer that broke off raises,
and never looks complete; when a stream is stopped, the provider's connection is closed.
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

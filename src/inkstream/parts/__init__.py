"""The parts of an answer beside its text: their vocabulary, and the message that a page shows.

A stream stores an answer's text as strings, and everything else (reasoning, tool calls, sources,
files, data of the application's own) as JSON objects with the names of the AI SDK's UI-message
chunks. Any object that is not well formed by this vocabulary is the application's own.
"""

from inkstream.parts._deltas import Delta, delta_of, join_delta
from inkstream.parts._fold import Message, fold
from inkstream.parts._shapes import as_known, is_safe_link
from inkstream.parts._vocabulary import (
    DataPart,
    File,
    FinishStep,
    MessageMetadata,
    Part,
    ReasoningDelta,
    ReasoningEnd,
    ReasoningStart,
    SourceDocument,
    SourceUrl,
    StartStep,
    ToolApprovalRequest,
    ToolInputAvailable,
    ToolInputDelta,
    ToolInputError,
    ToolInputStart,
    ToolOutputAvailable,
    ToolOutputDenied,
    ToolOutputError,
)

__all__ = [
    "DataPart",
    "Delta",
    "File",
    "FinishStep",
    "Message",
    "MessageMetadata",
    "Part",
    "ReasoningDelta",
    "ReasoningEnd",
    "ReasoningStart",
    "SourceDocument",
    "SourceUrl",
    "StartStep",
    "ToolApprovalRequest",
    "ToolInputAvailable",
    "ToolInputDelta",
    "ToolInputError",
    "ToolInputStart",
    "ToolOutputAvailable",
    "ToolOutputDenied",
    "ToolOutputError",
    "as_known",
    "delta_of",
    "fold",
    "is_safe_link",
    "join_delta",
]

"""The parts of an answer besides its text: their types, and the message that a page shows.

A stream stores an answer's text as strings. Everything else (reasoning, tool calls, sources, files,
data of the application) is a JSON object with a type name of the AI SDK's UI-message chunks. All
other objects, including malformed parts, belong to the application.
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

"""The parts of an answer that are JSON objects. A page can show them besides the answer's text.

They are reasoning, tool calls, cited sources, files, steps, metadata, and data of the application.
The ``type`` of such an object is the name of a UI-message chunk of the AI SDK. inkstream stores and
sends other objects and malformed parts without interpreting them.
"""

from inkstream.parts._deltas import Delta, delta_of, join_delta
from inkstream.parts._fold import UIMessage, fold
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
    "UIMessage",
    "as_known",
    "delta_of",
    "fold",
    "is_safe_link",
    "join_delta",
]

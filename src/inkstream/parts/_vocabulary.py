"""The types of an answer's structured parts, named as in the AI SDK's UI-message chunks, v1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

ProviderMetadata: TypeAlias = Mapping[str, Mapping[str, Any]]


class ReasoningStart(TypedDict):
    """Begin a piece of reasoning; ``id`` names it in the parts that follow."""

    type: Literal["reasoning-start"]
    id: str
    providerMetadata: NotRequired[ProviderMetadata]


class ReasoningDelta(TypedDict):
    """Add text to a piece of reasoning."""

    type: Literal["reasoning-delta"]
    id: str
    delta: str
    providerMetadata: NotRequired[ProviderMetadata]


class ReasoningEnd(TypedDict):
    """End a piece of reasoning."""

    type: Literal["reasoning-end"]
    id: str
    providerMetadata: NotRequired[ProviderMetadata]


class _Tool(TypedDict):
    toolCallId: str
    providerExecuted: NotRequired[bool]
    providerMetadata: NotRequired[ProviderMetadata]
    toolMetadata: NotRequired[Mapping[str, Any]]
    dynamic: NotRequired[bool]


class ToolInputStart(_Tool):
    """Begin a tool call whose input comes as text."""

    type: Literal["tool-input-start"]
    toolName: str
    title: NotRequired[str]
    inputEncoding: NotRequired[Literal["json", "text"]]


class ToolInputDelta(TypedDict):
    """Add text to the input of a tool call."""

    type: Literal["tool-input-delta"]
    toolCallId: str
    inputTextDelta: str


class ToolInputAvailable(_Tool):
    """Give the whole input of a tool call. The call may have begun before."""

    type: Literal["tool-input-available"]
    toolName: str
    input: Any
    title: NotRequired[str]


class ToolInputError(_Tool):
    """Say that the input of a tool call cannot be used."""

    type: Literal["tool-input-error"]
    toolName: str
    input: Any
    errorText: str
    title: NotRequired[str]


class ToolOutputAvailable(_Tool):
    """Give the output of a tool call. After a ``preliminary`` output, another output comes."""

    type: Literal["tool-output-available"]
    output: Any
    preliminary: NotRequired[bool]


class ToolOutputError(_Tool):
    """Say that a tool failed.

    The page shows ``errorText``, so do not put an exception's text there.
    """

    type: Literal["tool-output-error"]
    errorText: str


class ToolOutputDenied(TypedDict):
    """Say that the user did not allow a tool call."""

    type: Literal["tool-output-denied"]
    toolCallId: str


class ToolApprovalRequest(TypedDict):
    """Ask the user to allow a tool call."""

    type: Literal["tool-approval-request"]
    approvalId: str
    toolCallId: str
    approvalDescriptor: NotRequired[Any]
    inputSchemaInput: NotRequired[Any]
    signature: NotRequired[str]


class SourceUrl(TypedDict):
    """Name a web page that the answer uses. Its address is ``http(s)``, ``mailto`` or relative."""

    type: Literal["source-url"]
    sourceId: str
    url: str
    title: NotRequired[str]
    providerMetadata: NotRequired[ProviderMetadata]


class SourceDocument(TypedDict):
    """Name a document that the answer uses."""

    type: Literal["source-document"]
    sourceId: str
    mediaType: str
    title: str
    filename: NotRequired[str]
    providerMetadata: NotRequired[ProviderMetadata]


class File(TypedDict):
    """Give a file that the model made, by its address; ``data:`` and ``blob:`` are allowed."""

    type: Literal["file"]
    url: str
    mediaType: str
    providerMetadata: NotRequired[ProviderMetadata]


class DataPart(TypedDict):
    """Give data of the application, under a type that begins with ``data-``.

    A part with the type and ``id`` of an earlier part replaces that part's data. A ``transient``
    part is sent to readers but is not part of the message.
    """

    type: str
    data: Any
    id: NotRequired[str]
    transient: NotRequired[bool]


class StartStep(TypedDict):
    """Begin a step of an agent."""

    type: Literal["start-step"]


class FinishStep(TypedDict):
    """End a step of an agent, and the reasoning that is still open."""

    type: Literal["finish-step"]


class MessageMetadata(TypedDict):
    """Merge an object into the message's metadata."""

    type: Literal["message-metadata"]
    messageMetadata: Any


Part: TypeAlias = (
    ReasoningStart
    | ReasoningDelta
    | ReasoningEnd
    | ToolInputStart
    | ToolInputDelta
    | ToolInputAvailable
    | ToolInputError
    | ToolOutputAvailable
    | ToolOutputError
    | ToolOutputDenied
    | ToolApprovalRequest
    | SourceUrl
    | SourceDocument
    | File
    | StartStep
    | FinishStep
    | MessageMetadata
    | DataPart
)
"""A structured part that every format understands."""

"""The types of the parts of an answer, named as in the AI SDK's UI-message chunks, version 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

ProviderMetadata: TypeAlias = Mapping[str, Mapping[str, Any]]


class ReasoningStart(TypedDict):
    """Begin a piece of reasoning. The later parts of this piece have the same ``id``."""

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
    """Give the whole input of a tool call. A ``tool-input-start`` may come before this part."""

    type: Literal["tool-input-available"]
    toolName: str
    input: Any
    title: NotRequired[str]


class ToolInputError(_Tool):
    """Say that the model gave an invalid input for a tool call."""

    type: Literal["tool-input-error"]
    toolName: str
    input: Any
    errorText: str
    title: NotRequired[str]


class ToolOutputAvailable(_Tool):
    """Give the output of a tool call. A later output replaces a ``preliminary`` output."""

    type: Literal["tool-output-available"]
    output: Any
    preliminary: NotRequired[bool]


class ToolOutputError(_Tool):
    """Say that a tool call failed.

    The page shows ``errorText``, so do not put the text of an exception into ``errorText``.
    """

    type: Literal["tool-output-error"]
    errorText: str


class ToolOutputDenied(TypedDict):
    """Say that the user has not allowed a tool call."""

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
    """Name a web page that the answer uses.

    The ``url`` is relative, or its scheme is ``http``, ``https`` or ``mailto``.
    """

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
    """Give the address of a file that the model made.

    The ``url`` is relative, or its scheme is ``http``, ``https``, ``data`` or ``blob``.
    """

    type: Literal["file"]
    url: str
    mediaType: str
    providerMetadata: NotRequired[ProviderMetadata]


class DataPart(TypedDict):
    """Give data of the application. The ``type`` begins with ``data-``.

    If an earlier part of the answer has the same ``type`` and ``id``, the new ``data`` replaces the
    data of the earlier part. A ``transient`` part is stored and sent to readers, but is not
    part of the message that ``fold`` returns.
    """

    type: str
    data: Any
    id: NotRequired[str]
    transient: NotRequired[bool]


class StartStep(TypedDict):
    """Begin a step of an agent."""

    type: Literal["start-step"]


class FinishStep(TypedDict):
    """End a step of an agent, and every piece of reasoning that has not ended."""

    type: Literal["finish-step"]


class MessageMetadata(TypedDict):
    """Merge ``messageMetadata`` into the metadata of the message."""

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
"""A known part: a JSON object that inkstream's formats and ``fold`` understand."""

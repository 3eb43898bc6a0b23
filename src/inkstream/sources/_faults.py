"""Turn a provider's error into an error that readers may see: a code, without the provider's text.

SDKs put requests, keys and internal addresses into the messages of their errors. So this module
logs only an error's type, its status, a short code, and the provider's request id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from inkstream._errors import StreamError

_log = logging.getLogger("inkstream")

_MESSAGES: Final = {
    "provider_timeout": "The model did not answer in time. Try again.",
    "provider_unreachable": "The model could not be reached. Try again.",
    "provider_cut": "The model's answer broke off. Try again.",
    "provider_overloaded": "The model is busy. Try again in a while.",
    "provider_unauthorized": "The model's provider refused this application.",
    "provider_not_found": "The model does not exist.",
    "provider_refused": "The model's provider refused the request.",
    "provider_error": "The model failed. Try again.",
    "context_too_long": "The conversation is too long for the model.",
    "content_filter": "The model's provider refused to answer.",
}
_PROVIDERS: Final = frozenset(
    {
        "aiohttp",
        "anthropic",
        "agents",
        "botocore",
        "cohere",
        "google",
        "groq",
        "grpc",
        "httpcore",
        "httpcore2",
        "httpx",
        "httpx2",
        "huggingface_hub",
        "langchain",
        "langchain_core",
        "langgraph",
        "litellm",
        "mistralai",
        "ollama",
        "openai",
        "pydantic_ai",
        "requests",
        "urllib3",
    }
)
"""Packages whose exceptions come from a provider, or from the connection to a provider."""
_BY_STATUS: Final = {
    401: "provider_unauthorized",
    403: "provider_unauthorized",
    404: "provider_not_found",
    408: "provider_timeout",
    429: "provider_overloaded",
    503: "provider_overloaded",
    504: "provider_timeout",
    529: "provider_overloaded",
}
_BY_CODE: Final = {
    "context_length_exceeded": "context_too_long",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "rate_limit_exceeded": "provider_overloaded",
    "insufficient_quota": "provider_overloaded",
    "overloaded_error": "provider_overloaded",
    "rate_limit_error": "provider_overloaded",
    "server_error": "provider_error",
    "authentication_error": "provider_unauthorized",
    "invalid_api_key": "provider_unauthorized",
    "timeout_error": "provider_timeout",
}


def fault(code: str) -> StreamError:
    """Return the error that ends a stream with one of this module's codes."""
    return StreamError(_MESSAGES[code], code=code)


def fault_of_event(provider_code: object) -> StreamError:
    """Return the error for a code that the provider sent during an answer."""
    _log.warning("the provider ended an answer with an error: %s", _word(provider_code))
    return fault(_BY_CODE.get(str(provider_code), "provider_error"))


def fault_of_status(status: int, provider_code: object = None) -> StreamError:
    """Return the error for an HTTP status, and for the provider's own code if it sent one."""
    _log.warning("the provider answered %d, code %s", status, _word(provider_code))
    return fault(_by_status(status, provider_code))


@contextmanager
def provider_faults() -> Iterator[None]:
    """Raise ``StreamError`` with a public code in place of a provider's exception.

    Other exceptions pass unchanged. Use this function for requests that no source makes::

        with provider_faults():
            chunks = await client.chat.completions.create(…)
    """
    try:
        yield
    except Exception as exc:
        code = _code_of(exc)
        if code is None:
            raise
        status, request = getattr(exc, "status_code", None), getattr(exc, "request_id", None)
        _log.warning(
            "the provider failed: %s (status %s, request %s): the stream ends with code %s",
            type(exc).__name__,
            _word(status),
            _word(request),
            code,
        )
        raise fault(code) from exc


def _code_of(exc: BaseException) -> str | None:
    """Return the public code of an exception, or ``None`` if it does not come from a provider."""
    if isinstance(exc, StreamError):
        return None
    kinds = type(exc).__mro__
    if not any(kind.__module__.partition(".")[0] in _PROVIDERS for kind in kinds):
        return None
    provider_code = getattr(exc, "code", None)
    status = _status_of(exc)
    if status is not None:
        return _by_status(status, provider_code)
    if str(provider_code) in _BY_CODE:
        return _BY_CODE[str(provider_code)]
    names = " ".join(kind.__name__ for kind in kinds)
    if "Timeout" in names:
        return "provider_timeout"
    if "RemoteProtocol" in names or "Payload" in names or "ReadError" in names:
        return "provider_cut"
    return "provider_unreachable" if "Connect" in names else "provider_error"


def _by_status(status: int, provider_code: object) -> str:
    refused = "provider_refused" if 400 <= status < 500 else "provider_error"
    return _BY_CODE.get(str(provider_code)) or _BY_STATUS.get(status, refused)


def _status_of(exc: BaseException) -> int | None:
    for name in ("status_code", "status", "code"):
        status: Any = getattr(exc, name, None)
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return None


def _word(value: object) -> str:
    """Return a short code as it is. Any other text may hold a secret, so return ``"?"`` instead."""
    text = str(value)
    return text if len(text) <= 64 and text.replace("_", "").replace("-", "").isalnum() else "?"

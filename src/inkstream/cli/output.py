"""The output of commands: text without delay, JSON lines, and sizes and ages for people."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

from inkstream._types import JSON, StreamState
from inkstream.wire import one_line

_CONTROL: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]")


class OutputFailed(OSError):
    """Standard output is closed, or cannot be written, for example because its disk is full."""


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal. Python has ``None`` for a closed stream."""
    return stream is not None and stream.isatty()


def write_bytes(data: bytes) -> None:
    """Write to standard output without a buffer.

    After a failed write, everything written later is lost without another error.

    Raises:
        BrokenPipeError: No program reads standard output any more.
        OutputFailed: Standard output cannot be written for another reason.
    """
    if sys.stdout is None:
        raise OutputFailed(errno.EBADF, "it is closed")
    out = sys.stdout.buffer
    left = memoryview(data)
    try:
        # With PYTHONUNBUFFERED, standard output is a raw file, and a write may accept only some
        # bytes.
        while left:
            left = left[out.write(left) :]
        out.flush()
    except OSError as exc:
        # At exit the interpreter flushes standard output again, and would print an error. So
        # standard output becomes the null device.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        if isinstance(exc, BrokenPipeError):
            raise
        raise OutputFailed(exc.errno, exc.strerror) from exc


def write_text(text: str) -> None:
    """Write text to standard output without a buffer, as UTF-8 in every locale.

    Raises:
        BrokenPipeError, OutputFailed
    """
    # click.echo is not used, because it changes line ends on some systems and removes escape codes.
    write_bytes(text.encode())


def write_json(value: Mapping[str, Any]) -> None:
    """Write a JSON object as one line."""
    line = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    write_text(one_line(line).decode("utf-8", "surrogatepass") + "\n")


def printable(text: str) -> str:
    """Return text on one line. Escape control characters, because they could steer a terminal."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def state_object(state: StreamState) -> dict[str, JSON]:
    """Return the object that `ls --json` prints for a stream."""
    return {
        "stream_id": state.stream_id,
        "kind": state.kind.value,
        "status": state.status.value,
        "bytes": state.size,
        "owner": state.owner,
        "group": state.group,
        "metadata": dict(state.metadata),
        "code": state.code,
        "message": state.message,
        "result": state.result,
        "created_at": state.created_at,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
    }


def size_text(size: int) -> str:
    """Return a size in bytes as a short text, for example ``1.2 kB``."""
    if size < 1000:
        return f"{size} B"
    amount = size / 1000
    for unit in ("kB", "MB"):
        if amount < 1000:
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def age_text(seconds: float) -> str:
    """Return an age as a short text in its largest whole unit, for example ``3h`` or ``2d``."""
    seconds = max(0.0, seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"

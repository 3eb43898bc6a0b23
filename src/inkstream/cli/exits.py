"""The exit codes of `inkstream`, and the errors that lead to these codes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import click

from inkstream._errors import (
    InkstreamError,
    InvalidInput,
    SchemaOutdated,
    ShuttingDown,
    StoreUnavailable,
    StreamNotFound,
    WriterFenced,
)
from inkstream._types import Status
from inkstream.cli.output import OutputFailed


class Exit(IntEnum):
    """The exit codes of commands; docs/cli.md has the same table."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    ERROR = 4
    CANCELLED = 5
    TIMEOUT = 6
    UNAVAILABLE = 7
    CONFLICT = 8
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EPILOG: Final = """\b
Exit codes:
  0    done
  1    failed for another reason (see standard error)
  2    wrong usage
  3    no such stream
  4    the stream ended in an error
  5    the stream was cancelled
  6    the stream timed out, for example because its writer died
  7    the database is unavailable, full, read-only, or must be migrated
  8    not allowed in the stream's status
  130  interrupted while reading (Ctrl-C)
  141  the program that read the output has ended"""

_OF_STATUS: Final = {
    Status.ERROR: Exit.ERROR,
    Status.CANCELLED: Exit.CANCELLED,
    Status.TIMEOUT: Exit.TIMEOUT,
}


def exit_of(status: Status | str | None) -> Exit:
    """Return the exit code for a final status.

    The code is ``CONFLICT`` for a stream that has not ended, and ``NOT_FOUND`` for ``None``, which
    stands for a stream that does not exist any more.
    """
    if status is None:
        return Exit.NOT_FOUND
    status = Status(status)
    if status is Status.DONE:
        return Exit.DONE
    return _OF_STATUS.get(status, Exit.CONFLICT)


def say(line: str) -> None:
    """Print a line to standard error."""
    with contextlib.suppress(OSError):
        click.echo(f"inkstream: {line}", err=True)


@contextlib.contextmanager
def errors_become_exits() -> Iterator[None]:
    """If inkstream raises an error, print it on one line, and exit with the error's exit code.

    If standard output cannot be written, do the same. After Ctrl-C, or if no program reads standard
    output any more, exit without printing a line.
    """
    try:
        yield
    except BrokenPipeError:
        sys.exit(Exit.BROKEN_PIPE)
    except OutputFailed as exc:
        say(f"standard output cannot be written: {exc.strerror}")
        sys.exit(Exit.FAILED)
    except UnicodeDecodeError as exc:
        say(f"the stored text is damaged ({exc.reason}): `inkstream verify` finds the place")
        sys.exit(Exit.FAILED)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except InkstreamError as exc:
        say(str(exc))
        sys.exit(_code_of(exc))


def _code_of(error: InkstreamError) -> Exit:
    match error:
        case WriterFenced():
            return exit_of(error.status)
        case StreamNotFound():
            return Exit.NOT_FOUND
        case InvalidInput():
            return Exit.USAGE
        case StoreUnavailable() | SchemaOutdated() | ShuttingDown():
            return Exit.UNAVAILABLE
        case _ if error.code in ("exists", "conflict", "not_claimed", "ended", "too_many_streams"):
            return Exit.CONFLICT
    return Exit.FAILED

"""Keep a user's Stop out of a job queue's list of failed jobs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from inkstream._errors import NotClaimed, WriterFenced
from inkstream._types import Status

_FAILURES: Final = (Status.ERROR, Status.TIMEOUT)

_log = logging.getLogger("inkstream")


@contextmanager
def quiet_stop() -> Iterator[None]:
    """End the block without an error if its stream was stopped. Use this in a job queue's tasks.

    If the stream was cancelled before the task began, the block is skipped::

        with quiet_stop(), streams.write(stream_id, takeover=True) as writer: ...

    ``quiet_stop`` suppresses the error if the stream was cancelled or finished, if the stream was
    deleted during the block, or if another attempt of the task took the stream over. All other
    errors pass, so that the queue can report them or try the task again.

    Raises:
        NotClaimed: The stream has a living writer, or has ended ``error`` or ``timeout``.
        WriterFenced: The stream has ended ``error`` or ``timeout``.
    """
    try:
        yield
    except NotClaimed as exc:
        status = Status(exc.status)
        if not status.ended or status in _FAILURES:
            raise
        _log.info("nothing to write: %s", exc)
    except WriterFenced as exc:
        if exc.status is not None and exc.status in _FAILURES:
            raise
        _log.info("stopped: %s", exc)

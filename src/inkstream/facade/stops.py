"""A Stop is no failure: what keeps it out of a job queue's list of failed jobs."""

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
    """End the block quietly when the stream that it writes was stopped; for tasks of a job queue.

    Around ``write``, so that a stream that was cancelled before the task began skips the block::

        with quiet_stop(), streams.write(stream_id, takeover=True) as writer: ...

    Quiet are a stream that was cancelled, deleted, finished or taken over by another attempt. What
    a queue should see, or try again, is raised: a writer that is still alive, a stream that ended
    ``error`` or ``timeout``, and every other exception.

    Raises:
        NotClaimed: The stream has a living writer, or failed.
        WriterFenced: The stream failed.
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

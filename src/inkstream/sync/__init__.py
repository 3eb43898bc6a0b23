"""Streams for code without an event loop: Django and Flask views, Celery tasks, scripts.

``PersistentTextStreaming`` here is the one of ``inkstream`` with methods that block until they are
done::

    from inkstream.sync import PersistentTextStreaming

    streams = PersistentTextStreaming("postgresql://…")

    with streams.write(stream_id) as writer:
        for piece in answer:
            writer.append(piece)

It needs no start. The first call of a process begins an event loop on a thread of its own, which
all instances share and which ends with the process; a forked child begins one of its own. From an
event loop, use ``inkstream.PersistentTextStreaming``: these methods would hold it up.
"""

from inkstream.sync._answer import StreamAnswer
from inkstream.sync._handles import Following, StreamWriter
from inkstream.sync._streaming import PersistentTextStreaming

__all__ = ["Following", "PersistentTextStreaming", "StreamAnswer", "StreamWriter"]

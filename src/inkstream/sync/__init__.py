"""Streams for code without an event loop: Django and Flask views, Celery tasks, scripts.

The methods of this ``PersistentTextStreaming`` block until their work is done, but ``start`` does
not wait until its source has written the stream::

    from inkstream.sync import PersistentTextStreaming

    streams = PersistentTextStreaming("postgresql://…")

    with streams.write(stream_id) as writer:
        for piece in answer:
            writer.append(piece)

An instance needs no start. The first call in a process starts an event loop on a separate thread,
which all instances in the process share. A forked child starts another loop. In code that runs on
an event loop, use ``inkstream.PersistentTextStreaming``, because these methods would block the
event loop.
"""

from inkstream.sync._answer import StreamAnswer
from inkstream.sync._handles import Following, StreamWriter
from inkstream.sync._streaming import PersistentTextStreaming

__all__ = ["Following", "PersistentTextStreaming", "StreamAnswer", "StreamWriter"]

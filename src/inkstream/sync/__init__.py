"""Streams for code without an event loop: Django and Flask views, Celery tasks, scripts.

This ``PersistentTextStreaming`` is the class of ``inkstream`` with blocking methods. Each method
returns when its work is done::

    from inkstream.sync import PersistentTextStreaming

    streams = PersistentTextStreaming("postgresql://…")

    with streams.write(stream_id) as writer:
        for piece in answer:
            writer.append(piece)

An instance needs no start. The first call in a process begins an event loop on a thread of its own.
All instances share that loop, and it ends with the process. A forked child begins its own loop. In
code that runs on an event loop, use ``inkstream.PersistentTextStreaming``, because these methods
would block the loop.
"""

from inkstream.sync._answer import StreamAnswer
from inkstream.sync._handles import Following, StreamWriter
from inkstream.sync._streaming import PersistentTextStreaming

__all__ = ["Following", "PersistentTextStreaming", "StreamAnswer", "StreamWriter"]

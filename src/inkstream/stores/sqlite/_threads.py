"""The threads that run SQLite's blocking calls: one thread writes, and a few threads read."""

from __future__ import annotations

import os

from inkstream.stores.sqlite import _forks
from inkstream.stores.sqlite._connection import Settings
from inkstream.stores.sqlite._read_threads import ReadThreads
from inkstream.stores.sqlite._write_thread import WriteThread


class Threads(_forks.Parkable):
    """The threads of an open store, in the process that opened it."""

    def __init__(self, settings: Settings, readers: int) -> None:
        self.path = settings.path
        self.write = WriteThread(settings)
        self.read = ReadThreads(settings, readers)
        self._pid = os.getpid()
        _forks.register(self)
        self.write.start()

    @property
    def are_here(self) -> bool:
        """False in a forked child, because threads do not survive a fork."""
        return self._pid == os.getpid()

    def park(self, until: float) -> bool:
        """Close every connection, the writing connection last; see ``Parkable.park``."""
        return self.read.park(until) & self.write.park(until)

    def resume(self) -> None:
        """Let the threads continue."""
        self.write.resume()
        self.read.resume()

    def close(self, until: float) -> bool:
        """End the threads after all queued jobs; return whether all ended before ``until``."""
        have_ended = self.read.close(until) & self.write.close(until)
        if have_ended:
            _forks.forget(self)
        return have_ended

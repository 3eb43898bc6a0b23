"""A small client with many followers on one epoll.

During a measurement, the client only records the bytes that arrive, and their arrival times. It
parses chunks, events and tokens after the measurement, because parsing uses CPU.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from benchmarks.server import Server

_TOKEN = re.compile(rb"\d+\.\d{6}(?= )")


class Received:
    """The data of one follower: pieces of the response, with their arrival times."""

    __slots__ = ("at", "pieces", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.pieces: list[bytes] = []
        self.at: list[float] = []

    def take(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.at.append(time.monotonic())

    def tokens(self) -> list[tuple[float, float]]:
        """Return, for each token, when it was created and when it arrived."""
        ends = list(accumulate(map(len, self.pieces)))
        return [
            (float(match[0]), self.at[bisect_right(ends, match.end() - 1)])
            for match in _TOKEN.finditer(self.body)
        ]

    @property
    def wire_bytes(self) -> int:
        return sum(map(len, self.pieces))

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def content(self) -> bytes:
        """The response's body; it must be complete (RFC 9112, 6.3 and 7.1)."""
        head, _, rest = self.body.partition(b"\r\n\r\n")
        if b"content-length" in head.lower():
            return rest
        chunks: list[bytes] = []
        at = 0
        while True:
            end = rest.index(b"\r\n", at)
            size = int(rest[at:end], 16)
            if size == 0:
                return b"".join(chunks)
            chunks.append(rest[end + 2 : end + 2 + size])
            at = end + 2 + size + 2

    @property
    def text(self) -> str:
        data = self.content.replace(b"\r\n", b"\n")
        events = [event for event in data.split(b"\n\n") if b"event: end" not in event]
        lines = [line for event in events for line in event.splitlines()]
        return "".join(json.loads(line[6:]) for line in lines if line.startswith(b"data: "))


def follow(
    server: Server,
    paths: list[str],
    deadline_s: float,
    marks: list[tuple[float, Callable[[], None]]] | None = None,
) -> list[Received]:
    """Follow the streams at ``paths`` to their ends, with a connection for each path.

    The requests are sent in the order of ``paths``, each after the first bytes of the previous
    response have arrived. So the first client of a stream begins the stream, and later clients join
    it.

    Each of ``marks`` is a number of seconds and a function. The function is called that many
    seconds after the first token has arrived.
    """
    epoll = select.epoll()
    followers: dict[int, Received] = {}
    for path in paths:
        follower = _ask(server, path)
        followers[follower.socket.fileno()] = follower
        epoll.register(follower.socket.fileno(), select.EPOLLIN)
    received = list(followers.values())
    deadline = time.monotonic() + deadline_s
    left = list(marks or [])
    began: float | None = None
    try:
        while followers:
            ready = epoll.poll(0.05)
            if not ready:
                server.check()
            for fd, _ in ready:
                follower = followers[fd]
                try:
                    piece = follower.socket.recv(262144)
                except BlockingIOError:
                    continue
                if not piece:
                    epoll.unregister(fd)
                    followers.pop(fd).socket.close()
                    continue
                follower.take(piece)
                if began is None and _TOKEN.search(piece):
                    began = follower.at[-1]
            now = time.monotonic()
            while left and began is not None and now >= began + left[0][0]:
                left.pop(0)[1]()
            if now > deadline:
                raise TimeoutError(f"{len(followers)} of {len(paths)} followers are unfinished")
    finally:
        epoll.close()
        for follower in followers.values():
            follower.socket.close()
    return received


def _ask(server: Server, path: str) -> Received:
    """Begin to follow a path. Return when the first bytes of the response have arrived."""
    try:
        connection = socket.create_connection(server.address, timeout=30)
        request = f"GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"
        connection.sendall(request.encode())
        follower = Received(connection)
        follower.take(connection.recv(262144))
    except OSError:
        server.check()
        raise
    connection.setblocking(False)
    return follower


def get(server: Server, path: str) -> bytes:
    """Return the body of a response that is not a stream."""
    (answer,) = follow(server, [path], 30)
    return answer.content

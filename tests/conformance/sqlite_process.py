"""A process that uses a SQLite store: ``python sqlite_process.py task database worker``.

The process prints ``ready`` when its store is open, reads a line, and then runs its task. It prints
each result on a line.
"""

from __future__ import annotations

import asyncio
import os
import sys

from inkstream import wire
from inkstream._types import Change, Committed, Group, Status, StreamId
from inkstream.stores.sqlite import SQLiteStore


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def claim(store: SQLiteStore, worker: str) -> None:
    for number in range(20):
        state = (await store.read(StreamId(f"s{number}"), 0, 0)).state
        change = Change(
            internal_id=state.internal_id,
            if_status=(Status.PENDING,),
            next_epoch=True,
            status=Status.STREAMING,
            worker=worker,
            at=1.0,
        )
        (outcome,) = await store.commit([Group((change,))])
        if isinstance(outcome, Committed):
            say(number)


async def append(store: SQLiteStore, worker: str) -> None:
    """Append numbers to a log for ever. Print each acknowledged number."""
    state = (await store.read(StreamId("log"), 0, 0)).state
    number = 0
    while True:
        (segment,) = wire.encode_messages(
            [wire.RawJSON(b'["%s",%d]' % (worker.encode(), number))], 0
        )
        await store.commit([Group((Change(internal_id=state.internal_id, append=segment),))])
        say(number)
        number += 1


async def follow(store: SQLiteStore, worker: str) -> None:
    """Read all numbers again and again until the stream ends. Print their count each time."""
    ended = False
    while not ended:
        after, found = 0, list[int]()
        while True:
            page = await store.read(StreamId("numbers"), after, 50_000)
            pieces = [wire.cut(segment, after) for segment in page.segments]
            found += [int(str(m)) for m in wire.decode_messages(p for p in pieces if p is not None)]
            after = page.end
            if after == page.state.tail:
                break
        ended = page.state.ended
        say(len(found) if found == list(range(len(found))) else f"wrong: {found}")


async def fork(store: SQLiteStore, worker: str) -> None:
    """Fork a child that outlives this process."""
    child = os.fork()
    if child == 0:
        os.read(0, 1)  # wait until the test closes the pipe
        os._exit(0)
    say(child)
    await asyncio.Event().wait()


async def hold(store: SQLiteStore, worker: str) -> None:
    """Hold the worker's lock and do nothing else."""
    await asyncio.Event().wait()


async def main(what: str, database: str, worker: str) -> None:
    store = SQLiteStore(database)
    await store.open(worker)
    await store.heartbeat(beat=True)
    say("ready")
    sys.stdin.readline()
    await {"claim": claim, "append": append, "follow": follow, "fork": fork, "hold": hold}[what](
        store, worker
    )
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

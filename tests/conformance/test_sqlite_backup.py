"""A SQLite file may be backed up while streams are written, as docs/stores.md says."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from inkstream import PersistentTextStreaming
from inkstream.stores import sqlite


def back_up(path: Path, copy: Path) -> None:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


async def test_backed_up_while_written(tmp_path: Path) -> None:
    """G1, G2: a backup has the complete text of an ended stream, and a prefix of a live stream."""
    path, copy = tmp_path / "s.db", tmp_path / "copy.db"
    async with PersistentTextStreaming(f"sqlite:///{path}") as streams:
        await streams.create("done")
        async with streams.write("done") as writer:
            await writer.append("complete")
        await streams.create("live")
        async with streams.write("live") as writer:
            backup = None
            for number in range(300):
                await writer.append(f"{number} ")
                if number == 100:
                    backup = asyncio.create_task(asyncio.to_thread(back_up, path, copy))
                await asyncio.sleep(0.001)
            assert backup is not None
            await backup
        whole = (await streams.read("live")).text
    assert await asyncio.to_thread(sqlite.check_streams, f"sqlite:///{copy}") == []
    async with PersistentTextStreaming(f"sqlite:///{copy}") as restored:
        assert (await restored.read("done")).text == "complete"
        assert (await restored.wait("live")).status == "timeout"
        text = (await restored.read("live")).text
    assert text
    assert whole.startswith(text)
    assert len(text) < len(whole), "the backup was taken during the writes"

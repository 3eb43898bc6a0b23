"""``check_streams`` finds damage in a SQLite file, and no fault in a file without damage."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from inkstream.stores.sqlite import check_streams
from inkstream.sync import PersistentTextStreaming, _loop


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "streams.db"
    streams = PersistentTextStreaming(f"sqlite:///{path}")
    for name in "ended", "live":
        streams.create(name)
    with streams.write("ended") as writer:
        for piece in "one", "two":
            writer.append(piece)
            writer.flush()
    log = streams.create("log", kind="log")
    for piece in "a", "b", "c":
        streams.post(log, piece)
    _loop._stop()
    return path


def test_complete_file_has_no_faults(path: Path) -> None:
    """G2, G5: the check reports no fault in a complete file."""
    assert check_streams(path) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM inkstream_live WHERE id = (SELECT max(id) FROM inkstream_live)", "live rows"),
        ("UPDATE inkstream_live SET position = position + 1", "a gap"),
        ("UPDATE inkstream_live SET payload = payload || 'x'", "bytes and has"),
        ("UPDATE inkstream_live SET message_ends = x'ff'", "breaks off"),
        ("UPDATE inkstream_heads SET tail = tail + 1", "its tail is"),
        ("UPDATE inkstream_heads SET size = size + 1", "its size is"),
        ("UPDATE inkstream_streams SET ended_at = NULL", "its end does not fit"),
        ("UPDATE inkstream_streams SET status = 'done', ended_at = 1", "head has another"),
        ("DELETE FROM inkstream_streams WHERE stream_id = 'log'", "of no stream"),
        ("DELETE FROM inkstream_heads", "state of no stream"),
        ("UPDATE inkstream_streams SET runs = '[0]'", "pairs"),
        ("UPDATE inkstream_streams SET runs = '[]'", "pairs"),
        ("UPDATE inkstream_streams SET runs = '{}'", "no list of numbers"),
        ("UPDATE inkstream_streams SET runs = '[1,7]'", "begin at 1"),
        ("UPDATE inkstream_streams SET runs = '[0,7,0,8]'", "out of order"),
        ("UPDATE inkstream_streams SET runs = '[0,7,1,7]'", "the same generation"),
        ("UPDATE inkstream_streams SET runs = '[0,7,999,8]'", "past its tail"),
        ("UPDATE inkstream_streams SET runs = '[0,0]'", "does not exist"),
        ("UPDATE inkstream_heads SET generation = 7", "head has 7"),
        ("UPDATE inkstream_live SET payload = x'ff' || substr(payload, 2)", "not UTF-8"),
        ("DROP TABLE inkstream_workers", "missing: table inkstream_workers"),
        ("DROP TABLE inkstream_segments", "missing: table inkstream_segments"),
    ],
)
def test_damage(path: Path, damage: str, said: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(damage)
    assert any(said in fault for fault in check_streams(path)), check_streams(path)

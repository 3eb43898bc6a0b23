from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inkstream import (
    End,
    Health,
    NotClaimed,
    NotRunning,
    Status,
    StreamBody,
    StreamEnded,
    StreamNotFound,
    WriterFenced,
    quiet_stop,
)
from inkstream.engine.observer import Observer
from inkstream.engine.settings import FinerTiming
from inkstream.sync import PersistentTextStreaming, _loop


def test_a_stream_from_its_creation_to_its_deletion(streams: PersistentTextStreaming) -> None:
    """G1, G11: synchronous code writes, reads, lists and deletes a stream."""
    stream_id = streams.create(owner="me", group="chat", metadata={"n": 1})
    with streams.write(stream_id) as writer:
        assert writer.stream_id == stream_id
        writer.append("one \0")
        writer.append({"tool": 1})
        writer.flush()
        assert writer.body().text == "one \0"
        writer.append("two")
        writer.result = {"tokens": 3}
    body = streams.read(stream_id, owner="me")
    assert (body.status, body.parts) == (Status.DONE, ("one \0", {"tool": 1}, "two"))
    assert (body.end and body.end.result, body.metadata) == ({"tokens": 3}, {"n": 1})
    assert streams.wait(stream_id) == body
    assert streams.read_many([stream_id, "absent"]) == {stream_id: body}
    assert [state.stream_id for state in streams.list(owner="me", limit=1).streams] == [stream_id]
    assert streams.list(owner="other").streams == ()
    latest = streams.latest(owner="me", group="chat")
    assert latest is not None
    assert (latest.stream_id, latest.ended) == (stream_id, True)
    assert streams.latest(owner="other", group="chat") is None
    with pytest.raises(StreamNotFound):
        streams.read(stream_id, owner="other")
    assert streams.delete(stream_id) is True
    assert streams.delete(stream_id) is False
    streams.create(owner="me")
    assert streams.delete_all(owner="me") == 1


def test_the_latest_and_what_stops_when_nobody_reads(sqlite_url: str) -> None:
    """G6: ``on_disconnect="cancel"`` cancels an answer after its last reader has left."""
    streams = PersistentTextStreaming(sqlite_url, timing=FinerTiming(disconnect_grace_s=0.05))
    assert streams.latest(owner="me") is None
    streams.create(owner="me")
    stream_id = streams.create(owner="me")
    latest = streams.latest(owner="me")
    assert latest is not None
    assert latest.stream_id == stream_id

    def answer() -> Iterator[str]:
        while True:
            yield "on and on "
            time.sleep(0.01)

    streams.start(stream_id, answer, on_disconnect="cancel")
    with streams.follow(stream_id) as following:
        next(following)
    deadline = time.monotonic() + 10
    # ``wait`` would follow the stream, and so be a reader.
    while streams.read(stream_id).status is Status.STREAMING:
        assert time.monotonic() < deadline
    assert streams.read(stream_id).status is Status.CANCELLED


def test_a_thread_waits_for_a_stop(streams: PersistentTextStreaming) -> None:
    stream_id = streams.create()
    with quiet_stop(), streams.write(stream_id) as writer, ThreadPoolExecutor() as threads:
        waiting = threads.submit(writer.stopped)
        streams.cancel(stream_id)
        waiting.result(10)


def test_a_log(streams: PersistentTextStreaming) -> None:
    log = streams.create(kind="log")
    offset = streams.post(log, "a", {"b": 1})
    streams.post(log, "c")
    assert streams.close(log) is True
    assert list(streams.follow(log, offset)) == ["c", End(Status.DONE)]
    with pytest.raises(StreamEnded):
        streams.post(log, "d")


def test_one_thread_follows_what_another_writes(streams: PersistentTextStreaming) -> None:
    """G2: the reader gets each piece before the writer appends the next piece."""
    stream_id = streams.create()
    heard: list[object] = []
    news = threading.Semaphore(0)

    def follow() -> str | None:
        with streams.follow(stream_id) as following:
            for item in following:
                heard.append(item)
                news.release()
            return following.offset

    with ThreadPoolExecutor() as threads:
        following = threads.submit(follow)
        with streams.write(stream_id) as writer:
            for number in range(5):
                writer.append(f"{number}")
                assert news.acquire(timeout=5)
        offset = following.result(5)
    assert "".join(str(item) for item in heard[:-1]) == "01234"
    assert heard[-1] == End(Status.DONE)
    assert offset == streams.read(stream_id).offset
    early = streams.follow(stream_id)
    assert next(early) == "01234"
    early.close()


def test_an_exception_ends_the_stream_and_reaches_the_caller(
    streams: PersistentTextStreaming,
) -> None:
    """G5: an exception in the block ends the stream ``error`` and reaches the caller.

    Even KeyboardInterrupt and SystemExit do not end the thread of ``inkstream.sync``.
    """
    for error in (RuntimeError("secret"), KeyboardInterrupt(), SystemExit(1)):
        stream_id = streams.create()

        def fail(stream_id: str, error: BaseException) -> None:
            with streams.write(stream_id) as writer:
                writer.append("half")
                raise error

        with pytest.raises(type(error)) as caught:
            fail(stream_id, error)
        assert caught.value is error
        body = streams.read(stream_id)
        assert (body.status, body.text) == (Status.ERROR, "half")
        assert body.end is not None
        assert body.end.code == "internal"
        assert "secret" not in str(body.end)


def test_a_cancelled_writer_is_refused(streams: PersistentTextStreaming) -> None:
    """G3, G6: after a cancel, the stored text stays, and the next append or flush raises."""
    stream_id = streams.create()

    def write() -> None:
        with streams.write(stream_id) as writer:
            writer.append("half")
            writer.flush()
            with pytest.raises(NotClaimed), streams.write(stream_id):
                pass
            assert streams.cancel(stream_id) is True
            writer.append("more")
            writer.flush()

    with pytest.raises(WriterFenced):
        write()
    assert streams.read(stream_id).text == "half"
    assert streams.cancel(stream_id) is False


def test_a_job_continues_a_released_stream(streams: PersistentTextStreaming) -> None:
    stream_id = streams.create(takeover_within_s=60)
    with streams.write(stream_id) as first:
        first.append("first ")
        first.release()
        with pytest.raises(WriterFenced, match="was released by this writer"):
            first.append("more")
    with streams.write(stream_id, takeover=True) as second:
        assert second.body().text == "first "
        second.append("second")
        second.finish("error", code="quota", message="No more.")
    body = streams.read(stream_id)
    assert (body.text, body.status) == ("first second", Status.ERROR)


def test_a_generator_writes_in_the_background(url: str) -> None:
    """G6: a generator writes in the background, and a plain function ``on_end`` gets the stream.

    ``on_end`` may itself call ``inkstream.sync``.
    """
    reported: list[tuple[StreamBody, str]] = []
    done = threading.Event()

    def on_end(body: StreamBody) -> None:
        reported.append((body, streams.read(body.stream_id).text))
        done.set()

    streams = PersistentTextStreaming(url, on_end=on_end)
    stream_id = streams.create()

    def answer():  # type: ignore[no-untyped-def]
        yield "in "
        yield "a thread"

    streams.start(stream_id, answer)
    assert streams.wait(stream_id).text == "in a thread"
    assert done.wait(5)
    assert reported == [(streams.read(stream_id), "in a thread")]


def test_instances_share_a_loop_and_stop_alone(url: str) -> None:
    one, two = PersistentTextStreaming(url), PersistentTextStreaming(url)
    stream_id = one.create()
    assert two.read(stream_id).status is Status.PENDING
    assert sum(thread.name == "inkstream-sync" for thread in threading.enumerate()) == 1
    two.stop()
    two.stop()
    assert one.cancel(stream_id)
    assert two.read(stream_id).status is Status.CANCELLED, "``two`` must start again"


def test_racing_first_calls_start_one(url: str) -> None:
    """If eight threads make the first call at once, only one engine and one loop thread start."""
    engines: list[object] = []
    together = threading.Barrier(8)

    class Starts(Observer):
        def opened(self, gauges: object) -> None:
            engines.append(gauges)

    streams = PersistentTextStreaming(url, observer=Starts())

    def create(n: int) -> str:
        together.wait(10)
        return streams.create(f"s{n}")

    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(create, range(8)))
    assert len(engines) == 1
    assert streams.read_many(ids).keys() == set(ids)
    assert sum(thread.name == "inkstream-sync" for thread in threading.enumerate()) == 1


def test_now_is_the_time_of_the_call(streams: PersistentTextStreaming) -> None:
    """G2: a reader does not miss text that is committed between ``follow`` and its first item."""
    streams.create("log", kind="log")
    streams.post("log", "before")
    with streams.follow("log", "now") as following:
        streams.post("log", "after")
        streams.close("log")
        assert list(following) == ["after", End(Status.DONE)]


def test_health_answers_although_the_start_fails(tmp_path: Path) -> None:
    """G12: a health route answers while the database is away, and when it has come back."""
    folder = tmp_path / "not mounted yet"
    streams = PersistentTextStreaming(f"sqlite:///{folder}/inkstream.db")
    assert streams.health() == Health(True, False, ("not_started", "store_away"))
    folder.mkdir()
    health = streams.health()
    assert (health.live, health.ready, health.reasons) == (True, True, ())
    with pytest.raises(ValueError, match="within_s"):
        streams.health(within_s=0)


def test_calls_on_its_own_loop_are_refused(streams: PersistentTextStreaming) -> None:
    stream_id = streams.create()

    async def call() -> None:
        streams.read(stream_id)

    with pytest.raises(NotRunning, match="its own event loop"):
        _loop.this_process().call(call())


def test_a_wrong_url_raises_at_the_constructor() -> None:
    with pytest.raises(ValueError, match="mysql"):
        PersistentTextStreaming("mysql://nowhere")
    assert not any(thread.name == "inkstream-sync" for thread in threading.enumerate())


AT_EXIT = """
import asyncio, sys, threading
from inkstream.sync import PersistentTextStreaming
from inkstream import Timing

def on_end(body):
    print(body.status, flush=True)

timing = Timing(shutdown_grace_s=float(sys.argv[2]))
streams = PersistentTextStreaming(sys.argv[1], on_end=on_end, timing=timing)
streams.create("left")
going = threading.Event()

def answer():
    yield "half"
    while "ends" not in sys.argv:
        going.set()
        threading.Event().wait(0.05)
        yield "."
    going.set()
    threading.Event().wait(1.0)  # the main thread has ended, and sweeps go on meanwhile
    yield " and half"

streams.start("left", answer)
assert going.wait(10)
print("written", flush=True)
"""


def ended(url: str, grace_s: float, *how: str) -> str:
    """Return the output of a process that ends while it writes a stream."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AT_EXIT, url, str(grace_s), *how],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr in ("", "stream 'left' ended error (shutdown)\n")
    return done.stdout


def test_a_process_that_ends_lets_answers_finish(
    streams: PersistentTextStreaming, url: str
) -> None:
    """G8: a process that ends waits for its answers up to the grace time, and calls ``on_end``."""
    assert ended(url, 10.0, "ends") == "written\ndone\n"
    assert streams.read("left").text == "half and half"


def test_a_process_that_ends_reports_shutdown(streams: PersistentTextStreaming, url: str) -> None:
    """G8: an answer that is unfinished after the grace time ends ``error``, code ``shutdown``."""
    assert ended(url, 0.0) == "written\nerror\n"
    body = streams.read("left")
    assert body.end is not None
    assert (body.status, body.end.code) == (Status.ERROR, "shutdown")
    assert body.text.startswith("half")


def test_follow_raises_at_the_call(streams: PersistentTextStreaming) -> None:
    """``follow`` raises at the call. After the first byte, a view could no longer answer 404."""
    streams.create("theirs", owner="them")
    with pytest.raises(StreamNotFound):
        streams.follow("absent")
    with pytest.raises(StreamNotFound):
        streams.follow("theirs", owner="me")


def test_collected_instances_release_their_resources(sqlite_url: str) -> None:
    """Notebooks create many instances. An instance without a variable must release its threads."""

    def threads() -> int:
        return sum(thread.name.startswith("inkstream-") for thread in threading.enumerate())

    def use(number: int) -> None:
        streams = PersistentTextStreaming(sqlite_url)
        streams.create(f"{number}")
        streams.read(f"{number}")

    use(0)
    for number in range(1, 20):
        use(number)
    gc.collect()
    deadline = time.monotonic() + 20
    while threads() > 1:  # the thread of the event loop stays
        assert time.monotonic() < deadline, threading.enumerate()
        threading.Event().wait(0.01)


def test_instances_in_use_are_not_released(sqlite_url: str) -> None:
    """G6: a follower and a source go on although no variable refers to their instance."""

    def begin() -> Iterable[object]:
        streams = PersistentTextStreaming(sqlite_url)
        streams.create("s")

        def source() -> Iterator[str]:
            yield "one, "
            go_on.wait(10)
            yield "two"

        streams.start("s", source)
        return streams.follow("s")

    go_on = threading.Event()
    following = iter(begin())
    assert next(following) == "one, "
    gc.collect()
    go_on.set()
    assert list(following) == ["two", End(Status.DONE)]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_source_that_exits_ends_no_other_stream(
    streams: PersistentTextStreaming, error: type[BaseException]
) -> None:
    """G4: an exit in a source does not end the event loop that all instances share."""

    async def exits() -> AsyncIterator[str]:
        yield "so far"
        raise error

    stream_id = streams.create()
    streams.start(stream_id, exits)
    body = streams.wait(stream_id)
    assert (body.text, body.status) == ("so far", "error")
    assert streams.create()


def test_a_loop_that_other_code_stops_goes_on(streams: PersistentTextStreaming) -> None:
    streams.create("s")
    loop = _loop.this_process().loop
    loop.call_soon_threadsafe(loop.stop)
    assert streams.read("s").status == "pending"


def test_calls_of_a_loop_that_has_ended_do_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    thread = _loop.LoopThread()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(thread.call, wait())
        thread.stop()
        with pytest.raises(NotRunning, match="has ended"):
            waiting.result(10)
    for task in asyncio.all_tasks(thread.loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # no later test logs this
    with pytest.raises(NotRunning, match="has ended"):
        thread.call(wait())
    monkeypatch.setattr(_loop, "_thread", thread)
    other = _loop.this_process()
    assert other is not thread
    other.stop()

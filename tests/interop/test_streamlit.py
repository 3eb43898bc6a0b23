from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit
from streamlit.testing.v1 import AppTest

from inkstream.sync import PersistentTextStreaming, _loop

EXAMPLE = Path(__file__).parents[2] / "examples/streamlit_chat.py"
ANSWER = "You asked: Why? Here is a thought about it."

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # these warnings come from Streamlit
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the test in a new folder, which will contain the database.

    Afterwards, clear Streamlit's cache, and stop the thread of ``inkstream.sync``.
    """
    monkeypatch.chdir(tmp_path)
    yield
    streamlit.cache_resource.clear()
    _loop._stop()


@pytest.fixture(autouse=True)
def nothing_blocks() -> None:
    """Turn off the check for blocking calls, because Streamlit's threads have event loops.

    In these threads, synchronous calls of inkstream may block.
    """


def shown(app: AppTest) -> list[str]:
    assert not app.exception, app.exception
    return [str(element.value) for element in app.markdown] + [c.value for c in app.caption]


def opened(stream_id: str) -> AppTest:
    app = AppTest.from_file(str(EXAMPLE), default_timeout=20)
    app.query_params["stream"] = stream_id
    return app


def test_an_answer_is_shown_and_is_there_after_a_reload() -> None:
    """G2, G6: a reload is a new session that knows only the address. It shows the same answer."""
    app = AppTest.from_file(str(EXAMPLE), default_timeout=20).run()
    app.chat_input[0].set_value("Why?").run()
    assert shown(app) == ["Why?", ANSWER, "done"]
    address = app.query_params["stream"]
    stream_id = address if isinstance(address, str) else address[0]
    assert shown(opened(stream_id).run()) == ["Why?", ANSWER, "done"]


def test_stop_stops_it() -> None:
    """G6: Stop ends an answer that is being written, and the page shows the status ``cancelled``.

    Streamlit's test runner cannot press a button while the script runs. So the page first shows an
    old stream of the same id, which has ended.
    """
    streams = PersistentTextStreaming("sqlite:///inkstream.db")
    streams.create("s", metadata={"prompt": "Why?"})
    with streams.write("s") as writer:
        writer.append("Old")
    app = opened("s").run()
    assert shown(app) == ["Why?", "Old", "done"]
    streams.delete("s")
    streams.create("s", metadata={"prompt": "Why?"})
    going_on = threading.Event()

    def answer() -> Iterator[str]:
        yield "Once "
        going_on.wait(20)
        yield "more"

    streams.start("s", answer)
    with streams.follow("s") as following:
        assert next(following) == "Once "
    app.button[0].click().run()
    assert streams.read("s").status == "cancelled"
    assert shown(app) == ["Why?", "Once", "cancelled"]
    going_on.set()


def test_page_shows_that_an_answer_was_stopped() -> None:
    """G6: if another session stops an answer, the page shows the answer's text and status.

    A click on Stop after the end changes nothing.
    """
    streams = PersistentTextStreaming("sqlite:///inkstream.db")
    stream_id = streams.create(metadata={"prompt": "Why?"})
    going_on = threading.Event()

    def answer() -> Iterator[str]:
        yield "Once "
        going_on.wait(20)
        yield "more"

    streams.start(stream_id, answer)
    app = opened(stream_id)
    run = threading.Thread(target=app.run)
    run.start()
    with streams.follow(stream_id) as following:
        assert next(following) == "Once "
    streams.cancel(stream_id)
    run.join(20)
    going_on.set()
    assert shown(app) == ["Why?", "Once", "cancelled"]
    app.button[0].click().run()
    assert shown(app) == ["Why?", "Once", "cancelled"]


def test_an_answer_that_was_deleted_says_so() -> None:
    app = opened("absent").run()
    assert [error.value for error in app.error] == ["This answer was deleted."]

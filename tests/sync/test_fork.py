"""A process that used streams forks. The parent and each child continue with their own loop."""

from __future__ import annotations

import subprocess
import sys

import pytest

from inkstream import Status
from inkstream.sync import PersistentTextStreaming

# Like a server, this program forks after it has loaded and used the application.
FORKING = """
import os, sys, threading
from inkstream.sync import PersistentTextStreaming

streams = PersistentTextStreaming(sys.argv[1])
streams.create("of the parent")
heard = []
following = threading.Thread(target=lambda: heard.extend(streams.follow("of a child")))
with streams.write("of the parent") as writer:
    writer.append("before, ")
    writer.flush()
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            name = "of a child" if number == 0 else f"of child {number}"
            try:
                assert streams.read("of the parent").text == "before, "
                streams.create(name)
                with streams.write(name) as mine:
                    mine.append(f"{number}")
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            sys.exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0, 0, 0], codes
    following.start()
    following.join(5)
    assert heard[0] == "0", heard
    writer.append("after")
"""


@pytest.mark.parametrize("first", ["", "from gevent.monkey import patch_all; patch_all()"])
def test_a_fork_needs_no_care(streams: PersistentTextStreaming, url: str, first: str) -> None:
    """G3, G7: no process takes or ends another process's lock, connection or stream."""
    done = subprocess.run(
        [sys.executable, "-c", first + FORKING, url],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    names = ["of the parent", "of a child", "of child 1", "of child 2"]
    bodies = streams.read_many(names)
    assert {body.status for body in bodies.values()} == {Status.DONE}
    assert [bodies[streams.read(name).stream_id].text for name in names] == [
        "before, after",
        "0",
        "1",
        "2",
    ]

"""Forks a server for each line of its input: ``python -m tests.crash.forking PORT``.

The script imports the server before it forks, so that a server starts in milliseconds and a test
can kill many servers. The script prints the process id of each new server, and ``dead`` when that
server has died.
"""

from __future__ import annotations

import os
import sys

import uvicorn

from tests.crash import counting


def main(port: int) -> None:
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            uvicorn.run(counting.app, port=port, ws="none", log_level="warning", access_log=False)
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        os.waitpid(child, 0)
        sys.stdout.write("dead\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))

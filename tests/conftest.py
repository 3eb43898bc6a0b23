"""Settings and checks for every test."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import signal
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import blockbuster
import pytest
from blockbuster import BlockingError
from hypothesis import HealthCheck, settings

import inkstream

TIERS = ("test", "interop", "soak")
TIER = os.environ.get("INKSTREAM_TIER", "test")
assert TIER in TIERS, f"INKSTREAM_TIER={TIER!r} is none of {TIERS}"
SOAK = TIER == "soak"
INTEROP = Path(__file__).parent / "interop"
# The tests in ``INTEROP`` import large packages. Without this line, each test process would spend
# two seconds on these imports, although the tier ``test`` runs none of these tests.
collect_ignore = [INTEROP] if TIER == "test" else []
GRACE_S = 2.0

# A busy machine would miss Hypothesis's deadlines. pytest-timeout limits each test instead.
settings.register_profile(
    "fast", deadline=None, max_examples=60, derandomize="CI" in os.environ, print_blob=True
)
settings.register_profile(
    "soak",
    deadline=None,
    max_examples=5_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("soak" if SOAK else "fast")

Rounds = Callable[[int, int], range]


@pytest.fixture(scope="session")
def rounds() -> Rounds:
    """Return the function ``rounds(fast, soak)``, which gives a test its number of rounds."""
    return lambda fast, soak: range(soak if SOAK else fast)


def pytest_configure() -> None:
    """Accept SIGINT, even if a shell runs pytest in the background.

    Such a shell makes pytest ignore SIGINT, and the programs that tests start would ignore it too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("seeds")
        assert marker is not None, "a test with a seed needs the marker seeds(fast, soak)"
        metafunc.parametrize("seed", range(marker.args[1 if SOAK else 0]))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of other tiers.

    These tests are not skipped, because a skipped test means that a program is missing.
    """
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        (kept if _is_of_this_tier(item) else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def _is_of_this_tier(item: pytest.Item) -> bool:
    if item.get_closest_marker("soak") and not SOAK:
        return False
    interop = item.get_closest_marker("interop") is not None or INTEROP in item.path.parents
    return TIER == "soak" or interop == (TIER == "interop")


def pytest_collection_finish() -> None:
    """Let later garbage collections skip the tests and modules, to make the collections faster."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> str:
    return f"inkstream: {TIER} (INKSTREAM_TIER is {' or '.join(TIERS)})"


@pytest.fixture(autouse=True)
def nothing_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test if code of inkstream makes a blocking call on its event loop.

    The test itself may make blocking calls, for example to read a file.
    """
    seen: list[str] = []

    class Noted(BlockingError):
        """Records each blocking call, because code of inkstream may catch the error."""

        def __init__(self, func: str) -> None:
            super().__init__(func)
            stack = traceback.format_stack(limit=12)
            seen.append("".join([f"{self}\n", *stack[:-2]]))

    monkeypatch.setattr(blockbuster.blockbuster, "BlockingError", Noted)
    with blockbuster.blockbuster_ctx(scanned_modules=inkstream) as watch:
        # Logging may block, because the application (in tests, pytest) chooses the handlers.
        for name in ("io.TextIOWrapper.write", "io.BufferedWriter.write"):
            watch.functions[name].can_block_in("logging/__init__.py", "emit")
        # If an application passes its own SQLite connection to inkstream, calls on it may block.
        for function in watch.functions.values():
            function.can_block_in("inkstream/stores/sqlite/_store.py", "_run_inside")
        yield
    if seen:
        pytest.fail("the event loop was blocked: " + "\n".join(seen), pytrace=False)


@dataclass(frozen=True, slots=True)
class Before:
    threads: frozenset[threading.Thread]
    files: frozenset[str]


_BEFORE = pytest.StashKey[Before]()


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> None:
    """Fail a test if its threads, tasks, sockets or files outlive the test and its fixtures."""
    request.node.stash[_BEFORE] = Before(frozenset(threading.enumerate()), _open_files())
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("no_task_left")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Check for threads and files after all fixtures have ended and the event loop is closed."""
    yield
    before = item.stash.get(_BEFORE, None)
    if before is None:  # the test's set-up failed
        return
    deadline = time.monotonic() + GRACE_S
    for thread in set(threading.enumerate()) - before.threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    threads = [thread.name for thread in set(threading.enumerate()) - before.threads]
    if _open_files() - before.files:
        gc.collect()  # otherwise warnings about unclosed files could fail a later test
    files = sorted(_open_files() - before.files)
    if threads or files:
        pytest.fail(f"left behind: threads {threads}, open {files}", pytrace=False)


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    async with fail_if_tasks_are_left():
        yield


@contextlib.asynccontextmanager
async def fail_if_tasks_are_left() -> AsyncIterator[None]:
    """Fail if a task that began in the block still runs ``GRACE_S`` seconds after the block."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=GRACE_S)
    assert not left, f"tasks left running: {left}"


def _open_files() -> frozenset[str]:
    """Return the process's sockets and files, by number and name. Without /proc, return none.

    Pipes are left out, because the event loop and child processes use them.
    """
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = str(entry.readlink())
        except OSError:  # the file was closed meanwhile
            continue
        if entry.name in ("0", "1", "2"):  # pytest's capture replaces these files
            continue
        if target.startswith(("socket:", "/")) and not target.startswith(("/dev/", "/proc/")):
            found.add(f"{entry.name} -> {target}")
    return frozenset(found)

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inkstream.stores.postgres import _migrate
from tests import postgres_server
from tests.http.client import Broken, fetch
from tests.http.servers import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "db.sqlite3")
        return
    server = postgres_server.server(postgres_server.versions()[0])
    url = asyncio.run(server.make_database(migrated=False))
    yield url
    asyncio.run(server.drop_database(url))


def manage(database: str, *arguments: str, fails: bool = False, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.frameworks.django_project", *arguments],
        cwd=ROOT,
        env=os.environ | {"DJANGO_DATABASE": database} | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    printed = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, printed
    return printed


def test_the_suite_passes_with_djangos_own_runner(database: str) -> None:
    printed = manage(database, "test", "--noinput", "tests.frameworks.django_suite")
    assert "OK" in printed
    assert "Ran 6 tests" in printed


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_migrate_makes_the_schema_and_zero_drops_it(database: str) -> None:
    """Django applies the same SQL as ``inkstream migrate``, and either of them may run first."""
    manage(database, "migrate")
    assert asyncio.run(_migrate.verify(database)) == []
    assert asyncio.run(_migrate.migrate(database)) == []
    manage(database, "migrate", "inkstream", "zero")
    assert asyncio.run(_migrate.migrate(database)) != []
    manage(database, "migrate")


def test_each_migration_has_a_django_migration() -> None:
    ours = [step.version for step in _migrate.migrations()]
    theirs = (ROOT / "src/inkstream/django/migrations").glob("0*.py")
    assert sorted(int(path.name[:4]) for path in theirs) == ours


def test_a_wrong_setting_is_named_by_check(tmp_path: Path) -> None:
    wrong = '{"DATABSE": "default"}'
    printed = manage(str(tmp_path / "db"), "check", fails=True, DJANGO_INKSTREAM=wrong)
    assert "INKSTREAM has DATABSE" in printed


@pytest.mark.parametrize("server", ["uvicorn", "runserver"])
def test_both_kinds_of_server_follow(tmp_path: Path, server: str) -> None:
    """G1: sync and async views follow a stream under ASGI and WSGI.

    No middleware compresses the events.
    """
    database = str(tmp_path / "db.sqlite3")
    manage(database, "migrate")
    port = free_port()
    command = {
        "uvicorn": ["uvicorn", "tests.frameworks.django_project:asgi", "--port", str(port)],
        "runserver": ["tests.frameworks.django_project", "runserver", "--noreload", str(port)],
    }[server]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=os.environ | {"DJANGO_DATABASE": database},
            stdout=output,
            stderr=output,
        )

    async def read() -> None:
        async with asyncio.timeout(20):
            asked = None
            while asked is None:
                try:
                    asked = await fetch(port, "/ask/one")
                except (OSError, Broken):
                    assert process.poll() is None
                    await asyncio.sleep(0.05)
        assert asked.status == 200, log.read_text()
        gzip = {"Accept-Encoding": "gzip"}
        for path in ("/live/one", "/alive/one"):
            answer = await fetch(port, path, headers=gzip)
            assert answer.headers["content-encoding"] == "identity"
            assert b"event: end" in answer.body, log.read_text()

    try:
        asyncio.run(read())
    finally:
        process.terminate()
        process.wait(15)
    assert "Traceback" not in log.read_text(), log.read_text()

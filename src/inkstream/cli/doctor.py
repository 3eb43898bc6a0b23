"""`inkstream doctor`: what a deployment does to streams, and whether its database is in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from inkstream._errors import InvalidInput
from inkstream.cli.database import check_database, json_option, run
from inkstream.cli.exits import EPILOG, Exit, errors_become_exits
from inkstream.cli.output import write_json, write_text

if TYPE_CHECKING:
    from inkstream.operations.doctor.exchange import Endpoint
    from inkstream.operations.doctor.findings import Finding


@click.command("doctor", epilog=EPILOG)
@click.argument("url", metavar="[URL]", required=False)
@click.option("--database", metavar="URL", help="Check this database instead of an endpoint.")
@click.option(
    "--idle",
    "idle_s",
    type=click.FloatRange(0.1, 540.0),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait on a silent connection.",
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header to send with every request; may be repeated.",
)
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
@json_option
def command(
    url: str | None,
    database: str | None,
    idle_s: float,
    headers: tuple[str, ...],
    insecure: bool,
    as_json: bool,
) -> None:
    """Test what proxies do to streams on the way from a deployed endpoint, or check a database.

    URL is the address at which browsers reach the application's `streams.doctor_probe(…)`.
    With --database, the command checks a database instead: version, rights, settings, free space
    and clock. The command exits with 1 if it finds a problem. A finding "unknown" does not
    count as a problem.
    """
    if (url is None) == (database is None):
        raise click.UsageError("pass either the URL of an endpoint or --database URL")
    if database is not None:
        check_database(database)
        run(_database(database, as_json))
        return
    assert url is not None
    with errors_become_exits():
        from inkstream.operations.doctor.exchange import Endpoint

        endpoint = Endpoint.parse(url, dict(map(_header, headers)), insecure=insecure)
    run(_endpoint(endpoint, idle_s, as_json))


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter("write 'Name: value'", param_hint="--header")
    return name.strip(), value.strip()


async def _database(database: str, as_json: bool) -> int:
    from inkstream.facade.databases import is_postgres

    if is_postgres(database):
        from inkstream.operations.doctor import postgres

        return _print(await postgres.examine(database), as_json)
    if not database.startswith("sqlite:"):
        raise InvalidInput("memory:// exists only inside one process: name another database")
    from inkstream.operations.doctor import sqlite

    return _print(await asyncio.to_thread(sqlite.examine, database), as_json)


async def _endpoint(endpoint: Endpoint, idle_s: float, as_json: bool) -> int:
    from inkstream.operations.doctor.endpoint import examine

    return _print(await examine(endpoint, idle_s=idle_s), as_json)


def _print(found: list[Finding], as_json: bool) -> int:
    for finding in found:
        if as_json:
            write_json(finding.as_json())
        else:
            write_text(f"{finding.verdict:8} {finding.check:17} {finding.message}\n")
            for where, line in finding.mend.items():
                write_text(f"{'':10}{where}: {line}\n")
    return Exit.FAILED if any(finding.verdict == "problem" for finding in found) else Exit.DONE

"""`inkstream doctor`: what a deployment does to streams, and how its database is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from inkstream.cli.database import json_option, run
from inkstream.cli.exits import EPILOG, Exit, errors_become_exits
from inkstream.cli.output import write_json, write_text

if TYPE_CHECKING:
    from inkstream.operations.doctor.exchange import Endpoint
    from inkstream.operations.doctor.findings import Finding


@click.command("doctor", epilog=EPILOG)
@click.argument("url", metavar="URL")
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
    help="Sent with every request; may be repeated.",
)
@click.option("--insecure", is_flag=True, help="Take any certificate.")
@json_option
def command(
    url: str, idle_s: float, headers: tuple[str, ...], insecure: bool, as_json: bool
) -> None:
    """Ask a deployed endpoint what happens to streams on their way.

    URL is where the application mounts `streams.doctor_probe(…)`, seen from where browsers are.
    Exits with 1 if something is to be mended; "unknown" is no reason to.
    """
    with errors_become_exits():
        from inkstream.operations.doctor.exchange import Endpoint

        endpoint = Endpoint.parse(url, dict(map(_header, headers)), insecure=insecure)
    run(_endpoint(endpoint, idle_s, as_json))


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter("write 'Name: value'", param_hint="--header")
    return name.strip(), value.strip()


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

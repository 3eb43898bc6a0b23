"""`inkstream serve`: the open Durable Streams protocol as a server of its own."""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from inkstream.cli.database import database_option, try_database
from inkstream.cli.exits import EPILOG, Exit, errors_become_exits, say
from inkstream.cli.output import write_text

if TYPE_CHECKING:
    from inkstream.cli.standalone import ServeConfig

_TOKENS: Final = "INKSTREAM_TOKENS"
_PORT: Final = 4437
"""The default port of the Durable Streams protocol (section 13.1)."""


@click.command("serve", epilog=EPILOG)
@database_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, show_default=True)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes."
)
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    metavar="ORIGIN",
    help="An origin whose pages may use this server ('*': all). May be repeated.",
)
@click.option(
    "--long-poll-timeout",
    "long_poll_s",
    type=click.FloatRange(0.05, 300),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a long-poll waits for messages.",
)
@click.option(
    "--max-streams",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    metavar="NUMBER",
    help="The largest number of streams, including closed streams.",
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"Bearer tokens: one 'TOKEN RIGHTS [PREFIX]' per line. Or {_TOKENS} in the environment.",
)
@click.option("--allow-anonymous", is_flag=True, help="Allow every client on this computer.")
@click.option("--force", is_flag=True, help="Also allow every client that reaches --host.")
def command(
    database: str,
    host: str,
    port: int,
    workers: int,
    cors_origins: tuple[str, ...],
    long_poll_s: float,
    max_streams: int,
    token_file: Path | None,
    allow_anonymous: bool,
    force: bool,
) -> None:
    """Serve streams over the Durable Streams protocol, under /v1/stream/.

    Each line of the token file is a token, its rights (read, write, delete, separated by commas),
    and a prefix if the token is only for streams whose ids begin with that prefix:

        9uAqK2mBzJc4WnTe read,write chats/
    """
    from inkstream.cli.standalone import ServeConfig
    from inkstream.cli.tokens import Tokens

    tokens = token_file.read_text() if token_file is not None else os.environ.get(_TOKENS)
    if tokens is None and not allow_anonymous:
        raise click.UsageError(
            f"who may use this server? Pass --token-file (or {_TOKENS}), or --allow-anonymous"
        )
    if tokens is not None and allow_anonymous:
        raise click.UsageError("tokens and --allow-anonymous exclude each other")
    if allow_anonymous and not force and not _is_loopback(host):
        raise click.UsageError(
            f"--allow-anonymous would allow every client that reaches {host}: confirm with --force"
        )
    if tokens is not None:
        try:
            Tokens.parse(tokens)
        except ValueError as exc:
            raise click.UsageError(f"tokens: {exc}") from exc
    if workers > 1 and database.startswith("memory:"):
        raise click.UsageError(
            "memory:// exists only inside one process: pass --database, or --workers 1"
        )
    config = ServeConfig(
        database=database,
        tokens=tokens,
        cors_origins=cors_origins,
        long_poll_s=long_poll_s,
        max_streams=max_streams,
    )
    with errors_become_exits():
        asyncio.run(try_database(database))
        _serve(config, host, port, workers)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _serve(config: ServeConfig, host: str, port: int, workers: int) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from inkstream.cli import standalone

    try:
        listener = standalone.listen(host, port)
    except OSError as exc:
        say(f"{host}:{port} cannot be used ({exc.strerror}): choose another with --port")
        raise SystemExit(Exit.FAILED) from exc
    os.environ[standalone.VARIABLE] = config.dump()
    settings = uvicorn.Config(
        standalone.FACTORY,
        factory=True,
        workers=workers,
        log_level="warning",
        access_log=False,  # the log would contain query strings
        # Most clients and proxies close an idle connection before 75 s have passed. If the server
        # closed the connection first, a request that a client sends at the same moment would fail.
        timeout_keep_alive=75,
        # Readers leave when the server drains its streams; this limit is for requests that hang.
        timeout_graceful_shutdown=10,
    )
    with listener:
        shown = f"[{host}]" if ":" in host else host
        write_text(
            f"inkstream serves http://{shown}:{listener.getsockname()[1]}{standalone.PATH}/\n"
        )
        server = uvicorn.Server(settings)
        if workers == 1:
            server.run(sockets=[listener])
        else:
            supervisor: Any = Multiprocess
            # Older versions of uvicorn need the target that each process runs.
            takes_target = "target" in inspect.signature(supervisor).parameters
            target = {"target": server.run} if takes_target else {}
            supervisor(settings, sockets=[listener], **target).run()

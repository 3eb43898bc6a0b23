"""`inkstream demo`: a chat in two panes, on this computer."""

from __future__ import annotations

import asyncio
import os
import socket

import click

from inkstream.cli.database import database_option, json_option, try_database
from inkstream.cli.exits import EPILOG, Exit, errors_become_exits, say
from inkstream.cli.output import write_json, write_text
from inkstream.facade.databases import is_postgres, name_of

HOST = "127.0.0.1"


@click.command("demo", epilog=EPILOG)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port to listen on; 0 means any free port.",
)
@database_option
@json_option
def command(port: int, database: str, as_json: bool) -> None:
    """Run a chat in the browser: one conversation in two panes.

    If you reload a pane during an answer, or open the address in another window, the text is still
    there and continues. If you kill the server and start it again, all text that you have seen is
    still there, and the answer ends as interrupted. If OPENAI_API_KEY is set (and optionally
    OPENAI_BASE_URL and OPENAI_MODEL), a model answers. Otherwise the demo sends prepared texts.
    """
    import uvicorn

    from inkstream.demo.app import demo_app
    from inkstream.demo.choice import choose_responder

    responder = choose_responder()
    config = uvicorn.Config(
        demo_app(database, responder),
        host=HOST,
        port=port,
        log_level="warning",
        # This limit is longer than a drain may take, so that readers see the end of each answer.
        timeout_graceful_shutdown=12,
    )
    with errors_become_exits():
        asyncio.run(try_database(database))
        try:
            listener = _listen(port)
        except OSError as exc:
            say(f"port {port} cannot be used ({exc.strerror}): choose another with --port")
            raise SystemExit(Exit.FAILED) from exc
        with listener:
            url = f"http://{HOST}:{listener.getsockname()[1]}/"
            if as_json:
                told = {
                    "url": url,
                    "database": _without_password(database),
                    "answers": responder.name,
                }
                write_json({**told, "pid": os.getpid()})
            else:
                write_text(
                    f"inkstream demo: {url}\n"
                    f"answers from {responder.name}, stored in {_without_password(database)}\n"
                    f"try `kill -9 {os.getpid()}` during an answer, and start the demo again\n"
                    "Ctrl-C stops it\n"
                )
            uvicorn.Server(config).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    """Listen before the address is printed, so that the address works immediately."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Without this option, the connections of a server that was killed recently would still
        # occupy the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _without_password(database: str) -> str:
    return name_of(database) if is_postgres(database) else database

"""`inkstream migrate`, `verify` and `sql`: create, change and check tables."""

from __future__ import annotations

import asyncio

import click

from inkstream.cli.database import database_option, json_option, run
from inkstream.cli.exits import EPILOG, Exit, errors_become_exits, say
from inkstream.cli.output import write_json, write_text
from inkstream.facade.databases import is_postgres


@click.command("migrate", epilog=EPILOG)
@database_option
@json_option
def migrate(database: str, as_json: bool) -> None:
    """Bring a database's tables up to date: create them, or update those of an older version.

    Several may run at the same time, and running it again is harmless. A SQLite file does not need
    it, because opening the file creates the tables.
    """

    async def work() -> int:
        applied = []
        if is_postgres(database):
            from inkstream.stores import postgres

            applied = await postgres.migrate(database)
        if as_json:
            write_json({"applied": applied})
        elif applied:
            say(f"applied {', '.join(applied)}")
        else:
            say("nothing to do")
        return Exit.DONE

    run(work())


@click.command("verify", epilog=EPILOG)
@database_option
@json_option
def verify(database: str, as_json: bool) -> None:
    """Check a database for damage; exit with 1 if there is any.

    First compares its tables with those that this version needs, and then each stream's messages
    with its state: no gaps between positions, correct sizes, one end each. It may run while the
    application runs. On PostgreSQL it needs the right to create a schema, because it creates one to
    compare with, and rolls it back.
    """

    async def work() -> int:
        wrong = await (_verify(database) if is_postgres(database) else _verify_file(database))
        if as_json:
            write_json({"differences": wrong})
        else:
            write_text("".join(f"{line}\n" for line in wrong))
            if not wrong:
                say("the database is in order")
        return Exit.FAILED if wrong else Exit.DONE

    run(work())


async def _verify(database: str) -> list[str]:
    from inkstream.stores import postgres

    return await postgres.verify(database) or await postgres.check_streams(database)


async def _verify_file(database: str) -> list[str]:
    from inkstream.cli.database import open_streams
    from inkstream.stores.sqlite import check_streams

    async with open_streams(database):  # this raises if the version is wrong
        return await asyncio.to_thread(check_streams, database)


@click.command("sql", epilog=EPILOG)
@click.option("--schema", default="inkstream", show_default=True, help="The schema for the tables.")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="VERSION",
    help="Only the migrations after this one.",
)
def sql(schema: str, after: int) -> None:
    """Print the SQL of `migrate` for PostgreSQL, for Alembic, Flyway, or an administrator.

    Each migration is a transaction that also records that it ran.
    """
    with errors_become_exits():
        from inkstream.stores import postgres

        try:
            text = postgres.sql(schema=schema, after=after)
        except ValueError as exc:
            raise click.BadParameter(str(exc), param_hint="--schema") from exc
        write_text(text)

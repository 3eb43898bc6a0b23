"""`inkstream migrate`, `verify` and `sql`: create, change and check tables."""

from __future__ import annotations

import asyncio

import click

from inkstream.cli.database import database_option, json_option, open_store, run
from inkstream.cli.exits import EPILOG, Exit, errors_become_exits, say
from inkstream.cli.output import write_json, write_text
from inkstream.facade.databases import is_postgres


@click.command("migrate", epilog=EPILOG)
@database_option
@json_option
def migrate(database: str, as_json: bool) -> None:
    """Create the tables of a database, or update the tables of an older version.

    Several processes may run this command at the same time, and running the command again is
    harmless. If a SQLite file is absent, the command creates it. An application also creates an
    absent SQLite file when it starts.
    """

    async def work() -> int:
        applied = []
        if is_postgres(database):
            from inkstream.stores import postgres

            applied = await postgres.migrate(database)
        else:
            async with open_store(database, create=True):
                pass
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

    On PostgreSQL the command first compares the database's tables with the tables that this version
    needs. It needs the right to create a schema: it creates a schema to compare with, and then
    rolls back. On SQLite it checks the version of the tables. If the tables are as needed,
    the command compares each stream's messages with the stream's state: positions without gaps,
    sizes, the end, and whether the text is UTF-8. The application may run at the same time.
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
    from inkstream.stores.sqlite import check_streams

    async with open_store(database):  # this raises if the version is wrong
        return await asyncio.to_thread(check_streams, database)


@click.command("sql", epilog=EPILOG)
@click.option("--schema", default="inkstream", show_default=True, help="The schema for the tables.")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="VERSION",
    help="Only the migrations after this version.",
)
def sql(schema: str, after: int) -> None:
    """Print the SQL that `migrate` runs on PostgreSQL, for Alembic, Flyway, or an administrator.

    Each migration is a transaction, which also records the migration.
    """
    with errors_become_exits():
        from inkstream.stores import postgres

        try:
            text = postgres.sql(schema=schema, after=after)
        except ValueError as exc:
            raise click.BadParameter(str(exc), param_hint="--schema") from exc
        write_text(text)

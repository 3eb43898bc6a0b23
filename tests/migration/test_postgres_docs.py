"""The SQL of docs/postgres.md: a role made by it can do all that the application does, no more."""

from __future__ import annotations

import asyncpg

from inkstream import PersistentTextStreaming
from inkstream.stores.postgres import migrate
from tests import postgres_server
from tests.docs.blocks import all_blocks

SELECT, ROLES = (
    b.code for b in all_blocks() if (b.page, b.language) == ("docs/postgres.md", "sql")
)
ROLE = "inkstream_docs_role"


async def test_a_role_made_by_the_documentation() -> None:
    server = postgres_server.server(postgres_server.versions()[0])
    await server.execute(f"DROP ROLE IF EXISTS {ROLE}")
    url = await server.make_database(migrated=False)
    await migrate(url)
    owner = await asyncpg.connect(url)
    await owner.execute(ROLES.replace("ROLE app", f"ROLE {ROLE}").replace("TO app", f"TO {ROLE}"))
    limited = server.url_of(url.rpartition("/")[2].partition("?")[0], ROLE)
    try:
        async with PersistentTextStreaming(limited) as streams:
            stream_id = await streams.create(owner="ann")
            async with streams.write(stream_id) as writer:
                await writer.append("text")
        rows = await owner.fetch(SELECT)
        assert [tuple(row) for row in rows] == [(stream_id, "done", "text")]
    finally:
        await owner.execute(f"DROP OWNED BY {ROLE}")
        await owner.close()
        await server.drop_database(url)
        await server.execute(f"DROP ROLE {ROLE}")

"""The code blocks of docs/postgres.md work on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from inkstream import PersistentTextStreaming
from inkstream.stores.postgres import migrate
from tests import postgres_server
from tests.docs.blocks import all_blocks

BLOCKS = [b for b in all_blocks() if b.page == "docs/postgres.md"]
SELECT, ROLES = (b.code for b in BLOCKS if b.language == "sql")
(ASK,) = (b.code for b in BLOCKS if b.language == "python")
ROLE = "inkstream_docs_role"


class Base(DeclarativeBase):
    pass


class Message(Base):
    __tablename__ = "messages"

    stream_id: Mapped[str] = mapped_column(primary_key=True)
    prompt: Mapped[str] = mapped_column(unique=True)


async def answer(prompt: str) -> AsyncIterator[str]:
    yield f"You asked: {prompt}"


async def test_the_stream_and_the_message_exist_both_or_neither() -> None:
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database()
    bare = url.replace("postgresql:", "postgresql+asyncpg:", 1).partition("?")[0]
    engine = create_async_engine(bare + "?ssl=disable")
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with PersistentTextStreaming(url) as streams:
            names = {
                "AsyncSession": AsyncSession,
                "Message": Message,
                "answer": answer,
                "streams": streams,
            }
            exec(ASK, names)
            ask: Any = names["ask"]
            async with AsyncSession(engine) as session:
                stream_id = await ask(session, "Why?")
                with pytest.raises(IntegrityError):
                    await ask(session, "Why?")
                kept = (await session.scalars(select(Message.stream_id))).all()
            assert kept == [stream_id]
            assert [s.stream_id for s in (await streams.list()).streams] == [stream_id]
            assert (await streams.wait(stream_id)).text == "You asked: Why?"
    finally:
        await engine.dispose()
        await server.drop_database(url)


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

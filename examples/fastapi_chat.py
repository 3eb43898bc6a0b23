"""Answers that survive a reload, in FastAPI with SQLAlchemy: `uvicorn fastapi_chat:app`."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Body, Depends, FastAPI, Header, Request
from sqlalchemy import Column, MetaData, Table, Text, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from inkstream import InkstreamError, PersistentTextStreaming, StreamResponse, problem_handler

engine = create_async_engine(os.environ["DATABASE_URL"])  # like postgresql+asyncpg://localhost/chat
sessions = async_sessionmaker(engine)
streams = PersistentTextStreaming(engine)
messages = Table("messages", MetaData(), Column("stream_id", Text), Column("prompt", Text))
app = FastAPI(lifespan=streams.lifespan, exception_handlers={InkstreamError: problem_handler})


async def session() -> AsyncIterator[AsyncSession]:  # commits when the endpoint has returned
    async with sessions.begin() as session:
        yield session


# scope="function": by default the session would stay open until a streamed response ends.
Session = Annotated[AsyncSession, Depends(session, scope="function")]
User = Annotated[str, Header(alias="X-User")]  # stands for your login


async def answer(prompt: str) -> AsyncIterator[str]:  # to use rows, open another session here
    for word in f"You asked: {prompt} Here is a thought about it.".split():
        yield word + " "
        await asyncio.sleep(0.5)


@app.post("/ask", status_code=202)
async def ask(
    prompt: Annotated[str, Body(embed=True)], user: User, session: Session
) -> dict[str, str]:
    stream_id = await streams.create(owner=user, connection=session)
    await session.execute(messages.insert().values(stream_id=stream_id, prompt=prompt))

    @event.listens_for(session.sync_session, "after_commit", once=True)
    def start(_: object) -> None:
        streams.start(stream_id, answer(prompt))

    return {"stream_id": stream_id}


@app.get("/streams/{stream_id}", response_class=StreamResponse)
async def live(stream_id: str, user: User, request: Request) -> StreamResponse:
    return streams.response(request, stream_id, owner=user)


@app.post("/streams/{stream_id}/cancel", status_code=204)
async def cancel(stream_id: str, user: User) -> None:
    await streams.cancel(stream_id, owner=user)

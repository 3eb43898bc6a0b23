import asyncio
from typing import Annotated

from fastapi import Body, FastAPI

from inkstream import PersistentTextStreaming

streams = PersistentTextStreaming("sqlite:///inkstream.db")
app = FastAPI(lifespan=streams.lifespan)
app.include_router(streams.router(allow_anonymous=True), prefix="/streams")


@app.post("/ask", status_code=202)
async def ask(prompt: Annotated[str, Body(embed=True)]):
    stream_id = await streams.create()

    async def answer():  # continues even if the browser disconnects
        for word in f"You asked: {prompt} Here is a thought about it.".split():
            yield word + " "
            await asyncio.sleep(0.5)

    streams.start(stream_id, answer)
    return {"stream_id": stream_id}

from __future__ import annotations

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from inkstream import browser_files

app = Starlette(routes=[Mount("/inkstream", browser_files())])


async def test_the_browser_s_file_is_served_and_cached() -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        script = await client.get("/inkstream/inkstream.min.js")
        assert script.status_code == 200
        assert script.headers["content-type"].startswith("text/javascript")
        assert "ink-stream" in script.text
        again = {"if-none-match": script.headers["etag"]}
        assert (await client.get("/inkstream/inkstream.min.js", headers=again)).status_code == 304
        assert (await client.get("/inkstream/../bundle.py")).status_code == 404

"""Follow a stream of an inkstream server over HTTP, from another Python program.

``AsyncReader`` and ``Reader`` reconnect by themselves and continue after the last item that they
returned, so that no character is lost or doubled (G2). This package needs the extra ``client``::

    async with httpx.AsyncClient(base_url="https://app.example") as http:
        async for item in AsyncReader(http, f"/streams/{stream_id}"):
            match item:
                case str():
                    print(item, end="")
                case End():
                    print(item.status)
"""

try:
    import httpx  # noqa: F401  (imported only to say which extra is missing)
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "inkstream.client needs httpx: pip install 'inkstream[client]'", name=missing.name
    ) from missing

from inkstream.client._async import AsyncReader
from inkstream.client._collected import Answer
from inkstream.client._errors import PostUncertain, RequestRefused, Unreachable
from inkstream.client._sync import Reader

__all__ = ["Answer", "AsyncReader", "PostUncertain", "Reader", "RequestRefused", "Unreachable"]

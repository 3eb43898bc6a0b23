"""inkstream works with PostgreSQL over TLS, and checks a certificate if the URL asks for it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests import postgres_server

_WANTS_TLS = bytes.fromhex("0000000804d2162f")
_PLAIN = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry, no encryption\0\0"

# Another process runs this script. In the test's own process, asyncpg would block the event loop
# to read certificates, and the test would fail.
SCRIPT = """
import asyncio, sys
from inkstream import PersistentTextStreaming, StoreUnavailable
from inkstream.stores.postgres import check_streams

async def main(url):
    async with PersistentTextStreaming(url) as streams:
        stream_id = await streams.create()
        async with streams.write(stream_id) as writer:
            await writer.append("over TLS")
        print((await streams.read(stream_id)).text, await check_streams(url))

try:
    asyncio.run(main(sys.argv[1]))
except StoreUnavailable as exc:
    print("StoreUnavailable", exc)
"""


@dataclass(frozen=True, slots=True)
class Secured:
    port: int
    database: str
    folder: Path

    async def use(self, parameters: str, host: str) -> str:
        """Write and read a stream in another process. Return the output of this process."""
        files = {name: quote(f"{self.folder / name}.pem") for name in ("authority", "stranger")}
        query = parameters.format(**files)
        url = f"postgresql://postgres:secret@{host}:{self.port}{self.database}?{query}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SCRIPT, url),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), 50)
        return said.decode()


def openssl(folder: Path, command: str, *arguments: str) -> None:
    words = ["openssl", *command.split(), *arguments]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def make_certificates(folder: Path) -> None:
    new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for name in "authority", "stranger":
        openssl(folder, f"{new} -x509 -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem")
    openssl(folder, f"{new} -subj /CN=localhost -keyout server.key -out server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    signed = "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial"
    openssl(folder, f"{signed} -days 2 -extfile names -out server.pem")


@asynccontextmanager
async def tls_before(upstream: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve TLS in front of a PostgreSQL server that was built without TLS. Yield the port."""

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(8) != _WANTS_TLS:
                size = (len(_PLAIN) + 4).to_bytes(4, "big")
                writer.write(b"E" + size + _PLAIN)
                return
            writer.write(b"S")
            await writer.start_tls(context)
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", upstream)
            await asyncio.gather(pass_on(reader, server_writer), pass_on(server_reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left, for example because it did not trust the certificate
        finally:
            writer.close()

    front = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with front:
        yield front.sockets[0].getsockname()[1]


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    await asyncio.to_thread(make_certificates, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    await asyncio.to_thread(
        context.load_cert_chain, tmp_path / "server.pem", tmp_path / "server.key"
    )
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database()
    parts = urlsplit(url)
    assert parts.port is not None
    async with tls_before(parts.port, context) as port:
        yield Secured(port, parts.path, tmp_path)
    await server.drop_database(url)


@pytest.mark.parametrize(
    "parameters",
    [
        "sslmode=require",
        # A URL of Neon has these parameters.
        "sslmode=require&channel_binding=require&connect_timeout=10",
        "sslmode=no-verify",
        "ssl=true",
        "sslmode=verify-ca&sslrootcert={authority}",
        "sslmode=verify-full&sslrootcert={authority}",
        "sslmode=verify-full&sslrootcert={authority}&ssl_min_protocol_version=TLSv1.3",
    ],
)
async def test_let_in(secured: Secured, parameters: str) -> None:
    """The connections of the pool, of the listener and of the lock are all encrypted."""
    assert await secured.use(parameters, "localhost") == "over TLS []\n"


@pytest.mark.parametrize(
    ("parameters", "host"),
    [
        ("sslmode=disable", "localhost"),
        ("sslmode=verify-ca&sslrootcert={stranger}", "localhost"),
        ("sslmode=verify-full&sslrootcert={stranger}", "localhost"),
        # The certificate is for ``localhost``.
        ("sslmode=verify-full&sslrootcert={authority}", "127.0.0.1"),
        ("sslmode=verify-full&sslrootcert=system", "localhost"),
        ("sslaccept=strict", "localhost"),
    ],
)
async def test_refused(secured: Secured, parameters: str, host: str) -> None:
    """If the connection fails, ``StoreUnavailable`` does not show the password."""
    said = await secured.use(parameters, host)
    assert said.startswith("StoreUnavailable")
    assert "secret" not in said

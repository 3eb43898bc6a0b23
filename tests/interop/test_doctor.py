"""`inkstream doctor URL` finds faults in configurations of real nginx, Caddy and HAProxy."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from inkstream.operations.doctor.endpoint import examine
from inkstream.operations.doctor.exchange import Endpoint, EndpointError
from inkstream.operations.doctor.findings import Finding, Verdict
from tests.http.servers import Server, serving
from tests.interop import proxies
from tests.prerequisites import program

pytestmark = pytest.mark.interop

IDLE_S = 2.5
# In the configurations "timeout", a proxy gives up after 3 s, before the first ping. If these times
# were shorter, a busy machine could delay the start of a response until the proxy gives up.
PING_S = 5.0
LONG_IDLE_S = 7.0
UPSTREAM_11 = 'proxy_http_version 1.1; proxy_set_header Connection "";'
DEAF = "proxy_ignore_headers X-Accel-Buffering Cache-Control Expires;"
KEPT = "proxy_cache kept; proxy_cache_valid 200 1m;"
PUBLIC = "http-response set-header cache-control public,max-age=60"

NGINX = {
    "right": (UPSTREAM_11, set()),
    # uvicorn with httptools sends chunks even over HTTP/1.0. So a response that breaks off does
    # not look complete, and the doctor reports only the version.
    "default": ("", {"app_http_version"}),
    "gzip": (UPSTREAM_11 + "gzip on; gzip_types *; gzip_min_length 0;", {"compression"}),
    "gzip_usual": (UPSTREAM_11 + "gzip on; gzip_types application/json;", set()),
    "timeout": (UPSTREAM_11 + "proxy_read_timeout 3s;", {"idle"}),
    "last_id": (UPSTREAM_11 + 'proxy_set_header Last-Event-ID "";', {"last_event_id"}),
    "token": (UPSTREAM_11 + "proxy_set_header Authorization 'Basic eDp5';", {"authorization"}),
    "cache": (UPSTREAM_11 + KEPT + DEAF, {"caching"}),
    "cache_heeding": (UPSTREAM_11 + KEPT, set()),
}
NGINX_10 = {
    "default": ("", {"app_http_version", "broken_end"}),
    "buffering": (
        "proxy_ignore_headers X-Accel-Buffering;",
        {"app_http_version", "broken_end", "buffering"},
    ),
}
HAPROXY = {
    "right": ("", set()),
    "body": ("http-response wait-for-body time 10s", {"buffering"}),
    "gzip_heeding": ("compression algo gzip\n    compression type text/event-stream", set()),
    "timeout": ("timeout server 3s", {"idle"}),
    "last_id": ("http-request del-header last-event-id", {"last_event_id"}),
    "token": ("http-request del-header authorization", {"authorization"}),
    "cache": (
        f"http-request cache-use kept\n    {PUBLIC}\n    http-response cache-store kept",
        {"caching"},
    ),
}
CADDY = {
    "right": ("", "", set()),
    "gzip": ("encode gzip", "", {"compression"}),
    "timeout": ("", "transport http {\n read_timeout 3s\n }", {"idle"}),
    "last_id": ("", "header_up -Last-Event-ID", {"last_event_id"}),
    "token": ("", "header_up -Authorization", {"authorization"}),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doctor")
    pinging = {"TEST_PING_S": str(PING_S)}
    with serving(folder, app="tests.interop.doctor_app:app", environment=pinging) as server:
        yield server


@pytest.fixture(scope="module")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that answers HTTP/1.0 requests without chunks."""
    folder = tmp_path_factory.mktemp("doctor")
    with serving(folder, app="tests.interop.doctor_app:app", options="--http h11") as server:
        yield server


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return the path of a file with a self-signed certificate and its key."""
    path = tmp_path / "certificate.pem"
    command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {0} -out {1}"
    key = tmp_path / "key.pem"
    arguments = command.format(key, path).split()
    subprocess.run([program("openssl"), *arguments], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


async def found_at(port: int, name: str) -> dict[str, Finding]:
    endpoint = Endpoint.parse(f"http://127.0.0.1:{port}/doctor", {})
    idle_s = LONG_IDLE_S if name == "timeout" else IDLE_S
    return {finding.check: finding for finding in await examine(endpoint, idle_s=idle_s)}


def wrong(found: dict[str, Finding]) -> set[str]:
    return {name for name, finding in found.items() if finding.verdict is Verdict.PROBLEM}


@pytest.mark.parametrize("name", NGINX)
async def test_nginx(tmp_path: Path, server: Server, name: str) -> None:
    """The doctor finds each wrong line of a configuration of nginx, and reports nothing else."""
    lines, expected = NGINX[name]
    with proxies.proxying(tmp_path, *proxies.nginx(tmp_path, server.port, lines)) as port:
        found = await found_at(port, name)
    assert wrong(found) == expected, found
    assert all("nginx" in found[check].mend for check in expected)


@pytest.mark.parametrize("name", NGINX_10)
async def test_nginx_http_1_0(tmp_path: Path, old_server: Server, name: str) -> None:
    """G5: the doctor notices that broken responses look complete over HTTP/1.0."""
    lines, expected = NGINX_10[name]
    with proxies.proxying(tmp_path, *proxies.nginx(tmp_path, old_server.port, lines)) as port:
        found = await found_at(port, name)
    assert wrong(found) == expected, found


@pytest.mark.parametrize("http2", [True, False])
async def test_nginx_https(tmp_path: Path, server: Server, certificate: Path, http2: bool) -> None:
    """The doctor offers HTTP/2 over https://, and reports a server that does not accept HTTP/2.

    The doctor accepts a self-signed certificate only with ``insecure``.
    """
    lines = f"{UPSTREAM_11} }} ssl_certificate {certificate}; ssl_certificate_key {certificate};"
    command, text = proxies.nginx(
        tmp_path, server.port, f"{lines} location /x {{", "ssl http2" if http2 else "ssl"
    )
    with proxies.proxying(tmp_path, command, text) as port:
        endpoint = Endpoint.parse(f"https://127.0.0.1:{port}/doctor", {}, insecure=True)
        found = {finding.check: finding for finding in await examine(endpoint, idle_s=IDLE_S)}
        trusting = Endpoint.parse(f"https://127.0.0.1:{port}/doctor", {})
        with pytest.raises(EndpointError, match="certificate"):
            await examine(trusting)
    assert wrong(found) == (set() if http2 else {"http_version"}), found


@pytest.mark.parametrize("name", HAPROXY)
async def test_haproxy(tmp_path: Path, server: Server, name: str) -> None:
    lines, expected = HAPROXY[name]
    with proxies.proxying(tmp_path, *proxies.haproxy(tmp_path, server.port, lines)) as port:
        found = await found_at(port, name)
    assert wrong(found) == expected, found
    assert all("HAProxy" in found[check].mend for check in expected)


@pytest.mark.parametrize("name", CADDY)
async def test_caddy(tmp_path: Path, server: Server, name: str) -> None:
    """G5: with each configuration in ``CADDY``, Caddy 2.6 makes a broken response look complete."""
    site, lines, expected = CADDY[name]
    command, text = proxies.caddy(tmp_path, server.port, lines, site)
    with proxies.proxying(tmp_path, command, text) as port:
        found = await found_at(port, name)
    assert wrong(found) == expected | hidden_by_caddy(), found
    assert all("Caddy" in found[check].mend for check in expected)


def hidden_by_caddy() -> set[str]:
    version = subprocess.run(
        [program("caddy"), "version"], capture_output=True, text=True, check=True
    ).stdout
    return {"broken_end"} if version.lstrip("v").startswith("2.6") else set()

"""Runs real proxies on this machine, with configurations that the tests choose."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.http.servers import free_port
from tests.prerequisites import program

READY_S = 15.0

NGINX = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=kept:1m;
    server {{
        listen 127.0.0.1:{port} {listen};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            {lines}
        }}
    }}
}}
"""

CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    {site}
    reverse_proxy 127.0.0.1:{upstream} {{
        {lines}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
cache kept
    total-max-size 4
    max-age 60
listen doctor
    bind 127.0.0.1:{port}
    server app 127.0.0.1:{upstream}
    {lines}
"""


def nginx(folder: Path, upstream: int, lines: str, listen: str = "") -> tuple[list[str], str]:
    # If root starts nginx, nginx runs its workers as another user, who cannot write to the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    text = NGINX.format(
        user=user, folder=folder, port="{port}", upstream=upstream, lines=lines, listen=listen
    )
    return [program("nginx"), "-p", str(folder), "-e", f"{folder}/start.log", "-c"], text


def caddy(folder: Path, upstream: int, lines: str, site: str = "") -> tuple[list[str], str]:
    text = CADDY.format(port="{port}", upstream=upstream, lines=lines, site=site)
    return [program("caddy"), "run", "--adapter", "caddyfile", "--config"], text


def haproxy(folder: Path, upstream: int, lines: str) -> tuple[list[str], str]:
    text = HAPROXY.format(port="{port}", upstream=upstream, lines=lines)
    return [program("haproxy"), "-db", "-f"], text


@contextmanager
def proxying(folder: Path, command: list[str], text: str) -> Iterator[int]:
    port = free_port()
    configuration = folder / "proxy.conf"
    configuration.write_text(text.replace("{port}", str(port)))
    log = folder / "proxy.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, str(configuration)],
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )
    try:
        _wait_until_ready(process, port, log)
        yield port
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(READY_S)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the proxy did not start:\n{log.read_text()}"
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"the proxy did not listen within {READY_S} s:\n{log.read_text()}")

"""The settings of proxies that correct the problems that the doctor finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REMEDIES: Final[Mapping[str, Mapping[str, str]]] = {
    "http_version": {
        "nginx": "listen 443 ssl http2; (from 1.25.1: http2 on;)",
        "Caddy": "use https:// (a plain http:// site has no HTTP/2)",
        "HAProxy": "bind :443 ssl crt … alpn h2,http/1.1",
        "Cloudflare": "Speed > Settings > HTTP/2: on",
        "ALB": "an HTTPS listener, with routing.http2.enabled=true",
    },
    "app_http_version": {
        "nginx": 'proxy_http_version 1.1; proxy_set_header Connection "";',
        "Caddy": "transport http { versions 1.1 }",
        "HAProxy": "nothing to set: HAProxy speaks 1.1; look for a proxy behind it",
        "Cloudflare": "nothing to set: look at the proxy between it and the application",
        "ALB": "target group, protocol version: HTTP1",
    },
    "buffering": {
        "nginx": "proxy_buffering off; and no proxy_ignore_headers X-Accel-Buffering;",
        "Caddy": "reverse_proxy … { flush_interval -1 } and no response_buffers",
        "HAProxy": "no http-response wait-for-body",
        "Cloudflare": "a cache rule for the path: Bypass cache; no Workers that await the body",
        "ALB": "nothing to set: ALB does not buffer; a Lambda target does",
    },
    "compression": {
        "nginx": "gzip off; in this location, or no text/event-stream and no * in gzip_types",
        "Caddy": "@stream header Accept text/event-stream and encode only what is not @stream",
        "HAProxy": "no text/event-stream in compression type",
        "Cloudflare": "a compression rule for the path: Disable compression",
        "ALB": "nothing to set: ALB does not compress; look into the application's middleware",
    },
    "idle": {
        "nginx": "proxy_read_timeout 60s; (the default), more than HTTPSettings.ping_s",
        "Caddy": "no read_timeout below HTTPSettings.ping_s in transport http",
        "HAProxy": "timeout server 60s and timeout client 60s",
        "Cloudflare": "100 s, fixed: leave HTTPSettings.ping_s below it",
        "ALB": "idle_timeout.timeout_seconds=60, more than HTTPSettings.ping_s",
    },
    "last_event_id": {
        "nginx": "no proxy_set_header Last-Event-ID; and no proxy_pass_request_headers off;",
        "Caddy": "no header_up -Last-Event-ID",
        "HAProxy": "no http-request del-header last-event-id",
        "Cloudflare": "no transform rule that removes Last-Event-ID",
        "ALB": "nothing to set: ALB passes it on",
    },
    "authorization": {
        "nginx": "proxy_set_header Authorization $http_authorization;",
        "Caddy": "no header_up -Authorization",
        "HAProxy": "no http-request del-header authorization",
        "Cloudflare": "no transform rule that removes Authorization; look at Access",
        "ALB": "no authenticate action on this rule; send the token in Authorization",
    },
    "caching": {
        "nginx": "proxy_cache off; in this location, and no proxy_ignore_headers Cache-Control;",
        "Caddy": "no cache handler on this path",
        "HAProxy": "no http-request cache-use on this path",
        "Cloudflare": "a cache rule for the path: Bypass cache",
        "ALB": "nothing to set: ALB does not cache; look at CloudFront before it (CachingDisabled)",
    },
    "broken_end": {
        "nginx": 'proxy_http_version 1.1; proxy_set_header Connection "";',
        "Caddy": "2.7 or newer: 2.6 ends every response cleanly",
        "HAProxy": "nothing to set: HAProxy passes a broken end on; look behind it",
        "Cloudflare": "nothing to set: use the format events, which has an end of its own",
        "ALB": "nothing to set: use the format events, which has an end of its own",
        "application": "no BaseHTTPMiddleware (@app.middleware) around format=text",
    },
    "cpu": {
        "Cloud Run": "--no-cpu-throttling (CPU always allocated)",
        "application": "a process that may run between requests: no function platform",
    },
    "clock": {"host": "set its clock by NTP (chrony, systemd-timesyncd)"},
    "probe": {
        "application": 'app.mount("/doctor", streams.doctor_probe(authorize=…)), and ask that URL'
    },
}
"""For each check and program, what to change in the program's configuration."""

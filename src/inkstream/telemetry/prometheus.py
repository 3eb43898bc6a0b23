"""The metrics as a page that Prometheus reads."""

from __future__ import annotations

from typing import Any

from inkstream.telemetry.observer import OpenTelemetry


def prometheus_app() -> tuple[OpenTelemetry, Any]:
    """Return an observer, and an ASGI app that serves its metrics, to mount at ``/metrics``.

    For applications without an OpenTelemetry SDK of their own. The metrics are those of this
    process: with several workers, Prometheus must reach each of them. Anybody who reaches the page
    reads it; it holds no ids and no text.
    """
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
        from prometheus_client import REGISTRY, make_asgi_app
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "prometheus_app needs an exporter: pip install 'inkstream[prometheus]'",
            name=missing.name,
        ) from missing
    observer = OpenTelemetry(meter_provider=MeterProvider([PrometheusMetricReader()]))
    return observer, make_asgi_app(REGISTRY)

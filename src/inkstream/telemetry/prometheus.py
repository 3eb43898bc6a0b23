"""The metrics as a page for Prometheus."""

from __future__ import annotations

from typing import Any

from inkstream.telemetry.observer import OpenTelemetry


def prometheus_app() -> tuple[OpenTelemetry, Any]:
    """Return an observer, and an ASGI app that serves its metrics, to mount at ``/metrics``.

    Use this function in an application that configures no OpenTelemetry SDK. The page shows only
    the metrics of this process, so Prometheus must read the page of each process. The page has no
    login. The metrics of inkstream contain no ids and no text, but the page also shows the other
    metrics in the default registry of ``prometheus_client``.
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

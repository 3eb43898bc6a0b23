"""Metrics and traces over the API of OpenTelemetry: ``observer=OpenTelemetry()``.

``OpenTelemetry`` needs the extra ``otel``; ``prometheus_app`` needs the extra ``prometheus``.
"""

from inkstream.telemetry.observer import OpenTelemetry
from inkstream.telemetry.prometheus import prometheus_app

__all__ = ["OpenTelemetry", "prometheus_app"]

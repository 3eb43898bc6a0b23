"""Records metrics and spans in memory for a test."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from inkstream.telemetry import OpenTelemetry


class Recorded:
    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.observer = OpenTelemetry(
            meter_provider=MeterProvider([self._reader]), tracer_provider=self.tracers
        )

    def metrics(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's points that have all ``labels``.

        For a histogram, this is the number of recorded values.
        """
        return sum(
            getattr(point, "count", getattr(point, "value", 0))
            for point in self.metrics().get(name, [])
            if labels.items() <= dict(point.attributes).items()
        )

    def sum(self, name: str) -> float:
        """Return the sum of a metric's points. For a histogram, this is the sum of all values."""
        return float(
            sum(
                getattr(point, "sum", getattr(point, "value", 0))
                for point in self.metrics().get(name, [])
            )
        )

    def spans(self) -> tuple[Any, ...]:
        return self._spans.get_finished_spans()

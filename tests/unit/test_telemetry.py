"""Metrics move and spans are made in the tests that cause them; their labels are bounded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from inkstream import StreamError, StreamId
from inkstream.telemetry import OpenTelemetry, prometheus_app
from inkstream.telemetry.instruments import CODES
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import cluster

ROOT = Path(__file__).parents[2]


class Recorded:
    """An observer, and what it recorded."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.observer = OpenTelemetry(
            meter_provider=MeterProvider([self._reader]), tracer_provider=self.tracers
        )

    def metrics(self) -> dict[str, list[Any]]:
        """Return the data points of each metric."""
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
        """Return a metric's value, or its count if it is a histogram."""
        return sum(
            getattr(point, "count", getattr(point, "value", 0))
            for point in self.metrics().get(name, [])
            if labels.items() <= dict(point.attributes).items()
        )

    def spans(self) -> tuple[Any, ...]:
        return self._spans.get_finished_spans()


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def virtual(test: Callable[[Recorded], Any]) -> Callable[[Recorded], None]:
    def run(recorded: Recorded) -> None:
        in_virtual_time(test)(recorded)

    run.__name__ = test.__name__
    return run


@virtual
async def test_an_answer_moves_its_metrics(recorded: Recorded) -> None:
    async with cluster() as made:
        here = await made.add(observer=recorded.observer)
        source = ScriptedSource()
        await here.streams.create("s", owner="ann")
        here.streams.start("s", source)
        await asyncio.sleep(1)
        reader = await here.engine.readers.open(StreamId("s"), None)
        await source.send("text")
        await asyncio.sleep(1)
        assert recorded.total("inkstream.streams.live") == 1
        assert recorded.total("inkstream.readers") == 1
        reader.close()
        await source.finish()
        await asyncio.sleep(2)
        assert recorded.total("inkstream.streams.live") == 0
        assert recorded.total("inkstream.readers") == 0
        for name in (
            "inkstream.stream.first_piece",
            "inkstream.stream.duration",
            "inkstream.messages",
        ):
            assert recorded.total(name) == 1, name
        assert recorded.total("inkstream.bytes") == 4
        assert recorded.total("inkstream.stream.ends", status="done", code="none") == 1
        for name in ("commit.duration", "commit.streams", "sweep.duration", "tidy.duration"):
            assert recorded.total(f"inkstream.{name}") > 0, name
        assert recorded.total("inkstream.loop.lag") > 4
    assert recorded.total("inkstream.streams.live") == 0, "it is observed no more"


@virtual
async def test_faults_move_theirs(recorded: Recorded) -> None:
    async with cluster() as made:
        here, there = await made.add(), await made.add(observer=recorded.observer)
        source = ScriptedSource()
        for worker, name, gives in ((here, "a", ScriptedSource()), (there, "b", source)):
            await worker.streams.create(name)
            worker.streams.start(name, gives)
        await asyncio.sleep(1)
        there.store.away = True
        await source.send("waits")
        await asyncio.sleep(3)
        assert recorded.total("inkstream.buffer.bytes") == 5
        there.store.away = False
        await asyncio.sleep(3)
        assert recorded.total("inkstream.buffer.bytes") == 0
        assert recorded.total("inkstream.store.errors") > 1
        assert recorded.total("inkstream.store.away") == 1
        await here.streams.cancel("b")
        await asyncio.sleep(1)
        assert recorded.total("inkstream.writers.fenced") == 1
        here.kill()
        await asyncio.sleep(5)
        assert recorded.total("inkstream.workers.dead") == 1
        assert recorded.total("inkstream.stream.ends", status="timeout", code="writer_lost") == 1


@virtual
async def test_labels_are_bounded_and_hold_no_id(recorded: Recorded) -> None:
    async with cluster() as made:
        here = await made.add(observer=recorded.observer)
        for number in range(CODES + 20):
            source = ScriptedSource()
            await here.streams.create(f"id-{number}", owner="ann", group="chat")
            here.streams.start(f"id-{number}", source)
            await source.fail(StreamError("message", code=f"code_{number}"))
            await asyncio.sleep(0.2)
    points = recorded.metrics()["inkstream.stream.ends"]
    assert len(points) == CODES + 1
    assert recorded.total("inkstream.stream.ends", code="other") == 20
    labels = str([dict(p.attributes) for ps in recorded.metrics().values() for p in ps])
    assert re.search("id-|ann|chat|message", labels) is None


@virtual
async def test_a_span_an_answer_below_the_request(recorded: Recorded) -> None:
    tracer = recorded.tracers.get_tracer("app")
    async with cluster() as made:
        here = await made.add(observer=recorded.observer)
        inside: list[int] = []

        async def source() -> Any:
            inside.append(trace.get_current_span().get_span_context().span_id)
            yield "text"
            raise ValueError

        with tracer.start_as_current_span("request") as request:
            await here.streams.create("s")
            here.streams.start("s", source)
        await asyncio.sleep(2)
        assert trace.get_current_span() is trace.INVALID_SPAN, "nothing is left behind"
        async with here.streams.write(await here.streams.create("w")) as writer:
            await writer.append("text")
            writer.result = {"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
        failed, written = (s for s in recorded.spans() if s.name == "inkstream answer")
    assert failed.parent.span_id == request.get_span_context().span_id
    assert inside == [failed.context.span_id]
    assert [event.name for event in failed.events] == ["first piece"]
    assert failed.attributes["error.type"] == "internal"
    assert not failed.status.is_ok
    assert written.attributes["gen_ai.usage.output_tokens"] == 5
    assert written.attributes["gen_ai.response.model"] == "m"


def test_every_metric_is_documented(recorded: Recorded) -> None:
    text = (ROOT / "docs/operations.md").read_text()
    source = (ROOT / "src/inkstream/telemetry/instruments.py").read_text()
    assert set(re.findall(r"^\| `(inkstream\.[\w.]+)`", text, re.MULTILINE)) == set(
        re.findall(r'"(inkstream\.[\w.]+)"', source)
    )


def test_prometheus_reads_them() -> None:
    from prometheus_client import REGISTRY, generate_latest

    observer, _ = prometheus_app()
    observer.swept(0.01)
    page = generate_latest(REGISTRY).decode()
    assert "inkstream_sweep_duration_seconds_count" in page
    assert "inkstream_readers" in page

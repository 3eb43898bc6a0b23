"""Spans are children of their requests. Each metric is documented, and its labels are bounded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from inkstream import StreamError
from inkstream.telemetry import prometheus_app
from inkstream.telemetry.instruments import CODES
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import cluster
from tests.unit.recorded import Recorded

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def virtual(test: Callable[[Recorded], Any]) -> Callable[[Recorded], None]:
    def run(recorded: Recorded) -> None:
        in_virtual_time(test)(recorded)

    run.__name__ = test.__name__
    return run


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
async def test_answer_span_is_a_child_of_the_request(recorded: Recorded) -> None:
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
        assert trace.get_current_span() is trace.INVALID_SPAN, "no span is left in the context"
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

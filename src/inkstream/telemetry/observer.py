"""The observer that counts and traces with the API of OpenTelemetry."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Any, Final

from inkstream._types import Group, Status, StreamState
from inkstream.engine.observer import Ended, Gauges, Observer
from inkstream.engine.sampling import Sampling

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "inkstream.telemetry needs OpenTelemetry: pip install 'inkstream[otel]'", name=missing.name
    ) from missing

from inkstream.telemetry.instruments import CODES, Instruments

_NAME: Final = "inkstream"
_SPANS: Final = 20_000


class OpenTelemetry(Observer):
    """Count and trace what streams do: ``PersistentTextStreaming(…, observer=OpenTelemetry())``.

    Several ``PersistentTextStreaming`` may have the same observer. The application's OpenTelemetry
    SDK exports the metrics and spans. Without an SDK, they are discarded. An answer has a span from
    the claim of its stream to the stream's end. The parent of this span is usually the span of the
    request that started the answer. The spans that the source creates are children of the answer's
    span.

    Args:
        meter_provider: A meter provider to use instead of the global meter provider.
        tracer_provider: A tracer provider to use instead of the global tracer provider.
    """

    samples_sends = True

    def __init__(
        self,
        *,
        meter_provider: metrics.MeterProvider | None = None,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        self._gauges: dict[Callable[[], Gauges], None] = {}
        self._spans: dict[tuple[int, int], trace.Span] = {}
        self._codes: set[str] = set()
        self._commits = self._messages = self._bytes = 0
        self._on = Instruments(
            metrics.get_meter(_NAME, meter_provider=meter_provider), self._numbers
        )
        self._timed = Sampling(self._on.commit.record)

    def _numbers(self) -> dict[str, int]:
        engines = [gauges() for gauges in list(self._gauges)]
        return {
            "inkstream.streams.live": sum(engine.live for engine in engines),
            "inkstream.readers": sum(engine.readers for engine in engines),
            "inkstream.buffer.bytes": sum(engine.buffered_bytes for engine in engines),
            "inkstream.commits": self._commits,
            "inkstream.messages": self._messages,
            "inkstream.bytes": self._bytes,
        }

    def opened(self, gauges: Callable[[], Gauges]) -> None:
        """Start reading an engine's gauges."""
        self._gauges[gauges] = None

    def closed(self, gauges: Callable[[], Gauges]) -> None:
        """Stop reading an engine's gauges."""
        self._gauges.pop(gauges, None)

    def running(self, stream: StreamState, context: Context) -> None:
        """Begin the span of an answer, in the context in which the source will run."""
        if len(self._spans) < _SPANS:
            self._spans[stream.internal_id, stream.epoch] = context.run(self._begin, stream)

    def _begin(self, stream: StreamState) -> trace.Span:
        span = self._tracer.start_span(
            "inkstream answer",
            kind=trace.SpanKind.INTERNAL,
            attributes={
                "inkstream.stream_id": stream.stream_id,
                "inkstream.epoch": stream.epoch,
                **({} if stream.group is None else {"gen_ai.conversation.id": stream.group}),
            },
        )
        otel_context.attach(trace.set_span_in_context(span))
        return span

    def first_piece(self, stream: StreamState, seconds: float) -> None:
        """Record the time from the claim to the first piece, and add an event to the span."""
        self._on.first_piece.record(seconds)
        span = self._spans.get((stream.internal_id, stream.epoch))
        if span is not None:
            span.add_event("first piece")

    def ended(self, ended: Ended) -> None:
        """Count a stream's end, and end the answer's span."""
        end = ended.end
        self._on.ends.add(1, {"status": end.status.value, "code": self._label(end.code)})
        if ended.characters is not None:
            self._on.duration.record(ended.duration_s, {"status": end.status.value})
        self._end_span(ended.stream, end.status.value, end.code, end.result)

    def _label(self, code: str | None) -> str:
        if code is None:
            return "none"
        if code not in self._codes:
            if len(self._codes) >= CODES:
                return "other"
            self._codes.add(code)
        return code

    def _end_span(
        self, stream: StreamState, status: str, code: str | None = None, result: object = None
    ) -> None:
        span = self._spans.pop((stream.internal_id, stream.epoch), None)
        if span is None:
            return
        span.set_attribute("inkstream.status", status)
        for name, value in _usage(result).items():
            span.set_attribute(name, value)
        if code is not None:
            span.set_attribute("inkstream.code", code)
        if status in (Status.ERROR, Status.TIMEOUT):
            span.set_attribute("error.type", code or status)
            span.set_status(trace.StatusCode.ERROR)
        span.end(time.time_ns())

    def fenced(self, stream: StreamState, status: str | None) -> None:
        """Count a writer that lost its stream, and end the writer's span.

        This method does not count the stream's end. The worker that commits the end counts it.
        """
        self._on.fenced.add(1)
        self._end_span(stream, status or "deleted")

    def committed(self, seconds: float, groups: Sequence[Group]) -> None:
        """Count a commit, and measure the duration of some commits."""
        messages = size = 0
        for group in groups:
            for change in group.changes:
                segment = change.append
                if segment is not None:
                    messages += segment.count
                    size += len(segment.payload)
        self._commits += 1
        self._messages += messages
        self._bytes += size
        if self._timed.due():
            self._timed.record(seconds)
            self._on.batch.record(len(groups))

    def sent(self, seconds: float) -> None:
        """Record the seconds from a commit of text until the text has been sent to one reader."""
        self._on.send.record(seconds)

    def store_failed(self, error: Exception) -> None:
        """Count a commit that failed."""
        self._on.errors.add(1)

    def store_back(self, seconds: float) -> None:
        """Record for how many seconds commits failed."""
        self._on.away.record(seconds)

    def worker_dead(self, worker: str, streams: int) -> None:
        """Count a worker that was taken for dead and had streams."""
        self._on.dead.add(1)

    def swept(self, seconds: float) -> None:
        """Record how long a search for dead workers took."""
        self._on.sweep.record(seconds)

    def tidied(self, seconds: float) -> None:
        """Record how long a step of housekeeping took."""
        self._on.tidy.record(seconds)

    def lagged(self, seconds: float) -> None:
        """Record how late the event loop was."""
        self._timed.tick()
        self._on.lag.record(max(0.0, seconds))


_USAGE: Final = {
    "gen_ai.usage.input_tokens": ("input_tokens", "prompt_tokens"),
    "gen_ai.usage.output_tokens": ("output_tokens", "completion_tokens"),
}


def _usage(result: object) -> dict[str, Any]:
    """Return a result's token counts, model and finish reason as attributes (GenAI conventions)."""
    if not isinstance(result, Mapping):
        return {}
    usage = result.get("usage")
    counts = usage if isinstance(usage, Mapping) else result
    found: dict[str, Any] = {}
    for name, keys in _USAGE.items():
        for key in keys:
            if type(counts.get(key)) is int:
                found[name] = counts[key]
    if isinstance(result.get("model"), str):
        found["gen_ai.response.model"] = result["model"]
    if isinstance(result.get("finish_reason"), str):
        found["gen_ai.response.finish_reasons"] = [result["finish_reason"]]
    return found

"""Test at a deployed endpoint what proxies do to streams."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

from inkstream.operations.doctor.exchange import Ending, Endpoint, EndpointError, Received
from inkstream.operations.doctor.findings import Finding, Verdict, fine, unknown
from inkstream.operations.doctor.remedies import REMEDIES

_ANSWER_S: Final = 15.0
_EVENTS: Final = 8
_APART_S: Final = 0.2
_CPU_S: Final = 3.0
_CLOCKS_S: Final = 2.0
_AS_A_BROWSER: Final = "gzip, deflate, br, zstd"
_OLD: Final = ("0.9", "1.0")


@dataclass(frozen=True, slots=True)
class _Echo:
    """A response, and what the application saw of the request.

    ``asked`` and ``got`` are the local times before the request and after the response.
    """

    answer: Received
    seen: dict[str, Any]
    asked: float
    got: float


def _problem(check: str, message: str) -> Finding:
    return Finding(check, Verdict.PROBLEM, message, REMEDIES.get(check, {}))


async def examine(endpoint: Endpoint, *, idle_s: float = 20.0) -> list[Finding]:
    """Return the findings about an endpoint where a ``doctor_probe`` is mounted.

    The check "idle" waits ``idle_s`` seconds on a silent connection. If no request hangs, all
    checks together take a few seconds longer than ``idle_s``.

    Raises:
        EndpointError: No connection is possible, or no HTTP response arrives.
    """
    first = await _echo(endpoint, {})
    if isinstance(first, Finding):
        return [first]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_guarded("http_version", _http_version(endpoint, first))),
            group.create_task(_guarded("buffering", _buffering(endpoint))),
            group.create_task(_guarded("compression", _compression(endpoint))),
            group.create_task(_guarded("idle", _idle(endpoint, idle_s, first.seen))),
            group.create_task(_guarded("last_event_id", _last_event_id(endpoint))),
            group.create_task(_guarded("authorization", _authorization(endpoint))),
            group.create_task(_guarded("caching", _caching(endpoint))),
            group.create_task(_guarded("broken_end", _broken_end(endpoint))),
        ]
    found = [task.result() for task in tasks]
    found.insert(1, _app_http_version(first))
    # The check "cpu" runs last. Some platforms stop a process while it has no open request, and an
    # open request of another check would hide this.
    found += [await _guarded("cpu", _cpu(endpoint)), _clock(first)]
    return found


async def _guarded(check: str, finding: Awaitable[Finding]) -> Finding:
    """Return the finding of a check. If the check's request fails, the finding is unknown."""
    try:
        return await finding
    except EndpointError as exc:
        return unknown(check, f"its request failed: {exc}")


async def _echo(endpoint: Endpoint, headers: dict[str, str], query: str = "") -> _Echo | Finding:
    asked = time.time()
    # Without ``query``, the request gets a URL of its own, so that no proxy answers from its cache.
    query = query or secrets.token_hex(8)
    answer = await endpoint.get(f"/echo?n={query}", headers, within_s=_ANSWER_S)
    seen = answer.json()
    if answer.status == 200 and seen is not None and seen.get("doctor") == 1:
        return _Echo(answer, seen, asked, time.time())
    return _not_the_probe(answer)


def _not_the_probe(answer: Received) -> Finding:
    if answer.status in (401, 403):
        message = (
            f"{answer.status}: the probe or a proxy refused the request. Pass "
            "--header 'Authorization: …'; if that is correct, a proxy removes it"
        )
        return unknown("probe", message)
    if answer.status in (301, 302, 307, 308):
        return unknown("probe", f"it redirects: use {answer.headers.get('location')!r}")
    message = f"no doctor's probe answers at this URL (status {answer.status})"
    return Finding("probe", Verdict.UNKNOWN, message, REMEDIES["probe"])


async def _http_version(endpoint: Endpoint, echo: _Echo) -> Finding:
    version = echo.answer.version
    if version in _OLD:
        return _problem(
            "http_version", f"it answers with HTTP/{version}: broken responses look complete"
        )
    if endpoint.tls is None:
        message = f"it answers with HTTP/{version}; browsers use HTTP/2 only over https://"
        return unknown("http_version", message)
    if await endpoint.protocol() == "h2":
        return fine("http_version", "it speaks HTTP/2")
    message = (
        f"it speaks only HTTP/{version}: a browser opens six connections for all tabs together"
    )
    return _problem("http_version", message)


def _app_http_version(echo: _Echo) -> Finding:
    version = str(echo.seen.get("http_version"))
    if version in _OLD:
        message = f"the application receives HTTP/{version}: broken responses look complete"
        return _problem("app_http_version", message)
    return fine("app_http_version", f"the application receives HTTP/{version}")


def _events(answer: Received) -> list[tuple[float, float]]:
    """Return, for each timed event, when it arrived and when it was sent."""
    found = []
    for at, line in answer.lines():
        if line.startswith(b"data: "):
            found.append((at, float(line[6:])))
    return found


async def _timed(endpoint: Endpoint, encoding: str, *, pad: int = 0) -> Received:
    path = f"/events?count={_EVENTS}&every_s={_APART_S}&pad={pad}"
    headers = {"accept-encoding": encoding}
    return await endpoint.get(path, headers, within_s=_ANSWER_S)


async def _buffering(endpoint: Endpoint) -> Finding:
    answer = await _timed(endpoint, "identity")
    if answer.headers.get("content-encoding", "identity") != "identity":
        return unknown(
            "buffering", "its events were compressed, although the request did not allow that"
        )
    events = _events(answer)
    if answer.status != 200 or len(events) < _EVENTS:
        if not events and answer.ended is Ending.WAITING:
            return _problem("buffering", f"no event arrived within {_ANSWER_S:.0f} s")
        message = f"{len(events)} of {_EVENTS} events arrived (status {answer.status})"
        return unknown("buffering", message)
    delays = [at - left for at, left in events]
    held_s = max(delays) - min(delays)
    took_s = events[-1][1]
    if held_s > took_s / 2:
        message = f"events sent over {took_s:.1f} s arrived together, {held_s:.1f} s late"
        return _problem("buffering", message)
    return fine("buffering", f"{_EVENTS} events arrived one by one, {held_s:.2f} s late at most")


async def _compression(endpoint: Endpoint) -> Finding:
    answer = await _timed(endpoint, _AS_A_BROWSER, pad=4096)
    encoding = answer.headers.get("content-encoding", "identity")
    if answer.status != 200:
        return unknown("compression", f"status {answer.status}")
    if encoding == "identity":
        return fine("compression", "events are not compressed")
    message = f"events are compressed ({encoding}), which delays each event and costs CPU"
    return _problem("compression", message)


async def _idle(endpoint: Endpoint, idle_s: float, seen: dict[str, Any]) -> Finding:
    ping_s = float(seen.get("ping_s") or 15.0)
    # The second event is sent so late that its arrival cannot look like the end of the wait.
    answer = await endpoint.get(f"/idle?s={idle_s + 60:.1f}", within_s=idle_s)
    if answer.status != 200:
        return unknown("idle", f"status {answer.status}")
    # A proxy counts the silence from the last data, and not from the request.
    silent_s = answer.ended_s - (answer.pieces[-1][0] if answer.pieces else 0.0)
    if answer.ended is not Ending.WAITING:
        cut = f"a silent connection is closed after {silent_s:.1f} s"
        if silent_s <= ping_s:
            return _problem("idle", f"{cut}, before the first ping at {ping_s:g} s")
        return fine("idle", f"{cut}; the ping every {ping_s:g} s keeps it open")
    waited = f"a silent connection stayed open for {idle_s:g} s"
    if silent_s <= ping_s:
        pings = f"not longer than the time between two pings ({ping_s:g} s)"
        return unknown("idle", f"{waited}, {pings}: wait longer, with --idle")
    return fine("idle", waited)


async def _last_event_id(endpoint: Endpoint) -> Finding:
    sent = secrets.token_hex(8)
    echo = await _echo(endpoint, {"last-event-id": sent})
    if isinstance(echo, Finding):
        return unknown("last_event_id", echo.message)
    if echo.seen.get("last_event_id") == sent:
        return fine("last_event_id", "Last-Event-ID arrives")
    message = "Last-Event-ID is removed: every reconnect gets the whole text again"
    return _problem("last_event_id", message)


async def _authorization(endpoint: Endpoint) -> Finding:
    given = {name.lower(): value for name, value in endpoint.headers.items()}
    sent = given.get("authorization", f"Bearer {secrets.token_hex(8)}")
    echo = await _echo(endpoint, {"authorization": sent})
    if isinstance(echo, Finding):
        return unknown("authorization", echo.message)
    if echo.seen.get("authorization") == hashlib.sha256(sent.encode()).hexdigest():
        return fine("authorization", "Authorization arrives")
    how = "replaced" if echo.seen.get("authorization") else "stripped"
    return _problem("authorization", f"Authorization is {how} on the way")


async def _caching(endpoint: Endpoint) -> Finding:
    query = secrets.token_hex(8)
    answers = [await _echo(endpoint, {}, query) for _ in range(3)]
    seen = [echo.seen.get("answer") for echo in answers if isinstance(echo, _Echo)]
    if len(seen) < len(answers):
        return unknown("caching", "a request that worked before failed the second time")
    if len(set(seen)) < len(seen):
        return _problem(
            "caching", "the same response came twice, although it says no-cache and private"
        )
    return fine("caching", "every response is new")


async def _broken_end(endpoint: Endpoint) -> Finding:
    answer = await endpoint.get("/broken", within_s=_ANSWER_S)
    if answer.status != 200:
        # The connection broke before any data, so the proxy could still send an error status.
        if answer.status in (500, 502):
            return fine("broken_end", f"a broken response becomes a {answer.status}")
        return unknown("broken_end", f"status {answer.status}")
    match answer.ended:
        case Ending.BROKEN:
            return fine("broken_end", "a broken response looks broken")
        case Ending.WAITING:
            message = f"a broken response was still open after {_ANSWER_S:.0f} s"
            return _problem("broken_end", message)
    message = "a broken response looks complete, and so does the text of a failed stream"
    return _problem("broken_end", message)


async def _cpu(endpoint: Endpoint) -> Finding:
    started = await endpoint.get(f"/ticks?s={_CPU_S + 30:.0f}", within_s=_ANSWER_S)
    begin = started.json()
    await asyncio.sleep(_CPU_S)
    asked = time.monotonic()
    end = (await endpoint.get("/ticks", within_s=_ANSWER_S)).json()
    if not begin or not end or "ticker" not in begin:
        return unknown("cpu", "the probe's counter did not answer")
    if begin["ticker"] != end.get("ticker"):
        return unknown(
            "cpu", "another process answered: run the doctor again, or against one instance"
        )
    expected = _CPU_S / begin["every_s"]
    # A frozen process runs while it answers this request. The ticks of that time must not count.
    ticks = end["ticks"] - (time.monotonic() - asked) / begin["every_s"]
    if ticks < expected / 2:
        share = max(0.0, ticks / expected)
        message = (
            f"between requests the process ran {share:.0%} of the time: no text is generated "
            "when nobody reads"
        )
        return _problem("cpu", message)
    return fine("cpu", f"the process runs between requests (watched for {_CPU_S:g} s)")


def _clock(echo: _Echo) -> Finding:
    there = float(echo.seen.get("wall", 0.0))
    # The server read its clock at some moment between the request and the response.
    off_s = max(echo.asked - there, there - echo.got, 0.0)
    if off_s > _CLOCKS_S:
        return _problem("clock", f"its clock and the clock here differ by {off_s:.1f} s")
    return fine("clock", "its clock and the clock here agree")

"""Gather what the store, this process and the beats of other workers say about one stream."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from inkstream._types import Roster, Status, StreamState, WorkerReport
from inkstream.abc import Store
from inkstream.engine.condition import Condition
from inkstream.engine.identity import host_and_pid
from inkstream.operations.description import (
    Due,
    Rates,
    ReaderCounts,
    StreamDescription,
    WorkerDescription,
)
from inkstream.operations.diagnosis import causes

_DEFAULT_BEAT_S = 3.0
_DEFAULT_LEASE_S = 12.0


async def describe(
    store: Store, state: StreamState, here: Condition | None = None
) -> StreamDescription:
    """Describe a stream whose state was just read.

    ``here`` is what this process knows of its own worker; ``None`` if it has no worker.
    """
    roster = await store.roster()
    words = {worker.worker: _words(worker.said) for worker in roster.workers}
    me = "" if here is None else here.worker
    if here is not None:
        words[me] = here.now()
    worker = _worker(me, state, roster, words)
    about = words.get(state.worker or "", {}).get("streams", {}).get(str(state.internal_id), {})
    description = StreamDescription(
        at=roster.now,
        stream_id=state.stream_id,
        kind=state.kind,
        status=state.status,
        epoch=state.epoch,
        owner=state.owner,
        group=state.group,
        created_at=state.created_at,
        started_at=state.started_at,
        ended_at=state.ended_at,
        last_piece_at=state.appended_at,
        worker=worker,
        readers=_readers(me, state, roster, words),
        messages=state.tail,
        size=state.size,
        rates=Rates(about["messages_s"], about["bytes_s"]) if "messages_s" in about else None,
        due=_due(state),
        end=state.end,
        causes=(),
    )
    taken_over = state.takeover_within_s > 0
    found = causes(description, owned=state.worker is not None, taken_over=taken_over)
    return replace(description, causes=found)


async def workers(store: Store, here: Condition) -> list[dict[str, Any]]:
    """Return all workers as JSON objects, this process's worker first."""
    roster = await store.roster()
    rows = []
    for report in roster.workers:
        said = _words(report.said)
        mine = report.worker == here.worker
        if mine:
            said = here.now()
        host, pid = host_and_pid(report.worker)
        alive, evidence = _alive(here.worker, report.worker, report, said, roster.now)
        rows.append(
            {
                "name": report.worker,
                "host": said.get("host") or host,
                "pid": said.get("pid") or pid,
                "here": mine,
                "alive": alive,
                "evidence": evidence,
                "writes": said.get("writes", 0),
                "readers": said.get("readers", 0),
                "lag_s": max(said.get("lag_s", 0.0), said.get("blocked_s", 0.0)),
                "store_away_s": said.get("store_away_s", 0.0),
            }
        )
    return sorted(rows, key=lambda row: (not row["here"], str(row["name"])))


def _words(said: str) -> dict[str, Any]:
    """Parse the JSON of a worker's last beat. Another inkstream version may leave out any field."""
    try:
        words = json.loads(said)
    except ValueError:
        return {}
    return words if isinstance(words, dict) else {}


def _worker(
    me: str, state: StreamState, roster: Roster, words: dict[str, dict[str, Any]]
) -> WorkerDescription | None:
    name = state.worker if state.status is Status.STREAMING else state.writer
    name = name or state.writer
    if name is None:
        return None
    report = next((worker for worker in roster.workers if worker.worker == name), None)
    said = words.get(name, {})
    host, pid = host_and_pid(name)
    alive, evidence = _alive(me, name, report, said, roster.now)
    lag_s = max(said.get("blocked_s", 0.0), said.get("lag_s", 0.0))
    return WorkerDescription(
        name=name,
        host=said.get("host") or host,
        pid=said.get("pid") or pid,
        alive=alive,
        evidence=evidence,
        started_at=said.get("started_at"),
        locked=None if report is None else report.locked,
        beat_at=None if report is None or name == me else report.beat_at,
        beat_s=said.get("beat_s", _DEFAULT_BEAT_S),
        lease_s=said.get("lease_s", _DEFAULT_LEASE_S),
        blocked_s=lag_s if lag_s > 1.0 else 0.0,
        blocked_at=said.get("blocked_at"),
        store_away_s=said.get("store_away_s", 0.0),
        buffered_bytes=said.get("streams", {}).get(str(state.internal_id), {}).get("buffered", 0),
    )


def _alive(
    me: str, name: str, report: WorkerReport | None, said: dict[str, Any], now: float
) -> tuple[bool | None, str]:
    if name == me:
        return True, "it is this process"
    if report is None:
        return (
            None,
            "it is no longer in the list of workers: it has stopped, or it died and was removed",
        )
    age_s = max(0.0, now - report.beat_at)
    beat = f"it beat {age_s:.1f} s ago"
    if report.locked is False:
        return False, f"the lock that its process held is free; {beat} for the last time"
    lease_s = said.get("lease_s", _DEFAULT_LEASE_S)
    lock = "it holds its lock" if report.locked else "its lock cannot be tested from here"
    if age_s > lease_s:
        return False, f"{beat}, and after {lease_s:g} s without a beat it counts as dead; {lock}"
    return True, f"{beat}; {lock}"


def _readers(
    me: str, state: StreamState, roster: Roster, words: dict[str, dict[str, Any]]
) -> ReaderCounts:
    here = elsewhere = behind = 0
    behind_s = 0.0
    complete = True
    living = {me} if me else set()
    for worker in roster.workers:
        lease_s = words[worker.worker].get("lease_s", _DEFAULT_LEASE_S)
        if worker.locked is not False and roster.now - worker.beat_at <= lease_s:
            living.add(worker.worker)
    for name in living:
        about = words[name].get("streams", {}).get(str(state.internal_id))
        if about is None:
            complete = complete and not words[name].get("unlisted")
            continue
        if name == me:
            here += about.get("readers", 0)
        else:
            elsewhere += about.get("readers", 0)
        behind += about.get("behind", 0)
        behind_s = max(behind_s, about.get("behind_s", 0.0))
    return ReaderCounts(here, elsewhere, behind, behind_s, complete)


def _due(state: StreamState) -> Due | None:
    if state.due_at is None:
        return None
    if state.status is Status.PENDING:
        action = "ends timeout (never_started), unless a writer claims it before"
    elif state.status is not Status.STREAMING:
        action = "is deleted"
    elif state.worker is None:
        action = "ends timeout (abandoned), unless a writer takes it over before"
    else:
        action = "ends cancelled, unless a reader comes before"
    return Due(state.due_at, action)

"""Guards that keep the promises of docs/guarantees.md, and a test for each guard.

``scripts/canaries`` removes one guard at a time from a copy of the code, and expects that the
guard's test fails. The test must observe what a user would observe, so the test must not import the
guard's module.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_SOURCE: Final = "src/inkstream"


@dataclass(frozen=True, slots=True)
class Canary:
    """A guard, and the change that removes the guard.

    Attributes:
        name: The guard's name in docs/guarantees.md.
        guarantee: The promise that the guard keeps: G1 to G12, ``rights`` or ``versions``.
        file: The guard's file, below src/inkstream.
        old: The guard's text, which must occur once in the file.
        new: The text that replaces ``old``, and so removes the guard.
        test: The pytest node that must fail without the guard.
    """

    name: str
    guarantee: str
    file: str
    old: str
    new: str
    test: str

    @property
    def path(self) -> Path:
        return Path(_SOURCE, self.file)

    @property
    def module(self) -> str:
        return ".".join(("inkstream", *Path(self.file).with_suffix("").parts))


_SUITE = "tests/conformance/test_sqlite.py::TestSQLiteStore"
_PROCESSES = "tests/crash/test_processes.py"

CANARIES: Final = (
    Canary(
        "sync",
        "G1",
        "stores/sqlite/_store.py",
        "Settings(self.path, synchronous, min(busy_s, wait_s))",
        'Settings(self.path, "off", min(busy_s, wait_s))',
        "tests/conformance/test_sqlite_faults.py::test_a_failed_fsync_is_not_trusted_again",
    ),
    Canary(
        "no trust after a failed fsync",
        "G1",
        "stores/sqlite/_write_thread.py",
        "                if self.suspect:\n                    self._make_sure(connection)\n",
        "",
        "tests/conformance/test_sqlite_faults.py::test_a_failed_fsync_is_not_trusted_again",
    ),
    Canary(
        "commit before publish",
        "G1",
        "engine/committer.py",
        "            outcomes = await self._store.commit(groups)\n",
        "            for party, _ in parties:\n"
        "                tail = getattr(party, 'tail', None)\n"
        "                if tail is not None:\n"
        "                    tail.publish([c.append for g in groups for c in g.changes"
        " if c.append and c.internal_id == tail.internal_id])\n"
        "                    tail.wake()\n"
        "            outcomes = await self._store.commit(groups)\n",
        "tests/unit/test_committer.py::test_nothing_is_shown_before_the_store_has_returned",
    ),
    Canary(
        "fork park",
        "G1",
        "stores/sqlite/_threads.py",
        "        _forks.register(self)\n",
        "",
        "tests/conformance/test_sqlite_forks.py::test_fork[idle-own-is killed]",
    ),
    Canary(
        "hold beside SQLite's locks",
        "G1",
        "stores/sqlite/_holds.py",
        "    if not HAS_HOLDS or file is None:\n        return\n",
        "    return\n",
        "tests/conformance/test_sqlite_own_copy.py::test_outsiders_come_and_go[the database]",
    ),
    Canary(
        "path check after COMMIT",
        "G1",
        "stores/sqlite/_write_thread.py",
        '            connection.execute("COMMIT")\n            self._check_place()\n',
        '            connection.execute("COMMIT")\n',
        "tests/conformance/test_sqlite_moved.py::test_replaced",
    ),
    Canary(
        "tail check",
        "G2",
        "stores/sqlite/_write.py",
        "                or (change.if_tail is not None and head.tail != change.if_tail)\n",
        "",
        f"{_SUITE}::test_appends_at_a_known_tail",
    ),
    Canary(
        "tail check, PostgreSQL",
        "G2",
        "stores/postgres/migrations/0001_initial.sql",
        "                AND (w.if_tail IS NULL OR w.if_tail = h.tail)\n",
        "",
        "tests/conformance/test_postgres.py::TestPostgresStore::test_appends_at_a_known_tail",
    ),
    Canary(
        "tail went back",
        "G2",
        "engine/tails.py",
        "or here.lies_in(state):\n            return False\n",
        "or True:\n            return False\n",
        "tests/crash/test_failover.py::test_standby_without_the_last_commits",
    ),
    Canary(
        "epoch check",
        "G3",
        "stores/sqlite/_write.py",
        "                or (change.if_epoch is not None and head.epoch != change.if_epoch)\n",
        "",
        f"{_SUITE}::test_a_superseded_writer_is_refused",
    ),
    Canary(
        "epoch check, PostgreSQL",
        "G3",
        "stores/postgres/migrations/0001_initial.sql",
        "                AND (w.if_epoch IS NULL OR w.if_epoch = h.epoch)\n",
        "",
        "tests/conformance/test_postgres.py::TestPostgresStore::test_a_superseded_writer_is_refused",
    ),
    Canary(
        "status check",
        "G4",
        "stores/sqlite/_write.py",
        "                or (change.if_status is not None"
        " and head.status not in change.if_status)\n",
        "",
        f"{_SUITE}::test_one_end_of_many",
    ),
    Canary(
        "claims only what is pending",
        "G4",
        "engine/claims.py",
        "            self._check_claimable(state, takeover)\n",
        "",
        f"{_PROCESSES}::test_one_racing_start_calls_its_source",
    ),
    Canary(
        "end in the last text's commit",
        "G5",
        "stores/sqlite/_write.py",
        "        for name, value in change.marks.items():\n"
        "            self._db.execute(SQL.set_mark, (head.internal_id, name, value))\n",
        "        if end is not None:\n"
        '            self._db.execute("COMMIT")\n'
        '            self._db.execute("BEGIN IMMEDIATE")\n',
        f"{_SUITE}::test_end_and_last_text_are_visible_together",
    ),
    Canary(
        "end after all text",
        "G5",
        "engine/tails.py",
        "        elif state.ended:\n            tail.end = state.end\n",
        "        if state.ended:\n            tail.end = state.end\n",
        "tests/simulation/test_schedules.py::test_random_schedules",
    ),
    Canary(
        "failed text breaks off",
        "G5",
        "http/response.py",
        "                if reader.end.status is Status.DONE:\n",
        "                if reader.end.status.ended:\n",
        "tests/http/test_formats.py::test_text_ends_cleanly_only_when_done",
    ),
    Canary(
        "no text over HTTP/1.0",
        "G5",
        "http/response.py",
        'why_ends_are_hidden(scope, receive, send) if form == "text" else None',
        "None",
        "tests/http/test_formats.py::test_text_over_http_1_0_is_refused",
    ),
    Canary(
        "result with every end",
        "G5",
        "engine/writers.py",
        "            end = replace(end, result=writer.result)\n",
        "            pass\n",
        "tests/unit/test_results.py::test_end_keeps_the_last_result",
    ),
    Canary(
        "readers elsewhere count",
        "G6",
        "engine/tails.py",
        "        if state.due_at is not None and _needs_rescue(tail):\n"
        "            self._rescue(state)\n",
        "",
        "tests/unit/test_audience.py::test_reader_in_another_process_keeps_the_stream",
    ),
    Canary(
        "a thread beats in a blocked loop's place",
        "G7",
        "engine/keeper.py",
        "                self._stand_in(stalled)\n",
        "                pass\n",
        "tests/crash/test_blocked.py::test_a_blocked_loop_ends_nothing",
    ),
    Canary(
        "beat",
        "G7",
        "engine/presence.py",
        "beat=now_too or (active and due)",
        "beat=now_too",
        "tests/unit/test_sweeper.py::test_pauses_and_outages_kill_no_writer",
    ),
    Canary(
        "observer's own beat",
        "G7",
        "engine/sweeper.py",
        "                beat = True  # if this beat fails, no worker is taken for dead\n",
        "                pass\n",
        "tests/unit/test_sweeper.py::test_read_only_database_kills_no_writer[13]",
    ),
    Canary(
        "lock test",
        "G7",
        "stores/sqlite/_locks.py",
        "            os.close(descriptor)\n        return False\n\n    def show_ready",
        "            os.close(descriptor)\n        return None\n\n    def show_ready",
        f"{_PROCESSES}::test_killed_writer_ends_readers_in_two_seconds",
    ),
    Canary(
        "a leader that takes no writes is left",
        "G12",
        "stores/postgres/_faults.py",
        '    return code.startswith(("25006", "57P")) or "recovery" in str(exc)\n',
        "    return False\n",
        "tests/crash/test_failover.py::test_leader_becomes_read_only",
    ),
    Canary(
        "drain's end",
        "G8",
        "engine/writers.py",
        "self.finish(writer, end) if writer.active else asyncio.shield(writer.stopped)",
        "asyncio.shield(writer.stopped)",
        "tests/unit/test_engine.py::test_drain_ends_a_thousand_readers",
    ),
    Canary(
        "send deadline",
        "G9",
        "http/connection.py",
        "self._reader.alarm_at = now + self._send_timeout_s",
        'self._reader.alarm_at = float("inf")',
        "tests/http/test_connections.py::test_a_blocked_send_is_given_up",
    ),
    Canary(
        "offset check",
        "G10",
        "engine/readers.py",
        "        if not (_covers(tail, offset) or"
        " (page is not None and offset.lies_in(page.state))):\n",
        "        if False:\n",
        "tests/http/test_refusals.py::test_a_foreign_offset_is_refused_immediately",
    ),
    Canary(
        "generation",
        "G10",
        "stores/sqlite/_store.py",
        "self._generations.due = not self._locks.others_are_ready()",
        "pass",
        "tests/conformance/test_restored.py::test_text_grows_past_a_lost_offset",
    ),
    Canary(
        "an end stays in its run",
        "G10",
        "stores/sqlite/_write.py",
        "                if not head.status.ended:\n",
        "                if True:\n",
        "tests/conformance/test_sqlite.py::TestSQLiteStore"
        "::test_generation_of_an_end_with_a_late_result",
    ),
    Canary(
        "a late read brings no old runs",
        "G10",
        "engine/tail.py",
        "        return self.runs if known else state.runs\n",
        "        return state.runs\n",
        "tests/simulation/test_schedules.py::test_random_schedules",
    ),
    Canary(
        "control characters escaped",
        "G11",
        "wire/_events.py",
        '_RARE: Final = bytes(set(range(0x20)) - set(b"\\t\\n\\r"))\n',
        '_RARE: Final = b""\n',
        "tests/http/test_servers.py::test_hostile_text_comes_back_from_every_format",
    ),
    Canary(
        "line ends inside JSON",
        "G11",
        "wire/_events.py",
        '    if b"\\xe2\\x80" not in data and b"\\xc2\\x85" not in data:\n',
        "    if True:\n",
        "tests/http/test_line_ends.py::test_no_line_ends_inside_json",
    ),
    Canary(
        "bounded buffer",
        "G12",
        "engine/buffer.py",
        "        return self.pending_bytes + size <= self._limits.buffer_bytes"
        " and shared.used < shared.limit\n",
        "        return True\n",
        "tests/unit/test_committer.py::test_memory_stays_bounded_while_the_store_is_away",
    ),
    Canary(
        "authorisation",
        "rights",
        "http/follow.py",
        "            if denied or not await allow(state):\n",
        "            if False:\n",
        "tests/http/test_refusals.py::test_a_denied_stream_equals_an_absent_one_in_time_too",
    ),
    Canary(
        "cross-site requests",
        "rights",
        "http/crosssite.py",
        '    if scheme not in _ADDED_BY_BROWSERS and ("cookie" not in headers or scheme):\n',
        "    if True:\n",
        "tests/http/test_crosssite.py::test_browser_credentials_count_only_from_this_site",
    ),
    Canary(
        "digest of migrations",
        "versions",
        "stores/postgres/_migrate.py",
        "if step.version in digests and digests[step.version] != step.digest",
        "if False",
        "tests/migration/test_postgres_versions.py::test_other_sql_under_the_same_name",
    ),
)

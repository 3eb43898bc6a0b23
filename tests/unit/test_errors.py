"""Errors can be pickled, because task queues and process pools pickle errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

from inkstream import _errors as errors

MADE: list[errors.InkstreamError] = [
    errors.InkstreamError("root"),
    errors.InvalidInput("input"),
    errors.InvalidStreamId(b"\x00"),
    errors.InvalidOffset("nonsense"),
    errors.InvalidMessage("message"),
    errors.LimitExceeded("limit", limit=1, actual=2),
    errors.MessageTooLarge("message", limit=1, actual=2),
    errors.StreamTooLarge("stream", limit=1, actual=2),
    errors.StreamNotFound("s"),
    errors.StreamNotFound("s", "in other words"),
    errors.StreamGone("s"),
    errors.StreamExists("s"),
    errors.OffsetGone("s", "offset"),
    errors.StreamConflict("s", "done", "conflict"),
    errors.NotClaimed("s", "done", "not claimed"),
    errors.StreamEnded("s", "done", "ended"),
    errors.WriterFenced("s", "cancelled", "fenced"),
    errors.WriterFenced("s", None, "fenced"),
    errors.TooManyStreams("streams", limit=3),
    errors.TooManyReaders("readers", limit=3),
    errors.ShuttingDown(),
    errors.NotRunning("not running"),
    errors.StoreError("store"),
    errors.StoreUnavailable("away"),
    errors.OutcomeUnknown("unknown"),
    errors.SchemaOutdated("schema"),
    errors.StreamError("Try later.", code="busy", result={"tokens": 1}),
]


def tree(kind: type[errors.InkstreamError]) -> Iterator[type[errors.InkstreamError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ in ("inkstream", "inkstream._errors"):
            yield from tree(child)


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickle(error: errors.InkstreamError, protocol: int) -> None:
    error.add_note("in a task")
    for _ in range(2):  # an error may pass through two queues in turn
        remade = pickle.loads(pickle.dumps(error, protocol))
        assert type(remade) is type(error)
        assert (str(remade), remade.args, vars(remade)) == (str(error), error.args, vars(error))
        error = remade
    assert vars(copy.copy(error)) == vars(error)


def test_every_error_class_is_tested() -> None:
    public = {kind for kind in tree(errors.InkstreamError) if not kind.__name__.startswith("_")}
    assert {type(error) for error in MADE} == public


class OfAnApplication(errors.StreamError):
    def __init__(self, seconds: int) -> None:
        super().__init__(f"Try again in {seconds} s.", code="rate_limited")
        self.seconds = seconds


def test_an_applications_own_error_survives_pickle() -> None:
    remade = pickle.loads(pickle.dumps(OfAnApplication(3)))
    assert (str(remade), remade.code, remade.seconds) == ("Try again in 3 s.", "rate_limited", 3)

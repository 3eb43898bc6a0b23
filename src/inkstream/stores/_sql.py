"""Loads named queries from ``.sql`` files.

A file is a sequence of queries. Each query has a name and a line that describes the query::

    -- name: load_head
    -- The fields of a stream that nearly every commit changes.
    SELECT epoch, tail, size FROM heads WHERE internal_id = ?;
"""

from __future__ import annotations

import re
from importlib.resources import files
from types import SimpleNamespace

_NAME = re.compile(r"^-- name: *([a-z][a-z0-9_]*) *$", re.MULTILINE)


def load(package: str, file: str) -> SimpleNamespace:
    """Return an object that has each query of a package's file as an attribute.

    Lines that begin with ``--`` are removed, and so is the last semicolon of each query.

    Raises:
        ValueError: A name occurs twice, or a query has no line of description.
    """
    text = files(package).joinpath(file).read_text("utf-8")
    _, *named = _NAME.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(named[::2], named[1::2], strict=True):
        if name in queries:
            raise ValueError(f"{file}: the query {name} occurs twice")
        if not body.lstrip().startswith("-- "):
            raise ValueError(f"{file}: the query {name} has no description")
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        queries[name] = "\n".join(lines).strip().removesuffix(";")
    return SimpleNamespace(**queries)

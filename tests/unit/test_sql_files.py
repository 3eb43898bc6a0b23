"""Every SQL query of the SQLite store has a name and a description, and is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import inkstream.stores.sqlite
from inkstream.stores._sql import load

PACKAGE = "inkstream.stores.sqlite"


def test_queries_are_attributes() -> None:
    queries = load(PACKAGE, "queries.sql")
    assert queries.stream_exists == "SELECT 1 FROM inkstream_streams WHERE stream_id = ?"


def test_a_script_keeps_its_inner_semicolons() -> None:
    schema = load(PACKAGE, "schema.sql").schema
    assert schema.startswith("CREATE TABLE")
    assert schema.count(";\n") > 10
    assert not schema.endswith(";")


def test_every_query_is_used() -> None:
    folder = Path(inkstream.stores.sqlite.__file__).parent
    source = "".join(file.read_text() for file in folder.glob("*.py"))
    unused = [
        name
        for name in vars(load(PACKAGE, "queries.sql"))
        if not re.search(rf"SQL\.{name}\b", source)
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("-- name: a\n-- One.\nSELECT 1;\n-- name: a\n-- Two.\nSELECT 2;\n", "twice"),
        ("-- name: a\nSELECT 1;\n", "no description"),
    ],
)
def test_invalid_sql_file_is_refused(
    text: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"queries_{error.replace(' ', '_')}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / "queries.sql").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=error):
        load(package, "queries.sql")


def test_no_statement_of_sqlite_has_numbered_parameters() -> None:
    """Python 3.12.0 to 3.12.3 warn about ``?1``, so with ``-W error`` every commit would fail."""
    queries = vars(load(PACKAGE, "queries.sql"))
    assert [name for name, query in queries.items() if re.search(r"\?[0-9]", query)] == []

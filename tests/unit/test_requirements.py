"""requirements/ has a fitting version of every package that pyproject.toml requires."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def group(name: str) -> Iterator[str]:
    for need in PROJECT["dependency-groups"][name]:
        if isinstance(need, str):
            yield need
        else:
            yield from group(need["include-group"])


def extra(name: str) -> Iterator[str]:
    for need in PROJECT["project"]["optional-dependencies"][name]:
        inner = Requirement(need)
        if inner.name == "inkstream":
            for other in sorted(inner.extras):
                yield from extra(other)
        else:
            yield need


def wanted(purpose: str) -> list[str]:
    everything = list(PROJECT["project"]["dependencies"])
    if purpose == "demo":
        return [*everything, *extra("demo"), *group("chat")]
    extras = PROJECT["project"]["optional-dependencies"]
    return [*everything, *[need for name in extras for need in extra(name)], *group("dev")]


@pytest.mark.parametrize("purpose", ["demo", "dev"])
def test_the_lock_fits(purpose: str) -> None:
    lines = (ROOT / f"requirements/{purpose}.txt").read_text().splitlines()
    locked = [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]
    here = {canonicalize_name(r.name): r for r in locked if not r.marker or r.marker.evaluate()}
    for need in map(Requirement, wanted(purpose)):
        if need.marker and not need.marker.evaluate():
            continue
        found = here.get(canonicalize_name(need.name))
        assert found is not None, f"{need.name} is not in requirements/{purpose}.txt: scripts/lock"
        [pin] = found.specifier
        assert need.specifier.contains(pin.version, prereleases=True), (str(need), str(found))

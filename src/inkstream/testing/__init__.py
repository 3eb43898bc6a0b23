"""Tools for the tests of applications and of third-party stores.

``StoreSuite`` is what every store must pass. ``run_virtual`` and ``in_virtual_time`` run tests in
virtual time (with ``VirtualClock`` for ``PersistentTextStreaming(clock=…)``), ``ScriptedSource``
stands in for a model, and the pytest plugin ``inkstream.testing.fixtures`` gives ``streams``, a
running instance in memory.

It needs pytest, pytest-asyncio and hypothesis.
"""

import pytest

pytest.register_assert_rewrite("inkstream.testing.store_suite")

from inkstream.testing.sources import ScriptedSource  # noqa: E402  (rewriting comes first)
from inkstream.testing.store_suite import StoreSuite  # noqa: E402
from inkstream.testing.virtual_time import (  # noqa: E402
    VirtualClock,
    VirtualLoop,
    in_virtual_time,
    run_virtual,
)

__all__ = [
    "ScriptedSource",
    "StoreSuite",
    "VirtualClock",
    "VirtualLoop",
    "in_virtual_time",
    "run_virtual",
]

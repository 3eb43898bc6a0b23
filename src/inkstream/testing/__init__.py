"""Tools for testing applications and third-party stores.

``StoreSuite`` is the test suite that every store must pass. ``run_virtual`` and ``in_virtual_time``
run tests in virtual time. Use them with ``PersistentTextStreaming(clock=VirtualClock())``.
``ScriptedSource`` replaces a model. With ``StreamingTransport``, ``httpx`` reads a response while
the application sends it. The pytest plugin ``inkstream.testing.fixtures`` has the fixture
``streams``, a running ``PersistentTextStreaming``.

The module needs the extra ``testing``: pytest, pytest-asyncio, hypothesis and httpx.
"""

try:
    import httpx  # noqa: F401
    import hypothesis  # noqa: F401
    import pytest
    import pytest_asyncio  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"inkstream.testing needs {missing.name}: pip install 'inkstream[testing]'",
        name=missing.name,
    ) from missing

pytest.register_assert_rewrite("inkstream.testing.store_suite")

# These imports must follow ``register_assert_rewrite``.
from inkstream.testing.sources import ScriptedSource  # noqa: E402
from inkstream.testing.store_suite import StoreSuite  # noqa: E402
from inkstream.testing.transport import StreamingTransport  # noqa: E402
from inkstream.testing.virtual_time import (  # noqa: E402
    VirtualClock,
    VirtualLoop,
    in_virtual_time,
    run_virtual,
)

__all__ = [
    "ScriptedSource",
    "StoreSuite",
    "StreamingTransport",
    "VirtualClock",
    "VirtualLoop",
    "in_virtual_time",
    "run_virtual",
]

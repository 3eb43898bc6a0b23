"""What applications and third parties test with: the suite that every store must pass.

It needs pytest, pytest-asyncio and hypothesis.
"""

import pytest

pytest.register_assert_rewrite("inkstream.testing.store_suite")

from inkstream.testing.store_suite import StoreSuite  # noqa: E402  (rewriting comes first)

__all__ = ["StoreSuite"]

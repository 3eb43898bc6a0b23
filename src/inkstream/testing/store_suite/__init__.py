"""The tests that every implementation of ``abc.Store`` must pass."""

from inkstream.testing.store_suite.commits import CommitTests
from inkstream.testing.store_suite.creation import CreationTests
from inkstream.testing.store_suite.deletion import DeletionTests
from inkstream.testing.store_suite.forks import ForkTests
from inkstream.testing.store_suite.generations import GenerationTests
from inkstream.testing.store_suite.model import ModelTests
from inkstream.testing.store_suite.queries import QueryTests
from inkstream.testing.store_suite.races import RaceTests
from inkstream.testing.store_suite.reading import ReadingTests
from inkstream.testing.store_suite.tidying import TidyTests
from inkstream.testing.store_suite.workers import WorkerTests

__all__ = ["StoreSuite"]


class StoreSuite(
    CreationTests,
    CommitTests,
    RaceTests,
    ReadingTests,
    QueryTests,
    DeletionTests,
    ForkTests,
    GenerationTests,
    WorkerTests,
    TidyTests,
    ModelTests,
):
    """Test whether a store does what ``abc.Store`` demands.

    In a test module, write a subclass of ``StoreSuite`` with the two methods that create a database
    and a store. pytest then collects the tests::

        class TestMyStore(StoreSuite):
            async def make_database(self, tmp_path):
                return tmp_path / "my.db"

            def make_store(self, database):
                return MyStore(database)

    The suite kills no process. So the store's own tests must show that a worker's lock is released
    when the worker's process dies.
    """

"""The conformance suite of ``abc.Store``: a store that passes it may be used in place of any other.

A module for each part of the contract; ``harness`` is what a store's author fills in.
"""

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
    """Prove that a store keeps every obligation of ``abc.Store``.

    Subclass it in a test module, with the two methods that make a database and open a store on
    it; pytest then collects the tests::

        class TestMyStore(StoreSuite):
            async def make_database(self, tmp_path):
                return tmp_path / "my.db"

            def make_store(self, database):
                return MyStore(database)

    The suite asks for nothing beyond the contract, so it has no options. It cannot kill a process:
    that a worker's lock dies with one is left for the store's own tests to show.
    """

"""When a file begins another generation: after what may have been a restore from a backup."""

from __future__ import annotations

from typing import NamedTuple

from inkstream._runs import draw_generation
from inkstream.stores.sqlite._connection import SQL
from inkstream.stores.sqlite._read import Database


class Basis(NamedTuple):
    """The basis of a write: the largest id of a live row so far, and the generation."""

    last_live: int
    generation: int


class Generations:
    """This process's knowledge of the file, to notice that it went back.

    A new generation is drawn in the transaction of the next messages, so that opening a store waits
    for nobody. It is drawn again until one was committed.
    """

    def __init__(self) -> None:
        self.due = False
        """The next messages must stand in another generation."""
        self._drawn = 0
        self._last_live = 0

    def basis(self, db: Database) -> Basis:
        """Return what messages that are now written build on; draw if need be."""
        last_live, generation = db.execute(SQL.basis).fetchone()
        if last_live < self._last_live:  # a committed message is not there
            self.due = True
        if self.due and generation != self._drawn:
            generation = self._drawn = draw_generation(generation)
            db.execute(SQL.set_generation, (generation,))
        return Basis(last_live, generation)

    def committed(self, last_live: int) -> None:
        """Note that a transaction was committed that began with ``basis``."""
        self._last_live = last_live if self.due else max(self._last_live, last_live)
        self.due = False
        self._drawn = 0  # a restore may bring just this one back

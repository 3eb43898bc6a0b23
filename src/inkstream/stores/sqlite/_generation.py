"""Begins a new generation of a file after a possible restore from a backup."""

from __future__ import annotations

from typing import NamedTuple

from inkstream._runs import draw_generation
from inkstream.stores.sqlite._connection import SQL
from inkstream.stores.sqlite._read import Database


class Basis(NamedTuple):
    """Facts for a write: the largest id that any live row ever had, and the generation."""

    last_live: int
    generation: int


class Generations:
    """Detects that the file went back to an old state, from what this process knows about the file.

    The next transaction that creates a stream, commits changes or writes a beat then draws a new
    generation. If that transaction is not committed, the next such transaction draws again.
    """

    def __init__(self) -> None:
        self.due = False
        """True if the next messages must belong to a new generation."""
        self._drawn = 0
        self._last_live = 0

    def basis(self, db: Database) -> Basis:
        """Return the basis for new messages; draw a new generation if one is due."""
        last_live, generation = db.execute(SQL.basis).fetchone()
        if last_live < self._last_live:  # a committed message is missing
            self.due = True
        if self.due and generation != self._drawn:
            generation = self._drawn = draw_generation(generation)
            db.execute(SQL.set_generation, (generation,))
        return Basis(last_live, generation)

    def committed(self, last_live: int) -> None:
        """Record that a transaction that called ``basis`` was committed."""
        self._last_live = last_live if self.due else max(self._last_live, last_live)
        self.due = False
        # A restore may bring the drawn generation back. Then ``basis`` must draw again.
        self._drawn = 0

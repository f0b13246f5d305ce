"""How long databases may take to do what is asked of them, by who waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds; 0: as long as they need.

    Of PostgreSQL a `statement`, the wait for a `lock`, and a transaction in which nothing happens (`idle`); for a free
    connection of this process (`turn`); for the answer of a database of documents over the network (`answer`).
    """

    statement: float
    lock: float
    idle: float
    turn: float
    answer: float


#: While a person waits for a page, or a program for an answer of the API. Pages take fractions of a second; removing a
#: set of 100,000 images, the longest statement that one asks for, takes some seconds.
ASKED: Final = Limits(statement=30, lock=10, idle=60, turn=10, answer=10)
#: Jobs and commands: counting and copying whole tables, removing what nothing points at.
WORKING: Final = Limits(statement=600, lock=120, idle=600, turn=60, answer=30)
#: Migrations of the tables, and moves of a home: as much as is there.
UNLIMITED: Final = Limits(statement=0, lock=0, idle=0, turn=60, answer=30)

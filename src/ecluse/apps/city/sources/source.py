"""Say what a source of the city is: all that the house knows of one stands in its value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ecluse.apps.city.fetching import Fetch
from ecluse.apps.city.raw import Raw, RawFile
from ecluse.apps.city.sources.curating import Curating, FileContents
from ecluse.apps.city.sources.forms import Form
from ecluse.apps.city.tables import Table

#: Brings the curated table of the source up to date.
Curate = Callable[[Raw, Curating], None]
#: Reads a file and keeps nothing. Raises `BadRaw` where it is not what its name says.
Inspect = Callable[[RawFile, Curating], FileContents]


@dataclass(frozen=True)
class Source:
    """A source of raw data: how it is called, what reads it, what is kept of it, and where it comes from.

    Every text is English, marked by `sentences.N_`.
    """

    #: Also that of its curated table.
    name: str
    #: What pages and reports call it, such as "Road sensors".
    title: str
    #: The same within a sentence, such as "roads" in "writing roads".
    words: str
    table: Table
    #: The forms in which its files come.
    forms: tuple[Form, ...]
    curate: Curate
    inspect: Inspect
    #: What a day lacks without it.
    lacks: str
    #: Lists what there is to fetch of it; None: its files are brought by hand.
    fetch: Fetch | None = None

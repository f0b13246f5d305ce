"""List the formats in which scores are written: how each is called, written and read again.

To add one, write its writer and its scanner beside those in `results.py`, and a line in `RESULT_FORMATS`: the API, the
forms and the commands have it from there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from ecluse.errors import InvalidInput
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl

#: The name of a format, as the API, the catalog and the ending of a file have it.
ResultName = Literal["csv", "parquet"]
_RESULTS: Final = "ecluse.apps.fraud.scoring.results"


@dataclass(frozen=True)
class ResultFormat:
    """A format of scores. `writer` and `scanner` are references, imported when they are used."""

    name: ResultName
    title: str
    media_type: str
    writer: str
    scanner: str

    @property
    def ending(self) -> str:
        return f".{self.name}"

    def write(self, batches: Iterator[pl.DataFrame], path: Path) -> None:
        """Write batches to one file as they come."""
        write: Callable[[Iterator[pl.DataFrame], Path], None] = _imported(self.writer)
        write(batches, path)

    def scan(self, path: Path) -> pl.LazyFrame:
        """Read what `write` wrote, lazily; of a text format every column is text."""
        scan: Callable[[Path], pl.LazyFrame] = _imported(self.scanner)
        return scan(path)


RESULT_FORMATS: Final = (
    ResultFormat("csv", "CSV", "text/csv; charset=utf-8", f"{_RESULTS}:write_csv", f"{_RESULTS}:scan_csv"),
    ResultFormat(
        "parquet",
        "Parquet",
        "application/vnd.apache.parquet",
        f"{_RESULTS}:write_parquet",
        f"{_RESULTS}:scan_parquet",
    ),
)
#: What is written where nobody chooses.
DEFAULT: Final[ResultName] = "csv"


def result_format(name: str) -> ResultFormat:
    """Return the format of this name. Raises InvalidInput where there is none."""
    for each in RESULT_FORMATS:
        if each.name == name:
            return each
    *others, last = get_args(ResultName)
    names = _("%(others)s or %(last)s", others=", ".join(others), last=last)
    raise InvalidInput(
        _('Scores cannot be written as "%(value)s". Use %(formats)s.', value=name, formats=names)
    )


def name_for(path: Path) -> ResultName:
    """Return the name of the format that a file's ending asks for; the default for any other ending."""
    return next((each.name for each in RESULT_FORMATS if path.suffix == each.ending), DEFAULT)


def _imported(reference: str) -> Any:
    module, _colon, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)  # noqa: TID251 (a name of RESULT_FORMATS)

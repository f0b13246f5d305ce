"""Simulate the tables of institutions that do not exist: five of each domain for the library, one to try it with.

Institutions of one domain know the same frauds and mean the same by their columns, under English or French names
and abbreviations, in other units, with other categories and dates, some columns fewer or more, and with habits
that drift from one to the other. The same name and seed give the same table.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from ecluse.apps.fraud.references.domains import DOMAINS
from ecluse.apps.fraud.references.domains.drawing import Array, Cast, Column, Domain, draw_drift
from ecluse.errors import InvalidInput
from ecluse.sentences import _

FEWEST, MOST = 4_000, 8_000
RATES: Final = (0.008, 0.05)
#: Honest rows that resemble a fraud, for each fraud.
LOOK_ALIKES: Final = (1.0, 2.5)
TARGET: Final = "fraud"
ROW_ID: Final = "id"
_DATES: Final = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%Y/%m/%d %H:%M",
)


@dataclass(frozen=True)
class Institution:
    """One of a domain's institutions; those `in_library` are references, the others are there to be matched."""

    name: str
    domain: str
    place: int

    @property
    def in_library(self) -> bool:
        return self.place < len(DOMAINS[self.domain].institutions) - 1

    @property
    def target(self) -> str:
        """Return the label column under the institution's own name."""
        return _named(self, TARGET)

    @property
    def identifier(self) -> str:
        """Return the column that tells rows apart."""
        return _named(self, ROW_ID)


@dataclass(frozen=True)
class Unlabelled:
    """A table without its label, and its answers apart: the identifier and `is_fraud`."""

    table: Path
    truth: Path


def library() -> list[Institution]:
    """Return the forty institutions of the demonstration library, by domain."""
    return [each for each in _everyone() if each.in_library]


def outsiders() -> list[Institution]:
    """Return the institutions that are in no library, one a domain."""
    return [each for each in _everyone() if not each.in_library]


def institution(name: str) -> Institution:
    """Return the institution of this name, or the outsider of a domain of this name.

    Raises:
        InvalidInput: there is none.
    """
    known = {each.name: each for each in _everyone()} | {each.domain: each for each in outsiders()}
    if name not in known:
        raise InvalidInput(
            _(
                "No simulated institution is called %(name)s. Name a domain (%(names)s) or one of its "
                "institutions.",
                name=repr(name),
                names=", ".join(DOMAINS),
            )
        )
    return known[name]


def simulate(institution: Institution, seed: int = 0) -> pl.DataFrame:
    """(4,000-8,000 rows) of the institution's table as it would export it, its label included.

    Dates, numbers and categories are written as the institution writes them: all but plain numbers are text.
    """
    domain = DOMAINS[institution.domain]
    rng = np.random.default_rng([seed, zlib.crc32(institution.name.encode())])
    rows = int(rng.integers(FEWEST, MOST + 1))
    rate = math.exp(rng.uniform(*np.log(RATES)))
    mix = rng.dirichlet(np.full(domain.typologies, 6.0))
    cast = Cast(rng, rows, rate, mix, rng.uniform(*LOOK_ALIKES))
    values = domain.simulate(rng, rows, cast, draw_drift(rng))
    named = {
        name: _written(rng, institution, column, values[key])
        for key, column in domain.columns.items()
        if (name := column.names[institution.place]) is not None
    }
    return pl.DataFrame(named)


def write_labelled(institution: Institution, path: Path, seed: int = 0) -> Path:
    """Write the institution's table as CSV."""
    simulate(institution, seed).write_csv(path)
    return path


def write_unlabelled(institution: Institution, directory: Path, seed: int = 0) -> Unlabelled:
    """Write `NAME.csv` without its label, and `NAME_truth.csv` with the answers, into `directory`."""
    frame = simulate(institution, seed)
    directory.mkdir(parents=True, exist_ok=True)
    written = Unlabelled(directory / f"{institution.name}.csv", directory / f"{institution.name}_truth.csv")
    frame.drop(institution.target).write_csv(written.table)
    truth = {"1", *DOMAINS[institution.domain].columns[TARGET].values["1"]}
    is_fraud = pl.col(institution.target).cast(pl.String).is_in(list(truth)).cast(pl.Int8).alias("is_fraud")
    frame.select(institution.identifier, is_fraud).write_csv(written.truth)
    return written


def _everyone() -> list[Institution]:
    return [
        Institution(name, domain.name, place)
        for domain in DOMAINS.values()
        for place, name in enumerate(domain.institutions)
    ]


def _named(institution: Institution, key: str) -> str:
    domain: Domain = DOMAINS[institution.domain]
    name = domain.columns[key].names[institution.place]
    assert name is not None  # noqa: S101 (every institution has a label and an identifier)
    return name


def _written(rng: np.random.Generator, institution: Institution, column: Column, values: Array) -> pl.Series:
    """Return a column in the institution's unit and spelling; the same draws are made whatever these are."""
    absent = rng.random(len(values)) < column.missing
    if values.dtype.kind == "M":
        series = pl.Series(values.astype("datetime64[us]")).dt.strftime(_DATES[_date_style(institution)])
    elif column.values:
        spelt = {value: names[institution.place] for value, names in column.values.items()}
        series = pl.Series([spelt.get(str(value), str(value)) for value in values], dtype=pl.String)
    elif values.dtype == object:
        series = pl.Series(values.tolist(), dtype=pl.String)
    else:
        series = _number(values * column.units[institution.place], column.decimals)
    return series.scatter(np.flatnonzero(absent), None) if absent.any() else series


def _number(values: Array, decimals: int) -> pl.Series:
    rounded = np.round(values.astype(np.float64), decimals)
    return pl.Series(rounded) if decimals else pl.Series(rounded.astype(np.int64))


def _date_style(institution: Institution) -> int:
    return (institution.place + list(DOMAINS).index(institution.domain)) % len(_DATES)

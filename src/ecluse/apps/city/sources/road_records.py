"""Make typed rows of the records of road files: a whole block at once, or record by record where one is bad.

The rules are those of `sift`. `parse` is its short way for a block of CSV in which every record is good; what it
cannot vouch for it leaves to `parse_with_care`, so that both agree on every record.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.sources.sort_buffers import MISSING, Rows
from ecluse.apps.city.sources.stamps import HOUR, Stamp
from ecluse.apps.city.sources.text import LONGEST_CELL
from ecluse.apps.city.tables import ARC_STATES, LARGEST, STATES
from ecluse.sentences import _

#: Our name → the source's.
COLUMNS: Final = {
    "arc": "Identifiant arc",
    "at": "Date et heure de comptage",
    "flow": "Débit horaire",
    "occupancy": "Taux d'occupation",
    "state": "Etat trafic",
    "arc_state": "Etat arc",
}
#: What the time of a record means. Its description has an example: « l'horodate "2019-01-01 01:00:00" désigne la
#: période du 1er janvier 2019 à 00h00 au 1er janvier 2019 à 01h00 ».
STAMP: Final = Stamp(
    marks="end",
    length=HOUR,
    clock="offset",
    words="Horodate horaire (fin de la période d'élaboration)",
    address="https://opendata.paris.fr/explore/dataset/comptages-routiers-permanents/information",
    checked="Of the days that three sensors lost whole in 2022, each lacks the stamps 01:00 to 00:00 of the next day.",
)
NO_ARC: Final = _("the arc is no number")
NO_DATE: Final = _("the date cannot be read")
NO_HOUR: Final = _("the time is not on the hour")
BAD_FLOW: Final = _("the flow is not possible")
BAD_OCCUPANCY: Final = _("the occupancy is not possible")
UNKNOWN_STATE: Final = _("the state is not known")
UNKNOWN_ARC_STATE: Final = _("the state of the arc is not known")
TOO_SHORT: Final = _("the record is too short")
BAD_QUOTES: Final = _("the quotes are not closed")
TOO_LONG: Final = _("the record is too long")

_FAULTS: Final = (
    ("arc", NO_ARC),
    ("flow", BAD_FLOW),
    ("occupancy", BAD_OCCUPANCY),
    ("state", UNKNOWN_STATE),
    ("arc_state", UNKNOWN_ARC_STATE),
)
_STATES: Final = {"state": pl.Enum(STATES), "arc_state": pl.Enum(ARC_STATES)}
_TYPES: Final[dict[str, Any]] = {
    "arc": pl.Int32(),
    "flow": pl.Float64(),
    "occupancy": pl.Float64(),
    **_STATES,
}
#: Days outside do not fit the sort buffers, and no sensor tells of them.
_FIRST_YEAR, _LAST_YEAR = 1970, 2148
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: A record is a line of a street in text, some kilobytes at most.
LONGEST_RECORD: Final = 1024 * 1024
#: So many lines with quotes are tried for the end of a cell, as each try reads the record from its begin.
_MOST_TRIES: Final = 1000
_UNREADABLE, _UNEVEN = -1, -2
_OPEN: Final[list[str]] = []
#: How much of a bad record is kept.
_QUOTED: Final = 200
_COMPARED: Final = 128 * 1024
#: So many texts are remembered; a file of hours has far fewer.
_REMEMBERED: Final = 200_000


@dataclass(frozen=True)
class Rejected:
    """A record that was not taken. `day`: since 1970, None where it cannot be told; `line`: from 1 in the block."""

    day: int | None
    line: int
    column: str | None
    reason: str
    value: str


@dataclass(frozen=True)
class Block:
    """What some records of a file became; `lines`: how many lines (or rows of Parquet) they fill.

    `text`: what it was made of. `rest`: its end, of a record that goes on behind it and is not among the others.
    """

    rows: Rows
    rejected: list[Rejected]
    lines: int
    text: bytes = b""
    rest: bytes = b""


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written: its separator, and where each of our columns stands, from 0."""

    separator: str
    places: dict[str, int]

    @property
    def needed(self) -> int:
        """Count the cells that a record has at least."""
        return max(self.places.values()) + 1

    @property
    def ends_in_state(self) -> bool:
        """Say whether a record that is cut short lacks a state, or has one that is not known."""
        return max(self.places, key=lambda name: self.places[name]) in _STATES


class Clock:
    """Tell hours from the stamps of records, each distinct one once. For several threads."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._lock = threading.Lock()
        self._known = _Moments()

    def read(self, texts: pl.Series) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Begins of hours as minutes since 1970 in UTC, negative where there are none, and local days since 1970."""
        cached = self._known
        coded = texts.fill_null("").cast(pl.Categorical(cached.texts))
        codes = coded.to_physical().to_numpy()
        if int(codes.max(initial=0)) >= len(cached.minutes):
            with self._lock:
                cached.extend(self._zone)
                if len(cached.minutes) > _REMEMBERED:
                    self._known = _Moments()
        return cached.minutes[codes], cached.days[codes]

    def read_moments(self, moments: pl.Series) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Return the same for moments that have a type."""
        distinct = moments.unique().drop_nulls()
        local = distinct.dt.convert_time_zone(self._zone.key)
        texts = local.dt.to_string("%Y-%m-%dT%H:%M:%S%.f%:z")
        return self.read(moments.replace_strict(distinct, texts, return_dtype=pl.String()))


class _Moments:
    """Texts in the order in which they were first seen, and what each says."""

    def __init__(self) -> None:
        self.texts = pl.Categories.random()
        # Polars forgets the texts with the last column that refers to them.
        self._held = pl.Series(dtype=pl.Categorical(self.texts))
        self.minutes = np.empty(0, np.int32)
        self.days = np.empty(0, np.uint16)

    def extend(self, zone: ZoneInfo) -> None:
        moments = [_moment(text, zone) for text in self.texts.to_series()[len(self.minutes) :]]
        # The days first: whoever finds a minute finds its day.
        self.days = np.concatenate([self.days, np.array([day for _, day in moments], np.uint16)])
        self.minutes = np.concatenate([self.minutes, np.array([minute for minute, _ in moments], np.int32)])


def _moment(text: str, zone: ZoneInfo) -> tuple[int, int]:
    """Minutes and local day since 1970 at which the hour of a stamp begins, or why there are none."""
    try:
        stamp = datetime.fromisoformat(text.strip())
        # Arithmetic on local time would go wrong where the clocks change.
        moment = STAMP.begin_of(stamp.astimezone(UTC))
        local = moment.astimezone(zone)
    except (ValueError, OverflowError):
        return _UNREADABLE, 0
    if stamp.tzinfo is None or not _FIRST_YEAR < local.year < _LAST_YEAR:
        return _UNREADABLE, 0
    day = (local.date() - _EPOCH.date()).days
    if local.minute or local.second or local.microsecond:
        return _UNEVEN, day
    return int((moment - _EPOCH).total_seconds()) // 60, day


# A block at once


def parse(text: bytes, dialect: Dialect, clock: Clock) -> Block:
    """Return the rows of a block of whole lines."""
    data = np.frombuffer(text, np.uint8)
    lines = _count(data, "\n")
    records = lines if text.endswith(b"\n") else lines + 1
    # A cell that goes on behind the block began in its last line, or swallowed lines, so that records are missing.
    is_odd = text.count(b'"', text.rfind(b"\n", 0, -1) + 1) % 2 == 1
    if not is_odd and not dialect.ends_in_state:
        cells = _count(data, dialect.separator)
        is_odd = cells % records > 0 or cells // records + 1 < dialect.needed
    frame = None if is_odd else _typed(text, dialect)
    rows = None if frame is None or frame.height != records else _all_good(frame, clock)
    return parse_with_care(text, dialect, clock) if rows is None else Block(rows, [], lines, text)


def _count(data: NDArray[np.uint8], character: str) -> int:
    """Return how often a character stands in some bytes; piece by piece, for what is compared stays in the cache."""
    code = ord(character)
    return sum(int(np.count_nonzero(data[n : n + _COMPARED] == code)) for n in range(0, len(data), _COMPARED))


def _typed(block: bytes, dialect: Dialect) -> pl.DataFrame | None:
    names = {name: f"column_{place}" for name, place in dialect.places.items()}
    try:
        frame = pl.read_csv(
            block,
            separator=dialect.separator,
            has_header=False,
            columns=sorted(dialect.places.values()),
            infer_schema=False,
            schema_overrides={names[name]: _TYPES[name] for name in ("arc", "flow", "occupancy")},
        )
    except pl.exceptions.PolarsError:  # the careful way says what is wrong, and where
        return None
    return frame.select(**{name: pl.col(column) for name, column in names.items()})


def _all_good(frame: pl.DataFrame, clock: Clock) -> Rows | None:
    """Return the columns of a block, unless something in it is not as it should be."""
    if frame["arc"].null_count() or frame["state"].null_count() or frame["arc_state"].null_count():
        return None
    states = {name: frame[name].cast(kind, strict=False) for name, kind in _STATES.items()}
    minutes, days = clock.read(frame["at"])
    arcs = frame["arc"].to_numpy()
    numbers = {name: frame[name].to_numpy() for name in ("flow", "occupancy")}
    if (
        any(series.null_count() for series in states.values())
        or (len(arcs) and (arcs.min() < 0 or minutes.min() < 0))
        or any(
            np.count_nonzero((series >= 0) & (series <= LARGEST)) != frame.height - frame[name].null_count()
            for name, series in numbers.items()
        )
    ):
        return None
    return {
        "day": days,
        "arc": arcs,
        "at": minutes,
        **numbers,
        **{name: series.to_physical().to_numpy() for name, series in states.items()},
    }


# Record by record


def parse_with_care(text: bytes, dialect: Dialect, clock: Clock, *, is_last: bool = False) -> Block:
    """Return the rows of a block of whole lines, with every bad record set aside. `is_last`: nothing comes behind."""
    places: list[int] = []
    cells: dict[str, list[str]] = {name: [] for name in COLUMNS}
    rejected: list[Rejected] = []
    lines = text.decode("utf-8", errors="replace").split("\n")
    end = len(lines) - 1
    rest = b""
    for line, after, record, record_text in _records(lines, dialect):
        if record is None and after == len(lines) and len(record_text) < LONGEST_RECORD and not is_last:
            end = line - 1
            rest = b"\n".join(text.split(b"\n")[end:])
        elif record is None:
            rejected.append(_not_taken(line, record_text, BAD_QUOTES))
        elif len(record) < dialect.needed:
            rejected.append(_not_taken(line, record_text, TOO_SHORT))
        else:
            places.append(line)
            for name, place in dialect.places.items():
                cells[name].append(record[place])
    frame = pl.DataFrame(cells, schema=dict.fromkeys(COLUMNS, pl.String()))
    rows, faulty = sift(frame, np.array(places, np.int64), clock)
    rejected_rows = sorted(rejected + faulty, key=lambda row: row.line)
    return Block(rows, rejected_rows, end, text, rest)


def _not_taken(line: int, text: str, reason: str) -> Rejected:
    return Rejected(None, line, None, reason if len(text) < LONGEST_RECORD else TOO_LONG, text[:_QUOTED])


def first_records(block: bytes, dialect: Dialect, arcs: Collection[int]) -> dict[int, list[str]]:
    """Return the cells of the first record of each of `arcs` in a block of whole lines."""
    numbers = _arcs_of(block, dialect)
    if numbers is not None and not any(arc in arcs for arc in numbers):
        return {}
    records: dict[int, list[str]] = {}
    for _line, _text, record, _why in _records(block.decode("utf-8", errors="replace").split("\n"), dialect):
        if record is not None and len(record) >= dialect.needed:
            text = record[dialect.places["arc"]].strip()
            if text.isdecimal() and (arc := int(text)) in arcs and arc not in records:
                records[arc] = record
                if len(records) == len(arcs):
                    break
    return records


def _arcs_of(block: bytes, dialect: Dialect) -> list[int] | None:
    """Return which arcs a block tells of; None where that takes a closer look."""
    place = dialect.places["arc"]
    try:
        frame = pl.read_csv(
            block,
            separator=dialect.separator,
            has_header=False,
            columns=[place],
            infer_schema=False,
            schema_overrides={f"column_{place}": pl.Int32()},
        )
    except pl.exceptions.PolarsError:
        return None
    column = frame.to_series()
    return None if column.null_count() else column.unique().to_list()


def _records(lines: list[str], dialect: Dialect) -> Iterator[tuple[int, int, list[str] | None, str]]:
    """Yield each record: its line, how many lines there are up to its end, its cells and its text.

    There are no cells where a quote is not closed.
    """
    csv.field_size_limit(max(LONGEST_CELL, csv.field_size_limit()))
    n = 0
    while n < len(lines):
        begin, text = n, lines[n]
        n += 1
        if not text.strip():
            continue
        record = _cells(text, dialect)
        if record is _OPEN:
            n, record, text = _continued(lines, begin, dialect)
        if record is None:
            n, text = begin + 1, lines[begin]
        yield begin + 1, n, record or None, text


def _continued(lines: list[str], begin: int, dialect: Dialect) -> tuple[int, list[str] | None, str]:
    """Return a record whose first line leaves a quote open: how many lines there are up to its end, its cells and its
    text.

    A cell may hold line ends; but a line that is a record by itself is no part of one before it.
    """
    n, size, tries = begin + 1, len(lines[begin]), 0
    while (
        n < len(lines) and size < LONGEST_RECORD and tries < _MOST_TRIES and not _is_whole(lines[n], dialect)
    ):
        line = lines[n]
        n += 1
        size += len(line) + 1
        if '"' in line:
            tries += 1
            text = "\n".join(lines[begin:n])
            if (record := _cells(text, dialect)) is not _OPEN:
                return n, record, text
    return n, _OPEN, "\n".join(lines[begin:n])


def _is_whole(line: str, dialect: Dialect) -> bool:
    record = _cells(line, dialect) or ()
    return len(record) >= dialect.needed and record[dialect.places["arc"]].isdecimal()


def _cells(text: str, dialect: Dialect) -> list[str] | None:
    """Split a record into cells; [] if a quote is still open at its end, None if it can never be closed."""
    try:
        return next(csv.reader([text.rstrip("\r")], delimiter=dialect.separator, strict=True))
    except csv.Error as error:
        return _OPEN if "unexpected end of data" in str(error) else None


def sift(frame: pl.DataFrame, lines: NDArray[np.int64], clock: Clock) -> tuple[Rows, list[Rejected]]:
    """Return the good rows of a table of our columns, and the others with their reasons. `lines`: where each stands.

    An empty cell is a missing value, which the arc and the time cannot be.
    """
    texts = {
        name: frame[name].str.strip_chars().replace("", None)
        if frame[name].dtype == pl.String
        else frame[name]
        for name in COLUMNS
    }
    typed = {name: texts[name].cast(kind, strict=False) for name, kind in _TYPES.items()}
    at = texts["at"]
    minutes, days = clock.read(at) if at.dtype == pl.String else clock.read_moments(at)
    reason = np.zeros(frame.height, np.uint8)
    faults = [(NO_DATE, minutes == _UNREADABLE), (NO_HOUR, minutes == _UNEVEN)]
    for name, why in _FAULTS:
        faults.append((why, _faulty(name, texts[name], typed[name])))
    for n, (_rest, mask) in enumerate(faults, start=1):
        reason[(reason == 0) & mask] = n
    columns = ("at", "at", *(name for name, _ in _FAULTS))
    rejected = [
        Rejected(
            day=None if minutes[row] == _UNREADABLE else int(days[row]),
            line=int(lines[row]),
            column=COLUMNS[columns[reason[row] - 1]],
            reason=faults[reason[row] - 1][0],
            value=str(frame[columns[reason[row] - 1]][int(row)] or ""),
        )
        for row in np.flatnonzero(reason)
    ]
    good = reason == 0
    rows = {"day": days[good], "arc": typed["arc"].fill_null(0).to_numpy()[good], "at": minutes[good]}
    rows |= {name: typed[name].to_numpy()[good] for name in ("flow", "occupancy")}
    rows |= {name: typed[name].to_physical().fill_null(MISSING).to_numpy()[good] for name in _STATES}
    return rows, rejected


def _faulty(name: str, text: pl.Series, typed: pl.Series) -> NDArray[np.bool_]:
    is_lost = text.is_not_null() & typed.is_null()
    if name == "arc":
        return (typed.is_null() | (typed < 0).fill_null(False)).to_numpy()
    if name in _STATES:
        return is_lost.to_numpy()
    return (is_lost | ~((typed >= 0) & (typed <= LARGEST)).fill_null(True)).to_numpy()

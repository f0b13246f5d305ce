"""Say how metrics stand in the report: sections with tables, whose columns have a heading, a form and a unit.

A kind of metrics states its `Section` beside what computes it. The printed report, the tidy table and the page of the
report are loops over these; `cells_of` says the rows of a table in the language of a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ecluse.apps.city.streets import street_name
from ecluse.documents import Body
from ecluse.sentences import _
from ecluse.web.i18n import ABSENT, Words

#: How a value is written. street: the arc of the row, by its street and from where to where it leads. hours: the
#: labels of the first hour and the last. zone: its name, or its number where it has none.
Form = Literal["text", "number", "share", "street", "hours", "zone"]
#: A field of a row, or what reads its value.
Value = str | Callable[[Body], Any]


@dataclass(frozen=True)
class Column:
    """A column of a table of the report. `heading` is English, marked by `sentences.N_`."""

    heading: str
    value: Value
    form: Form = "text"
    digits: int = 0
    #: Where it has a unit, its values stand in the tidy table too: as `metric`, or by the name of the field.
    unit: str | None = None
    metric: str = ""
    #: Value → what it is called in English, marked by `sentences.N_`; another one is shown as it is.
    names: Mapping[Any, str] = field(default_factory=dict)

    @property
    def is_numeric(self) -> bool:
        return self.form in ("number", "share")

    def read(self, row: Body) -> Any:
        """Return the value in a row."""
        return read(self.value, row)


@dataclass(frozen=True)
class Figure:
    """One figure of the report in the tidy table."""

    section: str
    rank: int | None
    id: str
    name: str
    metric: str
    value: float | str | None
    unit: str


def no_values(report: Body) -> Mapping[str, object]:
    """Fill no place of a caption."""
    return {}


@dataclass(frozen=True)
class ReportTable:
    """A table of the report. `name`: its section in the tidy table; `rows`: those of a report."""

    name: str
    caption: str
    rows: Callable[[Body], Iterable[Body]]
    columns: tuple[Column, ...]
    #: What identifies a row in the tidy table, and what it is called there.
    id: Value
    label: Value = "label"
    #: Whether rows have a rank: their `rank`, else their place.
    is_ranked: bool = False
    #: What stands in the places of the caption.
    values: Callable[[Body], Mapping[str, object]] = no_values
    #: Yields the figures of a row, where they are others than its columns with a unit.
    figures: Callable[[ReportTable, int, Body], Iterable[Figure]] | None = None
    #: Whether people see it; the tidy table has it in any case.
    is_printed: bool = True

    def figures_of(self, report: Body) -> Iterator[Figure]:
        """Yield every figure of the table."""
        for n, row in enumerate(self.rows(report), start=1):
            yield from (self.figures or _of_columns)(self, n, row)

    def figure(self, n: int, row: Body, metric: str, value: float | str | None, unit: str) -> Figure:
        """Return a figure of a row, which is the n-th."""
        rank = row.get("rank", n) if self.is_ranked else None
        name = read(self.label, row) or ""
        return Figure(self.name, rank, str(read(self.id, row)), name, metric, value, unit)


@dataclass(frozen=True)
class Section:
    """A part of the report under a title. `order`: its place, the smallest first."""

    title: str
    order: int
    tables: tuple[ReportTable, ...] = ()
    #: The template of `templates/printed` that stands before the tables in the printed report.
    lead: str = ""
    #: The page of the report draws this section itself; sections without this are drawn from `tables`.
    has_own_part: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell as a reader sees it. `more`: what stands behind or below; `arc`: the arc that it is about."""

    text: str
    more: str = ""
    arc: int | None = None
    is_numeric: bool = False


@dataclass(frozen=True)
class Cells:
    """A table as a reader sees it."""

    caption: str
    headings: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[Cell]]


def read(value: Value, row: Body) -> Any:
    """Return a field of a row, or what a function reads of it."""
    return value(row) if callable(value) else row.get(value)


def _of_columns(table: ReportTable, n: int, row: Body) -> Iterator[Figure]:
    for column in table.columns:
        if column.unit is not None:
            metric = column.metric or str(column.value)
            yield table.figure(n, row, metric, column.read(row), column.unit)


def cells_of(table: ReportTable, report: Body, words: Words, stretch: Callable[[int], str]) -> Cells:
    """Return a table in the language of a reader. `stretch`: arc → from where to where it leads."""
    zones = {zone["zone"]: zone["name"] for zone in report.get("zones") or () if zone.get("name")}
    return Cells(
        words.phrase(_(table.caption, **table.values(report))),
        [(words._(column.heading), column.is_numeric) for column in table.columns],
        [
            [_cell(column, row, words, stretch, zones) for column in table.columns]
            for row in table.rows(report)
        ],
    )


def _cell(
    column: Column, row: Body, words: Words, stretch: Callable[[int], str], zones: Mapping[int | str, str]
) -> Cell:
    if column.form == "street":
        return Cell(street_name(row["label"]), stretch(row["arc"]), row["arc"])
    value = column.read(row)
    if column.form == "zone":
        return Cell(words._("outside every zone") if value is None else zones.get(value, str(value)))
    if value is None:
        return Cell(ABSENT, is_numeric=column.is_numeric)
    if column.form == "number":
        return Cell(words.num(value, column.digits), is_numeric=True)
    if column.form == "share":
        return Cell(words.percent(value, column.digits), is_numeric=True)
    if column.form == "hours":
        first, last = (ABSENT if label is None else words.hour(label) for label in value)
        return Cell(words._("%(low)s to %(high)s", low=first, high=last))
    return Cell(words._(column.names[value]) if value in column.names else words.phrase(str(value)))

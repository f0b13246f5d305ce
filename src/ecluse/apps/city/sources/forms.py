"""Declare the forms of raw files: where they lie, their columns with units, an example, and what their stamps mean.

Each source lists its `FORMS`. The guide is generated from them, `ecluse city check` knows files by them, and a test
reads the example of each.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from io import StringIO
from typing import Any, Final, Literal

from ecluse.apps.city.sources.stamps import Stamp

Style = Literal["csv", "json"]
#: How many of its columns a table without a name of ours must have to be taken for one of a form.
ALIKE: Final = 3


@dataclass(frozen=True)
class Column:
    """One column, or field of a JSON record: its name in the source, what it means, its unit, and an example.

    `other`: further names of the same. Where it is not `needed`, it may be missing.
    """

    name: str
    means: str
    unit: str = ""
    example: Any = ""
    needed: bool = False
    other: tuple[str, ...] = ()
    #: What its time means, where it is one.
    stamp: Stamp | None = None


@dataclass(frozen=True)
class Form:
    """One form in which a source's files come. `places`: patterns of their keys below the raw store.

    `around`: of JSON, how a file stands around its records; "%s" is the place of the first one.
    """

    source: str
    title: str
    places: tuple[str, ...]
    style: Style
    columns: tuple[Column, ...]
    address: str
    separator: str = ";"
    around: str = "%s"
    #: What the stamps mean that concern other columns than their own.
    notes: tuple[str, ...] = field(default=())

    def fits(self, key: str) -> bool:
        """Return whether a file of this key is read as one of this form; of batches, none in a folder below."""
        if key.startswith("batch/") and key.count("/") > 1:
            return False
        return any(fnmatchcase(key, place) for place in self.places)

    def is_alike(self, names: Iterable[str]) -> bool:
        """Return whether a file with these columns, or fields, looks like one of this form, whatever it is called."""
        names_present = {_plain(name) for name in names}
        matched = [column for column in self.columns if names_present & _names(column)]
        needed = [column for column in self.columns if column.needed]
        return all(column in matched for column in needed) and len(matched) >= min(ALIKE, len(self.columns))

    def example(self) -> str:
        """Return a small file of this form."""
        if self.style == "json":
            record = {column.name: column.example for column in self.columns}
            return self.around % json.dumps(_nested(record), ensure_ascii=False) + "\n"
        text = StringIO()
        writer = csv.writer(text, delimiter=self.separator, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        writer.writerow([column.example for column in self.columns])
        return text.getvalue()

    def example_key(self) -> str:
        """Return a key that the example may lie at."""
        day = "dt=2025-10-14/hour=06"
        return self.places[0].replace("dt=*/hour=*", day).replace("*", "-1", 1).replace("*", "")


def describe(forms: Iterable[Form]) -> str:
    """Return the forms as a section of a guide."""
    lines: list[str] = []
    for form in forms:
        places = ", ".join(f"`{place}`" for place in form.places)
        lines += [f"### {form.title}", "", f"{places}. From <{form.address}>.", ""]
        lines += ["| column | unit | meaning |", "|---|---|---|"]
        for column in form.columns:
            name = " or ".join(f"`{spelling}`" for spelling in (column.name, *column.other))
            need = " (needed)" if column.needed else ""
            lines.append(f"| {name}{need} | {column.unit} | {column.means} |")
        lines.append("")
        lines += [_sentence(column) for column in form.columns if column.stamp is not None]
        lines += list(form.notes)
        lines += ["", "```", form.example().rstrip("\n"), "```", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


_MARKS: Final = {
    "begin": "is the **begin** of the period that the record is of",
    "end": "is the **end** of the period that the record is of",
    "moment": "is a **moment**",
    "day": "is a **whole day** of the city's clocks",
}
_CLOCKS: Final = {
    "offset": "It carries its offset.",
    "UTC": "Without an offset it is UTC.",
    "city": "It is of the city's clocks.",
    "file": "The file says its time zone; where it does not, it is of the city's clocks.",
}


def _sentence(column: Column) -> str:
    stamp = column.stamp
    assert stamp is not None  # noqa: S101 (asked before)
    period = f" ({stamp.length.total_seconds() / 60:.0f} minutes)" if stamp.marks in ("begin", "end") else ""
    sentence = f"« {stamp.words} », <{stamp.address}>."
    checked = f" {stamp.checked}" if stamp.checked else ""
    # A day of the city is of its clocks already.
    clock = "" if (stamp.marks, stamp.clock) == ("day", "city") else f" {_CLOCKS[stamp.clock]}"
    return f"- `{column.name}` {_MARKS[stamp.marks]}{period}.{clock} {sentence}{checked}"


def _names(column: Column) -> set[str]:
    return {_plain(name) for name in (column.name, *column.other)}


def _plain(name: str) -> str:
    """Return a column without its unit and its folder, in small letters."""
    return name.partition(" (")[0].rpartition(".")[2].strip().casefold()


def _nested(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with `a.b` as a field of an object."""
    cells: dict[str, Any] = {}
    for name, value in record.items():
        *folders, last = name.split(".")
        place = cells
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return cells

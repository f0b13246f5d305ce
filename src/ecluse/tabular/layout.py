"""Find where in a file its table stands: which sheet of a workbook, and which row holds the names of the columns.

    layout = Layout(sheet="Transactions", header_row=4)      # as a person chose it
    with open_table(path, layout=layout) as table:
        table.layout                                          # the same, with what was looked at

What a person leaves open is found here, by these rules, and said. A table is read by what was found from then on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

#: A row of titles fills at most this share of the columns, and such rows come first.
TITLE_SHARE: Final = 1 / 3
#: Rows in which the header is looked for, and rows below that its cells are compared with.
TITLE_ROWS, COMPARED_ROWS = 30, 100
#: A column of numbers or dates is one whose filled cells are, all but so many.
TYPED_SHARE: Final = 0.9
#: A second sheet of this share of the largest one's cells makes the choice of a sheet doubtful.
RIVAL_SHARE: Final = 0.5
#: What is kept to show: so many rows from the first, so many columns, so many characters of a cell.
SHOWN_ROWS, SHOWN_COLUMNS, SHOWN_LENGTH = 8, 8, 40

_TYPED: Final = re.compile(
    r"\s*[-+(]?[€$£]?\s?\d[\d\s.,'\u00a0\u202f]*(?:e[+-]?\d+)?\s?[%€$£)]?\s*"  # a number
    r"|\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ]\d{1,2}:\d{2}.*)?\s*"  # a date
    r"|\s*\d{1,2}:\d{2}(?::\d{2})?\s*",  # a time
    re.IGNORECASE,
)
Doubt = Literal["sheet", "header"]
Cells = Sequence[str | None]


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook: its name, and how many rows and columns it spans."""

    name: str
    rows: int
    columns: int


@dataclass(frozen=True)
class Layout:
    """Where the table stands: what a person chose, or what was found.

    `sheet` is a name, None of a file without sheets or where it is to be found. `header_row` is the row from 1 that
    holds the names of the columns, as a spreadsheet or editor counts them; 0 where no row does and they are
    called column_1, column_2 …; None where it is to be found. `first` reads as versions did that found nothing:
    the first sheet with rows, its first row as names.

    Of what was found: `sheets` are all of the workbook, `doubts` what a person had better look at, `preview` the
    first rows as (row number, cells).
    """

    sheet: str | None = None
    header_row: int | None = None
    first: bool = False
    sheets: tuple[Sheet, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    preview: tuple[tuple[int, tuple[str, ...]], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same layout back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> Layout:
        """Read the layout of a stored table; None is of one stored before layouts were found."""
        if data is None:
            return cls(first=True)
        return cls(
            sheet=data.get("sheet"),
            header_row=data.get("header_row"),
            first=bool(data.get("first")),
            sheets=tuple(Sheet(**sheet) for sheet in data.get("sheets", ())),
            doubts=tuple(data.get("doubts", ())),
            preview=tuple((int(row), tuple(cells)) for row, cells in data.get("preview", ())),
        )

    @property
    def asked(self) -> list[str | int | None]:
        """Return what a person chose, for comparing with what was chosen for a table that is stored."""
        return [self.sheet, self.header_row]

    @property
    def chosen(self) -> Layout:
        """Return what decides how the file is read, without what was looked at."""
        return Layout(self.sheet, self.header_row, self.first)

    @property
    def width(self) -> int:
        """Return how many columns the preview shows."""
        return max((len(cells) for _, cells in self.preview), default=0)

    @property
    def sheet_number(self) -> int:
        """Return the place of the sheet from 1; 0 without sheets."""
        return next((i for i, sheet in enumerate(self.sheets, start=1) if sheet.name == self.sheet), 0)

    def sentence(self) -> str:
        """Return what is read: `Sheet 2 of 3 is read: 'Transactions', its names in row 4.`"""
        sheet = (
            f"Sheet {self.sheet_number} of {len(self.sheets)} is read: {self.sheet!r}. "
            if self.sheets
            else ""
        )
        if self.header_row:
            return f"{sheet}The names of the columns stand in row {self.header_row}."
        return f"{sheet}No row holds names: every row is read as data, and columns are called column_1, column_2 …"


#: Leaves everything to be found.
LOOK: Final = Layout()


@dataclass(frozen=True)
class Header:
    """Where names stand among the first rows: their index from 0, None where the first filled row is data.

    `start` is the index of the first row of data; `sure` whether another reading is unlikely.
    """

    names: int | None
    start: int
    sure: bool


def find_header(rows: Sequence[Cells], layout: Layout) -> Header | None:
    """Find which of the first rows of a table holds names; None where `layout` asks for a row that is not there.

    Rows that fill a third of the columns at most, before the others, are titles. The row after them is data, not
    names, where its cells are numbers or dates as those of their columns are, or stand in the rows below again.
    """
    filled = [index for index, row in enumerate(rows) if any(_text(cell) for cell in row)]
    if layout.header_row == 0 or layout.first:
        names = filled[0] if layout.first else None
        return Header(names, _below(rows, filled[0]) if layout.first else filled[0], sure=True)
    if layout.header_row is not None:
        index = layout.header_row - 1
        return Header(index, _below(rows, index), sure=True) if index in filled else None
    at = _below_titles(rows, filled)
    body = [rows[index] for index in filled if index > at][:COMPARED_ROWS]
    data, sure = _is_data(rows[at], body)
    return Header(None, at, sure) if data else Header(at, _below(rows, at), sure)


def laid_out(layout: Layout, header: Header, rows: Sequence[Cells], first_row: int = 1) -> Layout:
    """Return the layout with the header and the first rows that were read; `first_row` is the number of the first."""
    preview = tuple(
        (index + first_row, tuple(_text(cell)[:SHOWN_LENGTH] for cell in row[:SHOWN_COLUMNS]))
        for index, row in enumerate(rows)
        if any(_text(cell) for cell in row)
    )[:SHOWN_ROWS]
    doubts: tuple[Doubt, ...] = layout.doubts if header.sure else (*layout.doubts, "header")
    names = 0 if header.names is None else header.names + first_row
    return replace(layout, header_row=names, doubts=doubts, preview=preview)


def names_of(rows: Sequence[Cells], header: Header) -> list[str]:
    """Return the names of the columns; `column_1`, `column_2` … where no row holds them."""
    if header.names is not None:
        return [_text(cell) for cell in rows[header.names]]
    return [f"column_{number}" for number in range(1, len(rows[header.start]) + 1)]


def largest_sheet(sheets: Sequence[Sheet]) -> tuple[Sheet | None, bool]:
    """Return the sheet that spans the most cells of those with two rows at least, and whether none comes near."""
    usable = sorted((s for s in sheets if s.rows > 1 and s.columns), key=lambda s: -s.rows * s.columns)
    if not usable:
        return None, True
    first, rest = usable[0], usable[1:]
    rival = rest[0].rows * rest[0].columns if rest else 0
    return first, rival < RIVAL_SHARE * first.rows * first.columns


def _text(cell: str | None) -> str:
    return (cell or "").strip()


def _below(rows: Sequence[Cells], index: int) -> int:
    """Return the index of the first row after one that is no blank line."""
    return next((other for other in range(index + 1, len(rows)) if rows[other]), index + 1)


def _below_titles(rows: Sequence[Cells], filled: Sequence[int]) -> int:
    """Return the index of the first filled row that is no title."""
    counts = {index: sum(bool(_text(cell)) for cell in rows[index]) for index in filled}
    width = Counter(counts[index] for index in filled[:COMPARED_ROWS]).most_common(1)[0][0]
    if width < 2:
        return filled[0]
    for index in filled[:TITLE_ROWS]:
        if counts[index] > max(1.0, TITLE_SHARE * width):
            return index
    return filled[0]


def _is_data(row: Cells, body: Sequence[Cells]) -> tuple[bool, bool]:
    """Tell whether a row is one of data like those below it, and whether that is plain."""
    if not body:
        return False, True
    columns = list(zip(*(list(r[: len(row)]) + [None] * (len(row) - len(r)) for r in body), strict=True))
    typed = [i for i, cells in enumerate(columns) if _is_typed(cells)]
    alike = [i for i in typed if _TYPED.fullmatch(_text(row[i]))]
    if _counts_up([_text(row[i]) for i in alike]):
        return False, True  # 0, 1, 2 … or 2019, 2020 …: names that are numbers
    if typed:
        share = len(alike) / len(typed)
        # One name that is a number among others is no doubt.
        return share > 0.5, share > 0.8 or share < 0.2 or len(alike) == 1 < len(typed)
    again = sum(bool(_text(cell)) and cell in set(columns[i]) for i, cell in enumerate(row))
    return again > len(row) / 2, not 0 < again <= len(row) / 2 and (
        again > 0 or len(body) < 3 or _looks_named(row)
    )


def _is_typed(cells: Sequence[str | None]) -> bool:
    texts = [text for cell in cells if (text := _text(cell))]
    return bool(texts) and sum(bool(_TYPED.fullmatch(text)) for text in texts) >= TYPED_SHARE * len(texts)


def _counts_up(texts: Sequence[str]) -> bool:
    """Tell whether whole numbers follow each other, as numbers of columns or years do."""
    if len(texts) < 3 or not all(re.fullmatch(r"\d{1,4}", text) for text in texts):
        return False
    numbers = list(map(int, texts))
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _looks_named(row: Cells) -> bool:
    """Tell whether the cells of a row could be names: each there, once, and none long."""
    texts = [_text(cell) for cell in row]
    return all(texts) and len(set(texts)) == len(texts) and max(map(len, texts)) <= SHOWN_LENGTH

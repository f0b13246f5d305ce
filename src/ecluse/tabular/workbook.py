"""Open a sheet of an Excel workbook, once its parts are known to be what a reader can bear (`workbook_parts`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fastexcel
import polars as pl

from ecluse.errors import UnreadableTable
from ecluse.sentences import _
from ecluse.tabular.layout import Layout, Sheet, find_header, laid_out, largest_sheet, names_of
from ecluse.tabular.source import (
    Compression,
    Scratch,
    Source,
    TableFormat,
    clean_names,
    damaged,
    no_such_row,
    refuse_width,
    without_blank_rows,
)
from ecluse.tabular.workbook_parts import check_parts

#: Rows from the top of a sheet in which its names are looked for.
_LOOKED_AT = 200


def open_workbook(
    path: Path, shown: str, scratch: Scratch, compression: Compression, layout: Layout
) -> Source:
    """Read one sheet whole (the format allows nothing else) and keep it as Parquet in the scratch folder.

    Raises UnreadableTable when the archive is no workbook, damaged, encrypted, unpacks to more than 1 GiB, spans
    more than 60 million cells, or has no sheet with rows.
    """
    check_parts(path, shown)
    copy = scratch.file("workbook.parquet")
    # The reader goes by the ending: a workbook called .xlsb would be read otherwise than it was checked.
    named = copy.with_name("checked.xlsx")
    named.symlink_to(path.resolve())
    try:
        book = fastexcel.read_excel(named)
        layout = _with_sheet(book, layout, shown)
        frame, layout, notes = _read_sheet(book, layout, shown)
    except fastexcel.FastExcelError as error:
        raise damaged(shown, error) from error
    frame.write_parquet(copy, compression="lz4")
    return Source(
        copy,
        TableFormat("xlsx", compression=compression),
        tuple(frame.columns),
        notes,
        layout=layout,
        is_scratch=True,
    )


def _with_sheet(book: fastexcel.ExcelReader, layout: Layout, shown: str) -> Layout:
    """Return the layout with the sheet to read: the one that is named, else the largest."""
    sheets = tuple(_spanned(book, name) for name in book.sheet_names)
    chosen, sure = largest_sheet(sheets)
    if layout.first:
        chosen = next((sheet for sheet in sheets if sheet.columns and sheet.rows > 1), None)
    if layout.sheet is not None:
        chosen, sure = next((sheet for sheet in sheets if sheet.name == layout.sheet), None), True
        if chosen is None:
            names = ", ".join(repr(sheet.name) for sheet in sheets[:10])
            raise UnreadableTable(
                _(
                    "%(file)s has no sheet %(name)s. Its sheets: %(values)s.",
                    file=shown,
                    name=repr(layout.sheet),
                    values=names,
                )
            )
    if chosen is None or chosen.rows < 1:
        raise _no_rows(shown)
    return replace(layout, sheet=chosen.name, sheets=sheets, doubts=() if sure else ("sheet",))


def _spanned(book: fastexcel.ExcelReader, name: str) -> Sheet:
    looked_at = book.load_sheet(name, header_row=None, n_rows=1, dtypes="string")
    return Sheet(name, looked_at.total_height if looked_at.width else 0, looked_at.width)


def _read_sheet(
    book: fastexcel.ExcelReader, layout: Layout, shown: str
) -> tuple[pl.DataFrame, Layout, tuple[str, ...]]:
    """Read the rows of a sheet below its names, in native types."""
    sheet = layout.sheet or ""
    # With `skip_rows`, blank rows at the top count: row numbers are those that the spreadsheet shows.
    top = book.load_sheet(sheet, header_row=None, skip_rows=0, n_rows=_LOOKED_AT, dtypes="string").to_polars()
    refuse_width(top.width, shown)
    rows = top.rows()
    if sum(any(cell is not None for cell in row) for row in rows) < (1 if layout.header_row == 0 else 2):
        raise _no_rows(shown)
    header = find_header(rows, layout)
    if header is None:
        raise no_such_row(shown, layout.header_row or 0)
    names, notes = clean_names(names_of(rows, header))
    # The types are decided by all rows: from a sample, a later word in a column of numbers would vanish.
    frame = book.load_sheet(
        sheet, header_row=None, skip_rows=header.start, column_names=list(names), schema_sample_rows=None
    ).to_polars()
    frame.columns = list(names)
    frame = without_blank_rows(frame)
    if not frame.height:
        raise _no_rows(shown)
    return frame, laid_out(layout, header, rows), notes


def _no_rows(shown: str) -> UnreadableTable:
    return UnreadableTable(
        _("%(file)s has no sheet with a header and rows. Fill one, or pick another file.", file=shown)
    )

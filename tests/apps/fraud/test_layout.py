"""Which sheet and which row of a file hold its table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from ecluse.errors import UnreadableTable
from ecluse.tabular.dataset import open_table
from ecluse.tabular.layout import Layout

PAYMENTS = [[f"T{i}", 10.5 + i, "shop" if i % 2 else "web"] for i in range(12)]
NAMES = ["id", "amount", "channel"]


def csv(folder: Path, *rows: Sequence[object], separator: str = ",") -> Path:
    path = folder / "t.csv"
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


def workbook(folder: Path, **sheets: Sequence[Sequence[object]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(folder / "t.xlsx")
    return folder / "t.xlsx"


def read(path: Path, layout: Layout | None = None) -> tuple[tuple[str, ...], list[Any], Layout]:
    """Columns, first row and layout of a table, which is the same when it is read by what was found."""
    with open_table(path, layout=layout or Layout()) as table:
        found = table.layout
        assert found is not None
        columns, rows = table.columns, table.scan().collect().rows()
    assert Layout.from_dict(found.to_dict()) == found
    with open_table(path, layout=Layout.from_dict(found.to_dict())) as again:
        assert (again.columns, again.scan().collect().rows()) == (columns, rows)
    return columns, rows, found


def test_of_a_workbook_with_a_cover_the_sheet_with_the_table_is_read_and_said(tmp_path: Path) -> None:
    path = workbook(
        tmp_path,
        Cover=[["Payments of October"], ["made by", "the treasury"]],
        Transactions=[["Payments of October"], [], ["in EUR"], NAMES, *PAYMENTS],
        Notes=[["nothing"]],
    )
    columns, rows, found = read(path)
    assert (columns, len(rows), rows[0]) == (tuple(NAMES), 12, ("T0", 10.5, "shop" if 0 % 2 else "web"))
    assert found.sentence() == (
        "Sheet 2 of 3 is read: 'Transactions'. The names of the columns stand in row 4."
    )
    assert found.doubts == ()
    assert found.preview[0] == (1, ("Payments of October", "", ""))
    with open_table(path, layout=Layout(sheet="Cover", header_row=0)) as cover:
        assert cover.columns == ("column_1", "column_2")
    with pytest.raises(UnreadableTable, match=r"has no sheet 'Other'\. Its sheets: 'Cover', 'Transactions'"):
        open_table(path, layout=Layout(sheet="Other"))


def test_sheets_of_about_one_size_leave_a_doubt(tmp_path: Path) -> None:
    path = workbook(tmp_path, January=[NAMES, *PAYMENTS], February=[NAMES, *PAYMENTS[:9]], Empty=[])
    _, rows, found = read(path)
    assert (found.sheet, found.sheet_number, found.doubts, len(rows)) == ("January", 1, ("sheet",), 12)
    assert len(read(path, Layout(sheet="February"))[1]) == 9
    assert read(path, Layout(sheet="February"))[2].doubts == ()


def test_a_workbook_without_names_keeps_its_first_row(tmp_path: Path) -> None:
    columns, rows, found = read(workbook(tmp_path, Data=PAYMENTS))
    assert (columns, len(rows), found.header_row) == (("column_1", "column_2", "column_3"), 12, 0)
    assert rows[0][:2] == ("T0", 10.5)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_titles_above_the_names_are_left_out(tmp_path: Path, separator: str) -> None:
    path = csv(tmp_path, ["Payments of October"], [""], NAMES, *PAYMENTS, separator=separator)
    columns, rows, found = read(path)
    assert (columns, len(rows), found.header_row, found.doubts) == (tuple(NAMES), 12, 3, ())
    assert found.sentence() == "The names of the columns stand in row 3."


def test_a_csv_without_names_keeps_its_first_row(tmp_path: Path) -> None:
    columns, rows, found = read(csv(tmp_path, *PAYMENTS))
    assert (columns, len(rows), rows[0]) == (("column_1", "column_2", "column_3"), 12, ("T0", "10.5", "web"))
    assert (found.header_row, found.doubts) == (0, ())
    assert "No row holds names" in found.sentence()


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (NAMES, PAYMENTS),
        (["a", "b"], [["x", "y"], ["z", "u"], ["v", "w"]]),
        (["region", "2019", "2020", "2021"], [["north", 1, 2, 3], ["south", 4, 5, 6]]),
        (["0", "1", "2", "3"], [[5, 1, 1, 2], [7, 1, 1, 2], [9, 1, 1, 2]]),
        (["id", "30", "name"], [[1, 2, "x"], [3, 4, "y"], [5, 6, "z"]]),
        (["when", "amount"], [["2024-01-01", 2], ["2024-01-02", 3]]),
        (["amount"], [[1], [2], [3]]),
        (["a", "b", "c"], [["", "", 1], ["", "", 2]]),
    ],
)
def test_names_are_seen_for_what_they_are(
    tmp_path: Path, header: list[str], body: list[list[object]]
) -> None:
    columns, rows, found = read(csv(tmp_path, header, *body))
    assert (list(columns), len(rows)) == (header, len(body))
    assert (found.header_row, found.doubts) == (1, ())


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2.5], [3, 4], [5, 6]],
        [["2024-01-01 10:00:00", 12, "a"], ["2024-01-02 10:00:00", 13, "b"], ["2024-01-03 10:00:00", 1, "a"]],
        [["a", "x"], ["b", "x"], ["a", "y"], ["b", "y"]],
        [["€12.50", "1,200"], ["€13", "900"], ["€1", "1,000"]],
    ],
)
def test_a_first_row_of_data_is_seen_for_what_it_is(tmp_path: Path, rows: list[list[object]]) -> None:
    path = csv(tmp_path, *rows, separator=";")
    columns, read_rows, found = read(path)
    assert (found.header_row, len(read_rows)) == (0, len(rows))
    assert columns == tuple(f"column_{number}" for number in range(1, len(rows[0]) + 1))


def test_what_is_not_plain_is_asked(tmp_path: Path) -> None:
    path = csv(tmp_path, ["x", "12", "y", "13"], [1, 2, 3, 4], [5, 6, 7, 8])
    assert read(path)[2].doubts == ("header",)
    assert read(path, Layout(header_row=1))[2].doubts == ()


def test_a_person_chooses_any_row(tmp_path: Path) -> None:
    path = csv(tmp_path, ["a", "b"], ["c", "d"], ["1", "2"])
    assert read(path, Layout(header_row=2))[:2] == (("c", "d"), [("1", "2")])
    assert len(read(path, Layout(header_row=0))[1]) == 3
    with pytest.raises(
        UnreadableTable, match=r"Row 9 of t\.csv holds no names\. Choose another row, or none"
    ):
        open_table(path, layout=Layout(header_row=9))
    declared = tmp_path / "declared.csv"
    declared.write_text("sep=;\ntitle\na;b\n1;2\n3;4\n")
    assert (read(declared)[0], read(declared)[2].header_row) == (("a", "b"), 3)


def test_tables_stored_before_are_read_as_they_were(tmp_path: Path) -> None:
    with open_table(csv(tmp_path, *PAYMENTS), layout=Layout.from_dict(None)) as table:
        assert table.columns == ("T0", "10.5", "web")
        assert table.row_count() == 11
    path = workbook(tmp_path, Cover=[["a"], ["b"]], Data=[NAMES, *PAYMENTS])
    with open_table(path, layout=Layout.from_dict(None)) as table:
        assert table.columns == ("a",)

"""Each format of tables is recognised by its content, opened, and named wherever formats are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import openpyxl
import polars as pl
import pytest

from ecluse.errors import UnreadableTable
from ecluse.tabular.dataset import open_table
from ecluse.tabular.formats import ACCEPTED, ENDINGS, FORMATS, format_names, format_of
from ecluse.web.i18n import Words

TABLE = pl.DataFrame({"amount": [1.5, 2.5, 3.5], "shop": ["a", "b", "c"]})
WRITERS: dict[str, Callable[[Path], object]] = {
    "csv": TABLE.write_csv,
    "parquet": TABLE.write_parquet,
    "xlsx": lambda path: write_workbook(path),
}


def write_workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (TABLE.columns, *TABLE.rows()):
        book.active.append(list(row))
    with path.open("wb") as file:
        book.save(file)


@pytest.mark.parametrize("kind", [each.kind for each in FORMATS])
def test_a_table_of_each_format_is_recognised_by_its_content_and_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "table.of-no-ending"
    WRITERS[kind](path)
    assert format_of(path.read_bytes()[:8]).kind == kind
    with open_table(path) as table:
        assert (table.format.kind, table.columns, table.row_count()) == (kind, ("amount", "shop"), 3)
        assert table.head()["shop"].to_list() == ["a", "b", "c"]
        table.write_copy(tmp_path / "copy.parquet")
    assert pl.read_parquet(tmp_path / "copy.parquet").height == 3


def test_forms_commands_and_errors_name_every_format(tmp_path: Path) -> None:
    assert set(ACCEPTED.split(", ")) == {".csv", ".tsv", ".txt", ".gz", ".parquet", ".xlsx"}
    assert set(ENDINGS) == {".csv", ".tsv", ".csv.gz", ".parquet", ".xlsx"}
    assert format_names() == "CSV, XLSX or Parquet"
    assert Words("fr").phrase(format_names()) == "CSV, XLSX ou Parquet"
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7 and more")
    with pytest.raises(
        UnreadableTable, match=r"is a PDF document. Save the table as CSV, XLSX or Parquet\."
    ) as raised:
        open_table(tmp_path / "report.pdf")
    assert Words("fr").phrase(str(raised.value)).endswith("en CSV, XLSX ou Parquet.")

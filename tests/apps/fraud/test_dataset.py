"""Files of every kind open as the table they hold, or are refused with what to mend and nothing left behind."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.errors import UnreadableTable
from ecluse.tabular import delimited, workbook_parts
from ecluse.tabular.dataset import open_table


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; every test ends with nothing in it."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    assert list(directory.iterdir()) == []


def written(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(path: Path) -> list[tuple[object, ...]]:
    with open_table(path) as table:
        rows = [row for batch in table.batches(2) for row in batch.iter_rows()]
        assert table.row_count() == len(rows)
    return rows


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableTable) as caught, open_table(path) as table:
        table.validate()
    return str(caught.value)


# What opens


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    path = written(tmp_path, f"a{separator}b\n1{separator}x y\n2{separator}z\n")
    with open_table(path) as table:
        assert table.format.separator == separator
    assert rows_of(path) == [("1", "x y"), ("2", "z")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_the_encoding_is_found(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, "prénom;montant\nHélène;1,50\nFrançois;2,25\n".encode(encoding))
    with open_table(path) as table:
        assert table.columns == ("prénom", "montant")
        assert table.format.decimal_comma
    assert rows_of(path) == [("Hélène", "1,50"), ("François", "2,25")]


def test_an_accent_far_into_the_file_still_decides_its_encoding(tmp_path: Path) -> None:
    path = written(tmp_path, b"a,b\n" + b"1,x\n" * 1_200_000 + "2,été\n".encode("cp1252"))
    with open_table(path) as table:
        assert table.format.encoding == "cp1252"
        assert table.scan().tail(1).collect().row(0) == ("2", "été")


def test_gzip_is_unpacked_and_seen_by_content_not_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(b"a,b\n1,2\n", mtime=0), "table.txt")
    with open_table(path) as table:
        assert table.format.compression == "gzip"
    assert rows_of(path) == [("1", "2")]


def test_quoted_values_may_hold_separators_quotes_and_line_ends(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\r\n1,"x, ""y""\nz"\r\n2,w\r\n')
    assert rows_of(path) == [("1", 'x, "y"\nz'), ("2", "w")]


def test_quotes_inside_values_only_are_text(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n1,5" pipe\n2,6" pipe\n')
    assert rows_of(path) == [("1", '5" pipe'), ("2", '6" pipe')]


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n\n1,2\n\n3,4\n\n\n",
        "\n\na,b\n1,2\n3,4",
        "a,b\r1,2\r3,4\r",
        "sep=,\na,b\n1,2\n3,4\n",
        "a,b\n1,2\n,\n3,4\n,",
    ],
)
def test_blank_lines_old_line_ends_and_a_declared_separator_do_no_harm(tmp_path: Path, content: str) -> None:
    assert rows_of(written(tmp_path, content)) == [("1", "2"), ("3", "4")]


def test_duplicate_and_empty_names_are_renamed_and_said(tmp_path: Path) -> None:
    path = written(tmp_path, "amount,amount,,amount_2,amount\n1,2,3,4,5\n")
    with open_table(path) as table:
        assert table.columns == ("amount", "amount_3", "column_3", "amount_2", "amount_4")
        assert len(table.notes) == 3
        assert table.head().row(0) == ("1", "2", "3", "4", "5")


def test_as_many_columns_as_a_sheet_has_open_and_one_more_does_not(tmp_path: Path) -> None:
    def wide(columns: int) -> Path:
        header = ",".join(f"c{i}" for i in range(columns))
        return written(tmp_path, f"{header}\n{'1,' * (columns - 1)}1\n\n", f"{columns}.csv")

    assert rows_of(wide(16_384)) == [("1",) * 16_384]
    assert "16,385 columns" in refusal(wide(16_385))


def test_a_workbook_gives_the_first_sheet_with_rows_in_native_types(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.create_sheet("payments")
    sheet.append(["id", "amount", "at", "amount"])
    for i in range(1_200):  # a word far below must not vanish from a column of numbers
        sheet.append([i, 1.5, datetime(2024, 1, 1, 3), i if i < 1_199 else "unknown"])
    book.save(tmp_path / "t.xlsx")
    with open_table(tmp_path / "t.xlsx") as table:
        assert (table.format.kind, table.row_count()) == ("xlsx", 1_200)
        assert table.columns == ("id", "amount", "at", "amount_2")
        last = table.scan().tail(1).collect().row(0)
        assert last == (1_199.0, 1.5, datetime(2024, 1, 1, 3), "unknown")


def test_parquet_keeps_its_types_and_leaves_lists_out(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": [1, 2], "many": [[1], [2]], "at": [datetime(2024, 1, 1)] * 2}).write_parquet(path)
    with open_table(path) as table:
        assert table.columns == ("a", "at")
        assert "'many'" in table.notes[0]
    assert rows_of(path) == [(1, datetime(2024, 1, 1)), (2, datetime(2024, 1, 1))]


def test_a_sample_is_spread_over_the_whole_file(tmp_path: Path) -> None:
    path = written(tmp_path, "n,label\n" + "".join(f"{i},{int(i >= 900)}\n" for i in range(1_000)))
    with open_table(path) as table:
        sample = table.sample(100)
        assert (sample.height, sample["n"][0]) == (100, "0")
        assert sample["label"].to_list().count("1") == 10


def test_a_sample_is_the_same_however_many_rows_are_read_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "n,m\n" + "".join(f"{i},x\n" for i in range(1_000)))
    with open_table(path) as table:
        for values in (2 * 10**6, 2 * 333, 2 * 7):
            monkeypatch.setattr("ecluse.tabular.dataset.SAMPLED_VALUES", values)
            assert table.sample(300)["n"].to_list() == [str(number) for number in range(0, 1_000, 4)]


# What is refused


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n\n", "no text but blanks"),
        (b"a,b\n", "a header and no rows"),
        (b"a,b\n\n\n", "a header and no rows"),
        (gzip.compress(b"", mtime=0), "empty once unpacked"),
        (bytes(range(256)) * 20, "binary data"),
        (b"\x01\x02\x03\x04" * 200, "binary data"),
        (b"a,b\n1,2\n3,4,5\n", "Line 3 has 3 values; the header has 2."),
        (b"a,b\n1,2\n3\n", "Line 3 has 1 value; the header has 2."),
        (b'a,b\n"x\ny",2\n3\n', "Line 4 has 1 value; the header has 2."),
        (b'a,b\n1,"x\n2,y\n3,z\n', 'Line 2 opens a quote (")'),
        (b'a,b\n1,x\n2,"y\n3,"z"\n', 'Line 3 opens a quote (")'),
        (b'a,b\n1,"x"\n2,5" pipe\n', 'Line 3 has a quote (") inside a value'),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "Excel 97-2003"),
        (b"PK\x03\x04garbage", "damaged workbook"),
        (b"PAR1garbage", "cannot be read"),
        (gzip.compress(b"a,b\n1,2\n" * 9, mtime=0)[:-8], "damaged gzip"),
        (gzip.compress(gzip.compress(b"a,b\n1,2\n", mtime=0), mtime=0), "gzip file inside a gzip file"),
    ],
)
def test_what_is_no_table_is_refused_with_the_fact(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refusal(written(tmp_path, content))


def test_faults_beyond_the_part_read_at_opening_are_found_with_their_line(tmp_path: Path) -> None:
    good = b"a,b\n" + b'1,"x\ny"\n' * 800_000
    assert "Line 1600002 has 3 values" in refusal(written(tmp_path, good + b"1,2,3\n"))
    assert "Line 1600002 opens a quote" in refusal(written(tmp_path, good + b'1,"2\n3,4\n'))
    assert "Line 1600002 has a NUL byte" in refusal(written(tmp_path, good + b"1,\x00\n"))


def test_no_batch_is_given_of_a_file_with_a_malformed_line(tmp_path: Path) -> None:
    path = written(tmp_path, b"a,b\n" + b"1,2\n" * 600_000 + b"1\n")
    with open_table(path) as table, pytest.raises(UnreadableTable, match="Line 600002 has 1 value"):
        next(table.batches(10))


def test_bytes_of_the_encoding_found_that_do_not_decode_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, codecs.BOM_UTF16_LE + "a,b\n1,2\n".encode("utf-16-le") + b"\x00\xd8x")
    said = refusal(path)
    assert "looks like utf-16 text but is not throughout" in said
    assert "codec" not in said


def test_a_gzip_bomb_stops_early(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 16_000_000, mtime=0))
    assert "more than 300 times its size" in refusal(path)


def test_a_workbook_that_inflates_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", b" " * (60 << 20))
    assert "more than 200 times its size" in refusal(path)


def test_a_workbook_that_lies_about_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook_parts, "MAX_XLSX_BYTES", 1 << 20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b" " * (2 << 20))
    honest = (2 << 20).to_bytes(4, "little")
    path = written(tmp_path, buffer.getvalue().replace(honest, (100).to_bytes(4, "little")), "lie.xlsx")
    assert "more than 1 GiB" in refusal(path)


def test_a_workbook_with_a_stray_far_cell_is_refused_before_its_grid_is_laid_out(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(["a", "b"])
    sheet["XFD1048576"] = 1
    book.save(tmp_path / "far.xlsx")
    assert "1,048,576 rows by 16,384 columns" in refusal(tmp_path / "far.xlsx")


def test_an_archive_or_a_workbook_without_rows_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "a,b\n1,2\n")
    book = openpyxl.Workbook()
    book.worksheets[0].append(["a", "b"])
    book.save(tmp_path / "b.xlsx")
    assert "ZIP archive" in refusal(tmp_path / "a.zip")
    assert "no sheet with a header and rows" in refusal(tmp_path / "b.xlsx")


def test_a_parquet_file_cut_short_or_without_rows_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1, 2]}).write_parquet(tmp_path / "whole.parquet")
    cut = written(tmp_path, (tmp_path / "whole.parquet").read_bytes()[:-20], "cut.parquet")
    pl.DataFrame({"a": []}, schema={"a": pl.Int64}).write_parquet(tmp_path / "none.parquet")
    assert "cannot be read" in refusal(cut)
    assert "no rows" in refusal(tmp_path / "none.parquet")


def test_messages_show_the_name_the_person_knows(tmp_path: Path) -> None:
    with pytest.raises(UnreadableTable, match=r"payments\.csv is empty"):
        open_table(written(tmp_path, b"", "upload-81"), "payments.csv")


# Laws


_CELL = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")) | st.sampled_from('",;\n'), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(
    table=st.integers(2, 5).flatmap(
        lambda width: st.lists(st.lists(_CELL, min_size=width, max_size=width), min_size=1, max_size=12)
    ),
    chunk=st.integers(1, 40),
)
def test_what_a_csv_writer_wrote_comes_back_whatever_the_chunks(table: list[list[str]], chunk: int) -> None:
    header = [f"column {i}" for i in range(len(table[0]))]
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_CHUNK", chunk)
        path = Path(directory) / "t.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([header, *table])
        back = [[cell or "" for cell in row] for row in rows_of(path)]
    assert back == table


@pytest.mark.nightly
def test_a_parquet_file_that_unpacks_to_far_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.parquet"
    rows = pl.DataFrame({"n": range(3000)}).with_columns(pl.lit("z" * 900_000).alias("text"))
    rows.write_parquet(bomb, compression="zstd", row_group_size=3000)
    with pytest.raises(UnreadableTable, match="unpacks to"):
        open_table(bomb)

"""Read a table as a person has it: what uploads to `/tables` may be, and JSON and Arrow by the endings of their names.

Delimited text has any separator and encoding, also gzipped; its columns are what their texts say, dates among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ecluse.errors import UnreadableTable
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl

#: Endings of files that are told by their names, and the function of Polars that reads each.
NAMED: Final[Mapping[str, str]] = {".json": "read_json", ".ndjson": "read_ndjson", ".arrow": "read_ipc"}
#: What the texts of a column of dates look like, and how they are read. Where one is no date, all stay texts; so do
#: those with strokes (01/02/2025), which are read otherwise from country to country.
_DATES: Final = {
    r"^\d{4}-\d{2}-\d{2}$": "%Y-%m-%d",
    r"^\d{4}/\d{2}/\d{2}$": "%Y/%m/%d",
    r"^\d{2}\.\d{2}\.\d{4}$": "%d.%m.%Y",
}
_MOMENTS: Final = {
    r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?$": "%Y-%m-%dT%H:%M:%S%.f",
    r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}$": "%Y-%m-%dT%H:%M",
}


def read_table(path: Path, name: str) -> pl.DataFrame:
    """Return a whole table; `name` is what it is called, in errors too.

    Raises:
        UnreadableTable: it is no table, damaged, or without rows or columns.
    """
    import polars as pl

    from ecluse.tabular.dataset import open_table
    from ecluse.tabular.typing import typed_batches

    if (own := _reader_of(name)) is not None:
        return _read_named(own, path, name)
    try:
        with open_table(path, name) as table:
            table.validate()
            if table.format.kind != "csv":
                return table.scan().collect()
            batches = typed_batches(table.scan(), decimal_comma=table.format.decimal_comma)
            return dated(pl.concat(batches))
    except UnreadableTable as error:
        raise _naming(error, name) from error


def expect_table(path: Path, name: str) -> None:
    """Check a table to its end, in bounded memory where its format lets it. Raises as `read_table`."""
    from ecluse.tabular.dataset import open_table

    if (own := _reader_of(name)) is not None:
        _read_named(own, path, name)
        return
    try:
        with open_table(path, name) as table:
            table.validate()
    except UnreadableTable as error:
        raise _naming(error, name) from error


def dated(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table with the dates and moments of its texts as such: columns in which every text is one."""
    import polars as pl

    return frame.with_columns(
        _dates(frame[name]) for name, dtype in frame.schema.items() if dtype == pl.String
    )


def _dates(texts: pl.Series) -> pl.Series:
    ways: list[tuple[str, Callable[[pl.Series], pl.Series]]] = [
        *((pattern, partial(_as_date, form=form)) for pattern, form in _DATES.items()),
        *((pattern, partial(_as_moment, form=form)) for pattern, form in _MOMENTS.items()),
    ]
    for pattern, way in ways:
        if texts.null_count() < len(texts) and texts.str.contains(pattern).all():
            made = way(texts)
            return made if made.null_count() == texts.null_count() else texts
    return texts


def _as_date(texts: pl.Series, form: str) -> pl.Series:
    return texts.str.to_date(form, strict=False)


def _as_moment(texts: pl.Series, form: str) -> pl.Series:
    return texts.str.replace(" ", "T", literal=True).str.to_datetime(form, strict=False)


def _reader_of(name: str) -> str | None:
    return NAMED.get(Path(name).suffix.lower())


def _read_named(function: str, path: Path, name: str) -> pl.DataFrame:
    import polars as pl

    options = {"memory_map": False} if function == "read_ipc" else {}
    try:
        table: pl.DataFrame = getattr(pl, function)(path, **options)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = str(error).replace(str(path), name).strip().partition("\n")[0][:300]
        raise UnreadableTable(
            _("%(file)s cannot be read: %(reason)s. Save it anew, or as CSV.", file=name, reason=reason)
        ) from error
    if not table.width or not table.height:
        raise UnreadableTable(_("%(file)s has no rows, or no columns. Pick another file.", file=name))
    return table


def _naming(error: UnreadableTable, name: str) -> UnreadableTable:
    """Return an error that says which table it concerns."""
    if name in str(error):
        return error
    return UnreadableTable(_("%(file)s: %(reason)s", file=name, reason=str(error)))

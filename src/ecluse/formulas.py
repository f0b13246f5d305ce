"""Write tables that a spreadsheet may open: every column as text says it, and no text of theirs is run as a formula."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ecluse.later import Later

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")


#: What begins a formula, its full-width forms too, which some spreadsheets take for the plain ones.
_RISKY: Final = r"^[=+\-@＝＋－＠\t\r\n]"
_RISKY_INSIDE: Final = r"([;\t]\s*)([=+\-@＝＋－＠])"
_PLAIN: Final = r"^[+-]?\d+([.,]\d+)?$"
#: Days from 1970-01-01 to the first and the last day that have a name, 0001-01-01 and 9999-12-31.
_FIRST_DAY: Final = -719_162
_LAST_DAY: Final = 2_932_896
#: Of a unit of time: how many are a second, and how CSV writes the fraction of one.
_UNITS: Final = {"ms": (10**3, "%.3f"), "us": (10**6, "%.6f"), "ns": (10**9, "%.9f")}
_SMALLEST: Final = -(2**63) + 1
_LARGEST: Final = 2**63 - 1


def neutralise_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Prefix with ' the text that a spreadsheet would run: = + - @, tab or return first (OWASP).

    Also behind a semicolon or a tab within it, where many spreadsheets begin a cell. Column names too, which stay
    distinct. Text that is a plain number, such as "-12.5", is left as it is. Columns that CSV lacks are text,
    see `writable`.
    """
    frame = writable(frame)
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    safe = frame.with_columns(_harmless_values(frame[name]) for name in texts)
    renamed: dict[str, str] = {}
    # Names that are safe keep what they are called; the others make way for them.
    harmless_names = {name for name in frame.columns if _harmless(name) == name}
    for name in frame.columns:
        if name not in harmless_names:
            free = _harmless(name)
            while free in harmless_names:
                free = f"'{free}"
            renamed[name] = free
            harmless_names.add(free)
    return safe.rename(renamed)


def _harmless_values(text: pl.Series) -> pl.Series:
    """Return a column of text, (rows,), with ' before what a spreadsheet would run.

    Most columns hold nothing of the kind: each further pattern is looked for only where the one before was met.
    """
    inside = text
    if text.str.contains_any([";", "\t"]).any():
        inside = text.str.replace_all(_RISKY_INSIDE, "${1}'${2}")
    risky = text.str.contains(_RISKY)
    if not risky.any():
        return inside
    dangerous = (risky & ~text.str.contains(_PLAIN)).fill_null(False)
    return ("'" + inside).zip_with(dangerous, inside).alias(text.name)


def writable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the same rows, with text for what can be neither written as CSV nor shown.

    Categories are their names, bytes their hexadecimal digits, durations those of ISO 8601. In a column of dates or
    moments of which one is outside the years 1 to 9999 all are text: that one as what it is from 1970,
    "1970-01-01+2147483647d". Other columns stay as they are.
    """
    columns: list[pl.Expr] = []
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if isinstance(dtype, pl.Categorical | pl.Enum):
            columns.append(column.cast(pl.String))
        elif dtype == pl.Binary:
            columns.append(column.bin.encode("hex"))
        elif dtype == pl.Duration:
            size = column.to_physical().clip(_SMALLEST).abs().cast(dtype).dt.to_string("iso")
            columns.append(
                pl.when(column.to_physical() < 0).then(pl.lit("-") + size).otherwise(size).alias(name)
            )
        elif isinstance(dtype, pl.Date | pl.Datetime):
            columns += _far(frame, name, dtype)
    return frame.with_columns(columns)


def _far(frame: pl.DataFrame, name: str, dtype: pl.Date | pl.Datetime) -> list[pl.Expr]:
    """Return a column of dates or moments as text where one of them has no name; else nothing."""
    first, last, written, unit = _FIRST_DAY, _LAST_DAY, "%Y-%m-%d", "d"
    if isinstance(dtype, pl.Datetime):
        unit = dtype.time_unit
        size, fraction = _UNITS[unit]
        # A zone may be ahead or behind by most of a day.
        first, last = first + bool(dtype.time_zone), last + 1 - bool(dtype.time_zone)
        first, last = max(first * 86_400 * size, _SMALLEST - 1), min(last * 86_400 * size - 1, _LARGEST)
        written = f"%Y-%m-%dT%H:%M:%S{fraction}{'%z' if dtype.time_zone else ''}"
    number = pl.col(name).to_physical()
    has_name = number.is_between(first, last)
    if frame.select(has_name.all()).item():
        return []
    # What is computed for the others is never asked for its name, which Polars would stop at.
    near = pl.when(has_name).then(pl.col(name)).dt.to_string(written)
    sign = pl.when(number < 0).then(pl.lit("")).otherwise(pl.lit("+"))
    far = pl.lit("1970-01-01") + sign + number.cast(pl.String) + pl.lit(unit)
    return [pl.when(has_name).then(near).otherwise(far).alias(name)]


def _harmless(name: str) -> str:
    inside = re.sub(_RISKY_INSIDE, r"\1'\2", name)
    return f"'{inside}" if re.search(_RISKY, name) else inside


def harmless_text(text: str) -> str:
    """Return the text of a cell, with ' before what a spreadsheet would run, as `neutralise_formulas` does."""
    return text if re.fullmatch(_PLAIN, text) else _harmless(text)

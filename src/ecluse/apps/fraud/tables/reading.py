"""Read the values of one raw column as numbers, instants or plain text.

Each value is read on its own, so that a row reads the same whatever rows stand beside it. Which of these
readings a column takes is `columns`' choice.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

NULL_TOKENS: frozenset[str] = frozenset(
    {"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "Null", "None", "?", "-", "--"}
)
"""Values that mean "missing" once trimmed. Exact case: "none" is a level in many tables, "None" is not."""

EPOCH_FORMATS: Mapping[str, int] = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""`ColumnSpec.datetime_format` of whole numbers since 1970, with the microseconds that one unit lasts."""

ISO_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f UTC",
)
"""Tried on every value the stored format does not read: they name one instant whatever the country."""

SPACES = r"[\s\u00a0\u2009\u202f]"
CURRENCY = r"(?:US\$|CA\$|A\$|[$€£¥₹₽₺₩฿]|EUR|USD|GBP|CHF|CAD|AUD|JPY|CNY|INR|BRL|SEK|NOK|DKK|PLN|kr|zł)"


def parse_numbers(raw: pl.Series, *, decimal_comma: bool, thousands: str | None) -> pl.Series:
    """Float64, finite or null, of a text or native series. Each value is read on its own."""
    if raw.dtype == pl.Duration:
        return _seconds(raw)
    if raw.dtype.is_numeric() or raw.dtype == pl.Boolean:
        return _finite(raw.cast(pl.Float64))
    if raw.dtype != pl.String or decimal_comma or thousands is not None:
        return _written_numbers(trimmed_text(raw), decimal_comma, thousands)
    # Most values are plain: only the rest is trimmed, compared with the null tokens and looked into.
    values = _finite(raw.cast(pl.Float64, strict=False))
    odd = values.is_null() & raw.is_not_null()
    if not odd.any():
        return values
    return values.scatter(odd.arg_true(), _written_numbers(trimmed_text(raw.filter(odd)), False, None))


def _written_numbers(text: pl.Series, decimal_comma: bool, thousands: str | None) -> pl.Series:
    plain = _without_grouping(text, decimal_comma=decimal_comma, thousands=thousands)
    values = _finite(plain.cast(pl.Float64, strict=False))
    odd = values.is_null() & text.is_not_null()
    if not odd.any():
        return values
    return values.scatter(odd.arg_true(), _decorated_numbers(text.filter(odd), decimal_comma, thousands))


def parse_datetimes(raw: pl.Series, datetime_format: str | None) -> pl.Series:
    """Datetime("us") in naive UTC of a text or native series; null where it is no date of 1800-2200."""
    if datetime_format is not None and datetime_format in EPOCH_FORMATS:
        return _in_range(_from_epoch(raw, EPOCH_FORMATS[datetime_format]))
    if isinstance(raw.dtype, pl.Datetime):
        return _in_range(_naive(raw))
    if raw.dtype == pl.Date:
        return _in_range(raw.cast(pl.Datetime("us")))
    text = trimmed_text(raw)
    values = parse_written_dates(text, datetime_format) if datetime_format else pl.repeat(
        None, len(text), dtype=pl.Datetime("us"), eager=True
    )  # fmt: skip
    for fallback in ISO_FORMATS:
        odd = values.is_null() & text.is_not_null()
        if not odd.any():
            break
        values = values.scatter(odd.arg_true(), parse_written_dates(text.filter(odd), fallback))
    return _in_range(values).alias(raw.name)


def parse_written_dates(text: pl.Series, datetime_format: str) -> pl.Series:
    """Datetime("us") in naive UTC of trimmed text in one strftime format; null where it does not fit."""
    return _naive(text.str.to_datetime(datetime_format, strict=False, time_unit="us"))


def plain_strings(raw: pl.Series) -> pl.Series:
    """Trimmed text of any series, in which 3, 3.0 and "3.0" are all "3"; `NULL_TOKENS` are null."""
    if raw.dtype == pl.Duration:
        raw = _seconds(raw)
    if raw.dtype.is_float():
        exact = raw.fill_nan(None).cast(pl.Float64)
        whole = exact.cast(pl.Int64, strict=False)
        text = exact.cast(pl.String)
        is_whole = (whole.cast(pl.Float64) == exact).fill_null(False)
        return whole.cast(pl.String).zip_with(is_whole, text)
    text = trimmed_text(raw)
    # Only "3.0" can render as "3"; the literal search spares the regular expression on most columns.
    if text.str.contains(".0", literal=True).any():
        return text.str.replace(r"^([+-]?\d+)\.0+$", "${1}")
    return text


def trimmed_text(raw: pl.Series) -> pl.Series:
    """Text of any series without the blanks around it; `NULL_TOKENS` are null."""
    if raw.dtype == pl.Duration:
        raw = _seconds(raw)
    text = raw if raw.dtype == pl.String else raw.cast(pl.String, strict=False)
    text = text.str.strip_chars()
    return text.set(text.is_in(list(NULL_TOKENS)).fill_null(False), None)


def _seconds(raw: pl.Series) -> pl.Series:
    return raw.dt.total_microseconds().cast(pl.Float64) / 1e6


def _finite(values: pl.Series) -> pl.Series:
    return values.set(~values.is_finite().fill_null(True), None)


def _without_grouping(text: pl.Series, *, decimal_comma: bool, thousands: str | None) -> pl.Series:
    if thousands == " ":
        text = text.str.replace_all(rf"(\d){SPACES}(\d)", "${1}${2}").str.replace_all(
            rf"(\d){SPACES}(\d)", "${1}${2}"
        )
    elif thousands == "'":
        text = text.str.replace_all(r"['’]", "")
    elif thousands is not None:
        text = text.str.replace_all(thousands, "", literal=True)
    return text.str.replace(",", ".", literal=True) if decimal_comma else text


def _decorated_numbers(text: pl.Series, decimal_comma: bool, thousands: str | None) -> pl.Series:
    """Numbers with a currency, a per cent sign, a true minus or the accountant's parentheses around them."""
    text = text.str.replace_all(r"[\u2212\u2012\u2013]", "-")
    negative = text.str.contains(r"^\(.*\)$").fill_null(False)
    percent = text.str.contains(r"%\s*\)?$").fill_null(False)
    bare = (
        text.str.replace(r"^\((.*)\)$", "${1}")
        .str.replace(rf"{SPACES}*%$", "")
        .str.replace(rf"^([+-]?){SPACES}*{CURRENCY}{SPACES}*", "${1}")
        .str.replace(rf"{SPACES}*{CURRENCY}$", "")
    )
    plain = _without_grouping(bare, decimal_comma=decimal_comma, thousands=thousands)
    values = _finite(plain.cast(pl.Float64, strict=False))
    values = (-values).zip_with(negative, values)
    return (values / 100).zip_with(percent, values)


def _naive(values: pl.Series) -> pl.Series:
    values = values.cast(pl.Datetime("us", getattr(values.dtype, "time_zone", None)))
    if getattr(values.dtype, "time_zone", None) is None:
        return values
    return values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def _from_epoch(raw: pl.Series, microseconds: int) -> pl.Series:
    if isinstance(raw.dtype, pl.Datetime):
        return _naive(raw)
    seconds = parse_numbers(raw, decimal_comma=False, thousands=None)
    return (seconds * microseconds).round().cast(pl.Int64, strict=False).cast(pl.Datetime("us"))


def _in_range(values: pl.Series) -> pl.Series:
    # A two-digit year read by %Y and placeholders such as 9999-12-31 would stretch every difference of dates.
    return values.set(~values.dt.year().is_between(1800, 2200).fill_null(True), None)

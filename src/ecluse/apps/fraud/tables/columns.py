"""Decide once how each raw column of a table reads, and read it so ever after.

`infer_columns` looks at a sample and returns one `ColumnSpec` per column; `ColumnSpec.parse` is the Polars
expression that applies it. A spec is stored with a model: the reading chosen on the training rows (decimal
comma, order of day and month) is never decided again on the rows to score, and the reading of a row never
depends on the other rows beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from ecluse.apps.fraud.tables.reading import (
    CURRENCY,
    EPOCH_FORMATS,
    ISO_FORMATS,
    NULL_TOKENS,
    SPACES,
    parse_datetimes,
    parse_numbers,
    parse_written_dates,
    plain_strings,
    trimmed_text,
)
from ecluse.apps.fraud.words import name_words
from ecluse.errors import InvalidInput
from ecluse.sentences import _

__all__ = [
    "EPOCH_FORMATS",
    "NULL_TOKENS",
    "ColumnKind",
    "ColumnSpec",
    "infer_columns",
    "name_words",
    "parse_columns",
]

ColumnKind = Literal["number", "category", "text", "datetime", "identifier", "constant"]

SAMPLE_ROWS = 20_000
# So many distinct values show how a column is written.
LEVELS = 2_000
# A running number stays one when a few rows were entered twice.
NEARLY_ALL = 0.995
# Values that are read together when columns are many and rows few: some tens of MB.
GROUP_VALUES = 500_000


@dataclass(frozen=True)
class ColumnSpec:
    """How one raw column reads.

    `datetime_format` is a strftime format with the order of day and month in it, a key of `EPOCH_FORMATS`,
    or None for a column that is already typed. `thousands` is the separator to drop from numbers; " " stands
    for every kind of space. `note` says which evidence decided an ambiguous reading.
    """

    name: str
    kind: ColumnKind
    decimal_comma: bool = False
    datetime_format: str | None = None
    thousands: str | None = None
    note: str = ""

    def read(self, raw: pl.Series) -> pl.Series:
        """Return the raw column, a series of any type, as Float64, String or Datetime("us") in naive UTC.

        Numbers: booleans become 0 and 1, percentages a hundredth, infinities and what is no number null.
        Categories, texts, identifiers and constants: trimmed strings in which 3, 3.0 and "3.0" are all "3",
        `NULL_TOKENS` null. Dates: years outside 1800-2200 are null. Accepts text as well as native columns.
        """
        if self.kind == "number":
            return parse_numbers(raw, decimal_comma=self.decimal_comma, thousands=self.thousands)
        if self.kind == "datetime":
            return parse_datetimes(raw, self.datetime_format)
        return plain_strings(raw)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same spec back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ColumnSpec:
        """Raise InvalidInput for a kind that does not exist."""
        if data.get("kind") not in get_args(ColumnKind):
            raise InvalidInput(
                _(
                    "Column kind %(value)s does not exist; use one of %(values)s.",
                    value=repr(data.get("kind")),
                    values=", ".join(get_args(ColumnKind)),
                )
            )
        return cls(
            name=str(data["name"]),
            kind=data["kind"],
            decimal_comma=bool(data.get("decimal_comma", False)),
            datetime_format=data.get("datetime_format"),
            thousands=data.get("thousands"),
            note=str(data.get("note", "")),
        )


def infer_columns(sample: pl.DataFrame, *, decimal_comma: bool = False) -> tuple[ColumnSpec, ...]:
    """One spec per column of `sample`, (rows, columns) of raw values, of which 20,000 rows are read.

    `decimal_comma` is what the file's own format suggests; it settles only columns that read both ways
    ("1,234"), as does the convention of the table's unambiguous columns.
    """
    sample = sample.head(SAMPLE_ROWS)
    plain = _plain_columns(sample) if sample.height <= LEVELS else {}
    specs = [plain.get(name) or _infer_column(sample[name], decimal_comma) for name in sample.columns]
    return tuple(_settle_day_order(_settle_decimals(specs, sample, decimal_comma), sample))


def parse_columns(frame: pl.DataFrame, specs: Sequence[ColumnSpec]) -> pl.DataFrame:
    """Return the columns of `specs` parsed, each under its own name as `ColumnSpec.read` gives it.

    Series are read one after another, never by a Python function within an expression: a thread of Polars that
    waits for the interpreter, and a thread of the interpreter that waits for Polars, would wait for ever.

    Few rows of many columns are read many columns at a time: each value is read on its own, so that columns
    may as well follow one another as stand side by side.
    """
    if frame.height > LEVELS or not frame.height:
        return pl.DataFrame([spec.read(frame[spec.name]).alias(spec.name) for spec in specs])
    alike: dict[tuple[pl.DataType, ColumnSpec], list[str]] = {}
    schema = frame.schema  # made anew at each access
    for spec in specs:
        reading = replace(spec, name="", note="")
        alike.setdefault((schema[spec.name], reading), []).append(spec.name)
    parsed: dict[str, pl.Series] = {}
    for (_rest, reading), names in alike.items():
        for some in _groups(names, frame.height):
            values = reading.read(pl.concat([frame[name].alias("") for name in some]))
            parsed |= _apart(values, some, frame.height)
    return pl.DataFrame([parsed[spec.name] for spec in specs])


def _groups(names: Sequence[str], rows: int) -> Iterator[Sequence[str]]:
    size = max(1, GROUP_VALUES // rows)
    return (names[at : at + size] for at in range(0, len(names), size))


def _apart(values: pl.Series, names: Sequence[str], rows: int) -> dict[str, pl.Series]:
    return {name: values.slice(at * rows, rows).alias(name) for at, name in enumerate(names)}


# Choosing how a column reads

_ID_WORDS = frozenset(
    {
        "id",
        "ids",
        "uuid",
        "guid",
        "key",
        "ref",
        "reference",
        "iban",
        "pan",
        "ssn",
        "zip",
        "zipcode",
        "postcode",
        "postal",
        "phone",
        "tel",
        "mobile",
        "cc",
        "hash",
    }
)
_TIME_WORDS = frozenset(
    {
        "time",
        "date",
        "datetime",
        "timestamp",
        "ts",
        "unix",
        "epoch",
        "day",
        "created",
        "updated",
        "at",
        "when",
        "heure",
        "horodatage",
        "jour",
    }
)


def _plain_columns(sample: pl.DataFrame) -> dict[str, ColumnSpec]:
    """Return the columns of plain numbers or of words without digits, found many at a time.

    `_infer_column` comes to the same for them, at some milliseconds each: half a minute for 10,000 columns.
    """
    specs: dict[str, ColumnSpec] = {}
    if not sample.height:
        return specs
    by_type: dict[pl.DataType, list[str]] = {}
    for name, dtype in sample.schema.items():
        if dtype == pl.String or dtype.is_numeric():
            by_type.setdefault(dtype, []).append(name)
    for names in by_type.values():
        for some in _groups(names, sample.height):
            specs |= _plain_of_one_type(sample, some)
    return specs


def _plain_of_one_type(sample: pl.DataFrame, names: Sequence[str]) -> dict[str, ColumnSpec]:
    raw = pl.concat([sample[name].alias("") for name in names])
    column = np.repeat(np.arange(len(names)), sample.height)
    frame = pl.DataFrame({"column": column, "value": plain_strings(raw), "written": trimmed_text(raw)})
    value, written = pl.col("value"), pl.col("written")
    # One pass per pattern over all values: within the groups each pattern would be made anew.
    frame = frame.with_columns(
        whole=value.str.contains(r"^[+-]?\d+$"),
        integer=written.str.contains(r"^[+-]?\d+$"),
        plain=written.str.contains(_NUMBER[False, None]),
        grouped=written.str.contains(_NUMBER[True, "."]),
        digit=value.str.contains(r"\d"),
        length=value.str.len_chars(),
        zeros_in_front=value.str.contains(r"^0\d"),
    )
    plain = pl.col("plain").all() & (pl.col("integer").all() | ~pl.col("grouped").all())
    facts = frame.group_by("column", maintain_order=True).agg(
        value.count().alias("known"),
        value.drop_nulls().n_unique().alias("distinct"),
        pl.col("whole").all(),
        pl.lit(True).alias("plain") if raw.dtype.is_numeric() else plain.alias("plain"),
        (~pl.col("digit").any()).alias("wordy"),
        pl.col("length").max().alias("digits"),
        pl.col("zeros_in_front").mean(),
    )
    specs = {name: _plain_spec(name, row) for name, row in zip(names, facts.to_dicts(), strict=True)}
    return {name: spec for name, spec in specs.items() if spec is not None}


def _plain_spec(name: str, facts: Mapping[str, Any]) -> ColumnSpec | None:
    """None where `_infer_column` must look closer."""
    known, distinct = facts["known"], facts["distinct"]
    words = name_words(name)
    if distinct <= 1 or (_TIME_WORDS & set(words)):
        return None
    if facts["wordy"]:
        return ColumnSpec(name, "category") if distinct <= 20 else None
    if not facts["plain"]:
        return None
    named = bool(_ID_WORDS & set(words)) or words[-1:] in {("number",), ("num",), ("no",)}
    code_like = named or facts["digits"] >= 16 or facts["zeros_in_front"] > 0.02
    if facts["whole"] and (code_like or (distinct >= NEARLY_ALL * known and distinct > 20)):
        return None
    return ColumnSpec(name, "number")


def _infer_column(raw: pl.Series, decimal_comma: bool) -> ColumnSpec:
    name = raw.name
    values = plain_strings(raw).drop_nulls()
    distinct = values.n_unique()
    if distinct == 0 or (distinct == 1 and len(values) == len(raw)):
        return ColumnSpec(name, "constant")
    if isinstance(raw.dtype, pl.Datetime) or raw.dtype == pl.Date:
        return ColumnSpec(name, "datetime")
    if raw.dtype == pl.Boolean or raw.dtype == pl.Duration:
        return ColumnSpec(name, "number")
    written = trimmed_text(raw).drop_nulls()
    levels = written.unique(maintain_order=True).head(LEVELS)
    dated = _infer_epoch(name, levels) or (
        _infer_datetime(name, levels) if raw.dtype == pl.String else None
    )  # fmt: skip
    if dated is not None:
        return dated
    convention = (
        ColumnSpec(name, "number") if raw.dtype.is_numeric() else _infer_number(name, levels, decimal_comma)
    )
    if convention is not None:
        return _number_or_code(convention, values, distinct)
    return ColumnSpec(name, _kind_of_text(values, distinct))


def _number_or_code(spec: ColumnSpec, values: pl.Series, distinct: int) -> ColumnSpec:
    """Numbers stay numbers, unless they are codes: leading zeros, 16 digits and more, or named like one."""
    whole = values.str.contains(r"^[+-]?\d+$").all()
    if not whole:
        return spec
    all_distinct = distinct == len(values) and distinct > 20
    digits = values.str.len_chars()
    zeros_in_front = values.str.contains(r"^0\d").mean()
    if isinstance(zeros_in_front, float) and zeros_in_front > 0.02:
        return replace(spec, kind="identifier" if all_distinct else "category", note="leading zeros: a code")
    if int(str(digits.max())) >= 16:
        return replace(spec, kind="identifier" if all_distinct else "category", note="too long for a number")
    words = name_words(spec.name)
    named = bool(_ID_WORDS & set(words)) or words[-1:] in {("number",), ("num",), ("no",)}
    if named and all_distinct:
        return replace(spec, kind="identifier", note="whole, all distinct, and named like an identifier")
    if named and distinct > 40 and words[-1:] not in {("number",), ("num",), ("no",)}:
        return replace(spec, kind="category", note="whole, and named like an identifier")
    if distinct > 20 and distinct >= NEARLY_ALL * len(values) and _counts_rows(values):
        return replace(spec, kind="identifier", note="counts the rows")
    return spec


def _counts_rows(values: pl.Series) -> bool:
    """Tell whether the different values follow one another without many gaps; a few rows may be there twice."""
    numbers = values.cast(pl.Int64, strict=False).unique().sort()
    steps = numbers.diff().drop_nulls()
    return len(steps) > 0 and steps.median() == 1 and float(str(steps.mean())) < 1.5


def _kind_of_text(values: pl.Series, distinct: int) -> ColumnKind:
    words = values.str.count_matches(r"\S+").median()
    if distinct > 40 and isinstance(words, float) and words >= 4:
        return "text"
    if distinct > 20 and distinct >= 0.995 * len(values):
        return "identifier"
    return "category"


_NUMBER = {
    # decimal comma, thousands separator -> the whole of an undecorated number
    (False, None): r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$",
    (True, None): r"^[+-]?(?:\d+,?\d*|,\d+)(?:[eE][+-]?\d+)?$",
    (False, ","): r"^[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?$|^[+-]?\d{1,3}(?:\.\d*)?$",
    (True, "."): r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?$|^[+-]?\d{1,3}(?:,\d*)?$",
    (False, " "): r"^[+-]?\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})*(?:\.\d*)?$",
    (True, " "): r"^[+-]?\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})*(?:,\d*)?$",
    (False, "'"): r"^[+-]?\d{1,3}(?:['’]\d{3})*(?:\.\d*)?$",
}
_NUMERIC_SHARE = 0.9
"""A column is numeric when nine values in ten are: the others are words for "unknown" and become missing."""


def _infer_number(name: str, levels: pl.Series, decimal_comma: bool) -> ColumnSpec | None:
    bare = levels.str.replace_all(r"[\u2212\u2012\u2013]", "-").str.replace(r"^\((.*)\)$", "${1}")
    bare = bare.str.replace(rf"^([+-]?){SPACES}*{CURRENCY}{SPACES}*", "${1}")
    bare = bare.str.replace(rf"{SPACES}*(?:%|{CURRENCY})$", "")
    if bare.str.contains(_NUMBER[False, None]).all() and not bare.str.contains(_NUMBER[True, "."]).all():
        return ColumnSpec(name, "number")  # the rest of this function is for the one column in a hundred
    shares = {key: float(str(bare.str.contains(pattern).mean())) for key, pattern in _NUMBER.items()}
    best = max(shares, key=lambda key: shares[key])  # the first of equals: the plainest reading
    if shares[best] < _NUMERIC_SHARE:
        return None
    both = _ambiguous(shares, best)
    if both is not None:
        chosen = (True, both) if decimal_comma and both == "." else best
        if both == ",":
            chosen = (True, None) if decimal_comma else (False, ",")
        return ColumnSpec(name, "number", chosen[0], None, chosen[1], note=_AMBIGUOUS[both])
    return ColumnSpec(name, "number", best[0], None, best[1])


_AMBIGUOUS = {
    ",": "every comma stands before three digits: thousands or decimals, read as the rest of the table",
    ".": "every point stands before three digits: thousands or decimals, read as the rest of the table",
}


def _ambiguous(shares: Mapping[tuple[bool, str | None], float], best: tuple[bool, str | None]) -> str | None:
    share = shares[best]
    grouped_comma, grouped_point = shares[(False, ",")] >= share, shares[(True, ".")] >= share
    plain_comma, plain_point = shares[(True, None)] >= share, shares[(False, None)] >= share
    if grouped_comma and plain_comma and not plain_point:
        return ","
    if grouped_point and plain_point and not plain_comma:
        return "."
    return None


def _settle_decimals(specs: list[ColumnSpec], sample: pl.DataFrame, decimal_comma: bool) -> list[ColumnSpec]:
    """Read the ambiguous columns as the table's unambiguous ones read."""
    if not any(spec.note in _AMBIGUOUS.values() for spec in specs):
        return specs
    decided = [spec for spec in specs if spec.kind == "number" and spec.note not in _AMBIGUOUS.values()]
    commas = sum(spec.decimal_comma for spec in decided)
    points = sum(not spec.decimal_comma and _has_point(sample[spec.name]) for spec in decided)
    if commas == points:
        return specs
    comma = commas > points
    return [_settled(spec, comma) if spec.note in _AMBIGUOUS.values() else spec for spec in specs]


def _settled(spec: ColumnSpec, comma: bool) -> ColumnSpec:
    if spec.note == _AMBIGUOUS[","]:
        return replace(spec, decimal_comma=comma, thousands=None if comma else ",")
    return replace(spec, decimal_comma=comma, thousands="." if comma else None)


def _has_point(raw: pl.Series) -> bool:
    return raw.dtype == pl.String and bool(raw.str.contains(".", literal=True).any())


def _infer_epoch(name: str, levels: pl.Series) -> ColumnSpec | None:
    """Whole numbers are instants only when the name says so and all fall in 1995-2100."""
    if not _TIME_WORDS & set(name_words(name)) or not levels.str.contains(r"^\d{9,16}(?:\.0+)?$").all():
        return None
    numbers = levels.cast(pl.Float64, strict=False)
    for key, microseconds in EPOCH_FORMATS.items():
        seconds = numbers * microseconds / 1e6
        if seconds.is_between(788_918_400, 4_102_444_800).all():
            return ColumnSpec(name, "datetime", datetime_format=key)
    return None


_SLASHED_FORMATS = tuple(
    f"{date}{time}"
    for date in ("%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%Y/%m/%d")
    for time in ("", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
)
_NAMED_MONTH_FORMATS = tuple(
    f"{date}{time}"
    for date in ("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%b %d %Y", "%a %b %d %Y")
    for time in ("", " %H:%M", " %H:%M:%S%.f", " %I:%M:%S %p")
)
_COMPACT_FORMATS = ("%Y%m%d", "%Y%m%d%H%M%S")


def _infer_datetime(name: str, levels: pl.Series) -> ColumnSpec | None:
    """Return the format that reads at least 95 % of the distinct values; day first where both orders read all."""
    formats = _plausible_formats(name, levels)
    if not formats:
        return None
    probe = levels.head(200)
    promising = [candidate for candidate in formats if _readable(probe, candidate) >= 0.3]
    read = {candidate: _readable(levels, candidate) for candidate in promising}
    if not read:
        return None
    best = max(read, key=lambda candidate: read[candidate])  # the first of equals: day before month
    if read[best] + _readable_iso_rest(levels, best) < 0.95:
        return None
    other = _swapped(best)
    if other is None:
        return ColumnSpec(name, "datetime", datetime_format=best)
    note = _UNDECIDED if read.get(other, 0.0) == read[best] else _decided_note(best)
    return ColumnSpec(name, "datetime", datetime_format=best, note=note)


_UNDECIDED = "day and month read both ways in every value; read as day before month"


def _decided_note(datetime_format: str) -> str:
    order = "day before month" if datetime_format.startswith("%d") else "month before day"
    return f"{order}: the other order cannot read every value"


def _swapped(datetime_format: str) -> str | None:
    match = re.match(r"%([dm])([/.-])%([dm])", datetime_format)
    if match is None:
        return None
    return f"%{match[3]}{match[2]}%{match[1]}{datetime_format[match.end() :]}"


def _plausible_formats(name: str, levels: pl.Series) -> tuple[str, ...]:
    """Return the formats whose punctuation the values share, so that no plain column pays for sixty attempts."""
    probe = levels.head(200)

    def share(pattern: str) -> float:
        return float(str(probe.str.contains(pattern).mean() or 0.0))

    if share(r"^\d{4}-\d{1,2}-\d{1,2}") > 0.5:
        return ISO_FORMATS
    for separator in "/-.":
        if share(rf"^\d{{1,4}}{re.escape(separator)}\d{{1,2}}{re.escape(separator)}\d{{2,4}}") > 0.5:
            return tuple(f.replace("/", separator) for f in _SLASHED_FORMATS)
    if share(r"(?i)(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ ,.-]") > 0.5:
        return _NAMED_MONTH_FORMATS
    if _TIME_WORDS & set(name_words(name)) and share(r"^(?:19|20)\d{6}(?:\d{6})?$") > 0.95:
        return _COMPACT_FORMATS
    return ()


def _readable(levels: pl.Series, datetime_format: str) -> float:
    years = parse_written_dates(levels, datetime_format).dt.year()
    return float(years.is_between(1900, 2100).fill_null(False).sum()) / max(len(levels), 1)


def _readable_iso_rest(levels: pl.Series, datetime_format: str) -> float:
    rest = levels.filter(parse_written_dates(levels, datetime_format).is_null())
    if rest.is_empty():
        return 0.0
    return float(parse_datetimes(rest, None).is_not_null().sum()) / len(levels)


def _settle_day_order(specs: list[ColumnSpec], sample: pl.DataFrame) -> list[ColumnSpec]:
    """Give undecided dates the order of the table's decided ones, else the order in which the rows advance."""
    decided = {_order(spec) for spec in specs if spec.kind == "datetime" and spec.note != _UNDECIDED} - {None}
    settled = []
    for spec in specs:
        if spec.note != _UNDECIDED:
            settled.append(spec)
        elif len(decided) == 1:
            settled.append(_with_order(spec, str(next(iter(decided))), "as in the table's other dates"))
        else:
            settled.append(_order_by_rows(spec, sample[spec.name]))
    return settled


def _order(spec: ColumnSpec) -> str | None:
    match = re.match(r"%([dm])[/.-]", spec.datetime_format or "")
    return match[1] if match else None


def _with_order(spec: ColumnSpec, first: str, why: str) -> ColumnSpec:
    order = "day before month" if first == "d" else "month before day"
    current = spec.datetime_format or ""
    chosen = current if _order(spec) == first else _swapped(current)
    return replace(spec, datetime_format=chosen, note=f"{order}, {why}")


def _order_by_rows(spec: ColumnSpec, raw: pl.Series) -> ColumnSpec:
    current = spec.datetime_format or ""
    steps_back = {
        first: _steps_back(raw, str(candidate))
        for first, candidate in (("d", current), ("m", _swapped(current)))
    }
    if steps_back["m"] == 0 < steps_back["d"]:
        return _with_order(spec, "m", "in which the rows are in order")
    if steps_back["d"] == 0 < steps_back["m"]:
        return _with_order(spec, "d", "in which the rows are in order")
    return spec


def _steps_back(raw: pl.Series, datetime_format: str) -> int:
    instants = parse_datetimes(raw, datetime_format).drop_nulls().cast(pl.Int64)
    return int((instants.diff().drop_nulls() < 0).sum())

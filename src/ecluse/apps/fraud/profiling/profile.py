"""Say what is in a table before anything is trained on it: its columns, their likely roles, what to check.

`profile_table` counts rows and missing values exactly at any size. Up to 200,000 rows everything is exact;
beyond, distinct counts are estimates (HyperLogLog, measured within 15 %) and histograms and most frequent values
come from rows spread evenly over the table. Every guess carries its reason in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from ecluse.apps.fraud.features.giveaways import Giveaway
from ecluse.apps.fraud.profiling.checks import giveaways_of, what_to_check
from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns
from ecluse.apps.fraud.tables.description import (
    ColumnProfile,
    Progress,
    Role,
    column_from_dict,
    describe_column,
    parsed_columns,
    stream_totals,
    totals_of,
)
from ecluse.apps.fraud.tables.guesses import Guess, Guesses, guess_roles, guesses_from_dict, with_roles
from ecluse.apps.fraud.tables.sketches import ColumnSketch, sketch_columns
from ecluse.sentences import _, ngettext, num
from ecluse.tabular.dataset import Table

__all__ = ["ColumnProfile", "Guess", "Guesses", "Progress", "Role", "TableProfile", "profile_table"]

WHOLE_ROWS = 200_000
WHOLE_CELLS = 20_000_000
#: A sketch takes a millisecond and some hundred bytes of the catalog.
SKETCHED_COLUMNS = 1_000


@dataclass(frozen=True)
class TableProfile:
    """What was found in a table. `sketches` are empty in profiles older than the reference library; `giveaways`
    are of the guessed label, and empty in profiles that did not keep them.
    """

    rows: int
    columns: tuple[ColumnProfile, ...]
    guesses: Guesses
    warnings: tuple[str, ...]
    specs: tuple[ColumnSpec, ...]
    sketches: tuple[ColumnSketch, ...] = ()
    giveaways: tuple[Giveaway, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same profile back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TableProfile:
        return cls(
            rows=int(data["rows"]),
            columns=tuple(column_from_dict(column) for column in data["columns"]),
            guesses=guesses_from_dict(data["guesses"]),
            warnings=tuple(data["warnings"]),
            specs=tuple(ColumnSpec.from_dict(spec) for spec in data["specs"]),
            sketches=tuple(ColumnSketch.from_dict(sketch) for sketch in data.get("sketches", ())),
            giveaways=tuple(Giveaway(**giveaway) for giveaway in data.get("giveaways", ())),
        )


def profile_table(
    table: Table, *, sample_rows: int = 20_000, progress: Progress | None = None
) -> TableProfile:
    """Profile an open table. `progress` hears (fraction in [0, 1], message) and may raise to stop the work.

    Raises UnreadableTable where the table is malformed.
    """
    report = progress or (lambda fraction, message: None)
    report(0.0, _("Counting rows"))
    rows = table.row_count()
    report(0.1, ngettext("%(count)s row", "%(count)s rows", rows))
    raw = table.sample(sample_rows)
    specs = infer_columns(raw, decimal_comma=table.format.decimal_comma)
    if rows <= WHOLE_ROWS and rows * len(specs) <= WHOLE_CELLS:
        raw = table.sample(rows)
        specs = _with_rare_values(specs, {s.name: raw[s.name] for s in specs if s.kind == "constant"})
        parsed = parsed_columns(raw, specs)
        totals = totals_of(parsed)
    else:
        specs = _with_rare_values(specs, _values_beyond_sample(table, specs))
        parsed = parsed_columns(raw, specs)
        totals = stream_totals(table, specs, rows, report)
    report(0.8, _("Looking at each column"))
    columns = []
    for done, spec in enumerate(specs):
        columns.append(describe_column(spec, parsed[spec.name], totals[spec.name], rows))
        if done % 100 == 99:
            report(
                0.8 + 0.1 * done / len(specs),
                _("%(done)s of %(total)s columns", done=num(done + 1, ","), total=num(len(specs), ",")),
            )
    guesses = guess_roles(columns, parsed, totals, rows)
    report(0.9, _("Looking for what to check"))
    some = parsed.head(WHOLE_ROWS)
    giveaways = giveaways_of(columns, guesses, some)
    warnings = what_to_check(columns, guesses, some, rows, giveaways)
    sketches = sketch_columns(parsed, specs[:SKETCHED_COLUMNS])
    report(1.0, "Profiled")
    return TableProfile(
        rows, with_roles(columns, guesses), guesses, (*table.notes, *warnings), specs, sketches, giveaways
    )


def _with_rare_values(specs: Sequence[ColumnSpec], values: Mapping[str, pl.Series]) -> tuple[ColumnSpec, ...]:
    """Infer again, from all its values, a column that looked constant in the sample."""
    again = {name: infer_columns(series.to_frame())[0] for name, series in values.items()}
    return tuple(again.get(spec.name, spec) for spec in specs)


def _values_beyond_sample(table: Table, specs: Sequence[ColumnSpec]) -> dict[str, pl.Series]:
    """Return the distinct raw values, missing included, of the columns that look constant."""
    constant = [spec.name for spec in specs if spec.kind == "constant"]
    if not constant:
        return {}
    values = {name: pl.Series(name, [], dtype=table.head(1).schema[name]) for name in constant}
    for batch in table.batches():
        for name in constant:
            values[name] = pl.concat([values[name], batch[name]]).unique(maintain_order=True).head(2_000)
    return values

"""Show versions and runs as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from ecluse.client.backend import KeptTable, TrackedRun, Version
from ecluse.errors import InvalidInput
from ecluse.sentences import _

_MODEL: Mapping[str, Any] = {
    "name": pl.String, "version": pl.String, "kind": pl.String, "aliases": pl.List(pl.String), "size_bytes": pl.Int64,
    "created_at": pl.Datetime("us", "UTC"), "application": pl.String,
}  # fmt: skip
_TABLE: Mapping[str, Any] = {
    "id": pl.String, "name": pl.String, "rows": pl.Int64, "columns": pl.Int64, "size_bytes": pl.Int64,
    "created_at": pl.Datetime("us", "UTC"), "model": pl.String, "version": pl.String,
}  # fmt: skip
_RUN: Mapping[str, Any] = {
    "id": pl.String, "name": pl.String, "application": pl.String, "kind": pl.String, "status": pl.String,
    "version": pl.String, "created_at": pl.Datetime("us", "UTC"), "finished_at": pl.Datetime("us", "UTC"),
}  # fmt: skip


def tables_frame(tables: Sequence[KeptTable]) -> pl.DataFrame:
    """Return tables as a table."""
    return pl.DataFrame(
        [{name: getattr(table, name) for name in _TABLE} for table in tables], schema=dict(_TABLE)
    )


def models_frame(versions: Sequence[Version]) -> pl.DataFrame:
    """Return versions as a table with a column for each metric."""
    rows = [{name: getattr(version, name) for name in _MODEL} for version in versions]
    frame = pl.DataFrame(rows, schema=dict(_MODEL))
    return frame.with_columns(_columns([version.metrics for version in versions], frame.columns))


def runs_frame(runs: Sequence[TrackedRun], where: str | None) -> pl.DataFrame:
    """Return runs as a table with a column for each metric, then for each parameter; those that `where` holds for.

    Raises:
        InvalidInput: `where` is no condition over the columns.
    """
    frame = pl.DataFrame([{name: getattr(run, name) for name in _RUN} for run in runs], schema=dict(_RUN))
    frame = frame.with_columns(_columns([run.metrics for run in runs], frame.columns))
    frame = frame.with_columns(_columns([run.parameters for run in runs], frame.columns))
    if where is None:
        return frame
    try:
        kept = frame.filter(pl.sql_expr(where))
    except (pl.exceptions.PolarsError, pl.exceptions.SQLSyntaxError) as error:
        raise InvalidInput(
            _(
                "%(value)s is no condition over these columns: %(values)s (%(reason)s).",
                value=repr(where),
                values=", ".join(frame.columns),
                reason=str(error).partition("\n")[0],
            )
        ) from error
    # Metrics and parameters that only runs left out have are no columns of what is shown.
    return kept.select(column for column in kept if column.name in _RUN or column.null_count() < kept.height)


def _columns(values: Sequence[Mapping[str, Any]], taken_names: Iterable[str]) -> list[pl.Series]:
    """Return a column for each name; one that is a column already is left out. Of several types, all are texts."""
    names = dict.fromkeys(name for each in values for name in each if name not in set(taken_names))
    return [_series(name, [each.get(name) for each in values]) for name in names]


def _series(name: str, values: list[Any]) -> pl.Series:
    if any(isinstance(value, float) for value in values) and not any(
        isinstance(v, str | bool) for v in values
    ):
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    if len({type(value) for value in values if value is not None}) > 1:
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(name, values)

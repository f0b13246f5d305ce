"""Measure where a model does worse: in which groups of rows, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.measures import Floats, Labels, average_precision
from ecluse.apps.fraud.performance.parts import Group, Period
from ecluse.intervals import wilson

Flags = NDArray[np.bool_]

#: Fewer frauds than these say little about a group.
LEAST_FRAUDS: Final = 10
MOST_LEVELS: Final = 40
SHOWN: Final = 5
MOST_PERIODS: Final = 12
#: A recall whose interval at this level lies below the overall one is so by chance once in two hundred.
SURE: Final = 0.99
PERIODS: Final = ("1h", "1d", "1w", "1mo", "1q", "1y")


def weakest_groups(
    frame: pl.DataFrame, kinds: Mapping[str, str], labels: Labels, flagged: Flags
) -> tuple[Group, ...]:
    """Find the groups of parsed rows in which fraud is found least, at most one a column and five in all, worst first.

    A group is a level of a category, a quarter of the values of a number, or the missing ones; it counts where it
    holds ten frauds and its recall lies below the overall one by more than chance (Wilson, 1927).
    """
    overall = float(flagged[labels == 1].mean()) if labels.any() else 0.0
    worst = []
    for name, kind in kinds.items():
        groups = [
            group | _figures(rows, labels, flagged)
            for group, rows in _groups(frame[name], kind)
            if int(labels[rows].sum()) >= LEAST_FRAUDS
        ]
        below = [group for group in groups if wilson(group["found"], group["frauds"], SURE)[1] < overall]
        if below:
            worst.append(Group(column=name, **min(below, key=lambda group: float(group["recall"]))))
    return tuple(sorted(worst, key=lambda group: group.recall or 0.0)[:SHOWN])


def by_period(
    times: pl.Series, labels: Labels, probabilities: Floats, threshold: float
) -> tuple[Period, ...]:
    """Measure each hour, day, week, month, quarter or year: the shortest of which there are at most 12.

    `times` are datetimes; rows without one are left out. What cannot be known without fraud or alerts is None.
    """
    for period in PERIODS:
        starts = times.dt.truncate(period)
        distinct = starts.drop_nulls().unique().sort()
        if len(distinct) <= MOST_PERIODS:
            break
    flagged = probabilities >= threshold
    measured = []
    for start in distinct.to_list():
        rows = (starts == start).fill_null(False).to_numpy()
        figures = _figures(rows, labels, flagged)
        ranked = average_precision(labels[rows], probabilities[rows]) if figures["frauds"] else None
        measured.append(Period(start.isoformat(), period, **figures, average_precision=ranked))
    return tuple(measured)


def _groups(values: pl.Series, kind: str) -> Iterator[tuple[dict[str, Any], Flags]]:
    missing = values.is_null().to_numpy()
    if missing.any():
        yield {"value": None}, missing
    if kind == "number":
        yield from _quarters(values, missing)
    elif kind == "category" and values.drop_nulls().n_unique() <= MOST_LEVELS:
        for level in values.drop_nulls().unique().sort().to_list():
            yield {"value": level}, (values == level).fill_null(False).to_numpy()


def _quarters(values: pl.Series, missing: Flags) -> Iterator[tuple[dict[str, Any], Flags]]:
    numbers = values.cast(pl.Float64).to_numpy()
    if missing.all():
        return
    edges = np.unique(np.quantile(numbers[~missing], [0, 0.25, 0.5, 0.75, 1]))
    place = np.clip(np.searchsorted(edges, numbers, side="left"), 1, max(len(edges) - 1, 1))
    for number in range(1, len(edges)):
        rows = ~missing & (place == number)
        if rows.any():
            low, high = float(numbers[rows].min()), float(numbers[rows].max())
            yield {"value": f"{low:g} … {high:g}", "low": low, "high": high}, rows


def _figures(rows: Flags, labels: Labels, flagged: Flags) -> dict[str, Any]:
    frauds, alerts = int(labels[rows].sum()), int(flagged[rows].sum())
    hits = int((flagged[rows] & (labels[rows] == 1)).sum())
    return {
        "rows": int(rows.sum()),
        "frauds": frauds,
        "found": hits,
        "recall": hits / frauds if frauds else None,
        "alerts": alerts,
        "precision": hits / alerts if alerts else None,
    }

"""Lay a day's road rows out as a grid: one row per arc, one column per hour of the local day."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.speed import free_flow_speeds, lost_time
from ecluse.apps.city.tables import STATES
from ecluse.apps.city.thresholds import Thresholds

Floats = NDArray[np.float64]
#: Where a row says nothing on the state, or there is no row.
NO_STATE: Final = -1
#: The place of arcs outside every zone.
OUTSIDE: Final = -1


@dataclass(frozen=True)
class Network:
    """The arcs: those of the reference, and those that only rows tell of. Arrays have one entry per arc."""

    ids: NDArray[np.int64]
    labels: Sequence[str | None]
    zone: NDArray[np.int64]
    length: Floats
    latitude: Floats
    longitude: Floats

    @cached_property
    def digest(self) -> str:
        """Return a digest of which arcs there are."""
        return hashlib.sha256(self.ids.tobytes()).hexdigest()

    def places(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """Return where each arc stands; every one of `ids` must be known."""
        return np.searchsorted(self.ids, ids).astype(np.int64)


@dataclass(frozen=True)
class RoadHours:
    """One local day on the network. Grids are (arcs, hours); NaN or `NO_STATE` where nothing is known.

    flow: vehicles per hour; occupancy: percent; state and arc_state: places in `tables.STATES` and `ARC_STATES`;
    lost: vehicle-hours, where flow, occupancy and length are known. An impossible value counts as missing,
    and with an occupancy the state; `impossible` says where there was one.
    """

    day: LocalDay
    network: Network
    flow: Floats
    occupancy: Floats
    state: NDArray[np.int8]
    arc_state: NDArray[np.int8]
    lost: Floats
    impossible: NDArray[np.bool_]

    @property
    def hours(self) -> int:
        return int(self.flow.shape[1])

    @cached_property
    def observed(self) -> NDArray[np.bool_]:
        """Return where a flow or an occupancy is known."""
        return ~(np.isnan(self.flow) & np.isnan(self.occupancy))

    @cached_property
    def reporting(self) -> NDArray[np.bool_]:
        """(arcs,): which arcs have at least one observed hour."""
        return np.asarray(self.observed.any(axis=1))


def network_of(arcs: pl.DataFrame, others: pl.Series) -> Network:
    """Return the arcs of the reference and those of `others` that it lacks, in the order of their ids."""
    ids = pl.concat([arcs["arc"], others]).unique().sort()
    table = ids.to_frame("arc").join(arcs, on="arc", how="left", maintain_order="left")
    return Network(
        ids=table["arc"].to_numpy().astype(np.int64),
        labels=table["label"].to_list(),
        zone=table["zone"].fill_null(OUTSIDE).to_numpy().astype(np.int64),
        length=_floats(table["length"]),
        latitude=_floats(table["latitude"]),
        longitude=_floats(table["longitude"]),
    )


def road_hours(
    roads: pl.DataFrame,
    network: Network,
    day: LocalDay,
    thresholds: Thresholds,
    *,
    speeds_of: date | None = None,
) -> RoadHours:
    """Return the grid of one day from rows that may hold other days too.

    `speeds_of`: the date whose limits of speed the lost time is measured by, without it the day's own.
    """
    rows = roads.filter(pl.col("at").is_between(day.begin, day.end, closed="left"))
    hour = ((rows["at"] - day.begin).dt.total_seconds() // 3600).to_numpy().astype(np.int64)
    at = (network.places(rows["arc"].to_numpy()), hour)
    shape = (len(network.ids), day.hours)
    raw_flow, raw_occupancy = _floats(rows["flow"]), _floats(rows["occupancy"])
    flow, occupancy = possible(raw_flow, raw_occupancy, thresholds)
    impossible = np.zeros(shape, dtype=bool)
    impossible[at] = (np.isnan(flow) & ~np.isnan(raw_flow)) | (np.isnan(occupancy) & ~np.isnan(raw_occupancy))
    flows, occupancies = grid(shape, at, flow), grid(shape, at, occupancy)
    state = _states(shape, at, rows["state"])
    is_impossible = np.zeros(shape, dtype=bool)
    is_impossible[at] = np.isnan(occupancy) & ~np.isnan(raw_occupancy)
    state[is_impossible] = NO_STATE  # it was made of the occupancy
    state[(state == NO_STATE) & ~(np.isnan(flows) & np.isnan(occupancies))] = STATES.index("Inconnu")
    free = free_flow_speeds(network.labels, speeds_of or day.date, thresholds)
    return RoadHours(
        day=day,
        network=network,
        flow=flows,
        occupancy=occupancies,
        state=state,
        arc_state=_states(shape, at, rows["arc_state"]),
        lost=lost_time(flows, occupancies, network.length[:, None], free[:, None], thresholds),
        impossible=impossible,
    )


def possible(flow: Floats, occupancy: Floats, thresholds: Thresholds) -> tuple[Floats, Floats]:
    """Both with NaN in place of what no sensor can measure."""
    with np.errstate(invalid="ignore"):
        bad_flow = (flow < 0) | (flow > thresholds.largest_flow)
        bad_occupancy = (occupancy < 0) | (occupancy > 100)
    return np.where(bad_flow, np.nan, flow), np.where(bad_occupancy, np.nan, occupancy)


def possible_values(roads: pl.DataFrame, value: str, thresholds: Thresholds) -> pl.DataFrame:
    """arc, at and `value` ("flow" or "occupancy"), without the rows of values that no sensor can measure."""
    most = {"flow": thresholds.largest_flow, "occupancy": 100.0}[value]
    rows = roads.select("arc", "at", value)
    lowest, highest = roads.select(low=pl.col(value).min(), high=pl.col(value).max()).row(0)
    if lowest is None or (lowest >= 0 and highest <= most):  # as nearly always: nothing to copy
        return rows
    return rows.filter(pl.col(value).is_between(0, most))


def grid(shape: tuple[int, int], at: tuple[Any, Any], values: Floats) -> Floats:
    """`values` at their (row, column) in a table of NaN."""
    table = np.full(shape, np.nan)
    table[at] = values
    return table


def total(values: NDArray[Any], axis: int | None = None) -> Any:
    """Return the sum of what is known; NaN where nothing is."""
    is_known = ~np.isnan(values)
    return np.where(is_known.any(axis=axis), np.nansum(values, axis=axis), np.nan)


def mean(values: NDArray[Any], axis: int | None = None) -> Any:
    """Return the mean of what is known; NaN where nothing is."""
    count = (~np.isnan(values)).sum(axis=axis)
    return np.where(count > 0, np.nansum(values, axis=axis) / np.maximum(count, 1), np.nan)


def _states(shape: tuple[int, int], at: tuple[Any, Any], values: pl.Series) -> NDArray[np.int8]:
    grid = np.full(shape, NO_STATE, dtype=np.int8)
    codes = values.to_physical().cast(pl.Int16).fill_null(NO_STATE)
    grid[at] = codes.to_numpy().astype(np.int8)
    return grid


def _floats(values: pl.Series) -> Floats:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()

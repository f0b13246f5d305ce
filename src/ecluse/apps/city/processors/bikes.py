"""Count the bikes of a day per counter and zone, beside what is usual, and tell which counters fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import degrees, ratio, rounded, rounded_int, rounded_list, whole_list
from ecluse.apps.city.processors.processor import Processor, some
from ecluse.apps.city.road_hours import mean, total
from ecluse.apps.city.sections import Section
from ecluse.apps.city.sensors import SensorDay, failing_sensors
from ecluse.apps.city.sources.zones import locate
from ecluse.apps.city.typical import Usual, totals, usual_of_total
from ecluse.documents import Body
from ecluse.sentences import N_

#: So many counters, the busiest, have their hours listed; the others their totals alone.
DETAILED: Final = 200
#: How many anomalies and failing counters are listed; `anomalies_total` and `failing_total` have all.
LISTED: Final = 200
#: An hour beyond this band of its counter is an anomaly.
ANOMALY_LEVEL: Final = 0.99


@dataclass(frozen=True)
class _Counters:
    """Every counter of these weeks, in the order of their ids, and the hours of the day: (counters, hours)."""

    ids: Sequence[str]
    names: Sequence[str | None]
    latitudes: Sequence[float | None]
    longitudes: Sequence[float | None]
    zones: Sequence[int | None]
    counts: NDArray[np.float64]

    @property
    def reporting(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self.counts).any(axis=1))


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Totals, peak hour (of the local day), index against the typical day, anomalies and failing counters.

    `mean`: of a counter, bikes per observed hour; of a zone and of the whole, the day's bikes per reporting counter.
    `index`: the total of the hours that have a typical value over the typical total of these hours. `usual` of the
    whole is that of the sum over the counters.
    """
    counters = _counters(inputs)
    usual = inputs.bike_usual
    by_hour = total(counters.counts, axis=0)
    city = usual_of_total(inputs.bike_panel, inputs.day.date)
    city_verdict = city.verdicts(totals(inputs.bike_panel).of(inputs.day.date))
    anomalies = _anomalies(inputs, counters, usual)
    failing = failing_sensors(_sensor_day(inputs, counters, usual), inputs.thresholds)
    body = {
        "total": rounded_int(float(total(counters.counts))),
        "mean": rounded(float(mean(total(counters.counts, axis=1)))),
        "peak_at": _peak(by_hour, inputs.day),
        "counters_known": len(counters.ids),
        "reporting": int(counters.reporting.sum()),
        "coverage": ratio(float(np.isfinite(counters.counts).sum()), counters.counts.size),
        "by_hour": whole_list(by_hour),
        "usual": _usual(inputs, city, 0),
        "verdict": city_verdict[0],
        "counters": _counter_bodies(inputs, counters, usual),
        "zones": _zones(inputs, counters),
        "anomalies": anomalies[:LISTED],
        "anomalies_total": len(anomalies),
        "failing": failing[:LISTED],
        "failing_total": len(failing),
    }
    return Metrics(body)


def _counters(inputs: Inputs) -> _Counters:
    counters = (
        inputs.bikes.sort("at", maintain_order=True)
        .group_by("counter")
        .agg(pl.col("name", "latitude", "longitude").drop_nulls().last())
        .sort("counter")
    )
    ids = counters["counter"].to_list()
    place = {counter: n for n, counter in enumerate(ids)}
    today = inputs.bikes_today.filter(pl.col("count").is_between(0, inputs.thresholds.largest_bikes))
    counts = np.full((len(ids), inputs.day.hours), np.nan)
    counts[[place[counter] for counter in today["counter"]], today["hour"].to_list()] = today[
        "count"
    ].to_numpy()
    return _Counters(
        ids=ids,
        names=counters["name"].to_list(),
        latitudes=counters["latitude"].to_list(),
        longitudes=counters["longitude"].to_list(),
        zones=locate(
            inputs.zones, _positions(counters["longitude"]), _positions(counters["latitude"])
        ).to_list(),
        counts=counts,
    )


def _positions(values: pl.Series) -> NDArray[np.float64]:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _counter_bodies(inputs: Inputs, counters: _Counters, usual: Usual) -> list[dict[str, Any]]:
    """Return one entry per counter, the busiest first, the silent last in the order of their ids."""
    sums = total(counters.counts, axis=1)
    means = mean(counters.counts, axis=1)
    verdicts = usual.verdicts(inputs.bike_panel.of(inputs.day.date))
    typical = usual.median[:, list(inputs.day.clock_hours)]
    both = np.isfinite(counters.counts) & np.isfinite(typical)
    of_typical = np.where(both, typical, 0).sum(axis=1)
    comparable = np.where(both, counters.counts, 0).sum(axis=1)
    order = np.argsort(-np.nan_to_num(sums, nan=-1.0), kind="stable").tolist()
    detailed = set(order[:DETAILED])
    return [
        {
            "counter": counters.ids[n],
            "name": counters.names[n],
            "zone": counters.zones[n],
            "latitude": degrees(counters.latitudes[n]),
            "longitude": degrees(counters.longitudes[n]),
            "total": rounded_int(float(sums[n])),
            "mean": rounded(float(means[n])),
            "peak_at": _peak(counters.counts[n], inputs.day),
            "coverage": ratio(float(np.isfinite(counters.counts[n]).sum()), inputs.day.hours),
            "index": ratio(float(comparable[n]), float(of_typical[n])),
            "verdict": verdicts[n],
            "usual_days": int(usual.days[n]),
            "by_hour": whole_list(counters.counts[n]) if n in detailed else None,
            "usual": _usual(inputs, usual, n) if n in detailed else None,
        }
        for n in order
    ]


def _usual(inputs: Inputs, usual: Usual, row: int) -> dict[str, Any]:
    """Return the median and the narrowest band by hour of the local day, to a tenth of a bike."""
    hours = list(inputs.day.clock_hours)
    bands = {"median": usual.median[row], "low": usual.low[0, row], "high": usual.high[0, row]}
    return {name: rounded_list(np.round(values[hours].astype(float), 1)) for name, values in bands.items()}


def _zones(inputs: Inputs, counters: _Counters) -> list[dict[str, Any]]:
    """Return what the counters of each zone counted together, those outside every zone last."""
    groups: dict[int | None, list[int]] = {}
    for n, zone in enumerate(counters.zones):
        groups.setdefault(zone, []).append(n)
    names = dict(zip(inputs.zones["zone"].to_list(), inputs.zones["name"].to_list(), strict=True))
    zones = []
    for zone in sorted(groups, key=lambda zone: (zone is None, zone or 0)):
        counts = counters.counts[groups[zone]]
        zones.append(
            {
                "zone": zone,
                "name": names.get(zone),
                "total": rounded_int(float(total(counts))),
                "mean": rounded(float(mean(total(counts, axis=1)))),
                "peak_at": _peak(total(counts, axis=0), inputs.day),
                "counters": len(counts),
                "reporting": int(counters.reporting[groups[zone]].sum()),
                "coverage": ratio(float(np.isfinite(counts).sum()), counts.size),
            }
        )
    return zones


def _anomalies(inputs: Inputs, counters: _Counters, usual: Usual) -> list[dict[str, Any]]:
    """Return the hours outside the widest band, the farthest first."""
    hours = list(inputs.day.clock_hours)
    at = usual.levels.index(ANOMALY_LEVEL)
    low, high = usual.low[at][:, hours].astype(float), usual.high[at][:, hours].astype(float)
    beyond = np.nan_to_num(np.maximum(low - counters.counts, counters.counts - high))
    rows, columns = np.nonzero(beyond > 0)
    order = np.argsort(-beyond[rows, columns], kind="stable").tolist()
    return [
        {
            "counter": counters.ids[row],
            "name": counters.names[row],
            "zone": counters.zones[row],
            "hour": hour,
            "label": inputs.day.labels[hour],
            "value": rounded_int(float(counters.counts[row, hour])),
            "usual": {
                "median": rounded(float(usual.median[row, hours[hour]])),
                "low": rounded(low[row, hour]),
                "high": rounded(high[row, hour]),
            },
        }
        for row, hour in ((int(rows[n]), int(columns[n])) for n in order)
    ]


def _sensor_day(inputs: Inputs, counters: _Counters, usual: Usual) -> SensorDay:
    place = {counter: n for n, counter in enumerate(counters.ids)}
    outside = ~pl.col("count").is_between(0, inputs.thresholds.largest_bikes)
    impossible: dict[int, list[dict[str, Any]]] = {}
    for row in inputs.bikes_today.filter(outside).sort("counter", "hour").iter_rows(named=True):
        entry = {"hour": row["hour"], "what": "count", "value": rounded(row["count"])}
        impossible.setdefault(place[row["counter"]], []).append(entry)
    observed = counters.reporting.copy()
    observed[list(impossible)] = True
    return SensorDay(
        kind="bike",
        ids=counters.ids,
        labels=counters.names,
        zones=counters.zones,
        counts=counters.counts,
        observed=observed,
        usual_total=usual.totals(),
        impossible=impossible,
        last_seen=_last_seen(inputs, place, observed),
    )


def _last_seen(inputs: Inputs, place: Mapping[str, int], observed: NDArray[np.bool_]) -> dict[int, datetime]:
    rows = (
        inputs.bikes.filter(pl.col("count").is_not_null() & (pl.col("at") < inputs.day.begin))
        .group_by("counter")
        .agg(pl.col("at").max())
    )
    last_rows = zip(rows["counter"].to_list(), rows["at"].to_list(), strict=True)
    return {place[counter]: at for counter, at in last_rows if not observed[place[counter]]}


def _peak(values: NDArray[np.float64], day: LocalDay) -> str | None:
    """Return when the first of the hours with the highest count began, with its offset; None without any."""
    values_or_zero = np.nan_to_num(values)
    return (
        day.stamp(int(values_or_zero.argmax())) if values_or_zero.size and values_or_zero.max() > 0 else None
    )


# The report


def _summary(body: Body | None) -> Body:
    return {"bikes": some(body, REPORTED)}


#: What the report keeps of these metrics.
REPORTED: Final = ("total", "peak_at", "counters_known", "reporting", "by_hour", "usual")
PROCESSOR: Final = Processor(
    name="bikes",
    words=N_("bikes"),
    compute=compute,
    summarise=_summary,
    section=Section(N_("Bikes"), order=50, lead="_bikes.html", has_own_part=True),
)

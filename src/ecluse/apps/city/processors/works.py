"""Tell the sites active on the day, where they stand, and how traffic near them changed since they began.

Before and after, on the arcs within `works_radius` of a site: `before` is the mean over the hours of the weeks before
its first day, `since` over those from that day on (flow in vehicles per hour, occupancy in percent).
`usual_change` compares the same weekdays and hours: what was measured since, over the median of the same weekday,
hour and arc in the weeks before the site, minus 1. A holiday counts as a Sunday. Null where the history holds
fewer than `FEWEST` such days before the site.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.bounded import first_that_fit
from ecluse.apps.city.distance import pairs_within
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.numbers import degrees, rounded
from ecluse.apps.city.processors.processor import Processor, some
from ecluse.apps.city.sections import Column, ReportTable, Section
from ecluse.apps.city.typical import FEWEST, WEEKS, Panel, counts_as_sunday
from ecluse.documents import Body
from ecluse.sentences import N_

#: How many sites are told in full, the worst ones; `items_total` has all.
LISTED: Final = 150
#: And at most so many bytes of them, so that the document fits into every database.
ITEMS_SIZE: Final = 190_000
#: How many arcs near a site are named, the nearest; `arcs_total` has all.
ARCS_LISTED: Final = 12
#: Impacts from the gravest; what is not told comes last.
IMPACTS: Final = ("BARRAGE_TOTAL", "IMPASSE", "SENS_UNIQUE", "RESTREINTE")
TITLE: Final = 160


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Return the sites active on the day; figures are null where no table of sites was read."""
    works = inputs.works
    if not works.height and not inputs.parts.get("works"):
        lists: dict[str, Any] = {key: [] for key in ("by_zone", "by_impact", "critical_zones", "items")}
        return Metrics({"active": None, "area": None, "area_known": None, "items_total": None, **lists})
    by_zone = _by_zone(inputs)
    impacts = works.group_by("impact").len("active").sort(["active", "impact"], descending=[True, False])
    sites = sorted(works.iter_rows(named=True), key=_how_grave)[:LISTED]
    near = _arcs_near(inputs, sites)
    items = (_item(inputs, site, near.get(n, [])) for n, site in enumerate(sites))
    body = {
        "active": works.height,
        "area": rounded(works.select(_area()).item()),
        "area_known": works.height - works["area"].null_count(),
        "by_zone": by_zone,
        "by_impact": impacts.to_dicts(),
        "critical_zones": [zone["zone"] for zone in by_zone if zone["critical"]],
        "items": first_that_fit(items, LISTED, ITEMS_SIZE),
        "items_total": works.height,
    }
    return Metrics(body)


def changes(
    panels: Sequence[Panel], sensors: list[int], begin: date, last: date
) -> list[dict[str, float | int | None] | None]:
    """Return for each panel, all of the same sensors and days, the values of some sensors before `begin` and from it to
    `last`, and the change for the same weekdays.

    None where there are too few days before, or nothing on either side.
    """
    panel = panels[0]
    places = [panel.rows[sensor] for sensor in sensors if sensor in panel.rows]
    at = max((begin - panel.first).days, 0)
    before = panel.dates[max((begin - panel.first).days - 7 * WEEKS, 0) : at]
    since = panel.dates[at : max((last - panel.first).days + 1, 0)]
    if not places or len(before) < FEWEST or not since:
        return [None] * len(panels)
    old, new = (
        np.concatenate([_values(panel, places, days) for panel in panels]) for days in (before, since)
    )
    usual = _usual_of(old, before, since)
    return [
        _change(*values)
        for values in zip(*(np.split(values, len(panels)) for values in (old, new, usual)), strict=True)
    ]


def _change(
    old: NDArray[np.float32], new: NDArray[np.float32], usual: NDArray[np.float32]
) -> dict[str, float | int | None] | None:
    if not np.isfinite(old).any() or not np.isfinite(new).any():
        return None
    both = np.isfinite(usual) & np.isfinite(new)
    measured, expected = (float(values[both].sum(dtype=np.float64)) for values in (new, usual))
    return {
        "before": rounded(float(np.nanmean(old, dtype=np.float64))),
        "since": rounded(float(np.nanmean(new, dtype=np.float64))),
        "usual_change": rounded(measured / expected - 1) if expected > 0 else None,
        "days_before": _days_known(old),
        "days_since": _days_known(new),
    }


def _how_grave(site: Mapping[str, Any]) -> tuple[Any, ...]:
    impact = IMPACTS.index(site["impact"]) if site["impact"] in IMPACTS else len(IMPACTS)
    return (site["level"] or 9, impact, -(site["area"] or 0), site["site"])


def _by_zone(inputs: Inputs) -> list[dict[str, Any]]:
    names = dict(inputs.zones.select("zone", "name").rows())
    counted = inputs.works.group_by("zone").agg(active=pl.len(), area=_area())
    return [
        {
            "zone": zone,
            "name": names.get(zone),
            "active": active,
            "area": rounded(area),
            "critical": zone is not None and active > inputs.thresholds.critical_works,
        }
        for zone, active, area in counted.sort("zone", nulls_last=True).rows()
    ]


def _area() -> pl.Expr:
    """Return the sum of the areas that are known; null where none is."""
    return pl.when(pl.col("area").count() > 0).then(pl.col("area").sum())


def _arcs_near(inputs: Inputs, sites: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Return, by place of a site in `sites`, the arcs within `works_radius` of it, nearest first."""
    arcs, labels = inputs.arcs["arc"].to_list(), inputs.arcs["label"].to_list()
    shapes = [_shape(site) for site in sites]
    near: dict[int, list[dict[str, Any]]] = {}
    for n, arc, metres in pairs_within(
        inputs.thresholds.works_radius, shapes, inputs.arcs["geometry"].to_list()
    ):
        near.setdefault(n, []).append({"arc": arcs[arc], "label": labels[arc], "distance": round(metres, 1)})
    return {
        n: sorted(arcs_near, key=lambda arc: (arc["distance"], arc["arc"])) for n, arcs_near in near.items()
    }


def _shape(site: Mapping[str, Any]) -> str | None:
    """Return the geometry of a site; where only a point is known, that."""
    if site["geometry"] is not None or site["latitude"] is None:
        return None if site["geometry"] is None else str(site["geometry"])
    return json.dumps({"type": "Point", "coordinates": [site["longitude"], site["latitude"]]})


def _item(inputs: Inputs, site: Mapping[str, Any], arcs: list[dict[str, Any]]) -> dict[str, Any]:
    ids = [arc["arc"] for arc in arcs]
    begin, last = site["begin"], inputs.day.date
    flow, occupancy = changes([inputs.flow_panel, inputs.occupancy_panel], ids, begin, last)
    return {
        "site": site["site"],
        "title": _short(site["title"]),
        "streets": _short(site["streets"]),
        "zone": site["zone"],
        "impact": site["impact"],
        "level": site["level"],
        "status": site["status"],
        "begin": begin.isoformat(),
        "end": site["end"].isoformat(),
        "area": rounded(site["area"]),
        "latitude": degrees(site["latitude"]),
        "longitude": degrees(site["longitude"]),
        "arcs": arcs[:ARCS_LISTED],
        "arcs_total": len(arcs),
        "before_after": None
        if flow is None and occupancy is None
        else {"flow": flow, "occupancy": occupancy},
    }


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= TITLE else text[: TITLE - 1].rstrip() + "…"


def _values(panel: Panel, places: list[int], days: Sequence[date]) -> NDArray[np.float32]:
    """Return (sensors, days, 24) values of days that follow each other."""
    begin = (days[0] - panel.first).days
    return panel.values[places, begin : begin + len(days)]


def _usual_of(old: NDArray[np.float32], before: Sequence[date], since: Sequence[date]) -> NDArray[np.float32]:
    """Return what the days `before`, whose values are `old`, make usual on each of the days `since`, as these are."""
    kinds, like = np.array([_like(day) for day in before]), np.array([_like(day) for day in since])
    usual = np.empty((len(old), len(since), old.shape[2]), np.float32)
    for kind in set(like.tolist()):
        usual[:, like == kind] = _usual(old[:, kinds == kind])[:, None]
    return usual


def _like(day: date) -> int:
    """Return the weekday, 0 to 6, whose typical day is that of a date."""
    return 6 if counts_as_sunday(day) else day.weekday()


def _usual(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median of each sensor and hour over the days of (sensors, days, 24); NaN below `FEWEST` of them."""
    counts = np.isfinite(values).sum(axis=1)
    if values.shape[1] < FEWEST:
        return np.full(counts.shape, np.nan, np.float32)
    ordered = np.sort(values, axis=1)  # NaN comes last
    sensors, hours = np.arange(counts.shape[0])[:, None], np.arange(counts.shape[1])
    low, high = (
        ordered[sensors, np.maximum(at, 0), hours]
        for at in ((counts - 1) // 2, np.minimum(counts // 2, values.shape[1] - 1))
    )
    return np.where(counts >= FEWEST, (low + high) / np.float32(2), np.float32(np.nan))


def _days_known(values: NDArray[np.float32]) -> int:
    return int(np.isfinite(values).any(axis=(0, 2)).sum())


# The report


def _summary(body: Body | None) -> Body:
    if body is None:
        return {"works": None}
    items = [{name: item.get(name) for name in _OF_SITE} for item in body.get("items", [])]
    return {"works": {**(some(body, _REPORTED) or {}), "items": items[:LISTED_IN_REPORT]}}


#: How many sites the report has, what of each, and what else of these metrics.
LISTED_IN_REPORT: Final = 20
_OF_SITE: Final = ("site", "title", "streets", "zone", "impact", "level", "begin", "end", "area")
_REPORTED: Final = ("active", "area", "by_zone", "by_impact", "critical_zones")
_TABLE: Final = ReportTable(
    name="works",
    caption=N_("Sites, worst first"),
    rows=lambda report: (report["works"] or {}).get("items", ()),
    id="site",
    label="title",
    columns=(
        Column(N_("Site"), "title"),
        Column(N_("Streets"), "streets"),
        Column(N_("Zone"), "zone", "zone"),
        Column(N_("Impact"), "impact", unit=""),
        Column(N_("Dates"), lambda row: f"{row['begin']} – {row['end']}"),
    ),
)
PROCESSOR: Final = Processor(
    name="works",
    words=N_("works"),
    compute=compute,
    summarise=_summary,
    section=Section(N_("Works"), order=70, lead="_works.html", tables=(_TABLE,), has_own_part=True),
)

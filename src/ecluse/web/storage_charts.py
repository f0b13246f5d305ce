"""Draw what is stored: its growth, and what keeping it costs."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from ecluse.catalog.usage import DayUsage
from ecluse.storage.prices import Cost
from ecluse.web.charts import (
    KIND_COLOURS,
    Chart,
    area_band,
    axis,
    axis_labels,
    bars_across,
    day_axis,
    frame,
    room_for,
    spread_out,
    tooltip,
)
from ecluse.web.i18n import Words

#: A thinner band of a stack, as a share of all, would have its name on that of its neighbour.
NAMED_BAND: Final = 0.07


def stored_growth(points: Sequence[DayUsage], until: date, titles: Mapping[str, str], say: Words) -> Chart:
    """Bytes there by the end of each day, a band for each kind under its title; the first rises from nothing."""
    first, last = points[0], points[-1]
    drawn = [DayUsage(first.day - timedelta(days=1)), *points]
    if last.day < until:
        drawn.append(replace(last, day=until))
    series, named = [], []
    for kind, colour in zip(last.sizes, itertools.cycle(KIND_COLOURS)):
        sizes = [point.sizes.get(kind, 0) for point in drawn]
        if sizes[-1]:
            is_named = sizes[-1] >= NAMED_BAND * last.size
            name = titles.get(kind, kind)
            named += [name] if is_named else []
            series.append(area_band(name, colour, [point.day for point in drawn], sizes, named=is_named))
    shown = spread_out(points)
    return Chart(
        id="chart-growth",
        title=say._("Growth of what is there now"),
        unit=say._("bytes by the day they were stored; what was deleted is in no day"),
        finding=_growth_in_words(first, last, until, say),
        option={
            **frame(),
            "grid": {"left": 6, "right": room_for(named), "top": 14, "bottom": 8, "containLabel": True},
            "xAxis": day_axis(),
            "yAxis": {"type": "value", "min": 0, **axis("", line=False), "axisLabel": axis_labels("@bytes")},
            "tooltip": tooltip("@bytes"),
            "series": series,
        },
        headings=(say._("Day"), *(titles.get(kind, kind) for kind in last.sizes), say._("In all")),
        rows=tuple(
            (
                say.calendar_day(point.day),
                *(say.bytes(point.sizes.get(kind, 0)) for kind in last.sizes),
                say.bytes(point.size),
            )
            for point in shown
        ),
    )


def storage_costs(costs: Sequence[Cost], here: Collection[str], say: Words) -> Chart:
    """Draw what a month costs at each offer, the cheapest first; those of `here`, by id, are where things are now."""
    option = bars_across(
        [cost.offer.title for cost in costs],
        [
            {
                "value": round(cost.monthly, 4),
                "itemStyle": {"color": "--c1" if not here or cost.offer.id in here else "--c6"},
            }
            for cost in costs
        ],
        "@dollars",
    )
    cheapest, dearest = costs[0], costs[-1]
    return Chart(
        id="chart-costs",
        title=say._("Estimated cost of a month"),
        unit=say._("US dollars a month, before tax"),
        finding=say._(
            "From %(least)s at %(cheapest)s to %(most)s at %(dearest)s.",
            least=say.money(cheapest.monthly),
            cheapest=cheapest.offer.title,
            most=say.money(dearest.monthly),
            dearest=dearest.offer.title,
        ),
        option=option,
        headings=(
            say._("Where"),
            say._("A month"),
            say._("Storage"),
            say._("Requests"),
            say._("Sent out"),
            say._("Read back"),
        ),
        rows=tuple(
            (
                cost.offer.title,
                say.money(cost.monthly),
                say.money(cost.storage),
                say.money(cost.requests),
                say.money(cost.egress),
                say.money(cost.retrieval),
            )
            for cost in costs
        ),
        tall=True,
    )


def _growth_in_words(first: DayUsage, last: DayUsage, until: date, say: Words) -> str:
    now, today = say.bytes(last.size), say.calendar_day(until)
    if first.day == until:
        return say._("%(size)s on %(day)s, the first day.", size=now, day=today)
    return say._(
        "%(size)s on %(day)s, %(before)s on %(first)s.",
        size=now,
        day=today,
        before=say.bytes(first.size),
        first=say.calendar_day(first.day),
    )

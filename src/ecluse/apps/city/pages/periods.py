"""Compare two periods of a city side by side: by day, by hour of the week, by zone, and by arc."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from fastapi import Query, Request
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.days import MARK
from ecluse.apps.city.pages import view as city
from ecluse.apps.city.pages.arcs import Cell, heat_cell
from ecluse.apps.city.pages.charts import Caption, PeriodHours, bars_across, two_periods
from ecluse.apps.city.pages.map import bottleneck_svg
from ecluse.apps.city.settings import CitySettings
from ecluse.apps.city.streets import street_name, stretch_of
from ecluse.apps.city.thresholds import Thresholds
from ecluse.documents import Body, Documents
from ecluse.errors import InvalidInput, NotFound
from ecluse.sentences import _
from ecluse.web.charts import Chart
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
#: Days of a period at most.
LONGEST: Final = 62
#: Days of the two periods that are compared where none are named.
USUAL: Final = 7
CHANGES_SHOWN: Final = 10
#: Bottlenecks whose hours and lost time are drawn.
HOURS_SHOWN: Final = 15
WEEKDAY_HOURS: Final = range(24)


@dataclass(frozen=True)
class Period:
    """Some days, both ends included."""

    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


@dataclass(frozen=True)
class Compared:
    """A figure in both periods: means over the days that have it, and how many days those are."""

    id: str
    a: float | None
    b: float | None
    days: tuple[int, int]

    @property
    def change(self) -> float | None:
        """Relative to A; None where that says nothing."""
        return None if not self.a or self.b is None else self.b / self.a - 1


@dataclass(frozen=True)
class ZoneChange:
    """A zone's time lost a day in both periods."""

    name: str
    figure: Compared


@dataclass(frozen=True)
class ArcChange:
    """An arc's time lost a day in both periods."""

    arc: int
    label: str
    stretch: str
    a: float
    b: float

    @property
    def change(self) -> float:
        return self.b - self.a


@dataclass(frozen=True)
class Side:
    """What is read of a period."""

    period: Period
    traffic: Mapping[date, Body]
    zones: Mapping[date, Body]
    bikes: Mapping[date, Body]
    disruptions: Mapping[date, Body]
    #: Arc → time lost a day, over the days on which it is known.
    lost: Mapping[int, float]


@router.get("/city/compare")
def compare(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    a: str = "",
    b: str = "",
    a_from: str = "",
    a_to: str = "",
    b_from: str = "",
    b_to: str = "",
) -> Response:
    """Show two periods side by side; the latest week and the one before it where none are named."""
    if a_from or b_from:
        return RedirectResponse(f"/city/compare?a={a_from}..{a_to}&b={b_from}..{b_to}", 303)
    say, documents = words_of(request), runtime.documents
    latest = documents.latest(MARK)
    if latest is None:
        raise NotFound("No day has been computed yet, so there is nothing to compare. See: ecluse city run")
    error, status = None, 200
    usual = usual_periods(city.date_of(latest.key))
    try:
        periods = (period_of(a) if a else usual[0], period_of(b) if b else usual[1])
    except InvalidInput as wrong:
        periods, error, status = usual, str(wrong), wrong.status
    sides = (read_side(documents, periods[0]), read_side(documents, periods[1]))
    zone = ZoneInfo(runtime.settings.of(CitySettings).zone)
    context = {
        **city.naming(documents, runtime.settings.of(CitySettings).name),
        "periods": periods,
        "error": error,
        "figures_compared": compared_figures(*sides),
        "figures": charts_of(*sides, zone, say),
        "weeks": weeks_of(*sides, zone, say),
        "zones": zone_changes(*sides),
        "arcs": arc_changes(documents, *sides),
        "counts": [len(side.traffic) for side in sides],
    }
    return render(request, "city/compare.html", context, status=status)


@router.get("/city/bottlenecks")
def show_bottlenecks(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    first: Annotated[str, Query(alias="from")] = "",
    last: Annotated[str, Query(alias="to")] = "",
    days: Literal["working", "saturday", "sunday"] = "working",
) -> Response:
    """Show where there is a queue again and again over a period: a ranking, its map, its hours."""
    say, documents = words_of(request), runtime.documents
    error, status = None, 200
    try:
        ranking = city.bottlenecks(runtime, first, last, days)
    except InvalidInput as wrong:
        ranking, error, status = city.bottlenecks(runtime, None, None, days), str(wrong), wrong.status
    context = {
        **city.naming(documents, runtime.settings.of(CitySettings).name),
        "ranking": ranking,
        "error": error,
        "street": street_name,
        "stretch": city.stretches(documents),
        "zone_names": city.zone_names(documents),
        "least": int(Thresholds.changed(runtime.settings.of(CitySettings).thresholds).bottleneck_days),
        "drawing": Markup(bottleneck_svg(city.all_arcs(documents), ranking.items)),  # noqa: S704 (numbers alone)
        "rows": [(bottleneck, _recurring(bottleneck, say)) for bottleneck in ranking.items[:HOURS_SHOWN]],
        "figures": _bottleneck_figures(ranking.items, say),
    }
    return render(request, "city/bottlenecks.html", context, status=status)


def _recurring(bottleneck: Body, say: Words) -> list[Cell]:
    """On how many of a hundred days there was a queue at each hour of the clock."""
    return [heat_cell(None if share is None else 100 * share, 100, say) for share in bottleneck["by_hour"]]


def _bottleneck_figures(items: Sequence[Body], say: Words) -> list[Chart]:
    costly = [bottleneck for bottleneck in items[:HOURS_SHOWN] if bottleneck["lost_time_a_day"]]
    if not costly:
        return []
    caption = Caption(
        "chart-bottlenecks", say._("Time lost a day"), say._("vehicle-hours a day of that kind")
    )
    bars = [
        (f"{bottleneck['rank']}. {street_name(bottleneck['label'])}", bottleneck["lost_time_a_day"])
        for bottleneck in costly
    ]
    return [bars_across(caption, say._("Bottleneck"), bars, say, digits=1)]


def period_of(text: str) -> Period:
    """Read a period such as `2025-10-01..2025-10-07`.

    Raises:
        InvalidInput: it is no such period, or too long.
    """
    first, dots, last = text.partition("..")
    if not dots:
        raise InvalidInput(
            _("%(value)s is no period. Write it as 2025-10-01..2025-10-07.", value=repr(text[:40]))
        )
    period = Period(city.date_of(first), city.date_of(last))
    if period.last < period.first:
        raise InvalidInput(
            _(
                "The range ends on %(last)s, before it begins on %(first)s. Exchange them.",
                last=period.last,
                first=period.first,
            )
        )
    days = (period.last - period.first).days + 1
    if days > LONGEST:
        raise InvalidInput(
            _("That range has %(days)s days; ask for %(most)s at most.", days=days, most=LONGEST)
        )
    return period


def usual_periods(latest: date) -> tuple[Period, Period]:
    """Return the week that ends on the latest day, behind the week before it."""
    week = timedelta(days=USUAL)
    b = Period(latest - week + timedelta(days=1), latest)
    return Period(b.first - week, b.last - week), b


def read_side(documents: Documents, period: Period) -> Side:
    """Return what is known of a period's days."""

    def days(kind: str) -> dict[date, Body]:
        return dict(city.read_range(documents, kind, period.first, period.last))

    traffic = days("traffic")
    lost_of_arc: dict[int, list[float]] = defaultdict(list)
    for day in traffic:
        mapped = city.read_map(documents, day)
        for arc, value in zip(mapped.arcs, mapped.lost, strict=True):
            if value is not None:
                lost_of_arc[arc].append(value)
    means = {arc: sum(values) / len(values) for arc, values in lost_of_arc.items()}
    return Side(period, traffic, days("zones"), days("bikes"), days("disruptions"), means)


def compared_figures(a: Side, b: Side) -> list[Compared]:
    """Return each headline figure as its mean over the days of each period."""

    def figure(name: str, values: Sequence[Iterable[float | None]]) -> Compared:
        known_values = [[value for value in side if value is not None] for side in values]
        means = [sum(side) / len(side) if side else None for side in known_values]
        return Compared(name, means[0], means[1], (len(known_values[0]), len(known_values[1])))

    def part(kind: str, name: str) -> list[list[float | None]]:
        return [[body.get(name) for body in getattr(side, kind).values()] for side in (a, b)]

    return [
        figure("vehicles", part("traffic", "vehicles")),
        figure("lost_time", part("traffic", "lost_time")),
        figure("saturation_share", part("traffic", "saturation_share")),
        figure("coverage", part("traffic", "coverage")),
        figure("bikes", part("bikes", "total")),
        figure("disruptions", part("disruptions", "active")),
        figure("reliability", part("disruptions", "reliability")),
    ]


def charts_of(a: Side, b: Side, zone: ZoneInfo, say: Words) -> list[Chart]:
    """Return saturation and bikes by hour of the clock, A and B over each other, where there are any."""
    names = (_named(a.period, say), _named(b.period, say))
    labels = [f"{hour:02d}:00" for hour in WEEKDAY_HOURS]
    charts = []
    saturation = [_by_clock(_hours(side.traffic, "saturation_share"), zone) for side in (a, b)]
    if any(value is not None for side in saturation for value in side):
        charts.append(
            two_periods(
                Caption(
                    "chart-saturation",
                    say._("Saturated or blocked, by hour"),
                    say._("%% of the arcs that report, mean of the days"),
                ),
                labels,
                PeriodHours(names[0], saturation[0]),
                PeriodHours(names[1], saturation[1]),
                say,
                share=True,
            )
        )
    bikes = [
        _by_clock({day: body.get("by_hour") or [] for day, body in side.bikes.items()}, zone)
        for side in (a, b)
    ]
    if any(value is not None for side in bikes for value in side):
        charts.append(
            two_periods(
                Caption(
                    "chart-bikes", say._("Bikes counted, by hour"), say._("bikes an hour, mean of the days")
                ),
                labels,
                PeriodHours(names[0], bikes[0]),
                PeriodHours(names[1], bikes[1]),
                say,
            )
        )
    return charts


def weeks_of(a: Side, b: Side, zone: ZoneInfo, say: Words) -> list[tuple[str, list[tuple[str, list[Cell]]]]]:
    """For each period, the mean share of saturated arcs in per cent by weekday and hour; both in the same colours."""
    means = [_week(side, zone) for side in (a, b)]
    most = max((value for side in means for value in side.values()), default=0.0)
    monday = date(2024, 1, 1)
    return [
        (
            name,
            [
                (
                    say.weekday(monday + timedelta(days=weekday)),
                    [heat_cell(side.get((weekday, hour)), most, say) for hour in WEEKDAY_HOURS],
                )
                for weekday in sorted({weekday for weekday, _ in side})
            ],
        )
        for name, side in zip("AB", means, strict=True)
    ]


def _week(side: Side, zone: ZoneInfo) -> dict[tuple[int, int], float]:
    """(weekday, hour of the clock) → the mean share of saturated arcs in per cent."""
    values_of: dict[tuple[int, int], list[float]] = defaultdict(list)
    for day, values in _hours(side.traffic, "saturation_share").items():
        for hour, value in zip(LocalDay(day, zone).clock_hours, values, strict=False):
            if value is not None:
                values_of[day.weekday(), hour].append(100 * value)
    return {place: sum(values) / len(values) for place, values in values_of.items()}


def zone_changes(a: Side, b: Side) -> list[ZoneChange]:
    """Return each zone's time lost a day in both periods, the largest change first."""
    values_of: dict[Any, list[list[float]]] = defaultdict(lambda: [[], []])
    names: dict[Any, str] = {}
    for place, side in enumerate((a, b)):
        for body in side.zones.values():
            for zone in body.get("zones") or ():
                names[zone["zone"]] = zone.get("name") or str(zone["zone"])
                if zone.get("lost_time") is not None:
                    values_of[zone["zone"]][place].append(zone["lost_time"])
    changes = []
    for zone, (before, since) in values_of.items():
        means = [sum(values) / len(values) if values else None for values in (before, since)]
        figure = Compared("lost_time", means[0], means[1], (len(before), len(since)))
        changes.append(ZoneChange(names[zone], figure))
    return sorted(changes, key=lambda change: -abs((change.figure.b or 0) - (change.figure.a or 0)))


def arc_changes(documents: Documents, a: Side, b: Side) -> tuple[list[ArcChange], list[ArcChange]]:
    """Return the arcs whose time lost a day grew the most, and those where it fell the most."""
    both = [(arc, a.lost[arc], value) for arc, value in b.lost.items() if arc in a.lost]
    ordered = sorted(both, key=lambda change: change[2] - change[1])
    fallen = [change for change in ordered[:CHANGES_SHOWN] if change[2] < change[1]]
    grown = [change for change in reversed(ordered[-CHANGES_SHOWN:]) if change[2] > change[1]]
    chosen = {change[0] for change in (*fallen, *grown)}
    arc_of = {arc["arc"]: arc for arc in city.all_arcs(documents) if arc["arc"] in chosen}

    def with_names(changes: Sequence[tuple[int, float, float]]) -> list[ArcChange]:
        return [
            ArcChange(
                arc,
                street_name(arc_of.get(arc, {}).get("label")),
                stretch_of(arc_of.get(arc, {})),
                before,
                since,
            )
            for arc, before, since in changes
        ]

    return with_names(grown), with_names(fallen)


def _hours(bodies: Mapping[date, Body], name: str) -> dict[date, Sequence[float | None]]:
    return {day: (body.get("by_hour") or {}).get(name) or [] for day, body in bodies.items()}


def _by_clock(days: Mapping[date, Sequence[float | None]], zone: ZoneInfo) -> list[float | None]:
    """Return the mean of each hour of the clock over several days, which may have 23 or 25 hours."""
    values_of: dict[int, list[float]] = defaultdict(list)
    for day, values in days.items():
        for hour, value in zip(LocalDay(day, zone).clock_hours, values, strict=False):
            if value is not None:
                values_of[hour].append(value)
    return [
        sum(values_of[hour]) / len(values_of[hour]) if values_of[hour] else None for hour in WEEKDAY_HOURS
    ]


def _named(period: Period, say: Words) -> str:
    return say._(
        "from %(first)s to %(last)s", first=say.short_day(period.first), last=say.short_day(period.last)
    )

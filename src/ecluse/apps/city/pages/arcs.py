"""Show one arc on a day, through its weeks and tomorrow; and a street as its arcs hour by hour."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from fastapi import Path, Request
from starlette.responses import Response

from ecluse.apps.city.calendar import LocalDay, place_of
from ecluse.apps.city.days import MARK
from ecluse.apps.city.pages import view as city
from ecluse.apps.city.pages.charts import Caption, Hours, Style, band_chart, by_day
from ecluse.apps.city.pages.days import alerts_of
from ecluse.apps.city.settings import CitySettings
from ecluse.apps.city.streets import street_name, stretch_of
from ecluse.documents import Body, Documents
from ecluse.errors import NotFound
from ecluse.runtime import Runtime
from ecluse.sentences import N_
from ecluse.web.charts import Chart
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
#: Days before a day that an arc's page tells of.
HISTORY: Final = 28
#: A street on the scan has at least so many arcs; at most so many are read.
FEWEST_ARCS: Final = 3
MOST_ARCS: Final = 80
#: Steps of a heat map's colours.
STEPS: Final = 6
#: Models of a forecast in words; that of a library goes by its name.
_MODELS: Final = {"typical day": N_("typical day"), "recent level": N_("recent level")}
ArcId = Annotated[int, Path(ge=0, le=2**53)]
#: A cell of a heat map: its step, or None where nothing is known, and its text.
Cell = tuple[int | None, str]


@dataclass(frozen=True)
class PastDay:
    """An arc on a day of its history."""

    date: date
    vehicles: int | None
    lost_time: float | None
    congested_hours: int | None
    coverage: float | None
    verdict: str


@dataclass(frozen=True)
class Way:
    """The arcs of a street in the order in which they are driven, each with its hours; `alone`: they lead into none."""

    rows: list[tuple[Body, float, list[Body]]]
    alone: bool = False


@router.get("/city/arcs/{arc}")
def show_arc(
    request: Request, arc: ArcId, runtime: RuntimeDep, user: CurrentUser, date: str | None = None
) -> Response:
    """One arc: a day against its usual band, the days before, its week by hour, and its forecast."""
    say, documents = words_of(request), runtime.documents
    latest = documents.latest(MARK)
    if latest is None:
        raise NotFound("No day has been computed yet, so nothing is known of any arc. See: ecluse city run")
    day = city.read_day(documents, city.date_of(date or latest.key), ("traffic", "alerts"))
    past = city.arc_days(documents, arc, [day.date - timedelta(days=back) for back in range(HISTORY)])
    body = past[-1][1] if past and past[-1][0] == day.date else None
    reference = body or city.arc_of(documents, arc)
    key = ("forecast/arcs", str(arc))
    forecast = documents.get_many([key]).get(key)
    context = {
        **city.naming(documents, runtime.settings.of(CitySettings).name, day),
        "arc": arc,
        "day": day,
        "body": body,
        "reference": reference,
        "name": street_name(reference.get("label")),
        "label": reference.get("label"),
        "stretch": city.stretches(documents)(arc),
        "zone_names": city.zone_names(documents),
        "figures": arc_figures(runtime, day, body, past, forecast, say),
        "alerts": [(n, alert) for n, alert in alerts_of(day) if alert["arc"] == arc],
        "forecast_day": city.date_of(forecast["date"]) if forecast else None,
        "history": [past_day(at, body) for at, body in reversed(past)],
        "week": week_of_hours(runtime, past, say),
    }
    return render(request, "city/arc.html", context)


@router.get("/city/{day}/scan")
def show_scan(
    request: Request, day: str, runtime: RuntimeDep, user: CurrentUser, street: str = ""
) -> Response:
    """Show a street as time against position: each of its arcs at every hour of a day."""
    documents = runtime.documents
    bodies = city.read_day(documents, city.date_of(day), ("traffic", "ranking"))
    arcs = city.all_arcs(documents)
    counts = Counter(arc["label"] for arc in arcs if arc.get("label"))
    streets = sorted(label for label, count in counts.items() if count >= FEWEST_ARCS)
    chosen = street or usual_street(bodies, counts)
    mine = [arc for arc in arcs if arc["label"] == chosen][:MOST_ARCS]
    context = {
        **city.naming(documents, runtime.settings.of(CitySettings).name, bodies),
        "day": bodies,
        "streets": streets if chosen in streets or not chosen else [chosen, *streets],
        "chosen": chosen,
        "name": street_name(chosen),
        "ways": ways_of(documents, bodies.date, mine),
        "short": [label[:2] for label in bodies.labels],
        "street": street_name,
        "stretch": stretch_of,
    }
    return render(request, "city/scan.html", context)


def usual_street(day: city.Day, counts: Counter[str]) -> str:
    """Return the street that lost the most time that day, else the one with the most arcs."""
    ranked = (day["ranking"] or {}).get("by_lost_time") or ()
    long = (row["label"] for row in ranked if counts.get(row["label"], 0) >= FEWEST_ARCS)
    return next(long, max(counts, key=lambda label: counts[label], default=""))


def ways_of(documents: Documents, day: date, arcs: Sequence[Body]) -> list[Way]:
    """Return the ways along a street, the longest first; each arc with where it begins, in metres, and its hours."""
    bodies = city.arcs_on(documents, day, [arc["arc"] for arc in arcs])
    chains = city.chains_of([arc for arc in arcs if arc["arc"] in bodies])
    ways = [Way(_rows(chain, bodies)) for chain in chains if len(chain) > 1]
    alone = [row for chain in chains if len(chain) == 1 for row in _rows(chain, bodies)]
    return [*ways, *([Way(alone, alone=True)] if alone else [])]


def _rows(chain: Sequence[Body], bodies: Mapping[int, Body]) -> list[tuple[Body, float, list[Body]]]:
    rows, metres = [], 0.0
    for arc in chain:
        body = bodies[arc["arc"]]
        measured = zip(body["state"], body["occupancy"], body["flow"], strict=True)
        hours = [
            {"state": state, "occupancy": occupancy_, "flow": flow} for state, occupancy_, flow in measured
        ]
        rows.append((arc, metres, hours))
        metres += arc.get("length") or 0.0
    return rows


def arc_figures(
    runtime: Runtime,
    day: city.Day,
    body: Body | None,
    past: Sequence[tuple[date, Body]],
    forecast: Body | None,
    say: Words,
) -> list[Chart]:
    """Return the charts of an arc's page that there are values for."""
    figures = []
    usual = (body or {}).get("usual") or {}
    if body and _has_any(body["flow"]):
        figures.append(flow_chart(body, usual, day.labels, say))
    if body and _has_any(body["occupancy"]):
        figures.append(occupancy_chart(body, usual, day.labels, say))
    vehicles = [(at, body.get("vehicles")) for at, body in past]
    if sum(value is not None for _, value in vehicles) > 1:
        figures.append(
            by_day(
                "chart-days",
                vehicles,
                say,
                title=say._("Vehicles by day"),
                unit=say._("vehicles counted; a day with hours missing counts fewer"),
            )
        )
    if forecast and _has_any(forecast["flow"]["median"]):
        figures.append(forecast_chart(forecast, _labels_of(runtime, forecast["date"]), say))
    return figures


def flow_chart(
    body: Body, usual: Body, labels: Sequence[str], say: Words, *, hour: int | None = None
) -> Chart:
    """Return the vehicles of an arc by hour against its usual band."""
    days = usual.get("days") or 0
    unit = say._("vehicles an hour")
    if days and usual.get("flow"):
        unit = say.ngettext(
            "vehicles an hour; the band holds the usual, by %(count)s day before",
            "vehicles an hour; the band holds the usual, by %(count)s days before",
            days,
        )
    peak = place_of(labels, body.get("peak_at"))
    finding = (
        say._("No hour was measured.")
        if peak is None
        else say._(
            "Most at %(hour)s, %(count)s.", hour=say.hour(labels[peak]), count=say.num(body["max_flow"])
        )
    )
    caption = Caption("chart-flow", say._("Vehicles by hour"), unit, finding)
    return band_chart(caption, Hours(labels, body["flow"], usual.get("flow"), hour), say)


def occupancy_chart(
    body: Body, usual: Body, labels: Sequence[str], say: Words, *, hour: int | None = None
) -> Chart:
    """Return the share of each hour that a vehicle stood over the sensor."""
    slow = body.get("congested_hours") or 0
    high = (usual.get("occupancy") or {}).get("high") or ()
    known_values = [value for value in (*body["occupancy"], *high) if value is not None]
    # Near the whole hour a round axis would end beyond it.
    most = 100.0 if max(known_values, default=0) > 80 else None
    caption = Caption(
        "chart-occupancy",
        say._("Occupancy by hour"),
        say._("%% of the hour that a vehicle is over the sensor; saturated from 30 on"),
        say.ngettext(
            "%(count)s hour was saturated or worse.", "%(count)s hours were saturated or worse.", slow
        ),
    )
    of_day = Hours(labels, body["occupancy"], usual.get("occupancy"), hour)
    return band_chart(caption, of_day, say, Style(digits=1, most=most))


def forecast_chart(forecast: Body, labels: Sequence[str], say: Words) -> Chart:
    """Return what is expected of an arc on the next day, within its interval."""
    flow = forecast["flow"]
    day = say.calendar_day(city.date_of(forecast["date"]))
    caption = Caption(
        "chart-forecast",
        say._("Expected on %(day)s", day=day),
        say._(
            "vehicles an hour, by the model %(model)s; the band holds %(level)s of days",
            model=say._(_MODELS.get(name := str(forecast["model"]), name)),
            level=say.percent(forecast["level"], 0),
        ),
        say._("A forecast, made after the latest day; it is not a measurement."),
    )
    return band_chart(caption, Hours(labels[: len(flow["median"])], flow["median"], flow), say)


def past_day(day: date, body: Body) -> PastDay:
    return PastDay(
        date=day,
        vehicles=body.get("vehicles"),
        lost_time=body.get("lost_time"),
        congested_hours=body.get("congested_hours"),
        coverage=body.get("coverage"),
        verdict=body.get("verdict") or "unknown",
    )


def week_of_hours(
    runtime: Runtime, past: Sequence[tuple[date, Body]], say: Words
) -> list[tuple[str, list[Cell]]]:
    """Mean flow of the days before by weekday and hour of the clock; empty with fewer than a week of them."""
    if len(past) < 7:
        return []
    values_of: dict[tuple[int, int], list[float]] = defaultdict(list)
    for day, body in past:
        clock = LocalDay(day, ZoneInfo(runtime.settings.of(CitySettings).zone)).clock_hours
        for hour, flow in zip(clock, body["flow"], strict=True):
            if flow is not None:
                values_of[day.weekday(), hour].append(flow)
    means = {place: sum(flows) / len(flows) for place, flows in values_of.items()}
    most = max(means.values(), default=0)
    named = {day.weekday(): day for day, _ in past}
    return [
        (
            say.weekday(named[weekday]),
            [heat_cell(means.get((weekday, hour)), most, say) for hour in range(24)],
        )
        for weekday in sorted(named)
    ]


def heat_cell(value: float | None, most: float, say: Words, digits: int = 0) -> Cell:
    """Return a cell of a heat map whose darkest stands for `most`."""
    if value is None:
        return None, "–"
    return (min(STEPS, int((STEPS + 1) * value / most)) if most > 0 else 0), say.num(value, digits)


def _labels_of(runtime: Runtime, day: str) -> Sequence[str]:
    return LocalDay(city.date_of(day), ZoneInfo(runtime.settings.of(CitySettings).zone)).labels


def _has_any(values: Sequence[Any]) -> bool:
    return any(value is not None for value in values)

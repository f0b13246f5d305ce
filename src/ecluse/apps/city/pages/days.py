"""Show a city's days and each of them: its map by hour, what stood out, its figures and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Final

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.accounts import SignedIn
from ecluse.apps.city import jobs as work
from ecluse.apps.city.coverage import rests_on_few
from ecluse.apps.city.days import known_days
from ecluse.apps.city.names import state_in
from ecluse.apps.city.pages import view as city
from ecluse.apps.city.pages.charts import bikes_by_hour, saturation_by_hour
from ecluse.apps.city.pages.map import THEMES, city_svg
from ecluse.apps.city.pages.view import Day, MapOfDay
from ecluse.apps.city.settings import CitySettings
from ecluse.apps.city.streets import street_name
from ecluse.documents import Body, Documents
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.web.charts import Chart
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import running_jobs
from ecluse.web.security import Administrator, CurrentUser, RuntimeDep, policy_with_tiles
from ecluse.web.templating import render, words_of

router = Declarations()
#: Weeks of the calendar strip.
STRIP_WEEKS: Final = 16
#: Days in the table of days.
DAYS_SHOWN: Final = 31
ALERTS_SHOWN: Final = 6
WORST_SHOWN: Final = 8
RANKED: Final = 10
LISTED: Final = 5
#: The hour shown where no roads say which was the worst.
USUAL_HOUR: Final = 8
#: The kinds of metrics that the page of a day shows.
READ: Final = (
    "quality",
    "traffic",
    "ranking",
    "alerts",
    "sensors",
    "bikes",
    "disruptions",
    "works",
    "weather",
)
#: Steps of the strip's colours: the share of arcs that are saturated or worse, up to each.
STEPS: Final = (0.03, 0.06, 0.1, 0.15, 0.22)
#: The states of traffic, best first, and the class that colours each.
STATES: Final = {
    "Fluide": "fluide",
    "Pré-saturé": "pre",
    "Saturé": "sature",
    "Bloqué": "bloque",
    "Inconnu": "inconnu",
}


@dataclass(frozen=True)
class Cell:
    """A day of the calendar strip. `step`: None where nothing is known of its roads; `there`: it has a page."""

    date: date
    there: bool
    step: int | None
    share: float | None


@dataclass(frozen=True)
class DayRow:
    """A day in the table of days; figures that are missing are None."""

    date: date
    saturation: float | None
    lost_time: float | None
    coverage: float | None
    worst_hour: str | None


@dataclass(frozen=True)
class Kpi:
    """One of the five headline figures; `figure` is None where its source is missing, and `note` says why."""

    term: str
    figure: str | None
    unit: str
    note: str


@dataclass(frozen=True)
class WorstArc:
    """An arc among the worst of an hour."""

    arc: int
    label: str
    state: str
    flow: int | None
    lost_time: float | None


@dataclass(frozen=True)
class Hour:
    """What is said of one hour of a day: shares of states, alerts, worst arcs."""

    index: int
    label: str
    shares: list[tuple[str, float | None]]
    alerts: list[tuple[int, Body]]
    alerts_total: int
    worst: list[WorstArc]


@router.get("/city")
def list_days(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show the days that are known, as a calendar and as a table."""
    return _days_page(request, runtime, user)


@router.post("/city/runs")
def start_run(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    first: Annotated[str, Form()],
    last: Annotated[str, Form()],
) -> Response:
    """Queue the days that an administrator asks for, and show how they get on."""
    try:
        run = work.start_runs(runtime, user.user, city.date_of(first), city.date_of(last))
    except InvalidInput as error:
        return _days_page(request, runtime, user, error=error)
    return RedirectResponse(f"/jobs/{run}", 303)


def _days_page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    *,
    error: InvalidInput | None = None,
) -> Response:
    running = running_jobs(runtime, user.user.id, words_of(request))
    documents = runtime.documents
    days = known_days(documents)
    latest = days[-1] if days else None
    bodies: dict[date, Body] = {}
    if latest is not None:
        first = latest - timedelta(weeks=STRIP_WEEKS)
        bodies = dict(city.read_range(documents, "traffic", first, latest))
    newest = city.read_day(documents, latest, ("quality",)) if latest else None
    context = {
        **city.naming(documents, runtime.settings.of(CitySettings).name, newest),
        "total": len(days),
        "first": days[0] if days else None,
        "latest": latest,
        "age": (date.today() - latest).days if latest else None,
        "weeks": strip(days, bodies) if days else [],
        "rows": [day_row(day, bodies.get(day)) for day in reversed(days[-DAYS_SHOWN:])],
        "sources": sources_of(newest) if newest else [],
        "steps": STEPS,
        "administers": user.user.role == "admin",
        "running": [line for line in running.jobs if line.job.kind.startswith("city")],
        "groups": running.groups,
        "today": date.today(),
        "error": str(error) if error else None,
    }
    return render(request, "city/overview.html", context, status=error.status if error else 200)


@router.get("/city/arcs.geojson")
def arcs_geojson(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Return the lines of every arc, for the map; the browser keeps them and asks whether they changed."""
    return _tagged(
        request,
        city.arcs_geojson(runtime.documents, runtime.settings.of(CitySettings).name),
        "application/geo+json",
    )


@router.get("/city/zones.geojson")
def zones_geojson(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Return the outlines of the zones, for the map."""
    return _tagged(
        request,
        city.zones_geojson(runtime.documents, runtime.settings.of(CitySettings).name),
        "application/geo+json",
    )


@router.get("/city/day")
def choose_day(user: CurrentUser, date: str) -> Response:
    """Go to the page of the day that a form names."""
    return RedirectResponse(f"/city/{city.date_of(date)}", 303)


@router.get("/city/{day}")
def show_day(
    request: Request, day: str, runtime: RuntimeDep, user: CurrentUser, hour: int | None = None
) -> Response:
    """Show one day: figures, map at an hour, alerts, rankings, works, disruptions, weather, and what it rests on."""
    say, documents, settings = words_of(request), runtime.documents, runtime.settings.of(CitySettings)
    bodies = city.read_day(documents, city.date_of(day), READ)
    at = chosen_hour(bodies, hour)
    mapped = city.read_map(documents, bodies.date)
    context = {
        "letters": {
            letter: state_in(say.language, state or "Inconnu") for letter, state in city.LETTERS.items()
        },
        **city.naming(documents, settings.name, bodies),
        "day": bodies,
        "kpis": kpis(bodies, at, say),
        "hour": hour_of(documents, bodies, mapped, at),
        "pins": pins(bodies),
        "has_map": bool(mapped.arcs),
        "tiles": settings.map_tiles_url,
        "credit": settings.map_tiles_credit,
        "few": rests_on_few(bodies["traffic"]),
        "figures": figures(bodies, at, say),
        "metrics": bodies.metrics,
        "rankings": rankings(bodies, say),
        "sources": sources_of(bodies),
        "street": street_name,
        "stretch": city.stretches(documents),
        "zone_names": city.zone_names(documents),
        "ranked": RANKED,
        "listed": LISTED,
        "age": (date.today() - bodies.date).days,
        "week_before": _week_before(bodies),
    }
    headers = (
        {"content-security-policy": policy_with_tiles(tiles)} if (tiles := settings.map_tiles_url) else None
    )
    return render(request, "city/day.html", context, headers=headers)


@router.get("/city/{day}/hour")
def show_hour(
    request: Request, day: str, runtime: RuntimeDep, user: CurrentUser, hour: int | None = None
) -> Response:
    """Show the parts of a day's page that change with the hour, for the page to put in place of those it has."""
    say, documents = words_of(request), runtime.documents
    bodies = city.read_day(documents, city.date_of(day), ("traffic", "alerts"))
    at = chosen_hour(bodies, hour)
    context = {
        "day": bodies,
        "kpi": saturation_kpi(bodies, at, say),
        "hour": hour_of(documents, bodies, city.read_map(documents, bodies.date), at),
        "street": street_name,
        "stretch": city.stretches(documents),
        "zone_names": city.zone_names(documents),
    }
    return render(request, "city/hour.html", context)


@router.get("/city/{day}/map.json")
def map_json(request: Request, day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Return the state of every arc at every hour of a day: a letter an hour."""
    return _tagged(request, city.map_answer(runtime.documents, city.date_of(day)), "application/json")


@router.get("/city/{day}/map.svg")
def map_svg(
    request: Request,
    day: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    hour: int | None = None,
    theme: str = "light",
) -> Response:
    """Draw the map of an hour: for paper, and where the browser has no WebGL or runs no scripts."""
    documents = runtime.documents
    bodies = city.read_day(documents, city.date_of(day), ("traffic", "alerts"))
    at = chosen_hour(bodies, hour)
    drawing = city_svg(
        city.all_arcs(documents),
        city.zones_geojson(documents, runtime.settings.of(CitySettings).name)["features"],
        city.read_map(documents, bodies.date),
        at,
        [(number, body) for number, body in alerts_of(bodies) if at in body["hours"]],
        THEMES.get(theme, THEMES["light"]),
        note=words_of(request)._("Invented data") if bodies.invented else "",
    )
    return Response(drawing, media_type="image/svg+xml")


def chosen_hour(day: Day, requested: int | None) -> int:
    """Return the hour asked for where the day has it, else its worst, else eight in the morning."""
    hours = len(day.labels)
    if requested is not None and 0 <= requested < hours:
        return requested
    worst = (day["traffic"] or {}).get("worst_hour")
    return worst if worst is not None and worst < hours else USUAL_HOUR


def alerts_of(day: Day) -> list[tuple[int, Body]]:
    """Return the day's alerts, worst first, each with its number."""
    return list(enumerate((day["alerts"] or {}).get("alerts") or (), 1))


def hour_of(documents: Documents, day: Day, mapped: MapOfDay, hour: int) -> Hour:
    """Return what is said of one hour."""
    counts = ((day["traffic"] or {}).get("by_hour") or {}).get("states") or {}
    at = {state: _at(values, hour) or 0 for state, values in counts.items()}
    total = sum(at.values())
    alerts = [(number, body) for number, body in alerts_of(day) if hour in body["hours"]]
    places = mapped.worst(hour, WORST_SHOWN)
    bodies = city.arcs_on(documents, day.date, [mapped.arcs[place] for place in places])
    return Hour(
        index=hour,
        label=day.labels[hour],
        shares=[(state, at.get(state, 0) / total if total else None) for state in STATES],
        alerts=alerts[:ALERTS_SHOWN],
        alerts_total=len(alerts),
        worst=[
            WorstArc(
                arc=mapped.arcs[place],
                label=street_name(bodies.get(mapped.arcs[place], {}).get("label")),
                state=city.LETTERS[mapped.states[place][hour]] or "Inconnu",
                flow=mapped.flows[place][hour],
                lost_time=mapped.lost[place],
            )
            for place in places
        ],
    )


def kpis(day: Day, hour: int, say: Words) -> list[Kpi]:
    """Return the five headline figures of a day."""
    return [
        saturation_kpi(day, hour, say),
        _worst_hour_kpi(day, say),
        _bikes_kpi(day, say),
        _disruptions_kpi(day, say),
        _sensors_kpi(day, say),
    ]


def saturation_kpi(day: Day, hour: int, say: Words) -> Kpi:
    """Return the share of arcs that are saturated or worse at an hour, beside the usual."""
    term = say._("Saturated or blocked at %(hour)s", hour=say.hour(day.labels[hour]))
    traffic = day["traffic"] or {}
    share = _at((traffic.get("by_hour") or {}).get("saturation_share"), hour)
    if share is None:
        return Kpi(term, None, "", _why_missing(day, "roads", say))
    usual = (traffic.get("usual") or {}).get("saturation_share") or {}
    median, low, high = (_at(usual.get(part), hour) for part in ("median", "low", "high"))
    note = say._("too few days yet for what is usual")
    if median is not None and low is not None and high is not None:
        note = say._(
            "usual %(median)s, range %(range)s",
            median=say.percent(median, 0),
            range=say.interval((100 * low, 100 * high), 0),
        )
    return Kpi(term, say.num(100 * share, 0 if share >= 0.1 else 1), "%", note)


def figures(day: Day, hour: int, say: Words) -> list[Chart]:
    """Return the charts of the day's page, those whose source is there."""
    drawn = (
        saturation_by_hour(day["traffic"], day.labels, hour, say) if day["traffic"] else None,
        bikes_by_hour(day["bikes"], day.labels, hour, say) if day["bikes"] else None,
    )
    return [chart for chart in drawn if chart is not None]


def rankings(day: Day, say: Words) -> list[tuple[str, str, int, list[Body]]]:
    """Return the rankings of a day: title, heading of the value, its decimals, rows."""
    body = day["ranking"] or {}
    named = (
        (say._("Arcs by time lost"), say._("Time lost, vehicle-hours"), 1, body.get("by_lost_time")),
        (say._("Arcs by vehicles"), say._("Vehicles"), 0, body.get("by_flow")),
    )
    return [(title, heading, digits, rows) for title, heading, digits, rows in named if rows]


def pins(day: Day) -> list[dict[str, Any]]:
    """Return the alerts as the map draws them: number, place, hours, label."""
    return [
        {
            "n": number,
            "at": [body["longitude"], body["latitude"]],
            "hours": body["hours"],
            "label": street_name(body["label"]),
            "id": body["id"],
        }
        for number, body in alerts_of(day)
        if body.get("longitude") is not None and body.get("latitude") is not None
    ]


def sources_of(day: Day) -> list[tuple[str, Body | None]]:
    """Return each source with what was read of it; None where it delivered nothing."""
    quality = day["quality"] or {}
    return list((quality.get("sources") or {}).items())


def strip(days: Sequence[date], bodies: Mapping[date, Body]) -> list[list[Cell]]:
    """Return the last months as weeks of seven cells, Monday first, up to the week of the latest day."""
    latest = days[-1]
    computed_days = set(days)
    monday = latest - timedelta(days=latest.weekday())
    begin = max(monday - timedelta(weeks=STRIP_WEEKS - 1), days[0] - timedelta(days=days[0].weekday()))
    count = (monday - begin).days // 7 + 1
    return [
        [_cell(begin + timedelta(weeks=w, days=d), computed_days, bodies) for d in range(7)]
        for w in range(count)
    ]


def day_row(day: date, traffic: Body | None) -> DayRow:
    body = traffic or {}
    worst, labels = body.get("worst_hour"), body.get("hours")
    label = labels[worst] if labels and worst is not None else None
    return DayRow(
        date=day,
        saturation=body.get("saturation_share"),
        lost_time=body.get("lost_time"),
        coverage=body.get("coverage"),
        worst_hour=label,
    )


def _cell(day: date, computed_days: set[date], bodies: Mapping[date, Body]) -> Cell:
    share = (bodies.get(day) or {}).get("saturation_share")
    step = None if share is None else sum(share > limit for limit in STEPS)
    return Cell(day, day in computed_days, step, share)


def _worst_hour_kpi(day: Day, say: Words) -> Kpi:
    term, traffic = say._("Worst hour"), day["traffic"] or {}
    worst = traffic.get("worst_hour")
    if worst is None:
        return Kpi(term, None, "", _why_missing(day, "roads", say))
    share = _at((traffic.get("by_hour") or {}).get("saturation_share"), worst)
    note = say._("%(share)s saturated or blocked", share=say.percent(share))
    return Kpi(term, say.hour(day.labels[worst]), "", note)


def _bikes_kpi(day: Day, say: Words) -> Kpi:
    term, bikes = say._("Bikes counted"), day["bikes"] or {}
    total = bikes.get("total")
    if total is None:
        return Kpi(term, None, "", _why_missing(day, "bikes", say))
    usual = [value for value in (bikes.get("usual") or {}).get("median") or () if value is not None]
    notes = []
    if usual and sum(usual) > 0:
        change = total / sum(usual) - 1
        notes.append(say._("%(change)s %% against usual", change=say.signed(100 * change, 0)))
    rain = (day["weather"] or {}).get("precipitation")
    if rain:
        notes.append(say._("rain %(amount)s", amount=say.qty(rain, "mm", 1)))
    if not notes:
        notes.append(say.ngettext("%(count)s counter", "%(count)s counters", bikes.get("reporting") or 0))
    return Kpi(term, say.num(total), "", _joined(notes, say))


def _joined(notes: Sequence[str], say: Words) -> str:
    """Join notes by semicolons, with the blanks that the language has around them."""
    first, *others = notes
    for note in others:
        first = say._("%(first)s; %(second)s", first=first, second=note)
    return first


def _disruptions_kpi(day: Day, say: Words) -> Kpi:
    term, body = say._("Transit disruptions"), day["disruptions"] or {}
    active = body.get("active")
    if active is None:
        return Kpi(term, None, "", _why_missing(day, "disruptions", say))
    still = body.get("open") or 0
    note = say.ngettext(
        "%(count)s still open at the day's end", "%(count)s still open at the day's end", still
    )
    return Kpi(term, say.num(active), "", note)


def _sensors_kpi(day: Day, say: Words) -> Kpi:
    term, body = say._("Sensors reporting"), day["sensors"] or {}
    known_sensors, reporting = body.get("known"), body.get("reporting")
    if not known_sensors or reporting is None:
        return Kpi(term, None, "", say._("no sensor is known"))
    note = say._("%(reporting)s of %(known)s", reporting=say.num(reporting), known=say.num(known_sensors))
    return Kpi(
        term,
        say.num(100 * reporting / known_sensors, 0 if reporting >= 0.1 * known_sensors else 1),
        "%",
        note,
    )


def _why_missing(day: Day, table: str, say: Words) -> str:
    missing = (day["quality"] or {}).get("missing") or ()
    if table in missing:
        return say._("the source delivered nothing")
    return say._("no data for this hour or day")


def _week_before(day: Day) -> date | None:
    before = (day["traffic"] or {}).get("week_before")
    return date.fromisoformat(before["date"]) if before else None


def _at(values: Sequence[Any] | None, place: int) -> Any:
    return values[place] if values and place < len(values) else None


def _tagged(request: Request, body: Mapping[str, Any], media_type: str) -> Response:
    """Return JSON with a tag of its text; 304 where the browser has that very text."""
    data, digest = city.encoded(body)
    headers = {"etag": f'"{digest}"', "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)

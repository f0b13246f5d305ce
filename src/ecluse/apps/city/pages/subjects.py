"""Show one subject of a day by itself: zones, alerts, bikes, sensors, transit, works, the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from fastapi import Request
from starlette.responses import Response

from ecluse.apps.city.calendar import place_of
from ecluse.apps.city.coverage import FEW_ARCS, rests_on_few
from ecluse.apps.city.days import no_such_day
from ecluse.apps.city.names import mode_in
from ecluse.apps.city.pages import view as city
from ecluse.apps.city.pages.arcs import flow_chart, occupancy_chart
from ecluse.apps.city.pages.charts import Caption, bars_across, bikes_by_hour
from ecluse.apps.city.pages.days import alerts_of
from ecluse.apps.city.settings import CitySettings
from ecluse.apps.city.streets import street_name
from ecluse.documents import Body
from ecluse.errors import NotFound
from ecluse.runtime import Runtime
from ecluse.web.charts import Chart
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import ABSENT, Words
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

if TYPE_CHECKING:
    from ecluse.apps.city.sections import Cells

router = Declarations()
#: Rows of a long table before the rest is folded away.
SHOWN: Final = 30
#: Kinds of metrics each page reads.
READS: Final = {
    "zones": ("zones", "ranking"),
    "alerts": ("alerts",),
    "bikes": ("bikes", "weather"),
    "sensors": ("sensors", "bikes"),
    "disruptions": ("disruptions",),
    "works": ("works",),
}


@dataclass(frozen=True)
class Observed:
    """An hour of an alert: what was observed, and the usual."""

    label: str
    value: float | None
    median: float | None
    low: float | None
    high: float | None


@router.get("/city/{day}/zones")
def show_zones(request: Request, day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show each zone's roads: vehicles, time lost, saturation, its worst arcs."""
    bodies = _read(runtime, day, "zones")
    say, body = words_of(request), bodies["zones"] or {}
    zones = sorted(body.get("zones") or (), key=lambda zone: -(zone.get("lost_time") or 0))
    persistence = {row["zone"]: row for row in (bodies["ranking"] or {}).get("zones") or ()}
    return _page(
        request,
        runtime,
        bodies,
        "city/zones.html",
        zones=zones,
        whole=body.get("city"),
        outside=body.get("outside"),
        persistence=persistence,
        figures=_zone_figures(zones, say),
    )


@router.get("/city/{day}/alerts")
def show_alerts(request: Request, day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show every alert of a day, worst first."""
    bodies = _read(runtime, day, "alerts")
    body = bodies["alerts"] or {}
    alerts = alerts_of(bodies)
    total = body.get("alerts_total", len(alerts))
    return _page(request, runtime, bodies, "city/alerts.html", alerts=alerts, total=total, body=body)


@router.get("/city/{day}/alerts/{alert}")
def show_alert(request: Request, day: str, alert: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show why an alert was raised: the rule, what was observed against the usual, works near."""
    say = words_of(request)
    bodies = city.read_day(runtime.documents, city.date_of(day), ("traffic", "alerts", "works"))
    number, body = next(
        ((n, alert_body) for n, alert_body in alerts_of(bodies) if alert_body["id"] == alert), (0, None)
    )
    if body is None:
        raise NotFound(f"No alert {alert[:60]} on {bodies.date}. See: /city/{bodies.date}/alerts")
    sites = {site["site"]: site for site in (bodies["works"] or {}).get("items") or ()}
    arc = city.arcs_on(runtime.documents, bodies.date, [body["arc"]]).get(body["arc"])
    return _page(
        request,
        runtime,
        bodies,
        "city/alert.html",
        number=number,
        alert=body,
        observed=observed_hours(body, bodies.labels),
        figures=_alert_figures(body, arc, bodies.labels, say),
        arc=arc,
        as_date=date.fromisoformat,
        works=[sites.get(site, {"site": site}) for site in body.get("works") or ()],
    )


@router.get("/city/{day}/bikes")
def show_bikes(request: Request, day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Bikes by counter against the usual, by zone, anomalies, counters that fail."""
    bodies = _read(runtime, day, "bikes")
    say, body = words_of(request), bodies["bikes"]
    counters = sorted((body or {}).get("counters") or (), key=lambda counter: -(counter.get("total") or 0))
    chart = (
        bikes_by_hour(body, bodies.labels, place_of(bodies.labels, body.get("peak_at")), say)
        if body
        else None
    )
    return _page(
        request,
        runtime,
        bodies,
        "city/bikes.html",
        body=body,
        counters=counters,
        weather=bodies["weather"],
        figures=[chart] if chart else [],
    )


@router.get("/city/{day}/sensors")
def show_sensors(request: Request, day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show which sensors report, which fail and why."""
    bodies = _read(runtime, day, "sensors")
    body = bodies["sensors"] or {}
    failing = {sensor["sensor"]: sensor for sensor in (body.get("failing") or ())}
    for sensor in (bodies["bikes"] or {}).get("failing") or ():
        failing.setdefault(sensor["sensor"], sensor)
    silent = silent_roads(body)
    return _page(
        request,
        runtime,
        bodies,
        "city/sensors.html",
        body=bodies["sensors"],
        failing=[sensor for sensor in failing.values() if not (silent and _is_silent_road(sensor))],
        silent=silent,
        moment=_teller(request, runtime),
    )


@router.get("/city/{day}/disruptions")
def show_disruptions(request: Request, day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show disruptions of transit by line and by mode."""
    bodies = _read(runtime, day, "disruptions")
    say, body = words_of(request), bodies["disruptions"]
    return _page(
        request,
        runtime,
        bodies,
        "city/disruptions.html",
        body=body,
        figures=_line_figures((body or {}).get("most_affected") or (), say),
        moment=_teller(request, runtime),
    )


@router.get("/city/{day}/works")
def show_works(request: Request, day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Works active on a day, by zone and impact, and traffic near them before and since."""
    bodies = _read(runtime, day, "works")
    return _page(
        request, runtime, bodies, "city/works.html", body=bodies["works"], as_date=date.fromisoformat
    )


@router.get("/city/{day}/report")
def show_report(request: Request, day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show the day's report as a page that prints."""
    bodies = city.read_day(runtime.documents, city.date_of(day), ("quality", "traffic", "sensors"))
    key = ("reports", bodies.date.isoformat())
    report = runtime.documents.get_many([key]).get(key)
    return _page(
        request,
        runtime,
        bodies,
        "city/report.html",
        report=report,
        quality=bodies["quality"],
        traffic=bodies["traffic"],
        few=rests_on_few(bodies["traffic"]),
        silent=silent_roads(bodies["sensors"] or {}),
        more=_more_sections(runtime, report, words_of(request)) if report else [],
    )


def _more_sections(runtime: Runtime, report: Body, say: Words) -> list[tuple[str, list[Cells]]]:
    """Return the sections of the report that the page has no part of its own for: title and tables."""
    from ecluse.apps.city.report import sections
    from ecluse.apps.city.sections import cells_of

    stretch = city.stretches(runtime.documents)
    return [
        (say._(section.title), [cells_of(table, report, say, stretch) for table in section.tables])
        for section in sections()
        if not section.has_own_part
    ]


@router.get("/city/{day}/report.html")
def download_report(request: Request, day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Return the report as one file that needs nothing else; as a download, as its styles stand inside it."""
    at = city.date_of(day)
    text = printed_report(runtime, at, words_of(request).language)
    return _download(text, "text/html; charset=utf-8", f"report-{at}.html")


def printed_report(runtime: Runtime, at: date, language: str) -> str:
    """Return the report of a day as a page that needs nothing else. Raises NoSuchDay where there is none."""
    from ecluse.apps.city.printed import print_report

    documents = runtime.documents
    report = _report(runtime, at)
    mapped = city.read_map(documents, at)
    lost_of_arc = {
        arc: value for arc, value in zip(mapped.arcs, mapped.lost, strict=True) if value is not None
    }
    return print_report(report, city.all_arcs(documents), lost_of_arc, language)


@router.get("/city/{day}/report.csv")
def download_rows(day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Return the report as a tidy table: section, rank, id, name, metric, value, unit."""
    from ecluse.apps.city.report import tidy_csv

    at = city.date_of(day)
    return _download(tidy_csv(_report(runtime, at)), "text/csv; charset=utf-8", f"report-{at}.csv")


def silent_roads(sensors: Body) -> int:
    """Return how many road sensors are silent where those are most of them, so that no list of them helps; else 0."""
    roads = (sensors.get("by_kind") or {}).get("arc") or {}
    known_sensors, reporting = roads.get("known") or 0, roads.get("reporting") or 0
    return known_sensors - reporting if reporting < FEW_ARCS * known_sensors else 0


def _is_silent_road(sensor: Body) -> bool:
    return bool(sensor["kind"] == "arc" and sensor["reason"] == "silent")


def observed_hours(alert: Body, labels: Sequence[str]) -> list[Observed]:
    """Return what was observed at each hour of an alert, with the usual where it is known."""
    why = alert["why"]
    usual = why["usual"]

    def part(name: str, place: int) -> float | None:
        return usual[name][place] if usual else None

    return [
        Observed(labels[hour], value, part("median", i), part("low", i), part("high", i))
        for i, (hour, value) in enumerate(zip(alert["hours"], why["observed"], strict=True))
        if hour < len(labels)
    ]


def _alert_figures(alert: Body, arc: Body | None, labels: Sequence[str], say: Words) -> list[Chart]:
    if arc is None:
        return []
    usual = arc.get("usual") or {}
    first = alert["hours"][0] if alert["hours"] else None
    charts = [flow_chart(arc, usual, labels, say, hour=first)]
    if any(value is not None for value in arc["occupancy"]):
        charts.append(occupancy_chart(arc, usual, labels, say, hour=first))
    return charts if alert["kind"] == "flow" else list(reversed(charts))


def _zone_figures(zones: Sequence[Body], say: Words) -> list[Chart]:
    zones_with_loss = [zone for zone in zones if zone.get("lost_time")]
    if not zones_with_loss:
        return []
    caption = Caption("chart-zones", say._("Time lost by zone"), say._("vehicle-hours"))
    bars = [(zone["name"] or str(zone["zone"]), zone["lost_time"]) for zone in zones_with_loss]
    return [bars_across(caption, say._("Zone"), bars, say)]


def _line_figures(lines: Sequence[Body], say: Words) -> list[Chart]:
    lines_disturbed = [line for line in lines if line.get("blocked_hours") or line.get("disturbed_hours")]
    if not lines_disturbed:
        return []
    caption = Caption(
        "chart-lines",
        say._("Hours of blocked or disturbed service"),
        say._("hours, the ten lines most affected"),
    )
    bars = [
        (
            f"{mode_in(say.language, line['mode']) or ''} {line['name']}".strip(),
            (line["blocked_hours"] or 0) + (line["disturbed_hours"] or 0),
        )
        for line in lines_disturbed
    ]
    return [bars_across(caption, say._("Line"), bars, say, digits=1)]


def _read(runtime: Runtime, day: str, page: str) -> city.Day:
    return city.read_day(runtime.documents, city.date_of(day), READS[page])


def _report(runtime: Runtime, day: date) -> Body:
    key = ("reports", day.isoformat())
    report = runtime.documents.get_many([key]).get(key)
    if report is None:
        raise no_such_day(runtime.documents, day, "reports")
    names = city.naming(
        runtime.documents, runtime.settings.of(CitySettings).name, city.read_day(runtime.documents, day, ())
    )
    return {**report, **names}


def _page(request: Request, runtime: Runtime, day: city.Day, template: str, **context: Any) -> Response:
    shared = {
        **city.naming(runtime.documents, runtime.settings.of(CitySettings).name, day),
        "day": day,
        "street": street_name,
        "stretch": city.stretches(runtime.documents),
        "zone_names": city.zone_names(runtime.documents),
        "shown": SHOWN,
        "figures": [],
    }
    return render(request, template, shared | context)


def _teller(request: Request, runtime: Runtime) -> Callable[[str | None], str]:
    """Return what says a moment as documents have it, on the city's clocks."""
    local = Words(words_of(request).language, ZoneInfo(runtime.settings.of(CitySettings).zone))
    return lambda text: local.when(datetime.fromisoformat(text)) if text else ABSENT


def _download(text: str, media_type: str, name: str) -> Response:
    return Response(
        text, media_type=media_type, headers={"content-disposition": f'attachment; filename="{name}"'}
    )

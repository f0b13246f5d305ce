"""Write the report of a day: its document, its tidy table, and a page one can read and print.

Everything is taken from the day's metrics, so that the report says what the pages and the API say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from ecluse.apps.city.calendar import LocalDay
from ecluse.documents import Body
from ecluse.formulas import neutralise_formulas

#: How many rows of each list a report has; the pages and the API have them all.
LISTED: Final = {"zones": 20, "alerts": 20, "bottlenecks": 10, "failing": 30, "sites": 20, "lines": 10}
#: Below this share of the known arcs a day is said to rest on few.
FEW_ARCS: Final = 0.5
#: What it keeps of the metrics of bikes and of traffic.
BIKES: Final = ("total", "peak_at", "counters_known", "reporting", "by_hour", "usual")
TRAFFIC: Final = (
    "arcs_known",
    "arcs_reporting",
    "vehicles",
    "lost_time",
    "saturation_share",
    "coverage",
    "by_hour",
    "usual",
)
COLUMNS: Final = ("section", "rank", "id", "name", "metric", "value", "unit")

Found = Mapping[str, Body]


@dataclass(frozen=True)
class Headline:
    """One of the five figures at the top. `value` is None where nothing is known; `beside` says what to hold it to."""

    id: str
    value: float | None
    unit: str
    beside: Mapping[str, Any]


def make_report(city: str, day: LocalDay, metrics: Found, *, invented: bool = False) -> Body:
    """Return the report as it is kept. `found`: kind of metrics → its document; `invented`: the city does not exist.

    What a day lacks is null or an empty list, and named in `quality.missing`.
    """
    return {
        "city": city,
        "invented": invented,
        "date": day.date.isoformat(),
        "zone": day.zone.key,
        "hours": list(day.labels),
        "headlines": [vars(headline) | {"beside": dict(headline.beside)} for headline in _headlines(metrics)],
        "by_flow": _of(metrics, "ranking", "by_flow"),
        "by_lost_time": _of(metrics, "ranking", "by_lost_time"),
        "zones_by_lost_time": _of(metrics, "ranking", "zones"),
        "zones": [_zone(zone) for zone in _of(metrics, "zones", "zones")][: LISTED["zones"]],
        "alerts": [_alert(alert) for alert in _of(metrics, "alerts", "alerts")][: LISTED["alerts"]],
        "alerts_total": _total(metrics, "alerts", "alerts"),
        "alerts_judged": _some(metrics, "alerts", ("arcs_reporting", "arcs_judged", "days_needed")),
        "bottlenecks": _bottlenecks(metrics),
        "failing": _failing(metrics)[: LISTED["failing"]],
        "failing_total": len(_failing(metrics)),
        "availability": _value(metrics, "sensors", "availability"),
        "works": _works(metrics),
        "disruptions": _disruptions(metrics),
        "weather": _weather(metrics),
        "bikes": _some(metrics, "bikes", BIKES),
        "traffic": _some(metrics, "traffic", TRAFFIC),
        "week_before": _value(metrics, "traffic", "week_before"),
        "quality": _quality(metrics),
        "rests_on_few": rests_on_few(metrics.get("traffic")),
    }


def rests_on_few(traffic: Mapping[str, Any] | None) -> bool:
    """Return whether so few arcs report that a day's figures of the roads say little of the city. `traffic`: its
    metrics.
    """
    arcs_known = int((traffic or {}).get("arcs_known") or 0)
    reporting = int((traffic or {}).get("arcs_reporting") or 0)
    return 0 < reporting < FEW_ARCS * arcs_known


def _headlines(metrics: Found) -> Iterator[Headline]:
    traffic, bikes = metrics.get("traffic", {}), metrics.get("bikes", {})
    disruptions, sensors = metrics.get("disruptions", {}), metrics.get("sensors", {})
    week = traffic.get("week_before") or {}
    yield Headline(
        "vehicles",
        traffic.get("vehicles"),
        "vehicle passages",
        {"coverage": traffic.get("coverage"), "change": (week.get("vehicles") or {}).get("change")},
    )
    yield Headline(
        "lost_time",
        traffic.get("lost_time"),
        "vehicle-hours",
        {"worst_hour": traffic.get("worst_hour"), "change": (week.get("lost_time") or {}).get("change")},
    )
    yield Headline(
        "bikes",
        bikes.get("total"),
        "bikes",
        {"reporting": bikes.get("reporting"), "known": bikes.get("counters_known")},
    )
    yield Headline(
        "disruptions",
        disruptions.get("active"),
        "disruptions",
        {"open": disruptions.get("open"), "reliability": disruptions.get("reliability")},
    )
    yield Headline(
        "availability",
        sensors.get("availability"),
        "share",
        {"reporting": sensors.get("reporting"), "known": sensors.get("known")},
    )


def _zone(zone: Body) -> Body:
    names = ("zone", "name", "arcs", "reporting", "vehicles", "lost_time", "saturation_share", "coverage")
    return {name: zone.get(name) for name in names}


def _alert(alert: Body) -> Body:
    names = ("id", "kind", "severity", "arc", "label", "zone", "from", "to", "hours", "latitude", "longitude")
    figures = ("lost_time", "lost_time_more")
    why = alert.get("why") or {}
    rule = {name: why.get(name) for name in ("rule", "threshold", "times", "similar_days", "compared_days")}
    listed = {name: alert.get(name, []) for name in ("causes", "works")}
    return {name: alert.get(name) for name in (*names, *figures)} | {"why": rule} | listed


def _bottlenecks(metrics: Found) -> Body | None:
    """Return the ranking of the weeks up to the day, over days of its kind."""
    body = metrics.get("bottlenecks")
    if body is None:
        return None
    kind = body["kind_of_day"]
    ranking = body["rankings"][kind]
    section = {"from": body["from"], "to": body["to"], "kind_of_day": kind, "days": ranking["days"]}
    return section | {"total": ranking["total"], "items": ranking["items"][: LISTED["bottlenecks"]]}


def _failing(metrics: Found) -> list[Body]:
    sensors = _of(metrics, "sensors", "failing")
    names = ("sensor", "kind", "id", "label", "zone", "reason")
    return [{name: sensor.get(name) for name in names} for sensor in sensors]


def _works(metrics: Found) -> Body | None:
    works = metrics.get("works")
    if works is None:
        return None
    names = ("site", "title", "streets", "zone", "impact", "level", "begin", "end", "area")
    items = [{name: item.get(name) for name in names} for item in works.get("items", [])]
    section = {name: works.get(name) for name in ("active", "area", "by_zone", "by_impact", "critical_zones")}
    return section | {"items": items[: LISTED["sites"]]}


def _disruptions(metrics: Found) -> Body | None:
    disruptions = metrics.get("disruptions")
    if disruptions is None:
        return None
    section = {
        name: disruptions.get(name)
        for name in ("active", "open", "reliability", "blocked_line_hours", "by_mode")
    }
    return section | {"most_affected": disruptions.get("most_affected", [])[: LISTED["lines"]]}


def _weather(metrics: Found) -> Body | None:
    names = (
        "temperature",
        "temperature_min",
        "temperature_max",
        "precipitation",
        "wind",
        "conditions",
        "provider",
        "categories",
        "score",
        "effect",
    )
    return _some(metrics, "weather", names)


def _quality(metrics: Found) -> Body:
    """Return what was missing or set aside, and what was read from a local copy."""
    quality = metrics.get("quality", {})
    sources = {name: source for name, source in (quality.get("sources") or {}).items() if source}
    return {
        "missing": quality.get("missing", []),
        "doubts": quality.get("doubts", []),
        "records": {name: source.get("records") for name, source in sources.items()},
        "rejected": {name: source["rejected"] for name, source in sources.items() if source.get("rejected")},
        "fallback": sorted(file for source in sources.values() for file in source.get("fallback", [])),
    }


def _of(metrics: Found, kind: str, name: str) -> list[Body]:
    listed: list[Body] = metrics.get(kind, {}).get(name) or []
    return listed


def _total(metrics: Found, kind: str, name: str) -> int:
    body = metrics.get(kind, {})
    return int(body.get(f"{name}_total", len(body.get(name) or [])))


def _value(metrics: Found, kind: str, name: str) -> Any:
    return metrics.get(kind, {}).get(name)


def _some(metrics: Found, kind: str, names: Sequence[str]) -> Body | None:
    body = metrics.get(kind)
    return None if body is None else {name: body.get(name) for name in names}


# The tidy table


@dataclass(frozen=True)
class Row:
    """One figure of the report in the tidy table."""

    section: str
    rank: int | None
    id: str
    name: str
    metric: str
    value: float | str | None
    unit: str


def tidy_rows(report: Body) -> list[Row]:
    """Return every figure of a report, one per row: section, rank, id, name, metric, value, unit."""
    return [
        *_provenance(report),
        *_single_figures(report),
        *_ranked(report),
        *_listed(report),
        *_weather_rows(report),
        *_said(report),
    ]


def tidy_csv(report: Body) -> str:
    """Return the tidy table as CSV; no text of it is one that a spreadsheet would run as a formula."""
    rows = tidy_rows(report)
    cells = {name: [_cell(getattr(row, name)) for row in rows] for name in COLUMNS}
    return neutralise_formulas(pl.DataFrame(cells, schema=dict.fromkeys(COLUMNS, pl.String()))).write_csv()


def _cell(value: float | str | None) -> str | None:
    return repr(value) if isinstance(value, int | float) else value


def _provenance(report: Body) -> Iterator[Row]:
    kind = "invented" if report.get("invented") else "measured"
    yield Row("city", None, "city", report["city"], "data", kind, "")


def _single_figures(report: Body) -> Iterator[Row]:
    for headline in report["headlines"]:
        yield Row("headlines", None, headline["id"], "", headline["id"], headline["value"], headline["unit"])
    for name, compared in (report["week_before"] or {}).items():
        if isinstance(compared, Mapping):
            yield Row("week on week", None, name, "", "value a week ago", compared["value"], "")
            yield Row("week on week", None, name, "", "change", compared["change"], "share")


def _ranked(report: Body) -> Iterator[Row]:
    for section, identity in (("by_flow", "arc"), ("by_lost_time", "arc"), ("zones_by_lost_time", "zone")):
        for entry in report[section]:
            name = entry.get("label") or entry.get("name") or ""
            at = (section.replace("_", " "), entry["rank"], str(entry[identity]), name)
            yield Row(*at, section.rpartition("by_")[2], entry["value"], entry["unit"])
            if entry.get("persistence") is not None:
                yield Row(*at, "persistence", entry["persistence"], "days of the last 28")


_ZONE_UNITS: Final = {
    "vehicles": "vehicle passages",
    "lost_time": "vehicle-hours",
    "saturation_share": "share",
    "coverage": "share",
}


_BOTTLENECK_UNITS: Final = {
    "recurrence": "share of measured days",
    "duration": "hours a day with a queue",
    "length": "m",
    "lost_time": "vehicle-hours",
    "lost_time_a_day": "vehicle-hours a day",
}


def _listed(report: Body) -> Iterator[Row]:
    for zone in report["zones"]:
        for metric, unit in _ZONE_UNITS.items():
            yield Row("zones", None, str(zone["zone"]), zone["name"] or "", metric, zone[metric], unit)
    for rank, alert in enumerate(report["alerts"], start=1):
        at = ("alerts", rank, str(alert["arc"]), alert["label"] or "")
        summary = f"{alert['kind']} {alert['from']} to {alert['to']}"
        yield Row(*at, summary, alert["severity"], "severity 1 to 3")
        yield Row(*at, "against the usual", alert["why"]["times"], "times the usual band")
        yield Row(*at, "lost beyond the usual", alert["lost_time_more"], "vehicle-hours")
        causes = ", ".join(dict.fromkeys(cause["kind"] for cause in alert["causes"])) or "none in the data"
        yield Row(*at, "may be why", causes, "")
    for bottleneck in (report.get("bottlenecks") or {}).get("items", []):
        at = ("bottlenecks", bottleneck["rank"], str(bottleneck["arc"]), bottleneck["label"] or "")
        for metric, unit in _BOTTLENECK_UNITS.items():
            yield Row(*at, metric, bottleneck[metric], unit)
    for sensor in report["failing"]:
        yield Row(
            "failing sensors", None, sensor["sensor"], sensor["label"] or "", "reason", sensor["reason"], ""
        )
    for site in (report["works"] or {}).get("items", []):
        yield Row("works", None, site["site"], site["title"] or "", "impact", site["impact"], "")
    for rank, line in enumerate((report["disruptions"] or {}).get("most_affected", []), start=1):
        name = f"{line.get('mode') or ''} {line.get('name') or ''}".strip()
        at = ("disruptions", rank, str(line["line"]), name)
        yield Row(*at, "blocked", line["blocked_hours"], "hours")
        yield Row(*at, "disturbed", line["disturbed_hours"], "hours")
        yield Row(*at, "reliability", line["reliability"], "share")


_WEATHER_UNITS: Final = {
    "temperature": "°C",
    "temperature_min": "°C",
    "temperature_max": "°C",
    "precipitation": "mm",
    "wind": "km/h",
    "score": "0 to 100",
}


def _weather_rows(report: Body) -> Iterator[Row]:
    weather = report["weather"] or {}
    for metric, unit in _WEATHER_UNITS.items():
        if metric in weather:
            yield Row("weather", None, metric, weather.get("provider") or "", metric, weather[metric], unit)


def _said(report: Body) -> Iterator[Row]:
    quality = report["quality"]
    for table in quality["missing"]:
        yield Row("data quality", None, table, "", "missing", None, "")
    for doubt in quality.get("doubts", ()):
        yield Row("data quality", None, doubt["source"] or "", doubt["text"], doubt["kind"], None, "")
    for table, reasons in quality["rejected"].items():
        for reason, count in reasons.items():
            yield Row("data quality", None, table, reason, "set aside", count, "records")
    for file in quality["fallback"]:
        yield Row("data quality", None, file, "", "read from the local copy", None, "")

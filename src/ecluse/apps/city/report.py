"""Write the report of a day: its document, its tidy table, and a page one can read and print.

Everything is taken from the day's metrics, so that the report says what the pages and the API say. What it keeps of a
kind of metrics, and the tables of it, that kind's `PROCESSOR` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.processors import PROCESSORS
from ecluse.apps.city.sections import Figure, ReportTable, Section
from ecluse.documents import Body
from ecluse.formulas import neutralise_formulas

COLUMNS: Final = ("section", "rank", "id", "name", "metric", "value", "unit")


@dataclass(frozen=True)
class Headline:
    """One of the five figures at the top. `value` is None where nothing is known; `beside` says what to hold it to."""

    id: str
    value: float | None
    unit: str
    beside: Mapping[str, Any]


def make_report(city: str, day: LocalDay, metrics: Mapping[str, Body], *, invented: bool = False) -> Body:
    """Return the report as it is kept. `metrics`: those of each kind; `invented`: the city does not exist.

    What a day lacks is null or an empty list, and named in `quality.missing`.
    """
    report: Body = {
        "city": city,
        "invented": invented,
        "date": day.date.isoformat(),
        "zone": day.zone.key,
        "hours": list(day.labels),
        "headlines": [vars(headline) | {"beside": dict(headline.beside)} for headline in _headlines(metrics)],
    }
    for kind, processor in PROCESSORS.items():
        report |= processor.summary(metrics.get(kind))
    return report | {"quality": _quality(metrics)}


def sections() -> list[Section]:
    """Return the sections of the report in their order."""
    stated = (processor.section for processor in PROCESSORS.values() if processor.section is not None)
    return sorted(stated, key=lambda section: section.order)


def tables() -> Iterator[ReportTable]:
    """Yield the tables of the report, section by section."""
    for section in sections():
        yield from section.tables


def _headlines(metrics: Mapping[str, Body]) -> Iterator[Headline]:
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


def _quality(metrics: Mapping[str, Body]) -> Body:
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


# The tidy table


def tidy_rows(report: Body) -> list[Figure]:
    """Return every figure of a report, one per row: section, rank, id, name, metric, value, unit."""
    figures = [*_provenance(report), *_headline_figures(report)]
    for table in tables():
        figures += table.figures_of(report)
    return [*figures, *_quality_figures(report)]


def tidy_csv(report: Body) -> str:
    """Return the tidy table as CSV; no text of it is one that a spreadsheet would run as a formula."""
    rows = tidy_rows(report)
    cells = {name: [_cell(getattr(row, name)) for row in rows] for name in COLUMNS}
    return neutralise_formulas(pl.DataFrame(cells, schema=dict.fromkeys(COLUMNS, pl.String()))).write_csv()


def _cell(value: float | str | None) -> str | None:
    return repr(value) if isinstance(value, int | float) else value


def _provenance(report: Body) -> Iterator[Figure]:
    kind = "invented" if report.get("invented") else "measured"
    yield Figure("city", None, "city", report["city"], "data", kind, "")


def _headline_figures(report: Body) -> Iterator[Figure]:
    for headline in report["headlines"]:
        yield Figure(
            "headlines", None, headline["id"], "", headline["id"], headline["value"], headline["unit"]
        )


def _quality_figures(report: Body) -> Iterator[Figure]:
    quality = report["quality"]
    for table in quality["missing"]:
        yield Figure("data quality", None, table, "", "missing", None, "")
    for doubt in quality.get("doubts", ()):
        yield Figure("data quality", None, doubt["source"] or "", doubt["text"], doubt["kind"], None, "")
    for table, reasons in quality["rejected"].items():
        for reason, count in reasons.items():
            yield Figure("data quality", None, table, reason, "set aside", count, "records")
    for file in quality["fallback"]:
        yield Figure("data quality", None, file, "", "read from the local copy", None, "")

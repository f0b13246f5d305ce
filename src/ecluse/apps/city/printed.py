"""Print the report of a day: one HTML file with its figures, charts and map, that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ecluse.apps.city import drawing
from ecluse.apps.city.names import source_in
from ecluse.apps.city.report import sections
from ecluse.apps.city.sections import Cells, ReportTable, cells_of
from ecluse.apps.city.streets import stretch_of
from ecluse.documents import Body
from ecluse.web.i18n import ABSENT, ENGLISH, Words

TEMPLATES: Final = Path(__file__).parent / "templates" / "printed"


def print_report(report: Body, arcs: Iterable[Body], lost_time: Mapping[int, float], language: str) -> str:
    """Return the report as a whole HTML page. `arcs`: the reference; `lost_time`: arc → vehicle-hours lost that day."""
    return print_reports(report, arcs, lost_time, [language])[language]


def print_reports(
    report: Body, arcs: Iterable[Body], lost_time: Mapping[int, float], languages: Iterable[str]
) -> dict[str, str]:
    """Return the same by language; the map is drawn once."""
    arcs = list(arcs)
    arc_of = {arc["arc"]: arc for arc in arcs}
    template = _environment().get_template("_strokes.html")
    strokes = Markup(template.render(strokes=drawing.draw_map(arcs, lost_time)).strip())  # noqa: S704 (of a template)
    return {language: _printed(report, arc_of, strokes, language) for language in languages}


def _printed(report: Body, arc_of: Mapping[int, Body], strokes: Markup, language: str) -> str:
    words = Words(language)
    traffic, bikes = report["traffic"] or {}, report["bikes"] or {}
    saturation = (traffic.get("usual") or {}).get("saturation_share")

    def cells(table: ReportTable) -> Cells:
        return cells_of(table, report, words, lambda arc: stretch_of(arc_of[arc]) if arc in arc_of else "")

    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            words=words,
            _=words._,
            ngettext=words.ngettext,
            day=words.weekday_day(date.fromisoformat(report["date"])),
            num=words.num,
            percent=lambda share, digits=0: words.percent(share, digits),
            source=lambda name: source_in(language, name),
            sources=lambda names: ", ".join(source_in(language, name) for name in names),
            hour=lambda index: ABSENT if index is None else words.hour(report["hours"][index]),
            sections=sections(),
            cells=cells,
            strokes=strokes,
            saturation=drawing.draw_hours(
                (traffic.get("by_hour") or {}).get("saturation_share"), saturation, 100.0
            ),
            bikes_by_hour=drawing.draw_hours(bikes.get("by_hour"), bikes.get("usual"), 1.0),
            size={
                "width": drawing.WIDTH,
                "height": drawing.HEIGHT,
                "map": drawing.MAP_HEIGHT,
                "left": drawing.LEFT,
                "bottom": drawing.BOTTOM,
            },
        )
    )


def file_name(language: str) -> str:
    """Return the name of the printed report of a day in a language."""
    return "report.html" if language == ENGLISH else f"report.{language}.html"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["date"] = date.fromisoformat
    return environment

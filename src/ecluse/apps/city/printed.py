"""Print the report of a day: one HTML file with its figures, charts and map, that needs nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ecluse.apps.city.streets import street_name, stretch_of
from ecluse.apps.city.transit import mode_in
from ecluse.documents import Body

TEMPLATES: Final = Path(__file__).parent / "report_templates"
LANGUAGES: Final = ("en", "fr")
#: A narrow no-break space.
THIN: Final = "\u202f"
#: Of the drawing of a chart and of the map, in units of the drawing.
WIDTH: Final = 640
HEIGHT: Final = 200
LEFT: Final = 44
BOTTOM: Final = 22
MAP_HEIGHT: Final = 420
#: Longest delays first: up to this share of the arcs with lost time is drawn as the worst, and so on.
SHARES: Final = (0.01, 0.05, 0.20)
_MONTHS: Final = {
    "en": "January February March April May June July August September October November December",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
}
_WEEKDAYS: Final = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
}


@dataclass(frozen=True)
class Stroke:
    """An arc on the map: its line as SVG writes it, and how bad its day was, from 0 (no delay known) to 4."""

    path: str
    grade: int


def print_report(report: Body, arcs: Iterable[Body], lost_time: Mapping[int, float], language: str) -> str:
    """Return the report as a whole HTML page. `arcs`: the reference; `lost_time`: arc → vehicle-hours lost that day."""
    language = language if language in LANGUAGES else "en"
    say = _words(language)
    template = _environment().get_template("report.html")
    arcs = list(arcs)
    stretches = {arc["arc"]: stretch_of(arc) for arc in arcs}
    traffic, bikes = report["traffic"] or {}, report["bikes"] or {}
    saturation = (traffic.get("usual") or {}).get("saturation_share")
    return template.render(
        report=report,
        language=language,
        _=say,
        day=_day(date.fromisoformat(report["date"]), language),
        num=lambda value, digits=0: number(value, digits, language),
        mode=lambda name: mode_in(language, name),
        percent=lambda value, digits=0: _percent(value, digits, language),
        street=lambda entry: street_of(entry, stretches),
        hour=lambda index: "–" if index is None else report["hours"][index],
        strokes=draw_map(arcs, lost_time),
        saturation=draw_hours((traffic.get("by_hour") or {}).get("saturation_share"), saturation, 100.0),
        bikes_by_hour=draw_hours(bikes.get("by_hour"), bikes.get("usual"), 1.0),
        size={"width": WIDTH, "height": HEIGHT, "map": MAP_HEIGHT, "left": LEFT, "bottom": BOTTOM},
    )


def street_of(entry: Body, stretches: Mapping[int, str]) -> str:
    """Return an arc of a list by its street and, as many arcs share one, from where to where it leads."""
    stretch = stretches.get(entry["arc"], "")
    return f"{street_name(entry['label'])}, {stretch}" if stretch else street_name(entry["label"])


def number(value: float | None, digits: int, language: str) -> str:
    """Return a number as people of that language write it; a dash for what is not known."""
    if value is None:
        return "–"
    text = f"{abs(value):,.{digits}f}".replace(",", THIN)
    sign = "−" if value < 0 and any(c in "123456789" for c in text) else ""
    return sign + (text.replace(".", ",") if language == "fr" else text)


def _percent(value: float | None, digits: int, language: str) -> str:
    return "–" if value is None else f"{number(100 * value, digits, language)}{THIN}%"


def _day(day: date, language: str) -> str:
    month = _MONTHS[language].split()[day.month - 1]
    number_of = "1er" if language == "fr" and day.day == 1 else str(day.day)
    return f"{_WEEKDAYS[language].split()[day.weekday()]} {number_of} {month} {day.year}"


# Draw


@dataclass(frozen=True)
class Chart:
    """A line over the hours of a day, with its usual band where that is known, as SVG writes them."""

    line: tuple[str, ...]
    band: str
    usual: tuple[str, ...]
    ticks: tuple[tuple[float, float], ...]
    hours: tuple[tuple[int, float], ...]


def draw_hours(
    values: Sequence[float | None] | None, usual: Mapping[str, Any] | None, scale: float
) -> Chart | None:
    """Return a day's values by hour, times `scale`, on an axis from 0; None where nothing is known."""
    known_values = [value for value in values or () if value is not None]
    if not values or not known_values:
        return None
    usual = usual or {}
    band: list[float] = [
        value for name in ("low", "high", "median") for value in usual.get(name) or () if value is not None
    ]
    step = _step(scale * max(known_values + band))
    top: float = step * math.ceil(max(scale * max(known_values + band) / step, 1))
    hours = len(values)

    def x(hour: int) -> float:
        return LEFT + (WIDTH - LEFT - 10) * hour / max(hours - 1, 1)

    def y(value: float) -> float:
        return 8 + (HEIGHT - BOTTOM - 8) * (1 - scale * value / top)

    def lines(series: Sequence[float | None]) -> tuple[str, ...]:
        return tuple(" ".join(f"{x(h):.1f},{y(v):.1f}" for h, v in run) for run in _runs(series))

    low, high = usual.get("low") or [], usual.get("high") or []
    edge = [(h, low[h], high[h]) for h in range(min(len(low), len(high))) if None not in (low[h], high[h])]
    outline = [(h, b) for h, _, b in edge] + [(h, a) for h, a, _ in reversed(edge)]
    return Chart(
        line=lines(values),
        band=" ".join(f"{x(h):.1f},{y(v):.1f}" for h, v in outline),
        usual=lines(usual.get("median") or []),
        ticks=tuple((n * step, y(n * step / scale)) for n in range(round(top / step) + 1)),
        hours=tuple((h, x(h)) for h in range(0, hours, 6)),
    )


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Known values that follow each other; a missing hour breaks the line."""
    runs: list[list[tuple[int, float]]] = [[]]
    for hour, value in enumerate(values):
        if value is not None:
            runs[-1].append((hour, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _step(highest: float) -> float:
    """Return a round step that divides an axis into about four."""
    if highest <= 0:
        return 1.0
    size = math.pow(10, math.floor(math.log10(highest / 4)))
    steps = [size * n for n in (1.0, 2.0, 2.5, 5.0, 10.0)]
    return next(step for step in steps if step * 4 >= highest * 0.999)


def draw_map(arcs: Iterable[Body], lost_time: Mapping[int, float]) -> list[Stroke]:
    """Return the arcs on a plane, the worst last. Their grade says where they stand among the arcs with lost time."""
    drawn = [arc for arc in arcs if arc.get("coordinates")]
    if not drawn:
        return []
    points = [point for arc in drawn for point in arc["coordinates"]]
    west, east = min(p[0] for p in points), max(p[0] for p in points)
    south, north = min(p[1] for p in points), max(p[1] for p in points)
    narrow = math.cos(math.radians((south + north) / 2))
    wide, high = max((east - west) * narrow, 1e-9), max(north - south, 1e-9)
    scale = min((WIDTH - 20) / wide, (MAP_HEIGHT - 20) / high)
    left, top = (WIDTH - scale * wide) / 2, (MAP_HEIGHT - scale * high) / 2

    def place(point: Sequence[float]) -> str:
        return f"{left + (point[0] - west) * narrow * scale:.1f},{top + (north - point[1]) * scale:.1f}"

    limits = _limits([value for value in lost_time.values() if value > 0])
    strokes = [
        Stroke(" ".join(map(place, arc["coordinates"])), _grade(lost_time.get(arc["arc"]), limits))
        for arc in drawn
    ]
    return sorted(strokes, key=lambda stroke: stroke.grade)


def _limits(lost_times_: list[float]) -> list[float]:
    """From which lost time on an arc is among the worst 1 %, 5 % and 20 %."""
    ranked = sorted(lost_times_, reverse=True)
    return [ranked[min(int(share * len(ranked)), len(ranked) - 1)] for share in SHARES] if ranked else []


def _grade(lost_time: float | None, limits: list[float]) -> int:
    if lost_time is None:
        return 0
    if lost_time <= 0 or not limits:
        return 1
    return 4 - next((n for n, limit in enumerate(limits) if lost_time >= limit), 3)


# Say


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _french() -> dict[str, str]:
    words: dict[str, str] = json.loads((TEMPLATES / "report.fr.json").read_text(encoding="utf-8"))
    return words


def _words(language: str) -> Callable[[str], str]:
    """Return the text itself in English; in French its translation, which every text of the template has."""
    if language == "en":
        return lambda text: text
    french = _french()
    return lambda text: french[text]

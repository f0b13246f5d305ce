"""Draw the charts and the map of the printed report, as SVG writes lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ecluse.documents import Body

#: Of the drawing of a chart and of the map, in units of the drawing.
WIDTH: Final = 640
HEIGHT: Final = 200
LEFT: Final = 44
BOTTOM: Final = 22
MAP_HEIGHT: Final = 420
#: Longest delays first: up to this share of the arcs with lost time is drawn as the worst, and so on.
SHARES: Final = (0.01, 0.05, 0.20)


@dataclass(frozen=True)
class Stroke:
    """An arc on the map: its line as SVG writes it, and how bad its day was, from 0 (no delay known) to 4."""

    path: str
    grade: int


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
    measured = [value for value in values or () if value is not None]
    if not values or not measured:
        return None
    usual = usual or {}
    band: list[float] = [
        value for name in ("low", "high", "median") for value in usual.get(name) or () if value is not None
    ]
    step = _step(scale * max(measured + band))
    top: float = step * math.ceil(max(scale * max(measured + band) / step, 1))
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
    """Return the values that follow each other; a missing hour breaks the line."""
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


def _limits(lost_times: list[float]) -> list[float]:
    """From which lost time on an arc is among the worst 1 %, 5 % and 20 %."""
    ranked = sorted(lost_times, reverse=True)
    return [ranked[min(int(share * len(ranked)), len(ranked) - 1)] for share in SHARES] if ranked else []


def _grade(lost_time: float | None, limits: list[float]) -> int:
    if lost_time is None:
        return 0
    if lost_time <= 0 or not limits:
        return 1
    return 4 - next((n for n, limit in enumerate(limits) if lost_time >= limit), 3)

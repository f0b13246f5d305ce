"""Make the charts of the pages: from a report or a summary to an ECharts option and the table beside it.

Pure functions. A `Chart` carries its finding as a sentence (what a screen reader hears), the option as plain
JSON, and the same values as a table of formatted cells. Colours are names of tokens in `app.css` ("--c1");
label formats are names in `charts.js` ("@percent").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import Any, Final

TABLE_ROWS: Final = 12


#: Of what is stored, by kind, in the order that kinds have.
KIND_COLOURS: Final = ("--c1", "--c2", "--c4", "--c3", "--c5", "--c6")


#: Bars of the small picture of a column's sketch.
SKETCH_BINS: Final = 12


#: A day in milliseconds.
_DAY: Final = 86_400_000
#: Pixels of a character of a label at most, and of the gap before it.
_CHARACTER: Final = 7
_GAP: Final = 14


AXIS_TEXT: Final = {"color": "--ink-2", "fontSize": 11}


@dataclass(frozen=True)
class Chart:
    """One figure: `option` for ECharts, `headings` and `rows` for its table, `finding` in words."""

    id: str
    title: str
    unit: str
    finding: str
    option: dict[str, Any]
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    tall: bool = False


@dataclass(frozen=True)
class Bar:
    """A bar of a small SVG, in a view box of 100 by 20."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Axes:
    """Two axes from 0: names at their ends, formats of their labels."""

    x: str
    y: str
    extra: dict[str, Any] = field(default_factory=dict)


def over_days(series: list[dict[str, Any]], unit: str) -> dict[str, Any]:
    """Something by day, from 0."""
    return {
        **frame(),
        "grid": {"left": 6, "right": 22, "top": 22, "bottom": 8, "containLabel": True},
        "xAxis": day_axis(),
        "yAxis": {"type": "value", "min": 0, **axis("", line=False), "axisLabel": axis_labels(unit)},
        "tooltip": tooltip("@percent-tooltip" if unit == "@percent" else unit),
        "series": series,
    }


def level_line(place: dict[str, float], label: str, colour: str) -> dict[str, Any]:
    """Draw a line across the plot at a height, labelled above its right end."""
    return {
        "symbol": "none",
        "silent": True,
        "lineStyle": {"color": colour, "type": "dashed", "width": 1.4},
        "label": {
            "formatter": label,
            "position": "insideEndTop",
            "backgroundColor": "--sheet",
            "padding": [1, 3],
            **AXIS_TEXT,
        },
        "data": [place],
    }


def column_bars(counts: Sequence[float]) -> list[Bar]:
    """Draw the bars of a column's small histogram in a view box of 100 by 20; what is not zero stays visible."""
    most = max(counts, default=0)
    if most <= 0:
        return []
    pitch = 100 / len(counts)
    bars = []
    for i, count in enumerate(counts):
        height = 0.0 if count <= 0 else max(1.0, 20 * count / most)
        bars.append(Bar(round(i * pitch + pitch * 0.06, 2), 20 - height, round(pitch * 0.88, 2), height))
    return bars


def sketch_counts(sketch: Mapping[str, Any]) -> list[float]:
    """Count what `column_bars` draws of a column's sketch: where its values lie, or how frequent its levels are.

    Of 21 quantiles each two neighbours hold a twentieth of the values, taken as spread evenly between them; the
    outer twentieths are left out, where there is anything between.
    """
    quantiles = [float(value) for value in sketch.get("quantiles") or ()]
    if len(quantiles) < 3:
        return [float(share) for _, share in sketch.get("top") or ()][:SKETCH_BINS]
    inner = quantiles[1:-1]
    bounds = inner if inner[0] < inner[-1] else quantiles
    low, width = bounds[0], (bounds[-1] - bounds[0]) / SKETCH_BINS
    if width <= 0:
        return [1.0]
    counts = [0.0] * SKETCH_BINS
    for left, right in pairwise(bounds):
        first, last = (min(SKETCH_BINS - 1, int((end - low) / width)) for end in (left, right))
        for place in range(first, last + 1):
            begin, end = low + place * width, low + (place + 1) * width
            shared = min(right, end) - max(left, begin)
            counts[place] += shared / (right - left) if right > left else 1.0
    return counts


def plot_lines(axes: Axes, series: list[dict[str, Any]]) -> dict[str, Any]:
    scale = {"type": "value", "min": 0, "max": 1, **axes.extra}
    return {
        **frame(),
        "xAxis": {**scale, **axis(axes.x, line=True), "axisLabel": axis_labels("@percent")},
        "yAxis": {**scale, **axis(axes.y, line=False), "axisLabel": axis_labels("@percent")},
        "tooltip": tooltip("@percent-tooltip"),
        "series": series,
    }


def bars_across(
    names: list[str], values: Sequence[float | dict[str, Any]], unit: str = "@percent"
) -> dict[str, Any]:
    return {
        **frame(),
        "grid": {
            "left": 4,
            "right": 48 if unit == "@percent" else 64,
            "top": 8,
            "bottom": 8,
            "containLabel": True,
        },
        "xAxis": {"type": "value", "min": 0, "show": False},
        "yAxis": {
            "type": "category",
            "data": names,
            "inverse": True,
            "axisLine": {"lineStyle": {"color": "--ink-2"}},
            "axisTick": {"show": False},
            "axisLabel": {
                "color": "--ink",
                "fontSize": 11,
                "lineHeight": 12,
                "width": 150,
                "overflow": "break",
            },
        },
        "tooltip": {
            **tooltip("@percent-tooltip" if unit == "@percent" else unit),
            "axisPointer": {"type": "shadow"},
        },
        "series": [
            {
                "type": "bar",
                "data": list(values),
                "barMaxWidth": 14,
                "itemStyle": {"color": "--c1"},
                "label": {"show": True, "position": "right", "formatter": f"{unit}-label", **AXIS_TEXT},
            }
        ],
    }


def log_bars(
    edges: list[float],
    groups: Mapping[str, tuple[str, list[int]]],
    threshold: float,
    label: str,
    *,
    stacked: bool = False,
) -> dict[str, Any]:
    """Bars over score bins; a count of zero has no bar, as a logarithm has no place for it."""
    most = max([1, *(max(values, default=0) for _, values in groups.values())])
    half = 0.5 / len(edges)
    bars: list[dict[str, Any]] = [
        {
            "type": "bar",
            "name": name,
            "data": [
                [round(low + half, 4), value] for low, value in zip(edges, values, strict=True) if value
            ],
            "itemStyle": {"color": colour},
            "barWidth": "90%" if stacked else "44%",
            "barGap": "-100%" if stacked else "0%",
        }
        for name, (colour, values) in groups.items()
    ]
    bars[0]["markLine"] = _cut(threshold, label)
    return {
        **frame(),
        "legend": {"top": 0, "right": 0, "itemWidth": 10, "itemHeight": 10, "textStyle": AXIS_TEXT},
        "xAxis": {
            "type": "value",
            "min": 0,
            "max": 1,
            **axis("", line=True),
            "axisLabel": axis_labels("@number"),
        },
        "yAxis": {
            "type": "log",
            "min": 0.5,
            "startValue": 0.5,
            "max": 10 ** len(str(most)),
            **axis("", line=False),
            "axisLabel": axis_labels("@count"),
        },
        "tooltip": {**tooltip("@number"), "axisPointer": {"type": "shadow"}},
        "series": bars,
    }


def frame() -> dict[str, Any]:
    return {
        "grid": {"left": 6, "right": 14, "top": 30, "bottom": 22, "containLabel": True},
        "textStyle": {"fontFamily": "system-ui, sans-serif", "color": "--ink-2"},
    }


def axis(name: str, *, line: bool) -> dict[str, Any]:
    place = {"nameLocation": "end"} if not line else {"nameLocation": "middle", "nameGap": 24}
    return {
        "name": name,
        **place,
        "nameTextStyle": {**AXIS_TEXT, **({} if line else {"align": "left"})},
        "axisLine": {"show": line, "lineStyle": {"color": "--ink-2"}},
        "axisTick": {"show": False},
        "splitLine": {"show": not line, "lineStyle": {"color": "--rule"}},
    }


def axis_labels(formatter: str) -> dict[str, Any]:
    return {**AXIS_TEXT, "formatter": formatter}


def tooltip(formatter: str) -> dict[str, Any]:
    # The HTML tooltip writes style attributes, which the content policy refuses; this one is on the canvas.
    return {
        "trigger": "axis",
        "renderMode": "richText",
        "confine": True,
        "valueFormatter": formatter,
        "backgroundColor": "--sheet",
        "borderColor": "--edge",
        "textStyle": {"color": "--ink", "fontSize": 12},
    }


def line_of(colour: str, points: list[tuple[float, float]], *, step: str | None = None) -> dict[str, Any]:
    return {
        "type": "line",
        "data": [list(point) for point in points],
        "showSymbol": False,
        "lineStyle": {"width": 2, "color": colour},
        "itemStyle": {"color": colour},
        **({"step": step} if step else {}),
    }


def day_axis() -> dict[str, Any]:
    """Return an axis of days, with a label at most once for each."""
    return {
        "type": "time",
        **axis("", line=True),
        "splitNumber": 3,
        "minInterval": _DAY,
        "axisLabel": {**axis_labels("@day"), "hideOverlap": True},
        "axisPointer": {"label": {"formatter": "@day-label"}},
    }


def room_for(labels: Sequence[str]) -> int:
    """Return the pixels that labels at the ends of lines need."""
    return max((len(label) for label in labels), default=0) * _CHARACTER + _GAP


def area_band(
    name: str, colour: str, days: Sequence[date], sizes: Sequence[int], *, named: bool
) -> dict[str, Any]:
    """Draw a stacked area of steps, named at its end where there is room."""
    return {
        **line_of(colour, [], step="end"),
        "name": name,
        "data": [[day.isoformat(), size] for day, size in zip(days, sizes, strict=True)],
        "stack": "stored",
        "areaStyle": {"color": colour, "opacity": 0.3},
        "endLabel": {"show": named, "formatter": "{a}", "color": "--ink", "fontSize": 11},
    }


def dashed_line(points: list[tuple[float, float]], label: str) -> dict[str, Any]:
    return {
        **line_of("--c6", points),
        "lineStyle": {"width": 1.5, "type": "dashed", "color": "--c6"},
        "silent": True,
        "tooltip": {"show": False},
        "markPoint": {
            "symbol": "circle",
            "symbolSize": 0.1,
            "data": [{"coord": list(_middle(points)), "name": label}],
            "label": {"show": True, "formatter": "{b}", "position": "top", "distance": 6, **AXIS_TEXT},
        },
    }


def marked_point(x: float, y: float, label: str, colour: str = "--c1") -> dict[str, Any]:
    side = "left" if x > 0.5 else "right"
    return {
        "symbol": "circle",
        "symbolSize": 9,
        "itemStyle": {"color": colour},
        "data": [{"coord": [x, y], "name": label}],
        "label": {
            "show": True,
            "formatter": "{b}",
            "position": side,
            "color": "--ink",
            "fontSize": 11,
            "backgroundColor": "--sheet",
            "padding": 2,
        },
    }


def _cut(place: float, label: str) -> dict[str, Any]:
    """Draw a line across the plot at a share in [0, 1], its label on the side that has room."""
    side = "left" if place < 0.5 else "right"
    return {
        "symbol": "none",
        "silent": True,
        "lineStyle": {"color": "--ink", "type": "dashed", "width": 1.4},
        "label": {"formatter": label, "color": "--ink", "fontSize": 11, "position": "end", "align": side},
        "data": [{"xAxis": place}],
    }


def _middle(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Find a place two thirds along a straight line, where its label stands."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    return x0 + (x1 - x0) * 0.66, y0 + (y1 - y0) * 0.66


def spread_out(points: Sequence[Any], count: int = TABLE_ROWS) -> list[Any]:
    """At most `count` of the points, evenly spread, both ends among them."""
    if len(points) <= count:
        return list(points)
    return [points[round(i * (len(points) - 1) / (count - 1))] for i in range(count)]


def round_up(value: float) -> float:
    """Return the next of 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1: an axis that ends on a round number."""
    return next((end for end in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if value <= end), 1.0)


def count_of(item: Any) -> int:
    return int(item["rows"] if isinstance(item, Mapping) else item)

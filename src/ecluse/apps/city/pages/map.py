"""Draw the map of a city's traffic as SVG: for paper, and for browsers without WebGL or scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from ecluse.apps.city.pages.view import LETTERS, MapOfDay
from ecluse.apps.city.streets import street_name
from ecluse.documents import Body

WIDTH: Final = 960
PADDING: Final = 14
#: Width of each state's line in pixels: the worse, the wider.
WIDTHS: Final = {"i": 1.2, "-": 1.2, "f": 1.4, "p": 2.4, "s": 3.8, "b": 5.2}
#: Drawn from the calmest to the worst, so that what matters lies on top.
ORDER: Final = "-ifpsb"


@dataclass(frozen=True)
class Theme:
    """The colours of a drawing, those of `app.css` in sRGB."""

    background: str
    zone: str
    rule: str
    ink: str
    states: Mapping[str, str]


THEMES: Final = {
    "light": Theme(
        background="#f3f2ef",
        zone="#ffffff",
        rule="#dddcd8",
        ink="#1a2329",
        states={
            "f": "#519ac2",
            "p": "#a87520",
            "s": "#a53509",
            "b": "#5c0825",
            "i": "#888d90",
            "-": "#888d90",
        },
    ),
    "dark": Theme(
        background="#1e262a",
        zone="#151c20",
        rule="#2f373c",
        ink="#e9e8e3",
        states={
            "f": "#2c6f9a",
            "p": "#c1842b",
            "s": "#fa9654",
            "b": "#fbd1da",
            "i": "#686d70",
            "-": "#686d70",
        },
    ),
}


def city_svg(
    arcs: Sequence[Body],
    zones: Sequence[Mapping[str, Any]],
    mapped: MapOfDay,
    hour: int,
    alerts: Iterable[tuple[int, Body]],
    theme: Theme,
    note: str = "",
) -> str:
    """Return the map of one hour, with `note` in its corner, as wide as `WIDTH`; empty where no arc has a line."""
    lines = {arc["arc"]: arc["coordinates"] for arc in arcs if arc.get("coordinates")}
    rings = [ring for zone in zones for ring in _rings(zone["geometry"])]
    places = [point for line in (*lines.values(), *rings) for point in line]
    if not places:
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 10"></svg>'
    project, height = _projection(places)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="{theme.background}"/>',
        f'<g fill="{theme.zone}" stroke="{theme.rule}" stroke-width="1">',
        *(f'<path d="{_path(ring, project)}Z"/>' for ring in rings),
        "</g>",
    ]
    states = dict(zip(mapped.arcs, mapped.states, strict=True))
    for letter in ORDER:
        drawn = [line for arc, line in lines.items() if states.get(arc, "")[hour : hour + 1] == letter]
        if drawn:
            parts.append(_group(letter, drawn, project, theme))
    for number, alert in alerts:
        if alert.get("longitude") is not None and alert.get("latitude") is not None:
            parts.append(_pin(number, alert, project, theme))
    if note:
        parts.append(
            f'<text x="{PADDING}" y="{height - PADDING}" font-size="22" font-weight="650" fill="{theme.ink}">'
            f"{escape(note)}</text>"
        )
    return "".join((*parts, "</svg>"))


#: Ranks up to this are numbered on a small screen too, where more would cover each other.
NEAR: Final = 10


def bottleneck_svg(arcs: Sequence[Body], items: Sequence[Body]) -> str:
    """Return the bottlenecks of a ranking over all roads, in the colours of the page around it; "" where no arc has a
    line.
    """
    lines = {arc["arc"]: arc["coordinates"] for arc in arcs if arc.get("coordinates")}
    places = [point for line in lines.values() for point in line]
    if not places:
        return ""
    project, height = _projection(places)
    roads = "".join(_path(line, project) for line in lines.values())
    queues = "".join(
        _path(lines[arc], project) for bottleneck in items for arc in bottleneck["arcs"] if arc in lines
    )
    heads = [
        (bottleneck["rank"], *project((bottleneck["longitude"], bottleneck["latitude"])))
        for bottleneck in items
        if bottleneck["longitude"] is not None and bottleneck["latitude"] is not None
    ]
    pins = "".join(
        f'<g class="{"near" if rank <= NEAR else "far"}"><circle cx="{x}" cy="{y}" r="11" fill="currentColor"/>'
        f'<text x="{x}" y="{y}" font-size="12" font-weight="650" text-anchor="middle" class="ground">{rank}</text></g>'
        for rank, x, y in reversed(heads)
    )
    return (
        f'<svg class="bottlenecks" viewBox="0 0 {WIDTH} {height}" aria-hidden="true" fill="none" '
        f'stroke-linecap="round"><path class="roads" stroke-width="1.2" d="{roads}"/>'
        f'<path class="queues" stroke-width="5" d="{queues}"/>{pins}</svg>'
    )


def _group(letter: str, lines: Sequence[Any], project: Any, theme: Theme) -> str:
    path = "".join(_path(line, project) for line in lines)
    dash = ' stroke-dasharray="1 4"' if LETTERS[letter] in (None, "Inconnu") else ""
    drawn = (
        f'<path fill="none" stroke="{theme.states[letter]}" stroke-width="{WIDTHS[letter]}" '
        f'stroke-linecap="round"{dash} d="{path}"/>'
    )
    if letter == "b":  # beads, so that the worst is told without its colour
        drawn += f'<path fill="none" stroke="{theme.zone}" stroke-width="1.4" stroke-dasharray="1.5 5" d="{path}"/>'
    return drawn


def _pin(number: int, alert: Body, project: Any, theme: Theme) -> str:
    x, y = project((alert["longitude"], alert["latitude"]))
    return (
        f"<g><title>{escape(street_name(alert['label']))}</title>"
        f'<circle cx="{x}" cy="{y}" r="10" fill="{theme.ink}" stroke="{theme.zone}" stroke-width="1.5"/>'
        f'<text x="{x}" y="{y + 4}" font-size="11" font-weight="650" text-anchor="middle" '
        f'fill="{theme.zone}">{number}</text></g>'
    )


def _projection(places: Sequence[Sequence[float]]) -> tuple[Any, int]:
    """From longitude and latitude to the drawing, equal in both directions at the city's middle."""
    west, east = min(p[0] for p in places), max(p[0] for p in places)
    south, north = min(p[1] for p in places), max(p[1] for p in places)
    squeeze = math.cos(math.radians((south + north) / 2))
    scale = (WIDTH - 2 * PADDING) / max((east - west) * squeeze, 1e-9)
    height = math.ceil(scale * (north - south) + 2 * PADDING)

    def project(place: Sequence[float]) -> tuple[float, float]:
        x = PADDING + (place[0] - west) * squeeze * scale
        y = PADDING + (north - place[1]) * scale
        return round(x, 1), round(y, 1)

    return project, height


def _path(line: Sequence[Sequence[float]], project: Any) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in map(project, line))


def _rings(geometry: Mapping[str, Any]) -> list[Any]:
    """Return the outer rings of a polygon or of several."""
    shapes = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    return [shape[0] for shape in shapes]

"""Make the charts of a city's pages: from metrics to an option and the table beside it, as `charts` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from ecluse.web.charts import AXIS_TEXT, Chart, axis, axis_labels, day_axis, frame, line_of, tooltip
from ecluse.web.i18n import Words

Values = Sequence[float | None]
BAND_OPACITY: Final = 0.16
#: From this share on an axis of shares ends at the whole.
NEAR_WHOLE: Final = 0.8


@dataclass(frozen=True)
class Caption:
    """What is said of a chart: its id on the page, its title, the unit of its values, what it shows at a glance."""

    name: str
    title: str
    unit: str
    finding: str = ""


@dataclass(frozen=True)
class Hours:
    """Values by hour, and the usual ones where they are known. `chosen`: the hour that the page is of."""

    labels: Sequence[str]
    values: Values
    usual: Mapping[str, Values] | None = None
    chosen: int | None = None


@dataclass(frozen=True)
class Style:
    """How values are drawn and written: as shares or numbers, as a line or bars. `most`: the end of their axis."""

    share: bool = False
    bars: bool = False
    digits: int = 0
    most: float | None = None

    def write(self, value: float | None, say: Words) -> str:
        """Write a value for the table."""
        return say.percent(value, 1) if self.share else say.num(value, self.digits)


@dataclass(frozen=True)
class PeriodHours:
    """Mean values by hour of a period, and what it is called."""

    name: str
    values: Values


def saturation_by_hour(
    traffic: Mapping[str, Any], labels: Sequence[str], hour: int | None, say: Words
) -> Chart | None:
    """Return the share of arcs that are saturated or blocked, by hour, against its usual band; None without roads."""
    values = (traffic.get("by_hour") or {}).get("saturation_share") or []
    if not any(value is not None for value in values):
        return None
    most = _place_of_most(values)
    usual = (traffic.get("usual") or {}).get("saturation_share") or {}
    caption = Caption(
        "chart-saturation",
        say._("Saturated or blocked, by hour"),
        say._("%% of the arcs that report; the band holds the usual"),
        say._("Most at %(hour)s, %(share)s.", hour=say.hour(labels[most]), share=say.percent(values[most])),
    )
    style = Style(share=True, most=_whole([*values, *(usual.get("high") or ())]))
    return band_chart(caption, Hours(labels, values, usual or None, hour), say, style)


def _whole(shares: Values) -> float | None:
    """Return the end of an axis of shares that come near the whole: none is more than that."""
    return 1.0 if max((share for share in shares if share is not None), default=0) > NEAR_WHOLE else None


def bikes_by_hour(
    bikes: Mapping[str, Any], labels: Sequence[str], hour: int | None, say: Words
) -> Chart | None:
    """Return the bikes counted by hour beside the usual; None where none were."""
    values = bikes.get("by_hour") or []
    if not any(value is not None for value in values):
        return None
    most = _place_of_most(values)
    caption = Caption(
        "chart-bikes",
        say._("Bikes counted, by hour"),
        say.ngettext(
            "bikes an hour, %(count)s counter; the band holds the usual",
            "bikes an hour, %(count)s counters; the band holds the usual",
            bikes.get("reporting") or 0,
        ),
        say._("Most at %(hour)s, %(count)s.", hour=say.hour(labels[most]), count=say.num(values[most])),
    )
    return band_chart(caption, Hours(labels, values, bikes.get("usual"), hour), say, Style(bars=True))


def band_chart(caption: Caption, of_day: Hours, say: Words, style: Style | None = None) -> Chart:
    """Return values by hour, the usual ones as a dashed line within their band where they are known."""
    style = style or Style()
    hours, values, usual = [say.hour(label) for label in of_day.labels], of_day.values, of_day.usual
    own = say._("this day")
    series: list[dict[str, Any]] = []
    if usual and any(value is not None for value in usual["median"]):
        series += _band(usual, say)
    line = _bars(values, own) if style.bars else {**line_of("--c1", []), "data": list(values), "name": own}
    if of_day.chosen is not None and of_day.chosen < len(hours):
        line["markLine"] = _at(hours[of_day.chosen])
    option = _by_hour(hours, [*series, line], style)
    columns = (say._("Usual"), say._("Usual, low"), say._("Usual, high")) if usual else ()
    rows = [
        (
            hours[i],
            style.write(_at_place(values, i), say),
            *(style.write(_at_place(usual[part], i), say) for part in _BAND if usual),
        )
        for i in range(len(hours))
    ]
    return Chart(
        caption.name,
        caption.title,
        caption.unit,
        caption.finding,
        option,
        (say._("Hour"), say._("This day"), *columns),
        tuple(rows),
    )


def _by_hour(hours: Sequence[str], series: Sequence[Mapping[str, Any]], style: Style) -> dict[str, Any]:
    """Return the option of a chart over the hours of a day."""
    return {
        **frame(),
        "grid": {"left": 6, "right": 14, "top": 24, "bottom": 6, "containLabel": True},
        "xAxis": {
            "type": "category",
            "data": list(hours),
            **axis("", line=True),
            "axisLabel": {**AXIS_TEXT, "interval": 5, "hideOverlap": True},
            "boundaryGap": style.bars,
        },
        "yAxis": {
            "type": "value",
            "min": 0,
            **({} if style.most is None else {"max": style.most, "interval": style.most / 4}),
            **axis("", line=False),
            "splitNumber": 4,
            "axisLabel": axis_labels("@percent" if style.share else "@number"),
        },
        "tooltip": tooltip("@percent-tooltip" if style.share else "@number"),
        "series": list(series),
    }


def by_day(
    name: str,
    points: Sequence[tuple[date, float | None]],
    say: Words,
    *,
    title: str,
    unit: str,
    digits: int = 0,
) -> Chart:
    """Return one value for each day, oldest first."""
    measured = [(day, value) for day, value in points if value is not None]
    most = max(measured, key=lambda pair: pair[1])
    option = {
        **frame(),
        "grid": {"left": 6, "right": 22, "top": 22, "bottom": 8, "containLabel": True},
        "xAxis": day_axis(),
        "yAxis": {"type": "value", "min": 0, **axis("", line=False), "axisLabel": axis_labels("@number")},
        "tooltip": tooltip("@number"),
        "series": [
            {
                **line_of("--c1", []),
                "data": [[day.isoformat(), value] for day, value in points],
                "showSymbol": True,
                "showAllSymbol": True,
                "symbol": "circle",
                "symbolSize": 6,
            }
        ],
    }
    return Chart(
        name,
        title,
        unit,
        say._("Most on %(day)s, %(value)s.", day=say.calendar_day(most[0]), value=say.num(most[1], digits)),
        option,
        (say._("Day"), say._("Value")),
        tuple((say.calendar_day(day), say.num(value, digits)) for day, value in points),
    )


def two_periods(
    caption: Caption,
    labels: Sequence[str],
    a: PeriodHours,
    b: PeriodHours,
    say: Words,
    *,
    share: bool = False,
) -> Chart:
    """Return mean values by hour of two periods over each other; A is dashed, B drawn through."""
    style = Style(share=share)
    series = []
    for letter, period, colour, kind in (("A", a, "--c2", "dashed"), ("B", b, "--c1", "solid")):
        line = {**line_of(colour, []), "data": list(period.values), "name": f"{letter} · {period.name}"}
        line["lineStyle"] = {"width": 2, "color": colour, "type": kind}
        series.append(line)
    hours = [say.hour(label) for label in labels]
    option = {
        **_by_hour(hours, series, style),
        "grid": {"left": 6, "right": 14, "top": 34, "bottom": 6, "containLabel": True},
        "legend": {"top": 0, "right": 0, "itemWidth": 22, "itemHeight": 8, "textStyle": AXIS_TEXT},
    }

    def write(period: PeriodHours, place: int) -> str:
        return style.write(_at_place(period.values, place), say)

    finding = say._("No hour of B is known.")
    if any(value is not None for value in b.values):
        most = _place_of_most(b.values)
        finding = say._(
            "Most of B at %(hour)s: %(b)s, %(a)s in A.", hour=hours[most], b=write(b, most), a=write(a, most)
        )
    rows = tuple((hours[i], write(a, i), write(b, i)) for i in range(len(hours)))
    return Chart(caption.name, caption.title, caption.unit, finding, option, (say._("Hour"), "A", "B"), rows)


def bars_across(
    caption: Caption, heading: str, bars: Sequence[tuple[str, float]], say: Words, *, digits: int = 0
) -> Chart:
    """Return a bar across for each name with its value, the first on top. `heading`: that of the names."""
    option = {
        **frame(),
        "grid": {"left": 6, "right": 30, "top": 6, "bottom": 6, "containLabel": True},
        "xAxis": {
            "type": "value",
            "min": 0,
            **axis("", line=False),
            "splitNumber": 4,
            "axisLabel": axis_labels("@number"),
        },
        "yAxis": {
            "type": "category",
            "data": [name for name, _ in bars],
            "inverse": True,
            "axisLine": {"show": True, "lineStyle": {"color": "--ink-2"}},
            "axisTick": {"show": False},
            "axisLabel": {**AXIS_TEXT, "interval": 0, "width": 130, "overflow": "truncate"},
        },
        "tooltip": {**tooltip("@number"), "axisPointer": {"type": "shadow"}},
        "series": [
            {
                "type": "bar",
                "data": [value for _, value in bars],
                "itemStyle": {"color": "--c1"},
                "barMaxWidth": 14,
                "name": caption.title,
            }
        ],
    }
    most = max(bars, key=lambda bar: bar[1])
    return Chart(
        caption.name,
        caption.title,
        caption.unit,
        say._("Most: %(name)s, %(value)s.", name=most[0], value=say.num(most[1], digits)),
        option,
        (heading, caption.title),
        tuple((name, say.num(value, digits)) for name, value in bars),
        tall=len(bars) > 8,
    )


_BAND: Final = ("median", "low", "high")


def _band(usual: Mapping[str, Values], say: Words) -> list[dict[str, Any]]:
    """Return the band as two stacked areas, of which the lower is not drawn, and the median as a dashed line."""
    low = list(usual["low"])
    height = [
        None if bottom is None or top is None else max(0.0, top - bottom)
        for bottom, top in zip(low, usual["high"], strict=True)
    ]
    unseen = {"stack": "usual", "silent": True, "lineStyle": {"width": 0}, "symbol": "none"}
    silent = {"tooltip": {"show": False}}
    return [
        {"type": "line", "data": low, **unseen, **silent},
        {
            "type": "line",
            "data": height,
            **unseen,
            **silent,
            "areaStyle": {"color": "--c6", "opacity": BAND_OPACITY},
        },
        {
            **line_of("--c6", []),
            "data": list(usual["median"]),
            "name": say._("usual"),
            "lineStyle": {"width": 1.5, "type": "dashed", "color": "--c6"},
        },
    ]


def _bars(values: Values, name: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "data": list(values),
        "name": name,
        "itemStyle": {"color": "--c1"},
        "barWidth": "70%",
    }


def _at(hour: str) -> dict[str, Any]:
    return {
        "symbol": "none",
        "silent": True,
        "lineStyle": {"color": "--ink", "type": "solid", "width": 1},
        "label": {"formatter": hour, "color": "--ink", "fontSize": 11, "position": "end", "distance": 3},
        "data": [{"xAxis": hour}],
    }


def _place_of_most(values: Values) -> int:
    return max(range(len(values)), key=lambda i: (values[i] is not None, values[i] or 0))


def _at_place(values: Values, place: int) -> float | None:
    """Return a value of the usual day, which may have an hour less than this one."""
    return values[place] if place < len(values) else None

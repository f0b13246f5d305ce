"""Make the charts of a city's pages: from metrics to an option and the table beside it, as `charts` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from ecluse.web.charts import AXIS_TEXT, Chart, axis, axis_labels, day_axis, frame, line_of, tooltip
from ecluse.web.i18n import Words

Values = Sequence[float | None]
#: Decimals of a count that may be a mean of several days, and of a share that a table gives.
BAND_OPACITY: Final = 0.16
#: From this share on an axis of shares ends at the whole.
NEAR_WHOLE: Final = 0.8


def saturation_by_hour(
    traffic: Mapping[str, Any], labels: Sequence[str], hour: int | None, say: Words
) -> Chart | None:
    """Return the share of arcs that are saturated or blocked, by hour, against its usual band; None without roads."""
    values = (traffic.get("by_hour") or {}).get("saturation_share") or []
    if not any(value is not None for value in values):
        return None
    most = _place_of_most(values)
    usual = (traffic.get("usual") or {}).get("saturation_share") or {}
    return band_chart(
        "chart-saturation",
        labels,
        values,
        usual or None,
        say,
        title=say._("Saturated or blocked, by hour"),
        unit=say._("%% of the arcs that report; the band holds the usual"),
        finding=say._(
            "Most at %(hour)s, %(share)s.", hour=say.hour(labels[most]), share=say.percent(values[most])
        ),
        share=True,
        hour=hour,
        most=_whole([*values, *(usual.get("high") or ())]),
    )


def _whole(shares: Values) -> float | None:
    """Return the end of an axis of shares that come near the whole: none is more than that."""
    return 1.0 if max((share for share in shares if share is not None), default=0) > NEAR_WHOLE else None


def bikes_by_hour(
    bikes: Mapping[str, Any], labels: Sequence[str], hour: int | None, say: Words
) -> Chart | None:
    """Bikes counted by hour beside the usual; None where none were."""
    values = bikes.get("by_hour") or []
    if not any(value is not None for value in values):
        return None
    most = _place_of_most(values)
    return band_chart(
        "chart-bikes",
        labels,
        values,
        bikes.get("usual"),
        say,
        title=say._("Bikes counted, by hour"),
        unit=say.ngettext(
            "bikes an hour, %(count)s counter; the band holds the usual",
            "bikes an hour, %(count)s counters; the band holds the usual",
            bikes.get("reporting") or 0,
        ),
        finding=say._(
            "Most at %(hour)s, %(count)s.", hour=say.hour(labels[most]), count=say.num(values[most])
        ),
        bars=True,
        hour=hour,
    )


def band_chart(
    name: str,
    labels: Sequence[str],
    values: Values,
    usual: Mapping[str, Values] | None,
    say: Words,
    *,
    title: str,
    unit: str,
    finding: str,
    share: bool = False,
    bars: bool = False,
    hour: int | None = None,
    digits: int = 0,
    most: float | None = None,
) -> Chart:
    """Values by hour, the usual ones as a dashed line within their band where they are known."""
    hours = [say.hour(label) for label in labels]
    own = say._("this day")
    series: list[dict[str, Any]] = []
    if usual and any(value is not None for value in usual["median"]):
        series += _band(usual, say)
    series.append(_bars(values, own) if bars else {**line_of("--c1", []), "data": list(values), "name": own})
    if hour is not None and hour < len(hours):
        series[-1]["markLine"] = _at(hours[hour])
    option = {
        **frame(),
        "grid": {"left": 6, "right": 14, "top": 24, "bottom": 6, "containLabel": True},
        "xAxis": {
            "type": "category",
            "data": hours,
            **axis("", line=True),
            "axisLabel": {**AXIS_TEXT, "interval": 5, "hideOverlap": True},
            "boundaryGap": bars,
        },
        "yAxis": {
            "type": "value",
            "min": 0,
            **({} if most is None else {"max": most, "interval": most / 4}),
            **axis("", line=False),
            "splitNumber": 4,
            "axisLabel": axis_labels("@percent" if share else "@number"),
        },
        "tooltip": tooltip("@percent-tooltip" if share else "@number"),
        "series": series,
    }

    def format_value(value: float | None) -> str:
        return say.percent(value, 1) if share else say.num(value, digits)

    rows = [
        (
            hours[i],
            format_value(_at_place(values, i)),
            *(format_value(_at_place(usual[part], i)) for part in _BAND),
        )
        if usual
        else (hours[i], format_value(_at_place(values, i)))
        for i in range(len(hours))
    ]
    columns = (say._("Usual"), say._("Usual, low"), say._("Usual, high")) if usual else ()
    return Chart(
        name, title, unit, finding, option, (say._("Hour"), say._("This day"), *columns), tuple(rows)
    )


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
    known_points = [(day, value) for day, value in points if value is not None]
    most = max(known_points, key=lambda pair: pair[1])
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
    name: str,
    labels: Sequence[str],
    a: Values,
    b: Values,
    names: tuple[str, str],
    say: Words,
    *,
    title: str,
    unit: str,
    share: bool = False,
) -> Chart:
    """Mean values by hour of two periods over each other; A is dashed, B drawn through."""
    series = []
    for period, values, colour, kind in (("A", a, "--c2", "dashed"), ("B", b, "--c1", "solid")):
        line = {
            **line_of(colour, []),
            "data": list(values),
            "name": f"{period} · {names['AB'.index(period)]}",
        }
        line["lineStyle"] = {"width": 2, "color": colour, "type": kind}
        series.append(line)
    hours = [say.hour(label) for label in labels]
    option = {
        **frame(),
        "grid": {"left": 6, "right": 14, "top": 34, "bottom": 6, "containLabel": True},
        "legend": {"top": 0, "right": 0, "itemWidth": 22, "itemHeight": 8, "textStyle": AXIS_TEXT},
        "xAxis": {
            "type": "category",
            "data": hours,
            **axis("", line=True),
            "axisLabel": {**AXIS_TEXT, "interval": 5, "hideOverlap": True},
            "boundaryGap": False,
        },
        "yAxis": {
            "type": "value",
            "min": 0,
            **axis("", line=False),
            "splitNumber": 4,
            "axisLabel": axis_labels("@percent" if share else "@number"),
        },
        "tooltip": tooltip("@percent-tooltip" if share else "@number"),
        "series": series,
    }

    def format_value(value: float | None) -> str:
        return say.percent(value, 1) if share else say.num(value)

    most = _place_of_most(b) if any(value is not None for value in b) else None
    finding = (
        say._("No hour of B is known.")
        if most is None
        else say._(
            "Most of B at %(hour)s: %(b)s, %(a)s in A.",
            hour=hours[most],
            b=format_value(b[most]),
            a=format_value(_at_place(a, most)),
        )
    )
    rows = tuple(
        (hours[i], format_value(_at_place(a, i)), format_value(_at_place(b, i))) for i in range(len(hours))
    )
    return Chart(name, title, unit, finding, option, (say._("Hour"), "A", "B"), rows)


def bars_across(
    name: str,
    names: Sequence[str],
    values: Sequence[float],
    say: Words,
    *,
    title: str,
    unit: str,
    heading: str,
    digits: int = 0,
) -> Chart:
    """Return a bar across for each name, the first on top."""
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
            "data": list(names),
            "inverse": True,
            "axisLine": {"show": True, "lineStyle": {"color": "--ink-2"}},
            "axisTick": {"show": False},
            "axisLabel": {**AXIS_TEXT, "interval": 0, "width": 130, "overflow": "truncate"},
        },
        "tooltip": {**tooltip("@number"), "axisPointer": {"type": "shadow"}},
        "series": [
            {
                "type": "bar",
                "data": list(values),
                "itemStyle": {"color": "--c1"},
                "barMaxWidth": 14,
                "name": title,
            }
        ],
    }
    most = max(range(len(values)), key=values.__getitem__)
    return Chart(
        name,
        title,
        unit,
        say._("Most: %(name)s, %(value)s.", name=names[most], value=say.num(values[most], digits)),
        option,
        (heading, title),
        tuple((name, say.num(value, digits)) for name, value in zip(names, values, strict=True)),
        tall=len(names) > 8,
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

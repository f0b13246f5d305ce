"""Make the charts of the pages: from a report or a summary to an ECharts option and the table beside it.

Pure functions. A `Chart` carries its finding as a sentence (what a screen reader hears), the option as plain
JSON, and the same values as a table of formatted cells. Colours are names of tokens in `app.css` ("--c1");
label formats are names in `charts.js` ("@percent").
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Final

from ecluse.apps.fraud.performance import (
    AnyReport,
    CalibrationBin,
    Confusion,
    Curves,
    Importance,
    PrecisionRecallPoint,
    RocPoint,
    TrainedReport,
    metric_of,
    threshold_of,
)
from ecluse.catalog.usage import DayUsage
from ecluse.storage.prices import Cost
from ecluse.web.i18n import Words

TABLE_ROWS: Final = 12
#: Of what is stored, by kind, in the order that kinds have.
KIND_COLOURS: Final = ("--c1", "--c2", "--c4", "--c3", "--c5", "--c6")
TOP_FEATURES: Final = 12
#: Bars of the small picture of a column's sketch.
SKETCH_BINS: Final = 12
#: A thinner band of a stack, as a share of all, would have its name on that of its neighbour.
NAMED_BAND: Final = 0.07
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
class _Axes:
    """Two axes from 0: names at their ends, formats of their labels."""

    x: str
    y: str
    extra: dict[str, Any] = field(default_factory=dict)


def model_charts(report: TrainedReport, say: Words) -> list[Chart]:
    """Draw every figure a performance report has the values for, in the order of the page."""
    charts = [pr_curve(report, say)] if _has_pr(report) else []
    if report.importances:
        charts.append(importances(report, say))
    if report.histogram and report.confusion and report.threshold is not None:
        charts.append(separation(report, report.confusion, report.threshold, say))
    if report.curves and report.curves.calibration:
        charts.append(calibration(report, report.curves.calibration, say))
    if _has_roc(report):
        charts.append(roc_curve(report, say))
    return charts


def _curves(report: AnyReport) -> Curves:
    return (report.curves if isinstance(report, TrainedReport) else None) or Curves()


def _has_pr(report: AnyReport) -> bool:
    """Tell whether a report has the curve and the figures shown with it, which labels may have left unknown."""
    return bool(_curves(report).pr) and all(
        report.metrics.get(name) is not None for name in ("precision", "recall", "average_precision")
    )


def _has_roc(report: AnyReport) -> bool:
    return bool(_curves(report).roc) and report.metrics.get("roc_auc") is not None


def pr_curve(report: TrainedReport, say: Words) -> Chart:
    """Draw precision against recall on the test rows, the threshold marked, chance as the grey line."""
    points, threshold = _curves(report).pr, threshold_of(report)
    precise, found = metric_of(report, "precision"), metric_of(report, "recall")
    rate = report.fraud_rate.get("test")
    precision, recall = say.percent(precise, 0), say.percent(found, 0)
    at = say._(
        "at %(threshold)s: precision %(precision)s, recall %(recall)s",
        threshold=say.threshold(threshold),
        precision=precision,
        recall=recall,
    )
    series = [line_of("--c1", [(p.recall, p.precision) for p in points], step="end")]
    series[0]["markPoint"] = _dot(
        found,
        precise,
        say._("%(value)s: %(share)s", value=say.threshold(threshold), share=f"{precision} / {recall}"),
    )
    if rate is not None:
        series.append(_dashed([(0, rate), (1, rate)], say._("chance, %(rate)s", rate=say.percent(rate))))
    return Chart(
        id="chart-pr",
        title=say._("Precision and recall"),
        unit=say._(
            "precision, %% of flagged rows that are fraud, against recall, %% of fraud that is flagged"
        ),
        finding=say._(
            "Average precision %(value)s on the test rows; %(at)s.",
            value=say.num(metric_of(report, "average_precision"), 3),
            at=at,
        ),
        option=_plot(_Axes(say._("recall"), say._("precision")), series),
        headings=(say._("Threshold"), say._("Precision"), say._("Recall")),
        rows=tuple(
            (say.threshold(p.threshold), say.percent(p.precision, 1), say.percent(p.recall, 1))
            for p in _spread(points)
        ),
    )


def roc_curve(report: TrainedReport, say: Words) -> Chart:
    """Draw true against false positive rate on the test rows, chance as the diagonal."""
    points = _curves(report).roc
    area = say.num(metric_of(report, "roc_auc"), 3)
    diagonal = _dashed([(0, 0), (1, 1)], say._("chance"))
    return Chart(
        id="chart-roc",
        title=say._("ROC curve"),
        unit=say._("%% of fraud flagged against %% of legitimate rows flagged"),
        finding=say._(
            "Area under the curve %(area)s; chance is %(chance)s.", area=area, chance=say.num(0.5, 1)
        ),
        option=_plot(
            _Axes(say._("false alarms"), say._("recall")),
            [line_of("--c1", [(p.fpr, p.tpr) for p in points]), diagonal],
        ),
        headings=(say._("False alarms"), say._("Recall")),
        rows=tuple((say.percent(p.fpr, 1), say.percent(p.tpr, 1)) for p in _spread(points)),
    )


def calibration(report: TrainedReport, points: Sequence[CalibrationBin], say: Words) -> Chart:
    """Draw observed against predicted fraud rate in bins of equal numbers of rows."""
    most = _round_up(max(max(p.predicted, p.observed) for p in points))
    error = report.metrics.get("calibration_error")
    dots = {
        "type": "line",
        "data": [[p.predicted, p.observed] for p in points],
        "symbol": "circle",
        "symbolSize": 8,
        "lineStyle": {"width": 1.2, "color": "--c1"},
        "itemStyle": {"color": "--c1"},
    }
    option = _plot(
        _Axes(say._("predicted"), say._("observed"), {"max": most}),
        [dots, _dashed([(0, 0), (most, most)], say._("predicted = observed"))],
    )
    return Chart(
        id="chart-calibration",
        title=say._("Calibration: predicted and observed share of fraud"),
        unit=say._("mean probability against share of fraud, bins of equal numbers of test rows"),
        finding=say._(
            "Probabilities are off by %(error)s on average over %(bins)s bins.",
            error=say.percent(error, 2),
            bins=len(points),
        ),
        option=option,
        headings=(say._("Predicted"), say._("Observed"), say._("Rows")),
        rows=tuple(
            (say.percent(p.predicted, 2), say.percent(p.observed, 2), say.num(p.rows)) for p in points
        ),
    )


def importances(report: TrainedReport, say: Words) -> Chart:
    """Draw the features the model leans on most, as shares of the whole."""
    ranked = sorted(report.importances, key=lambda item: -item.share)
    top = ranked[:TOP_FEATURES]
    names = [_feature(item, say) for item in top]
    option = _bars_across(names, [item.share for item in top])
    return Chart(
        id="chart-importances",
        title=say._("What the model relies on"),
        unit=say._("share of all contributions to the score, %%"),
        finding=say._(
            "Most of all %(feature)s, %(share)s.", feature=names[0], share=say.percent(top[0].share)
        ),
        option=option,
        headings=(say._("Feature"), say._("Column"), say._("Share")),
        rows=tuple((_feature(item, say), item.column, say.percent(item.share, 1)) for item in ranked[:40]),
        tall=True,
    )


def separation(report: TrainedReport, counts: Confusion, threshold: float, say: Words) -> Chart:
    """Draw how many fraudulent and legitimate test rows got each score, on a logarithmic scale."""
    bins = report.histogram
    option = _log_bars(
        [b.low for b in bins],
        {
            say._("legitimate"): ("--c6", [b.legitimate for b in bins]),
            say._("fraud"): ("--c3", [b.fraud for b in bins]),
        },
        threshold,
        say._("threshold %(value)s", value=say.threshold(threshold)),
    )
    return Chart(
        id="chart-separation",
        title=say._("Scores of fraud and of the rest"),
        unit=say._("test rows per %(width)s of score, log scale", width=say.num(1 / len(bins), 2)),
        finding=say._(
            "%(above)s of %(all)s frauds score at or above the threshold %(threshold)s.",
            above=say.num(counts.tp),
            all=say.num(counts.frauds),
            threshold=say.threshold(threshold),
        ),
        option=option,
        headings=(say._("Score"), say._("Legitimate"), say._("Fraud")),
        rows=tuple((say.interval((b.low, b.high)), say.num(b.legitimate), say.num(b.fraud)) for b in bins),
    )


def score_histogram(summary: Mapping[str, Any], threshold: float, say: Words) -> Chart:
    """Rows by score on a logarithmic scale; the flagged ones in the colour of risk."""
    counts = [_count(item) for item in summary["histogram"]]
    edges = [i / len(counts) for i in range(len(counts))]
    # A bin the threshold cuts is grey: its rows are on both sides.
    below = [c if low < threshold else 0 for low, c in zip(edges, counts, strict=True)]
    above = [0 if low < threshold else c for low, c in zip(edges, counts, strict=True)]
    flagged = say.ngettext("%(count)s row flagged", "%(count)s rows flagged", summary["flagged"])
    option = _log_bars(
        edges,
        {say._("not flagged"): ("--c6", below), say._("flagged"): ("--c3", above)},
        threshold,
        say._("threshold %(value)s", value=say.threshold(threshold)),
        stacked=True,
    )
    width = 1 / len(counts)
    return Chart(
        id="chart-scores",
        title=say._("Scores"),
        unit=say._("rows per %(width)s of score, log scale", width=say.num(width, 2)),
        finding=say._(
            "%(flagged)s at or above %(threshold)s, of %(rows)s.",
            flagged=flagged,
            threshold=say.threshold(threshold),
            rows=say.num(summary["rows"]),
        ),
        option=option,
        headings=(say._("Score"), say._("Rows")),
        rows=tuple(
            (say.interval((low, low + width)), say.num(count))
            for low, count in zip(edges, counts, strict=True)
        ),
    )


def compared_curves(a: AnyReport, b: AnyReport, names: tuple[str, str], say: Words) -> list[Chart]:
    """Draw the curves of two reports over each other, where both have them; A is dashed, B drawn through."""
    charts = [_compared_pr(a, b, names, say)] if _has_pr(a) and _has_pr(b) else []
    if _has_roc(a) and _has_roc(b):
        charts.append(_compared_roc(a, b, names, say))
    return charts


def _compared_pr(a: AnyReport, b: AnyReport, names: tuple[str, str], say: Words) -> Chart:
    series, precisions = [], []
    for letter, report in (("A", a), ("B", b)):
        points = sorted(_curves(report).pr, key=lambda point: point.recall)
        line = _compared_line(letter, names, [(p.recall, p.precision) for p in points], step="end")
        at = metric_of(report, "recall"), metric_of(report, "precision")
        line["markPoint"] = _dot(*at, letter, _COMPARED[letter][0])
        series.append(line)
        precisions.append([_at_recall(points, level) for level in _LEVELS])
    values = [say.num(metric_of(report, "average_precision"), 3) for report in (a, b)]
    return Chart(
        id="chart-compared-pr",
        title=say._("Precision and recall of A and B"),
        unit=say._("precision against recall on the test rows of each, %%; the dots are the thresholds"),
        finding=say._("Average precision %(a)s for A, %(b)s for B.", a=values[0], b=values[1]),
        option=_compared(_Axes(say._("recall"), say._("precision")), series),
        headings=(
            say._("Recall of at least"),
            say._("Precision of A"),
            say._("Precision of B"),
            say._("B − A, points"),
        ),
        rows=tuple(
            (
                say.percent(level),
                say.percent(one, 1),
                say.percent(other, 1),
                say.signed(None if one is None or other is None else 100 * (other - one), 1),
            )
            for level, one, other in zip(_LEVELS, *precisions, strict=True)
        ),
    )


def _compared_roc(a: AnyReport, b: AnyReport, names: tuple[str, str], say: Words) -> Chart:
    series, recalls = [], []
    for letter, report in (("A", a), ("B", b)):
        points = sorted(_curves(report).roc, key=lambda point: point.fpr)
        series.append(_compared_line(letter, names, [(p.fpr, p.tpr) for p in points]))
        recalls.append([_at_alarms(points, level) for level in _ALARMS])
    values = [say.num(metric_of(report, "roc_auc"), 3) for report in (a, b)]
    return Chart(
        id="chart-compared-roc",
        title=say._("ROC curves of A and B"),
        unit=say._("%% of fraud flagged against %% of legitimate rows flagged"),
        finding=say._("Area under the curve %(a)s for A, %(b)s for B.", a=values[0], b=values[1]),
        option=_compared(_Axes(say._("false alarms"), say._("recall")), series),
        headings=(
            say._("False alarms of at most"),
            say._("Recall of A"),
            say._("Recall of B"),
            say._("B − A, points"),
        ),
        rows=tuple(
            (
                say.percent(level),
                say.percent(one, 1),
                say.percent(other, 1),
                say.signed(100 * (other - one), 1),
            )
            for level, one, other in zip(_ALARMS, *recalls, strict=True)
        ),
    )


_LEVELS: Final = tuple(i / 10 for i in range(1, 11))
_ALARMS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_COMPARED: Final = {"A": ("--c2", "dashed"), "B": ("--c1", "solid")}


def _compared(axes: _Axes, series: list[dict[str, Any]]) -> dict[str, Any]:
    legend = {"top": 0, "right": 0, "itemWidth": 22, "itemHeight": 8, "textStyle": AXIS_TEXT}
    return {**_plot(axes, series), "legend": legend}


def _compared_line(
    letter: str, names: tuple[str, str], points: list[tuple[float, float]], *, step: str | None = None
) -> dict[str, Any]:
    colour, kind = _COMPARED[letter]
    line = line_of(colour, points, step=step)
    line["lineStyle"] |= {"type": kind}
    return line | {"name": f"{letter} · {names['AB'.index(letter)]}"}


def _at_recall(points: Sequence[PrecisionRecallPoint], level: float) -> float | None:
    """The precision at the first threshold that finds this share of fraud; None where none does."""
    return next((p.precision for p in points if p.recall >= level), None)


def _at_alarms(points: Sequence[RocPoint], level: float) -> float:
    """The share of fraud found by the last threshold with at most this share of false alarms."""
    return max((p.tpr for p in points if p.fpr <= level), default=0.0)


def stored_growth(points: Sequence[DayUsage], until: date, titles: Mapping[str, str], say: Words) -> Chart:
    """Bytes there by the end of each day, a band for each kind under its title; the first rises from nothing."""
    first, last = points[0], points[-1]
    drawn = [DayUsage(first.day - timedelta(days=1)), *points]
    if last.day < until:
        drawn.append(replace(last, day=until))
    series = []
    for kind, colour in zip(last.sizes, itertools.cycle(KIND_COLOURS)):
        sizes = [point.sizes.get(kind, 0) for point in drawn]
        if sizes[-1]:
            is_named = sizes[-1] >= NAMED_BAND * last.size
            name = titles.get(kind, kind)
            series.append(_band(name, colour, [point.day for point in drawn], sizes, named=is_named))
    shown = _spread(points)
    return Chart(
        id="chart-growth",
        title=say._("Growth of what is there now"),
        unit=say._("bytes by the day they were stored; what was deleted is in no day"),
        finding=say._(
            "%(size)s on %(day)s, %(before)s on %(first)s.",
            size=say.bytes(last.size),
            day=say.calendar_day(until),
            before=say.bytes(first.size),
            first=say.calendar_day(first.day),
        ),
        option={
            **frame(),
            "grid": {"left": 6, "right": 70, "top": 14, "bottom": 8, "containLabel": True},
            "xAxis": {
                "type": "time",
                **axis("", line=True),
                "splitNumber": 3,
                "axisLabel": {**axis_labels("@day"), "hideOverlap": True},
                "axisPointer": {"label": {"formatter": "@day-label"}},
            },
            "yAxis": {"type": "value", "min": 0, **axis("", line=False), "axisLabel": axis_labels("@bytes")},
            "tooltip": tooltip("@bytes"),
            "series": series,
        },
        headings=(say._("Day"), *(titles.get(kind, kind) for kind in last.sizes), say._("In all")),
        rows=tuple(
            (
                say.calendar_day(point.day),
                *(say.bytes(point.sizes.get(kind, 0)) for kind in last.sizes),
                say.bytes(point.size),
            )
            for point in shown
        ),
    )


def storage_costs(costs: Sequence[Cost], here: Collection[str], say: Words) -> Chart:
    """What a month costs at each offer, the cheapest first; those of `here`, by id, are where things are now."""
    option = _bars_across(
        [cost.offer.title for cost in costs],
        [
            {
                "value": round(cost.monthly, 4),
                "itemStyle": {"color": "--c1" if not here or cost.offer.id in here else "--c6"},
            }
            for cost in costs
        ],
        "@dollars",
    )
    cheapest, dearest = costs[0], costs[-1]
    return Chart(
        id="chart-costs",
        title=say._("Estimated cost of a month"),
        unit=say._("US dollars a month, before tax"),
        finding=say._(
            "From %(least)s at %(cheapest)s to %(most)s at %(dearest)s.",
            least=say.money(cheapest.monthly),
            cheapest=cheapest.offer.title,
            most=say.money(dearest.monthly),
            dearest=dearest.offer.title,
        ),
        option=option,
        headings=(
            say._("Where"),
            say._("A month"),
            say._("Storage"),
            say._("Requests"),
            say._("Sent out"),
            say._("Read back"),
        ),
        rows=tuple(
            (
                cost.offer.title,
                say.money(cost.monthly),
                say.money(cost.storage),
                say.money(cost.requests),
                say.money(cost.egress),
                say.money(cost.retrieval),
            )
            for cost in costs
        ),
        tall=True,
    )


def watching_charts(result: Mapping[str, Any], say: Words) -> list[Chart]:
    """What a look at a table has over time: its alerts, and how far its scores are from the usual."""
    made = []
    if (result.get("alerts") or {}).get("by_day"):
        made.append(alerts_by_day(result["alerts"], say))
    if sum(period["score_index"] is not None for period in result.get("periods") or ()) > 1:
        made.append(score_over_time(result, say))
    return made


def alerts_by_day(alerts: Mapping[str, Any], say: Words) -> Chart:
    """The share of rows that raise an alert by day (or by several days), the usual share as the grey line."""
    days, usual = alerts["by_day"], alerts.get("usual_rate")
    rates = [day["alerts"] / max(day["rows"], 1) for day in days]
    span = alerts.get("days", 1)
    bars: dict[str, Any] = {
        "type": "bar",
        "data": [[day["day"], round(rate, 6)] for day, rate in zip(days, rates, strict=True)],
        "itemStyle": {"color": "--c1"},
        "barMaxWidth": 14,
    }
    if usual is not None:
        bars["markLine"] = level_line(
            {"yAxis": usual}, say._("usual, %(rate)s", rate=say.percent(usual)), "--c6"
        )
    most = max(range(len(rates)), key=rates.__getitem__)
    return Chart(
        id="chart-alerts",
        title=say._("Alerts by day") if span == 1 else say._("Alerts over time"),
        unit=say._("%% of the rows of a day that raise an alert")
        if span == 1
        else say._("%% of the rows of %(count)s days that raise an alert", count=say.num(span)),
        finding=say._(
            "%(alerts)s of %(rows)s raise an alert; most on %(day)s, %(rate)s.",
            alerts=say.num(alerts["count"]),
            rows=say.ngettext("%(count)s row", "%(count)s rows", sum(day["rows"] for day in days)),
            day=say.calendar_day(date.fromisoformat(days[most]["day"])),
            rate=say.percent(rates[most]),
        ),
        option=_over_days([bars], "@percent"),
        headings=(
            say._("From") if span > 1 else say._("Day"),
            say._("Rows"),
            say._("Alerts"),
            say._("Share"),
        ),
        rows=tuple(
            (
                say.calendar_day(date.fromisoformat(day["day"])),
                say.num(day["rows"]),
                say.num(day["alerts"]),
                say.percent(rate, 1),
            )
            for day, rate in zip(days, rates, strict=True)
        ),
    )


def score_over_time(result: Mapping[str, Any], say: Words) -> Chart:
    """How far the scores of each period are from those of the training, with the two usual marks."""
    periods = [period for period in result["periods"] if period["score_index"] is not None]
    points = [(period["first"], round(period["score_index"], 4)) for period in periods]
    line = {**line_of("--c1", []), "data": [list(point) for point in points]}
    line |= {"symbol": "circle", "symbolSize": 7, "showSymbol": True}
    line["markLine"] = {
        **level_line({"yAxis": 0.1}, "", "--c6"),
        "data": [
            {"yAxis": mark, "label": {"formatter": text, "backgroundColor": "transparent"}}
            for mark, text in ((0.1, say._("moved from here")), (0.25, say._("far from here")))
        ],
    }
    most = max(periods, key=lambda period: float(period["score_index"]))
    option = _over_days([line], "@number")
    option["yAxis"]["max"] = max(0.3, round(1.15 * most["score_index"], 2))
    return Chart(
        id="chart-score-drift",
        title=say._("Drift of the score"),
        unit=say.ngettext(
            "population stability index of %(count)s day against the training; small parts move more by chance",
            "population stability index of %(count)s days against the training; small parts move more by chance",
            result["period_days"],
        ),
        finding=say._(
            "Farthest from %(day)s on: %(index)s.",
            day=say.calendar_day(date.fromisoformat(most["first"])),
            index=say.num(most["score_index"], 2),
        ),
        option=option,
        headings=(say._("From"), say._("Rows"), say._("Index")),
        rows=tuple(
            (
                say.calendar_day(date.fromisoformat(period["first"])),
                say.num(period["rows"]),
                say.num(period["score_index"], 3),
            )
            for period in periods
        ),
    )


def compared_on_rows(a: TrainedReport, b: TrainedReport, names: tuple[str, str], say: Words) -> list[Chart]:
    """Draw the curves of two versions on the same rows, where outcomes are known."""
    if not (_has_pr(a) and _has_pr(b)):
        return []
    unit = say._("precision against recall on the same rows, %%; the dots are the thresholds")
    return [replace(_compared_pr(a, b, names, say), unit=unit)]


def _over_days(series: list[dict[str, Any]], unit: str) -> dict[str, Any]:
    """Something by day, from 0."""
    return {
        **frame(),
        "grid": {"left": 6, "right": 22, "top": 22, "bottom": 8, "containLabel": True},
        "xAxis": {
            "type": "time",
            **axis("", line=True),
            "splitNumber": 3,
            "axisLabel": {**axis_labels("@day"), "hideOverlap": True},
            "axisPointer": {"label": {"formatter": "@day-label"}},
        },
        "yAxis": {"type": "value", "min": 0, **axis("", line=False), "axisLabel": axis_labels(unit)},
        "tooltip": tooltip("@percent-tooltip" if unit == "@percent" else unit),
        "series": series,
    }


def level_line(place: dict[str, float], label: str, colour: str) -> dict[str, Any]:
    """A line across the plot at a height, labelled above its right end."""
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
    """The bars of a column's small histogram in a view box of 100 by 20; what is not zero stays visible."""
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
    """What `column_bars` draws of a column's sketch: where its values lie, or how frequent its levels are.

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


def _plot(axes: _Axes, series: list[dict[str, Any]]) -> dict[str, Any]:
    scale = {"type": "value", "min": 0, "max": 1, **axes.extra}
    return {
        **frame(),
        "xAxis": {**scale, **axis(axes.x, line=True), "axisLabel": axis_labels("@percent")},
        "yAxis": {**scale, **axis(axes.y, line=False), "axisLabel": axis_labels("@percent")},
        "tooltip": tooltip("@percent-tooltip"),
        "series": series,
    }


def _bars_across(
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


def _log_bars(
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


def _band(
    name: str, colour: str, days: Sequence[date], sizes: Sequence[int], *, named: bool
) -> dict[str, Any]:
    """A stacked area of steps, named at its end where there is room."""
    return {
        **line_of(colour, [], step="end"),
        "name": name,
        "data": [[day.isoformat(), size] for day, size in zip(days, sizes, strict=True)],
        "stack": "stored",
        "areaStyle": {"color": colour, "opacity": 0.3},
        "endLabel": {"show": named, "formatter": "{a}", "color": "--ink", "fontSize": 11},
    }


def _dashed(points: list[tuple[float, float]], label: str) -> dict[str, Any]:
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


def _dot(x: float, y: float, label: str, colour: str = "--c1") -> dict[str, Any]:
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
    """A line across the plot at a share in [0, 1], its label on the side that has room."""
    side = "left" if place < 0.5 else "right"
    return {
        "symbol": "none",
        "silent": True,
        "lineStyle": {"color": "--ink", "type": "dashed", "width": 1.4},
        "label": {"formatter": label, "color": "--ink", "fontSize": 11, "position": "end", "align": side},
        "data": [{"xAxis": place}],
    }


def _middle(points: list[tuple[float, float]]) -> tuple[float, float]:
    """A place two thirds along a straight line, where its label stands."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    return x0 + (x1 - x0) * 0.66, y0 + (y1 - y0) * 0.66


def _spread(points: Sequence[Any], count: int = TABLE_ROWS) -> list[Any]:
    """At most `count` of the points, evenly spread, both ends among them."""
    if len(points) <= count:
        return list(points)
    return [points[round(i * (len(points) - 1) / (count - 1))] for i in range(count)]


def _feature(item: Importance, say: Words) -> str:
    """Name a feature: a column keeps its name, what was made of one is said in words."""
    return say.phrase(item.feature)


def _round_up(value: float) -> float:
    """The next of 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1: an axis that ends on a round number."""
    return next((end for end in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if value <= end), 1.0)


def _count(item: Any) -> int:
    return int(item["rows"] if isinstance(item, Mapping) else item)

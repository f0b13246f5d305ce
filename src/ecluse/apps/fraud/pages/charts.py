"""Draw a model and its scores: curves, calibration, importances, histograms, what changes over days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Final

from ecluse.apps.fraud.monitoring.report import Alerts, MonitoredPeriod, MonitoringReport
from ecluse.apps.fraud.performance.parts import (
    FAR,
    MOVED,
    CalibrationBin,
    Confusion,
    Curves,
    Importance,
    PrecisionRecallPoint,
    RocPoint,
)
from ecluse.apps.fraud.performance.reports import AnyReport, metric_of, threshold_of
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.web.charts import (
    AXIS_TEXT,
    Axes,
    Chart,
    bars_across,
    count_of,
    dashed_line,
    level_line,
    line_of,
    log_bars,
    marked_point,
    over_days,
    plot_lines,
    round_up,
    spread_out,
)
from ecluse.web.i18n import Words

TOP_FEATURES: Final = 12


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
    precise, recalled = metric_of(report, "precision"), metric_of(report, "recall")
    rate = report.fraud_rate.get("test")
    precision, recall = say.percent(precise, 0), say.percent(recalled, 0)
    at = say._(
        "at %(threshold)s: precision %(precision)s, recall %(recall)s",
        threshold=say.threshold(threshold),
        precision=precision,
        recall=recall,
    )
    series = [line_of("--c1", [(p.recall, p.precision) for p in points], step="end")]
    series[0]["markPoint"] = marked_point(
        recalled,
        precise,
        say._("%(value)s: %(share)s", value=say.threshold(threshold), share=f"{precision} / {recall}"),
    )
    if rate is not None:
        series.append(dashed_line([(0, rate), (1, rate)], say._("chance, %(rate)s", rate=say.percent(rate))))
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
        option=plot_lines(Axes(say._("recall"), say._("precision")), series),
        headings=(say._("Threshold"), say._("Precision"), say._("Recall")),
        rows=tuple(
            (say.threshold(p.threshold), say.percent(p.precision, 1), say.percent(p.recall, 1))
            for p in spread_out(points)
        ),
    )


def roc_curve(report: TrainedReport, say: Words) -> Chart:
    """Draw true against false positive rate on the test rows, chance as the diagonal."""
    points = _curves(report).roc
    area = say.num(metric_of(report, "roc_auc"), 3)
    diagonal = dashed_line([(0, 0), (1, 1)], say._("chance"))
    return Chart(
        id="chart-roc",
        title=say._("ROC curve"),
        unit=say._("%% of fraud flagged against %% of legitimate rows flagged"),
        finding=say._(
            "Area under the curve %(area)s; chance is %(chance)s.", area=area, chance=say.num(0.5, 1)
        ),
        option=plot_lines(
            Axes(say._("false alarms"), say._("recall")),
            [line_of("--c1", [(p.fpr, p.tpr) for p in points]), diagonal],
        ),
        headings=(say._("False alarms"), say._("Recall")),
        rows=tuple((say.percent(p.fpr, 1), say.percent(p.tpr, 1)) for p in spread_out(points)),
    )


def calibration(report: TrainedReport, points: Sequence[CalibrationBin], say: Words) -> Chart:
    """Draw observed against predicted fraud rate in bins of equal numbers of rows."""
    most = round_up(max(max(p.predicted, p.observed) for p in points))
    error = report.metrics.get("calibration_error")
    dots = {
        "type": "line",
        "data": [[p.predicted, p.observed] for p in points],
        "symbol": "circle",
        "symbolSize": 8,
        "lineStyle": {"width": 1.2, "color": "--c1"},
        "itemStyle": {"color": "--c1"},
    }
    option = plot_lines(
        Axes(say._("predicted"), say._("observed"), {"max": most}),
        [dots, dashed_line([(0, 0), (most, most)], say._("predicted = observed"))],
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
    option = bars_across(names, [item.share for item in top])
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
    option = log_bars(
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
    counts = [count_of(item) for item in summary["histogram"]]
    edges = [i / len(counts) for i in range(len(counts))]
    # A bin the threshold cuts is grey: its rows are on both sides.
    below = [c if low < threshold else 0 for low, c in zip(edges, counts, strict=True)]
    above = [0 if low < threshold else c for low, c in zip(edges, counts, strict=True)]
    flagged = say.ngettext("%(count)s row flagged", "%(count)s rows flagged", summary["flagged"])
    option = log_bars(
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
        line["markPoint"] = marked_point(*at, letter, _COMPARED[letter][0])
        series.append(line)
        precisions.append([_at_recall(points, level) for level in _LEVELS])
    values = [say.num(metric_of(report, "average_precision"), 3) for report in (a, b)]
    return Chart(
        id="chart-compared-pr",
        title=say._("Precision and recall of A and B"),
        unit=say._("precision against recall on the test rows of each, %%; the dots are the thresholds"),
        finding=say._("Average precision %(a)s for A, %(b)s for B.", a=values[0], b=values[1]),
        option=_compared(Axes(say._("recall"), say._("precision")), series),
        headings=(
            say._("Recall of at least"),
            say._("Precision of A"),
            say._("Precision of B"),
            say._("B − A, points"),
        ),
        rows=tuple(
            (
                say.percent(level),
                say.percent(first, 1),
                say.percent(other, 1),
                say.signed(None if first is None or other is None else 100 * (other - first), 1),
            )
            for level, first, other in zip(_LEVELS, *precisions, strict=True)
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
        option=_compared(Axes(say._("false alarms"), say._("recall")), series),
        headings=(
            say._("False alarms of at most"),
            say._("Recall of A"),
            say._("Recall of B"),
            say._("B − A, points"),
        ),
        rows=tuple(
            (
                say.percent(level),
                say.percent(first, 1),
                say.percent(other, 1),
                say.signed(100 * (other - first), 1),
            )
            for level, first, other in zip(_ALARMS, *recalls, strict=True)
        ),
    )


_LEVELS: Final = tuple(i / 10 for i in range(1, 11))


_ALARMS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


_COMPARED: Final = {"A": ("--c2", "dashed"), "B": ("--c1", "solid")}


def _compared(axes: Axes, series: list[dict[str, Any]]) -> dict[str, Any]:
    legend = {"top": 0, "right": 0, "itemWidth": 22, "itemHeight": 8, "textStyle": AXIS_TEXT}
    return {**plot_lines(axes, series), "legend": legend}


def _compared_line(
    letter: str, names: tuple[str, str], points: list[tuple[float, float]], *, step: str | None = None
) -> dict[str, Any]:
    colour, kind = _COMPARED[letter]
    line = line_of(colour, points, step=step)
    line["lineStyle"] |= {"type": kind}
    return line | {"name": f"{letter} · {names['AB'.index(letter)]}"}


def _at_recall(points: Sequence[PrecisionRecallPoint], level: float) -> float | None:
    """Return the precision at the first threshold that finds this share of fraud; None where none does."""
    return next((p.precision for p in points if p.recall >= level), None)


def _at_alarms(points: Sequence[RocPoint], level: float) -> float:
    """Return the share of fraud found by the last threshold with at most this share of false alarms."""
    return max((p.tpr for p in points if p.fpr <= level), default=0.0)


def monitoring_charts(report: MonitoringReport, say: Words) -> list[Chart]:
    """Draw what monitoring has over time: its alerts, and how far its scores are from the usual."""
    charts = []
    if report.alerts is not None and report.alerts.by_day:
        charts.append(alerts_by_day(report.alerts, say))
    if sum(period.score_index is not None for period in report.periods) > 1:
        charts.append(score_over_time(report.periods, report.period_days, say))
    return charts


def alerts_by_day(alerts: Alerts, say: Words) -> Chart:
    """Draw the share of rows that raise an alert by day (or by several days), the usual share as the grey line."""
    days, usual, span = alerts.by_day, alerts.usual_rate, alerts.days
    rates = [day.alerts / max(day.rows, 1) for day in days]
    bars: dict[str, Any] = {
        "type": "bar",
        "data": [[day.day, round(rate, 6)] for day, rate in zip(days, rates, strict=True)],
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
            alerts=say.num(alerts.count),
            rows=say.ngettext("%(count)s row", "%(count)s rows", sum(day.rows for day in days)),
            day=say.calendar_day(date.fromisoformat(days[most].day)),
            rate=say.percent(rates[most]),
        ),
        option=over_days([bars], "@percent"),
        headings=(
            say._("From") if span > 1 else say._("Day"),
            say._("Rows"),
            say._("Alerts"),
            say._("Share"),
        ),
        rows=tuple(
            (
                say.calendar_day(date.fromisoformat(day.day)),
                say.num(day.rows),
                say.num(day.alerts),
                say.percent(rate, 1),
            )
            for day, rate in zip(days, rates, strict=True)
        ),
    )


def score_over_time(all_periods: Sequence[MonitoredPeriod], period_days: int, say: Words) -> Chart:
    """Draw how far the scores of each period are from those of the training, with the two usual marks."""
    periods = [(period, period.score_index) for period in all_periods if period.score_index is not None]
    points = [[period.first, round(index, 4)] for period, index in periods]
    line = {**line_of("--c1", []), "data": points}
    line |= {"symbol": "circle", "symbolSize": 7, "showSymbol": True}
    line["markLine"] = {
        **level_line({"yAxis": MOVED}, "", "--c6"),
        "data": [
            {"yAxis": mark, "label": {"formatter": text, "backgroundColor": "transparent"}}
            for mark, text in ((MOVED, say._("moved from here")), (FAR, say._("far from here")))
        ],
    }
    farthest, most = max(periods, key=lambda pair: pair[1])
    option = over_days([line], "@number")
    option["yAxis"]["max"] = max(0.3, round(1.15 * most, 2))
    return Chart(
        id="chart-score-drift",
        title=say._("Drift of the score"),
        unit=say.ngettext(
            "population stability index of %(count)s day against the training; small parts move more by chance",
            "population stability index of %(count)s days against the training; small parts move more by chance",
            period_days,
        ),
        finding=say._(
            "Farthest from %(day)s on: %(index)s.",
            day=say.calendar_day(date.fromisoformat(farthest.first)),
            index=say.num(most, 2),
        ),
        option=option,
        headings=(say._("From"), say._("Rows"), say._("Index")),
        rows=tuple(
            (
                say.calendar_day(date.fromisoformat(period.first)),
                say.num(period.rows),
                say.num(index, 3),
            )
            for period, index in periods
        ),
    )


def compared_on_rows(a: TrainedReport, b: TrainedReport, names: tuple[str, str], say: Words) -> list[Chart]:
    """Draw the curves of two versions on the same rows, where outcomes are known."""
    if not (_has_pr(a) and _has_pr(b)):
        return []
    unit = say._("precision against recall on the same rows, %%; the dots are the thresholds")
    return [replace(_compared_pr(a, b, names, say), unit=unit)]


def _feature(item: Importance, say: Words) -> str:
    """Name a feature: a column keeps its name, what was made of one is said in words."""
    return say.phrase(item.feature)

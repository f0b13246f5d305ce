"""Make the curves of runs: from metrics by step to options and the tables beside them, as `charts` does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ecluse.application import known_metrics
from ecluse.catalog.runs import Curves, Point
from ecluse.tracking import Compared, better_way
from ecluse.tracking.kinds import tracked_runs
from ecluse.web.charts import AXIS_TEXT, Chart, axis, axis_labels, frame, line_of, tooltip
from ecluse.web.i18n import Words

#: What stands before the name of a metric that is measured on one part, in the order of their lines.
PARTS: Final = ("train_", "validation_", "best_validation_", "test_")
COLOURS: Final = ("--c1", "--c2", "--c3", "--c4", "--c5")
LETTERS: Final = "ABCDE"
#: Steps that a table shows; of more, some between the first and the last.
TABLE_STEPS: Final = 60
#: A curve of fewer points shows each.
FEW_POINTS: Final = 40
#: Points of a curve that are drawn.
MOST_POINTS: Final = 1000
#: Of a figure in pixels: about as high its curves are at least, and a line of its text.
PLOT_HEIGHT: Final = 130
LINE_HEIGHT: Final = 14
Line = tuple[str, str, Sequence[Point]]


def run_charts(curves: Curves, application: str, say: Words) -> list[Chart]:
    """Draw the curves of one run: what is measured of several parts in one figure."""
    charts = []
    for number, (stem, names) in enumerate(_groups(curves)):
        lines = [(part_name(name, stem, say), colour, curves[name]) for name, colour in _coloured(names)]
        last = say.between("; ").join(
            say._("%(name)s %(value)s", name=name, value=figure_text(points[-1].value, say))
            for name, _, points in lines
        )
        step = points_step(lines)
        finding = say._(
            "At %(step)s %(number)s: %(figures)s.",
            step=step_name(application, say),
            number=say.num(step),
            figures=last,
        )
        charts.append(_chart(f"chart-run-{number}", metric_name(stem, say), lines, application, finding, say))
    return charts


def compared_charts(compared: Compared, say: Words) -> list[Chart]:
    """Draw the curves of several runs over each other, a figure for each metric; a run has its letter everywhere."""
    applications = {run.application for run in compared.runs}
    application = applications.pop() if len(applications) == 1 else ""
    charts = []
    for number, (name, by_run) in enumerate(compared.curves.items()):
        lines = [
            (f"{LETTERS[at]} · {run.name}", COLOURS[at], by_run[run.id])
            for at, run in enumerate(compared.runs)
            if run.id in by_run
        ]
        chart = _chart(
            f"chart-compared-{number}",
            metric_name(name, say),
            lines,
            application,
            _best_of(name, lines, say),
            say,
        )
        # A dashed line is told from one drawn through where colours are not.
        for at, series in enumerate(chart.option["series"]):
            series["lineStyle"]["type"] = ("solid", "dashed", "dotted")[at % 3]
        charts.append(chart)
    return charts


def metric_name(name: str, say: Words) -> str:
    """Name a metric we know; any other is called by its own name."""
    return _names(say).get(name, name)


def main_meaning(name: str, application: str, say: Words) -> str:
    """Say what a metric is measured on and which way it gets better, where that is known.

    What a program of someone's own has logged (no application) was measured on what its author chose.
    """
    better = better_way(name)
    where = (
        say._("on rows held out")
        if name.endswith("validation_average_precision")
        else say._("on validation images")
        if name.startswith("validation_")
        else say._("on days held out")
        if name.startswith(("flow.", "bikes."))
        else say._("on the test part")
        if application and better is not None and not name.startswith(("train_", "test_"))  # the name says so
        else ""
    )
    way = {"higher": say._("higher is better"), "lower": say._("lower is better")}.get(better or "", "")
    return ", ".join(part for part in (where, way) if part)


def step_name(application: str, say: Words) -> str:
    """Name a step of a run."""
    step = tracked_runs(application).step
    return say._(step) if step else say._("step")


def figure_text(value: float, say: Words) -> str:
    """Write a figure with four digits that count, or as many as stand before its point."""
    if abs(value) >= 10_000:
        return say.num(round(value))
    return say.as_given(float(f"{value:.4g}"))


def part_name(name: str, stem: str, say: Words) -> str:
    """Name what a line of a figure is measured on."""
    part = name.removesuffix(stem)
    return {
        "train_": say._("training"),
        "validation_": say._("validation"),
        "best_validation_": say._("best so far"),
        "test_": say._("test"),
    }.get(part, metric_name(name, say))


def points_step(lines: Sequence[Line]) -> int:
    """Return the last step of any line."""
    return max(points[-1].step for _, _, points in lines)


def _names(say: Words) -> dict[str, str]:
    titles = {name: say._(metric.title) for name, metric in known_metrics().items()}
    return titles | {
        "validation_average_precision": say._("Average precision, rows held out"),
        "best_validation_average_precision": say._("Best average precision so far"),
        "threshold": say._("Threshold"),
        "loss": say._("Loss, 0 is best"),
        "train_loss": say._("Loss, training"),
        "train_accuracy": say._("Accuracy, training"),
        "validation_loss": say._("Loss, validation"),
        "validation_accuracy": say._("Accuracy, validation"),
        "test_loss": say._("Loss, test"),
        "test_accuracy": say._("Accuracy, test"),
        "served_accuracy": say._("Right as served, test"),
        "served_accuracy_low": say._("Right as served: low end of its interval"),
        "served_accuracy_high": say._("Right as served: high end of its interval"),
        "best_epoch": say._("Epoch that was published"),
        "test_accuracy_low": say._("Accuracy, test: low end of its interval"),
        "test_accuracy_high": say._("Accuracy, test: high end of its interval"),
        "training_seconds": say._("Seconds of training"),
        "size_bytes": say._("Bytes of the model"),
        "learning_rate": say._("Learning rate"),
        "flow.absolute_error": say._("Mean absolute error of road flow, vehicles per hour"),
        "bikes.absolute_error": say._("Mean absolute error of bikes, per hour"),
        "flow.sampled_error": say._("Mean absolute error of some road sensors, vehicles per hour"),
        "bikes.sampled_error": say._("Mean absolute error of some bike counters, per hour"),
        "flow.typical_error": say._("The same of the typical day: road flow"),
        "bikes.typical_error": say._("The same of the typical day: bikes"),
    }


def _groups(curves: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Metrics that one figure shows, by what they have in common; losses and accuracies first."""
    groups: dict[str, list[str]] = {}
    for part in (*PARTS, ""):
        for name in sorted(curves):
            stem = next(
                (name.removeprefix(prefix) for prefix in reversed(PARTS) if name.startswith(prefix)), name
            )
            if name == f"{part}{stem}":
                groups.setdefault(stem, []).append(name)
    first = ("loss", "accuracy")
    for stem in sorted(groups, key=lambda stem: (first.index(stem) if stem in first else len(first), stem)):
        yield stem, groups[stem]


def _coloured(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Colour validation first, as it decides; what is measured on the rows learned from takes the second colour."""
    others = iter(COLOURS[2:] * len(names))
    for name in names:
        colours = {"train_": "--c2", "validation_": "--c1", "best_validation_": "--c3"}
        part = next((part for part in reversed(PARTS) if name.startswith(part)), "")
        yield name, colours.get(part) or ("--c1" if len(names) == 1 else next(others))


def _chart(
    chart_id: str, title: str, lines: Sequence[Line], application: str, finding: str, say: Words
) -> Chart:
    step = step_name(application, say)
    series = [
        _series(name, colour, points, shift)
        for (name, colour, points), shift in zip(lines, label_shifts(lines), strict=True)
    ]
    option = {
        **frame(),
        "grid": {"left": 6, "right": 120, "top": 14, "bottom": 26, "containLabel": True},
        "xAxis": {
            "type": "value",
            **axis(step, line=True),
            "minInterval": 1,
            "min": "dataMin",
            "max": "dataMax",
            "axisLabel": axis_labels("@number"),
        },
        "yAxis": {
            "type": "value",
            "scale": True,
            **axis("", line=False),
            "axisLabel": axis_labels("@figure"),
        },
        "tooltip": tooltip("@figure"),
        "series": series,
    }
    return Chart(
        id=chart_id,
        title=title,
        unit=say._("by %(step)s; the axis need not begin at 0", step=step),
        finding=finding,
        option=option,
        headings=(step.capitalize(), *(name for name, _, _ in lines)),
        rows=tuple(_rows(lines, say)),
    )


def label_shifts(lines: Sequence[Line]) -> list[float]:
    """Pixels by which the name at the end of each line moves down, so that no two are written over each other."""
    values = [point.value for _, _, points in lines for point in points]
    low, spread = (
        min(values) / 2,
        (max(values) / 2 - min(values) / 2) or 1.0,
    )  # halves: the whole may overflow
    ends = [(1 - (points[-1].value / 2 - low) / spread) * PLOT_HEIGHT for _, _, points in lines]
    shifts, below = [0.0] * len(ends), -math.inf
    for at in sorted(range(len(ends)), key=lambda at: ends[at]):
        below = max(ends[at], below + LINE_HEIGHT)
        shifts[at] = round(below - ends[at], 1)
    return shifts


def _series(name: str, colour: str, points: Sequence[Point], shift: float) -> dict[str, Any]:
    drawn = line_of(colour, [(point.step, point.value) for point in thinned(points)])
    return drawn | {
        "name": name,
        "showSymbol": len(points) < FEW_POINTS,
        "symbol": "circle",
        "symbolSize": 5,
        "endLabel": {
            "show": True,
            "formatter": "{a}",
            **AXIS_TEXT,
            "color": "--ink",
            "width": 110,
            "overflow": "truncate",
            "offset": [0, shift],
        },
    }


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Thin a curve to the points that can be seen: first, last, and the lowest and highest of each stretch."""
    if len(points) <= MOST_POINTS:
        return points
    stretch = math.ceil(2 * len(points) / (MOST_POINTS - 2))
    kept = {0, len(points) - 1}
    for start in range(0, len(points), stretch):
        within = range(start, min(start + stretch, len(points)))
        kept |= {pick(within, key=lambda at: points[at].value) for pick in (min, max)}
    return [points[at] for at in sorted(kept)]


def _rows(lines: Sequence[Line], say: Words) -> Iterator[tuple[str, ...]]:
    steps = sorted({point.step for _, _, points in lines for point in points})
    if len(steps) > TABLE_STEPS:
        kept = {round(at * (len(steps) - 1) / (TABLE_STEPS - 1)) for at in range(TABLE_STEPS)}
        steps = [step for at, step in enumerate(steps) if at in kept]
    by_line = [{point.step: point.value for point in points} for _, _, points in lines]
    for step in steps:
        cells = (figure_text(values[step], say) if step in values else "–" for values in by_line)
        yield (say.num(step), *cells)


def _best_of(name: str, lines: Sequence[Line], say: Words) -> str:
    """Name the run that has come furthest, where it is known which way that is."""
    better = better_way(name)
    if better is None or len(lines) < 2:
        return say.between("; ").join(
            say._("%(name)s %(value)s", name=line, value=figure_text(points[-1].value, say))
            for line, _, points in lines
        )
    pick = max if better == "higher" else min
    best = [(line, pick(points, key=lambda point: point.value)) for line, _, points in lines]
    line, point = pick(best, key=lambda line_and_point: line_and_point[1].value)
    return say._(
        "Best of all: %(name)s, %(value)s at step %(step)s.",
        name=line,
        value=figure_text(point.value, say),
        step=say.num(point.step),
    )

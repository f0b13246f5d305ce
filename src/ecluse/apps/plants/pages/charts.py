"""Make the charts of a classifier of images: how it learned, and what its probabilities are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ecluse.apps.plants.recipe import Epoch
from ecluse.apps.plants.report import ClassifierReport, ReliabilityBin
from ecluse.web.charts import AXIS_TEXT, Chart, axis, axis_labels, frame, line_of, tooltip
from ecluse.web.i18n import Words

#: A bin of fewer images says nothing on its own; its dot is drawn hollow.
FEW: Final = 5
#: Ends of curves have their names on either side of them from this share of the curves' height on.
APART: Final = 0.06
#: The share of the epochs from which on the kept one has room for its name before it, away from the lines' ends.
ROOM: Final = 0.35
#: Shades of a cell of the confusion matrix, by the share of its row; `app.css` has `h0` to `h6`.
SHADES: Final = (0.0, 0.02, 0.1, 0.3, 0.55, 0.8)


def classifier_charts(report: ClassifierReport, say: Words) -> list[Chart]:
    """Return every figure that the report of a classifier has the values for, in the order of the page."""
    history = report.history
    charts = []
    if len(history) > 1:
        charts += [losses(history, report.best_epoch, say), accuracies(history, report.best_epoch, say)]
    if report.calibration is not None and any(each.count for each in report.calibration.bins):
        error = report.metrics.get("expected_calibration_error")
        charts.append(calibration(report.calibration.bins, error, say))
    return charts


def losses(history: Sequence[Epoch], best: int | None, say: Words) -> Chart:
    """Return the mean cross-entropy of both parts by epoch."""
    best_epoch = _kept(history, best)
    return _learning(
        history,
        _Curve(
            "loss",
            id="chart-loss",
            title=say._("Learning: loss"),
            unit=say._("mean cross-entropy by epoch, nats; lower is better"),
            finding=say._(
                "Kept: epoch %(epoch)s, loss %(validation)s on the validation images and %(train)s on those "
                "learned from.",
                epoch=say.num(best_epoch.epoch),
                validation=say.num(best_epoch.validation_loss, 3),
                train=say.num(best_epoch.train_loss, 3),
            ),
            format_value=lambda value: say.num(value, 4),
        ),
        best_epoch,
        say,
    )


def accuracies(history: Sequence[Epoch], best: int | None, say: Words) -> Chart:
    """Return the share of images that were named right, of both parts, by epoch."""
    best_epoch = _kept(history, best)
    return _learning(
        history,
        _Curve(
            "accuracy",
            id="chart-accuracy",
            title=say._("Learning: accuracy"),
            unit=say._("%% of images named right, by epoch; the axis does not begin at 0"),
            finding=say._(
                "Epoch %(epoch)s: %(validation)s of the validation images and %(train)s of those learned "
                "from were right.",
                epoch=say.num(best_epoch.epoch),
                validation=say.percent(best_epoch.validation_accuracy, 1),
                train=say.percent(best_epoch.train_accuracy, 1),
            ),
            format_value=lambda value: say.percent(value, 1),
        ),
        best_epoch,
        say,
    )


def calibration(all_bins: Sequence[ReliabilityBin], error: float | None, say: Words) -> Chart:
    """Return how often a name was right, against how probable it was said to be."""
    bins = [each for each in all_bins if each.count]
    dots = {
        **line_of("--c1", []),
        "showSymbol": True,
        "symbol": "circle",
        "symbolSize": 8,
        "lineStyle": {"width": 1.2, "color": "--c1"},
        "data": [
            {
                "value": [round(each.confidence or 0.0, 4), round(each.accuracy or 0.0, 4)],
                "symbol": "circle" if each.count >= FEW else "emptyCircle",
            }
            for each in bins
        ],
    }
    even = {
        **line_of("--c6", [(0, 0), (1, 1)]),
        "lineStyle": {"width": 1.5, "type": "dashed", "color": "--c6"},
        "silent": True,
        "tooltip": {"show": False},
        "markPoint": {
            "symbol": "circle",
            "symbolSize": 0.1,
            "data": [{"coord": [0.42, 0.42], "name": say._("as often as said")}],
            "label": {"show": True, "formatter": "{b}", "position": "right", "distance": 10, **AXIS_TEXT},
        },
    }
    scale = {"type": "value", "min": 0, "max": 1}
    option = {
        **frame(),
        "xAxis": {
            **scale,
            **axis(say._("probability said"), line=True),
            "axisLabel": axis_labels("@percent"),
        },
        "yAxis": {**scale, **axis(say._("right"), line=False), "axisLabel": axis_labels("@percent")},
        "tooltip": tooltip("@percent-tooltip"),
        "series": [dots, even],
    }
    return Chart(
        id="chart-calibration",
        title=say._("Calibration: said and right"),
        unit=say.ngettext(
            "mean probability of the name given against the share that was right; hollow: fewer than %(count)s image",
            "mean probability of the name given against the share that was right; hollow: fewer than %(count)s images",
            FEW,
        ),
        finding=say._("Probabilities are off by %(error)s on average.", error=say.percent(error, 1)),
        option=option,
        headings=(say._("Probability"), say._("Said"), say._("Right"), say._("Images")),
        rows=tuple(
            (
                say._("%(low)s to %(high)s", low=say.num(each.low, 2), high=say.num(each.high, 2)),
                say.percent(each.confidence, 1),
                say.percent(each.accuracy, 1),
                say.num(each.count),
            )
            for each in bins
        ),
    )


def shaded(confusion: Sequence[Sequence[int]]) -> list[list[tuple[int, float | None, int]]]:
    """Return each cell of a confusion matrix: its images, its share of the row, and the shade of that (0 to 6)."""
    rows = []
    for row in confusion:
        total = sum(row)
        shares = [count / total if total else None for count in row]
        rows.append([(n, share, _shade(share)) for n, share in zip(row, shares, strict=True)])
    return rows


def _shade(share: float | None) -> int:
    return sum(share > step for step in SHADES) if share is not None else 0


def _kept(history: Sequence[Epoch], best: int | None) -> Epoch:
    """Return the epoch whose weights the version has: the one named, else that of the lowest validation loss."""
    named = [epoch for epoch in history if epoch.epoch == best]
    return named[0] if named else min(history, key=lambda epoch: epoch.validation_loss)


@dataclass(frozen=True)
class _Curve:
    """A metric by epoch: its name in `Epoch`, the words of its chart, and how its values are written."""

    metric: Literal["loss", "accuracy"]
    id: str
    title: str
    unit: str
    finding: str
    format_value: Callable[[float], str]

    def of(self, epoch: Epoch, part: str) -> float:
        return float(getattr(epoch, f"{part}_{self.metric}"))


def _learning(history: Sequence[Epoch], curve: _Curve, best_epoch: Epoch, say: Words) -> Chart:
    """Return a metric of both parts by epoch, as curves and as a table."""
    return Chart(
        id=curve.id,
        title=curve.title,
        unit=curve.unit,
        finding=curve.finding,
        option=_by_epoch(history, curve, best_epoch, say),
        headings=(say._("Epoch"), say._("Validation"), say._("Training")),
        rows=tuple(
            (
                say.num(epoch.epoch),
                curve.format_value(curve.of(epoch, "validation")),
                curve.format_value(curve.of(epoch, "train")),
            )
            for epoch in history
        ),
    )


def _by_epoch(history: Sequence[Epoch], curve: _Curve, best_epoch: Epoch, say: Words) -> dict[str, Any]:
    """Draw validation and training by epoch, named at their ends, the kept epoch marked."""
    share = curve.metric == "accuracy"
    parts = (("validation", "--c1", say._("validation")), ("train", "--c6", say._("training")))
    values = {part: [curve.of(epoch, part) for epoch in history] for part, _colour, _name in parts}
    outside = _names_aside(values, share=share)
    epochs = [epoch.epoch for epoch in history]
    series = [
        {
            **line_of(
                colour, [(at, round(value, 5)) for at, value in zip(epochs, values[part], strict=True)]
            ),
            "name": name,
            "endLabel": {
                "show": True,
                "formatter": "{a}",
                "align": "right",
                "offset": [-2, outside[part]],
                "color": "--ink",
                "fontSize": 11,
            },
        }
        for part, colour, name in parts
    ]
    series[0] |= _kept_marks(epochs, best_epoch.epoch, curve.of(best_epoch, "validation"), say)
    low = min(min(series) for series in values.values())
    bounds = {"min": max(0.0, math.floor(low * 10 - 1) / 10), "max": 1} if share else {"min": 0}
    return {
        **frame(),
        "xAxis": {
            "type": "value",
            "min": epochs[0],
            "max": epochs[-1],
            "minInterval": 1,
            **axis(say._("epoch"), line=True),
            "axisLabel": axis_labels("@number"),
        },
        "yAxis": {
            "type": "value",
            **bounds,
            **axis("", line=False),
            "axisLabel": axis_labels("@percent" if share else "@number"),
        },
        "tooltip": tooltip("@percent-tooltip" if share else "@number"),
        "series": series,
    }


def _names_aside(values: Mapping[str, Sequence[float]], *, share: bool) -> dict[str, int]:
    """Return how far below its curve's end the name of each part stands, in pixels; less than 0 is above."""
    ends = {part: series[-1] for part, series in values.items()}
    upper = max(ends, key=ends.__getitem__)
    height = max(max(series) for series in values.values()) - min(min(series) for series in values.values())
    if max(ends.values()) - min(ends.values()) > APART * height:
        # Neither on the name of the kept epoch at the top, nor on the numbers of the axis.
        above, below = (12, 12) if share else (-10, -10)
    else:  # both names on the side away from that of the kept epoch, or from the axis
        above, below = (12, 26) if share else (-24, -10)
    return {part: above if part == upper else below for part in values}


def _kept_marks(epochs: Sequence[int], best_epoch: int, value: float, say: Words) -> dict[str, Any]:
    """Return a dot and a line at the epoch that was kept, the line named on the side that has room."""
    return {
        "markPoint": {
            "symbol": "circle",
            "symbolSize": 8,
            "itemStyle": {"color": "--c1"},
            "data": [{"coord": [best_epoch, round(value, 5)]}],
            "label": {"show": False},
        },
        "markLine": {
            "symbol": "none",
            "silent": True,
            "lineStyle": {"color": "--ink", "type": "dashed", "width": 1.2},
            "label": {
                "formatter": say._("kept: epoch %(epoch)s", epoch=say.num(best_epoch)),
                "position": "end",
                "align": "right" if best_epoch - epochs[0] >= ROOM * (epochs[-1] - epochs[0]) else "left",
                "color": "--ink",
                "fontSize": 11,
            },
            "data": [{"xAxis": best_epoch}],
        },
    }

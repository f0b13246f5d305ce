"""Draw the figures of a report as SVG files: plain text, the same for the same report."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ecluse.apps.fraud.performance.trained import TrainingReport

FOLDER: Final = "plots"
WIDTH, HEIGHT = 480, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 48
INK, FAINT, BLUE, RED = "#222222", "#d8d8d8", "#2563a8", "#c2410c"
MOST_BARS: Final = 15
LONGEST_NAME: Final = 28

Point = tuple[float, float]


def write_plots(directory: Path, report: TrainingReport) -> list[str]:
    """Write `plots/*.svg` from the content of `performance.json`; returns their names within `directory`."""
    (directory / FOLDER).mkdir(exist_ok=True)
    drawings: dict[str, Callable[[TrainingReport], str]] = {
        "precision_recall": precision_recall,
        "roc": roc,
        "calibration": calibration,
        "scores": scores,
        "importances": importances,
    }
    for name, draw in drawings.items():
        (directory / FOLDER / f"{name}.svg").write_text(draw(report), encoding="utf-8")
    return [f"{FOLDER}/{name}.svg" for name in drawings]


def precision_recall(report: TrainingReport) -> str:
    """Precision over recall on the test rows, with the chance level and the threshold."""
    points = [(point.recall, point.precision) for point in report.curves.pr]
    chance, metrics = report.baseline.fraud_rate, report.metrics
    body = [
        _line([(0, chance), (1, chance)], FAINT),
        _line(points, BLUE),
        _dot((metrics["recall"], metrics["precision"]), f"threshold {report.threshold:.4g}"),
    ]
    title = f"Precision and recall, average precision {metrics['average_precision']:.3f}"
    return _drawing(title, "recall", "precision", body)


def roc(report: TrainingReport) -> str:
    """Plot the true over the false positive rate on the test rows."""
    points = [(point.fpr, point.tpr) for point in report.curves.roc]
    body = [_line([(0, 0), (1, 1)], FAINT), _line(points, BLUE)]
    title = f"ROC, area {report.metrics['roc_auc']:.3f}"
    return _drawing(title, "share of legitimate rows flagged", "share of fraud found", body)


def calibration(report: TrainingReport) -> str:
    """Observed over promised share of fraud, bins of equal numbers of test rows."""
    points = [(point.predicted, point.observed) for point in report.curves.calibration]
    most = max([value for point in points for value in point] + [1e-6]) * 1.05
    scaled = [(x / most, y / most) for x, y in points]
    body = [_line([(0, 0), (1, 1)], FAINT), _line(scaled, BLUE), *(_dot(point) for point in scaled)]
    title = f"Calibration, mean error {report.metrics['calibration_error']:.4f}"
    return _drawing(title, "mean probability", "share of fraud", body, x_most=most, y_most=most)


def scores(report: TrainingReport) -> str:
    """Test rows by probability, each kind as a share of its own rows."""
    bins = report.histogram
    heights = {
        "legitimate": _shares([each.legitimate for each in bins]),
        "fraud": _shares([each.fraud for each in bins]),
    }
    most = max([*heights["legitimate"], *heights["fraud"], 1e-6]) * 1.05
    body = []
    for place, (kind, colour) in enumerate((("legitimate", BLUE), ("fraud", RED))):
        for each, height in zip(bins, heights[kind], strict=True):
            width = (each.high - each.low) * 0.42
            left = each.low + (each.high - each.low) * 0.06 + place * width
            body.append(_bar(left, left + width, height / most, colour))
        body.append(_text(WIDTH - RIGHT - 110 + 70 * place, TOP - 6, kind, colour))
    return _drawing("Scores of the test rows", "probability", "share of the kind's rows", body, y_most=most)


def importances(report: TrainingReport) -> str:
    """Return the features the model has learned most from."""
    top = [item for item in report.importances[:MOST_BARS] if item.share > 0]
    most = max([item.share for item in top] + [1e-6])
    step, left = min((HEIGHT - TOP - 16) / max(len(top), 1), 32.0), 200
    body = []
    for place, item in enumerate(top):
        y, width = TOP + place * step, (WIDTH - left - 60) * item.share / most
        name = item.feature if len(item.feature) <= LONGEST_NAME else item.feature[: LONGEST_NAME - 1] + "…"
        body += [
            _text(left - 8, y + step * 0.65, name, INK, anchor="end"),
            f'<rect x="{left}" y="{y + step * 0.15:.1f}" width="{width:.1f}" height="{step * 0.7:.1f}" fill="{BLUE}"/>',
            _text(left + width + 6, y + step * 0.65, f"{item.share:.1%}", INK),
        ]
    return _svg("What the model looks at", body)


def _shares(counts: Sequence[int]) -> list[float]:
    """Return each count as a share of all."""
    return [count / max(sum(counts), 1) for count in counts]


def _drawing(
    title: str, x_name: str, y_name: str, body: Sequence[str], *, x_most: float = 1.0, y_most: float = 1.0
) -> str:
    axes = [_line([(0, 0), (0, 1)], INK, 1), _line([(0, 0), (1, 0)], INK, 1)]
    for step in range(5):
        share = step / 4
        (x, bottom), (left, y) = _at((share, 0)), _at((0, share))
        axes += [
            _text(x, bottom + 16, f"{share * x_most:.3g}", INK, anchor="middle"),
            _text(left - 6, y + 4, f"{share * y_most:.3g}", INK, anchor="end"),
        ]
    names = [
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_name, INK, anchor="middle"),
        f'<g transform="rotate(-90 14 {HEIGHT / 2:.0f})">{_text(14, HEIGHT / 2, y_name, INK, anchor="middle")}</g>',
    ]
    return _svg(title, [*axes, *names, *body])


def _svg(title: str, body: Sequence[str]) -> str:
    shown = html.escape(title)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'font-family="sans-serif" font-size="11">',
            f"<title>{shown}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="20" font-size="13" fill="{INK}">{shown}</text>',
            *body,
            "</svg>\n",
        ]
    )


def _at(point: Point) -> Point:
    x, y = point
    return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)


def _line(points: Sequence[Point], colour: str, width: float = 2) -> str:
    placed = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(_at, points))
    return f'<polyline points="{placed}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _dot(point: Point, name: str = "") -> str:
    x, y = _at(point)
    far = point[0] > 0.7
    label = _text(x - 8 if far else x + 8, y - 6, name, INK, "end" if far else "start") if name else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{RED}"/>{label}'


def _bar(left: float, right: float, height: float, colour: str) -> str:
    (x, top), (end, bottom) = _at((left, height)), _at((right, 0))
    return (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="{end - x:.1f}" height="{bottom - top:.1f}" fill="{colour}"/>'
    )


def _text(x: float, y: float, words: str, colour: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{html.escape(words)}</text>'

"""Plots are well-formed, hold what the report says, and run nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from ecluse.apps.fraud.evaluation import metrics
from ecluse.apps.fraud.evaluation.plots import write_plots
from ecluse.apps.fraud.measures import calibration_curve
from ecluse.apps.fraud.performance.parts import Baseline, Curves, Importance, ScoreBin

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Drawn:
    """What plots read of a report."""

    threshold: float
    metrics: dict[str, float]
    baseline: Baseline
    curves: Curves
    histogram: tuple[ScoreBin, ...]
    importances: tuple[Importance, ...]


def report(feature: str = "amount") -> Any:
    rng = np.random.default_rng(0)
    labels = (rng.random(500) < 0.1).astype(np.int8)
    scores = np.clip(0.1 + 0.5 * labels + rng.normal(0, 0.1, 500), 0, 1)
    return Drawn(
        threshold=0.5,
        metrics=metrics.measure(labels, scores, 0.5),
        baseline=Baseline(
            fraud_rate=float(labels.mean()), best_feature=feature, best_feature_average_precision=0.5
        ),
        curves=Curves(
            pr=metrics.precision_recall_curve(labels, scores),
            roc=metrics.roc_curve(labels, scores),
            calibration=calibration_curve(labels, scores),
        ),
        histogram=metrics.score_histogram(labels, scores),
        importances=(Importance(feature, feature, 0.75), Importance("b", "b", 0.25)),
    )


def drawn(path: Path) -> ElementTree.Element:
    return ElementTree.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 (made by the test)


@pytest.mark.parametrize("feature", ["amount", "<script>alert(1)</script>", "a & b \"c\" 'd'", "é" * 80])
def test_every_plot_is_well_formed_whatever_a_column_is_called(feature: str, tmp_path: Path) -> None:
    names = write_plots(tmp_path, report(feature))
    assert len(names) == 5
    for name in names:
        root = drawn(tmp_path / name)
        assert root.tag == f"{SVG}svg"
        assert root.find(f"{SVG}title") is not None
        assert not list(root.iter(f"{SVG}script"))


def test_every_mark_stays_within_the_drawing(tmp_path: Path) -> None:
    for name in write_plots(tmp_path, report()):
        root = drawn(tmp_path / name)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for line in root.iter(f"{SVG}polyline"):
            points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
            assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
        for bar in root.iter(f"{SVG}rect"):
            assert float(bar.get("x", 0)) + float(bar.attrib["width"]) <= width + 0.2
            assert float(bar.attrib["height"]) >= 0


def test_the_same_report_gives_the_same_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        write_plots(folder, report())
    for path in first.rglob("*.svg"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_the_importances_are_told_by_name_and_share(tmp_path: Path) -> None:
    write_plots(tmp_path, report())
    text = (tmp_path / "plots" / "importances.svg").read_text()
    assert "amount" in text
    assert "75.0%" in text

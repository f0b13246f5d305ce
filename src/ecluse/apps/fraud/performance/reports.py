"""Read and write the report of a model, `performance.json`: what was measured of it, and how it came to be.

report = read_report(version.report)           # TrainedReport | EnsembleReport, of any release
precision = report.metrics.get("precision")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecluse.apps.fraud.performance.ensemble import ENSEMBLE, EnsembleReport
from ecluse.apps.fraud.performance.parts import REPORT_FILE
from ecluse.apps.fraud.performance.trained import TrainedReport, TrainingReport
from ecluse.errors import UnreadableRecord
from ecluse.sentences import _, pack
from ecluse.typed_json import read, write

AnyReport = TrainedReport | EnsembleReport


def read_report(content: Mapping[str, Any]) -> AnyReport:
    """Read the report of a stored version, of any release; an empty one of a version that was imported.

    Raises:
        UnreadableRecord: it is not what a release of ours wrote.
    """
    if content.get("kind") == ENSEMBLE:
        return read(EnsembleReport, content, REPORT_FILE)
    return read(TrainedReport, content, REPORT_FILE)


def read_trained_report(content: Mapping[str, Any]) -> TrainedReport:
    """Read the report of a version that was trained on labels; an empty one of an ensemble or an imported version."""
    report = read_report(content)
    return report if isinstance(report, TrainedReport) else TrainedReport()


def read_ensemble_report(content: Mapping[str, Any]) -> EnsembleReport:
    """Read the report of an ensemble."""
    return read(EnsembleReport, content, REPORT_FILE)


def read_training_report(content: Mapping[str, Any]) -> TrainingReport:
    """Read the report that a training of this release has just written."""
    return read(TrainingReport, content, REPORT_FILE)


def metric_of(report: AnyReport, name: str) -> float:
    """Return a metric that was measured.

    Raises:
        UnreadableRecord: it was not.
    """
    value = report.metrics.get(name)
    if value is None:
        raise UnreadableRecord(_("%(file)s says no %(name)s.", file=REPORT_FILE, name=name))
    return value


def threshold_of(report: AnyReport) -> float:
    """Return the score from which rows are flagged.

    Raises:
        UnreadableRecord: the version was imported, and says none.
    """
    if report.threshold is None:
        raise UnreadableRecord(_("%(file)s says no %(name)s.", file=REPORT_FILE, name="threshold"))
    return report.threshold


def report_content(report: AnyReport) -> dict[str, Any]:
    """Convert a report to plain JSON values, as catalog and file hold them."""
    content: dict[str, Any] = write(report)
    return content


def write_report(folder: Path, report: AnyReport) -> Path:
    """Write `performance.json` into the folder of a model's files."""
    path = folder / REPORT_FILE
    text = json.dumps(pack(report_content(report)), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text, encoding="utf-8")
    return path

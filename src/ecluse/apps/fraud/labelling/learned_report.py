"""Report a version that learned from labels: what stays true of the version it came from, and what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.fraud.metrics import OF_ORDER
from ecluse.apps.fraud.performance.ensemble import EnsembleReport, SampleHistogram
from ecluse.apps.fraud.performance.learned import LabelledFigures, Learned, LearningFacts
from ecluse.apps.fraud.performance.reports import AnyReport, read_report
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.scoring.columns import PROBABILITY, names_of_version
from ecluse.sentences import ngettext
from ecluse.typed_json import read

if TYPE_CHECKING:
    from ecluse.apps.fraud.labelling.asking import Made
    from ecluse.apps.fraud.rows.tables import Dataset
    from ecluse.catalog.tables import ModelVersion

#: Fewer labels give no figure to sort versions by.
MEASURED: Final = 100
#: Bins of the scores of the table's rows, where the sample is shown.
BINS: Final = 20
#: Begins the warning of too few labels, which a version with more drops.
ROUGH: Final = "Measured on "


def learned_report(version: ModelVersion, dataset: Dataset, made: Made, required: Sequence[str]) -> AnyReport:
    """Report what labels of `dataset` made of `version`; `required` are the columns that it needs.

    In the same order rows rank and are flagged as before, so its figures hold; in another order only what was
    measured on labels that were not seen. Curves, groups and all else on the old scale go.
    """
    before, result = read_report(version.report), made.result
    was_corrected = before.learned is not None and before.learned.way == "corrected"
    same_order = result["way"] in ("recalibrated", "kept") and not was_corrected
    facts = read(LearningFacts, result["report"], "learning")
    learned = Learned(
        way=result["way"],
        labels=result["labels"],
        frauds=result["frauds"],
        report=facts,
        figures=read(LabelledFigures, result["figures"], "figures") if same_order else None,
        source=version.version,
        table=dataset.filename,
        dataset=dataset.id,
    )
    made_report = (
        _of_ensemble(before, made) if isinstance(before, EnsembleReport) else _of_trained(before, same_order)
    )
    return replace(
        made_report,
        metrics=_metrics(before, result, facts, same_order),
        warnings=_warnings(before, result["labels"]),
        score=(names_of_version(before) if result["way"] == "kept" else PROBABILITY).score,
        required_columns=tuple(required),
        learned=learned,
        **made.thresholds.to_dict(),
    )


def _of_trained(before: TrainedReport, same_order: bool) -> TrainedReport:
    """Keep how a version was made; what ranked rows in another order says nothing of this one."""
    return TrainedReport(
        format=before.format,
        target=before.target,
        positive_value=before.positive_value,
        family=before.family,
        params=before.params,
        members=before.members,
        fitted_on=before.fitted_on,
        rows=before.rows if same_order else {},
        fraud_rate=before.fraud_rate if same_order else {},
        split=before.split,
        features=before.features,
        dropped=before.dropped,
        leaderboard=before.leaderboard,
        importances=before.importances if same_order else (),
        baseline=before.baseline if same_order else None,
        versions=before.versions,
        seed=before.seed,
        refitted=before.refitted,
        held_out=before.held_out,
    )


def _of_ensemble(before: EnsembleReport, made: Made) -> EnsembleReport:
    """Show the scores of the table that was labelled in place of those of the sample."""
    import numpy as np

    counts, edges = np.histogram(made.scores, bins=BINS, range=(0.0, 1.0))
    return replace(
        before,
        seconds=None,
        rows={"sample": len(made.scores)},
        alerts=made.thresholds.counts(made.scores),
        sample_histogram=SampleHistogram(tuple(edges.tolist()), tuple(counts.tolist())),
    )


def _metrics(
    before: AnyReport, result: dict[str, Any], facts: LearningFacts, same_order: bool
) -> dict[str, float | None]:
    """Return the metrics that hold. Lists show and sort them without an interval: they take enough labels."""
    enough = result["labels"] >= MEASURED
    if not same_order:
        unseen = facts.average_precision
        return (
            {"average_precision": unseen.unseen} if unseen and enough and result["way"] == "corrected" else {}
        )
    figures = result["figures"]
    measured: dict[str, float | None] = {
        name: figures[name]["value"] for name in ("precision", "recall") if enough and figures[name]
    }
    return measured | {
        name: before.metrics[name] for name in OF_ORDER if before.metrics.get(name) is not None
    }


def _warnings(before: AnyReport, labels: int) -> tuple[str, ...]:
    if labels >= MEASURED:
        return before.warnings
    return (
        *(warning for warning in before.warnings if not warning.startswith(ROUGH)),
        ngettext(
            "Measured on %(count)s label only: figures are rough, and lists show none.",
            "Measured on %(count)s labels only: figures are rough, and lists show none.",
            labels,
        ),
    )

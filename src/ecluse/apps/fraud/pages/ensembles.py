"""Say what an ensemble judges by, for its model page: members, mappings, weights, agreement, what its numbers mean."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Final

from ecluse.apps.fraud.pages import charts as model_figures
from ecluse.apps.fraud.pages.references import domain_name
from ecluse.apps.fraud.performance.ensemble import EnsembleMember, EnsembleReport, MappedColumn
from ecluse.apps.fraud.performance.reports import read_ensemble_report
from ecluse.apps.fraud.risk import Thresholds, flagged_level, raised_levels
from ecluse.apps.fraud.rows import labels, references
from ecluse.apps.fraud.scoring.columns import ANOMALY, REFERENCES, names_of_version
from ecluse.catalog.tables import ModelVersion
from ecluse.runtime import Runtime
from ecluse.web import charts
from ecluse.web.i18n import Words

#: Rank correlations from which two parts put the rows in much the same order, and in somewhat the same.
ALIKE, SOMEWHAT = 0.7, 0.3
#: Begins the warning that is untrue once labels have measured something.
UNMEASURED: Final = "Nothing was measured on this table"


@dataclass(frozen=True)
class Read:
    """A column of the table, what it stands for, and how its values are taken."""

    theirs: str
    ours: str
    why: str
    how: str
    score: float


@dataclass(frozen=True)
class Member:
    """A reference in an ensemble. `weight` is its share of the combined score; `read` the share of what its model
    looks at that the table has; `transfer` its ROC AUC on the tables of others, None where it was not measured;
    `kept` whether the library still has it; `worth` how well it can be expected to rank here and `accord` how far it
    agrees with the others, in [0, 1], None for a version that kept no such reasons."""

    reference: str
    version: str
    domain: str
    weight: float
    fit: float
    read: float
    transfer: float | None
    transfer_tables: int
    precision: float | None
    mapping: tuple[Read, ...]
    missing: tuple[str, ...]
    kept: bool
    worth: float | None = None
    accord: float | None = None


@dataclass(frozen=True)
class Agreement:
    """How alike two parts order the rows of the sample: a rank correlation, in words and as a bar."""

    first: str
    second: str
    correlation: float | None
    words: str
    kind: str


def ensemble_context(runtime: Runtime, version: ModelVersion, say: Words) -> dict[str, Any]:
    """Gather what the page of an ensemble shows beyond that of any fraud model."""
    report = read_ensemble_report(version.report)
    with runtime.catalog.read() as transaction:
        named = [member.reference for member in report.members]
        kept = {row.name for row in references.references_named(transaction, named)}
        labelled, frauds = labels.count_labels(transaction, version.user_id, version.dataset_id or "")
    return {
        "report": report,
        "abstained": report.abstained,
        "members": members_of(report, kept, say),
        "anomaly_weight": report.weights.anomaly,
        "flagged": report.alerts[flagged_level().key],
        "agreement": agreement_of(report, say),
        "meanings": meanings_of(report, say),
        "warnings": warnings_of(report),
        # Shares of the sample are spread evenly, whatever the sample: a chart of them says nothing.
        "figures": [] if names_of_version(report) == ANOMALY else [sample_chart(report, say)],
        "labelled": labelled,
        "labelled_frauds": frauds,
        "learned": report.learned,
    }


def members_of(report: EnsembleReport, kept: Collection[str], say: Words) -> list[Member]:
    """List the references that judge, the weightiest first. `kept` are the names that the library still has."""
    share = report.weights.references
    return [_member(member, share, member.reference in kept, say) for member in report.members]


def agreement_of(report: EnsembleReport, say: Words) -> list[Agreement]:
    """Return how alike the members order the rows of the sample, and how like each of them the anomaly score does."""
    unusual = say._("how unusual a row is")
    pairs = [(pair.first, pair.second, pair.correlation) for pair in report.agreement.members]
    pairs += [(name, unusual, correlation) for name, correlation in report.agreement.anomaly.items()]
    return [Agreement(*pair, *_likeness(pair[2], say)) for pair in pairs]


def meanings_of(report: EnsembleReport, say: Words) -> list[tuple[str, str]]:
    """Return the columns of a scored table, each with what its numbers mean."""
    weight = report.weights.anomaly
    stated, estimated = report.fraud_rate.stated, report.fraud_rate.estimated
    score = names_of_version(report).score
    if score == ANOMALY.score:
        return _of_anomaly(report, stated, say)
    meanings = [(score, _probability(report, stated, say))]
    if not report.abstained:
        meanings.append(
            (
                "fraud_probability_calibrated",
                say._("The same as %(column)s.", column=score)
                if report.learned
                else say._("Empty: how likely fraud is cannot be known here.")
                if estimated is None
                else say._(
                    "Follows the fraud rate that the references suggest, %(rate)s. It holds if fraud looks here "
                    "as it does there.",
                    rate=say.percent(estimated),
                ),
            )
        )
        meanings.append(("combined_score", _combined(report, stated, say)))
    unusual = say._(
        "The share of the sample that is less unusual. It is %(share)s of the combined score.",
        share=say.percent(weight, 0),
    )
    if report.abstained:
        unusual = say._("The share of the sample that is less unusual. It says nothing of fraud.")
    meanings.append(("anomaly_score", unusual))
    if score == REFERENCES.score:
        meanings.append((REFERENCES.flag, say._("1 for the flagged rows: those to look at first.")))
    if len(report.members) > 1:
        meanings.append(
            ("prediction_stability", say._("1 where all members rank the row alike, less where they do not."))
        )
    return meanings


def _of_anomaly(report: EnsembleReport, stated: float, say: Words) -> list[tuple[str, str]]:
    """Return the columns where nothing but how unusual a row is speaks."""
    return [
        (ANOMALY.score, say._("The share of the sample that is less unusual. It says nothing of fraud.")),
        (ANOMALY.level, _tops(stated, say) + "."),
        (ANOMALY.flag, say._("1 for the flagged rows: those to look at first.")),
        ("prediction_stability", say._("1 where all detectors rank the row alike, less where they do not.")),
    ]


def sample_chart(report: EnsembleReport, say: Words) -> charts.Chart:
    """Return the scores of the sample's rows."""
    chart = model_figures.score_histogram(_sample(report), report.threshold, say)
    return replace(chart, title=say._("Scores of the sample"))


def warnings_of(report: EnsembleReport) -> list[str]:
    """Return what to keep in mind; that nothing was measured is untrue once labels have."""
    untrue = UNMEASURED if report.learned else None
    return [text for text in report.warnings if untrue is None or not text.startswith(untrue)]


def _probability(report: EnsembleReport, stated: float, say: Words) -> str:
    if report.learned:
        return say._("On the scale that the labels gave it. With few labels that is a rough one.")
    return say._(
        "A rank score: its mean on the sample is the stated fraud rate, %(rate)s. It is no measured probability.",
        rate=say.percent(stated),
    )


def _combined(report: EnsembleReport, stated: float, say: Words) -> str:
    if report.learned:
        return say._(
            "The share of the sample that ranks lower before anything was learned from labels. The risk does not "
            "follow it, but %(column)s: %(levels)s.",
            column=names_of_version(report).score,
            levels=_starts(report.thresholds, say),
        )
    return say._("The share of the sample that ranks lower. %(levels)s.", levels=_tops(stated, say))


def _tops(stated: float, say: Words) -> str:
    """Say which share of the sample reaches each level of risk, the highest level first."""
    return ", ".join(
        say._("%(level)s is the top %(share)s", level=level.name, share=say.percent(level.share(stated)))
        for level in reversed(raised_levels())
    )


def _starts(thresholds: Thresholds, say: Words) -> str:
    """Say from which score on each level of risk is reached, the highest level first."""
    return ", ".join(
        say._(
            "%(level)s from %(score)s on", level=level.name, score=say.threshold(thresholds.least[level.key])
        )
        for level in reversed(raised_levels())
        if level.key in thresholds.least
    )


def _member(member: EnsembleMember, share: float, kept: bool, say: Words) -> Member:
    measured, precision = member.transfer.get("roc_auc"), member.performance.get("average_precision")
    return Member(
        reference=member.reference,
        version=member.version,
        domain=domain_name(member.domain, say),
        weight=share * member.weight,
        fit=member.similarity,
        read=1 - member.lacking,
        transfer=None if measured is None else float(measured),
        transfer_tables=len(member.transfer.get("tables") or ()),
        precision=None if precision is None else float(precision),
        mapping=tuple(
            Read(pair.theirs, pair.ours, pair.why, _how(pair, say), pair.score) for pair in member.mapping
        ),
        missing=member.missing,
        kept=kept,
        worth=None if member.merits is None else member.merits.worth,
        accord=None if member.merits is None else member.merits.accord,
    )


def _how(pair: MappedColumn, say: Words) -> str:
    """Say how the values of a column are taken for those of the reference's."""
    if pair.how == "factor":
        return say._("times %(factor)s", factor=say.as_given(pair.factor))
    if pair.how == "ranks":
        return say._("by its place among the values")
    if pair.how == "words":
        return say._("word for word")
    return say._("as it is")


def _likeness(correlation: float | None, say: Words) -> tuple[str, str]:
    if correlation is None:
        return say._("cannot be told"), "none"
    if correlation >= ALIKE:
        return say._("much alike"), "sure"
    return (
        (say._("somewhat alike"), "settled") if correlation >= SOMEWHAT else (say._("differently"), "check")
    )


def _sample(report: EnsembleReport) -> dict[str, Any]:
    """Return the sample's scores as a scored table's summary has them."""
    return {
        "histogram": report.sample_histogram.counts,
        "flagged": report.alerts[flagged_level().key],
        "rows": report.rows["sample"],
    }

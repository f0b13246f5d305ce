"""Make an ensemble for a table without labels, from the references that mean the same, or from the table alone.

Where no reference matches, the ensemble judges by anomaly and says so; a weak match never dilutes it. Where one
matches well, its model is used alone: what is unusual would only dilute it. In between the anomaly score weighs
more, the weaker the match.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.ensembles import transfer as transferring
from ecluse.apps.fraud.ensembles.anomaly import SAMPLE_ROWS, fit_anomaly, ranks_of
from ecluse.apps.fraud.ensembles.card import card_of
from ecluse.apps.fraud.ensembles.ensemble import (
    FORMAT,
    INFO_FILE,
    KIND,
    MEMBERS_FOLDER,
    MODEL_FILE,
    STATE_FILE,
    Ensemble,
    Member,
    combined_margin,
    shift_to_rate,
    sigmoid,
)
from ecluse.apps.fraud.ensembles.report import report_of
from ecluse.apps.fraud.ensembles.transfer import Transfer, fit_transfer, load_reference
from ecluse.apps.fraud.ensembles.weighing import Merits, accords, merits_of, weights_of
from ecluse.apps.fraud.evaluation import plots
from ecluse.apps.fraud.evaluation.drift import SKETCH_FILE, TrainingSketch, sketch_training
from ecluse.apps.fraud.features.encoders import CUSTOMER_FILE, ENTITY_FILE, SEEN_FILE
from ecluse.apps.fraud.features.features import STATE_FILE as FEATURES_STATE
from ecluse.apps.fraud.performance.ensemble import EnsembleReport
from ecluse.apps.fraud.performance.parts import REPORT_FILE
from ecluse.apps.fraud.performance.reports import write_report
from ecluse.apps.fraud.references.facts import Match, MatchResult, ReferenceFacts
from ecluse.apps.fraud.references.library import SAMPLE_FILE
from ecluse.apps.fraud.references.matching import GATE
from ecluse.apps.fraud.risk import raised_levels
from ecluse.apps.fraud.scoring.model import FraudModel
from ecluse.apps.fraud.tables.columns import ColumnSpec, parse_columns
from ecluse.errors import InvalidInput
from ecluse.sentences import _, num, pack
from ecluse.tabular.dataset import Table

Floats = NDArray[np.float64]
Progress = Callable[[str, float, str], None]

RATES: Final = (0.0001, 0.5)
#: From this similarity on the references judge alone; at the gate of a match anomaly counts for a third.
STRONG: Final = 0.8
MOST_ANOMALY: Final = 1 / 3
#: A probability can be known where so little of what the reference looks at is missing, read in its own units.
KNOWN_SIMILARITY: Final = 0.8
KNOWN_LACKING: Final = 0.05
#: Files of a reference that are not copied into an ensemble; the state of its features is written anew.
LEFT_BEHIND: Final = (
    SAMPLE_FILE,
    plots.FOLDER,
    SKETCH_FILE,
    FEATURES_STATE,
    ENTITY_FILE,
    CUSTOMER_FILE,
    SEEN_FILE,
)


@dataclass(frozen=True)
class EnsemblePlan:
    """`fraud_rate` is the share of rows that a person takes to be fraud, in (0, 0.5]: alerts are so many.

    `left_out` are not judged by (a label, what a person excludes); identifiers, customer and time come back with
    the scores.
    """

    fraud_rate: float = 0.01
    identifier_columns: tuple[str, ...] = ()
    customer_column: str | None = None
    time_column: str | None = None
    left_out: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Reference:
    """A reference that matched: what is known of it, and the folder with its model's files."""

    match: Match
    facts: ReferenceFacts
    version: str
    folder: Path


def checked_rate(rate: float) -> float:
    """Return the rate; raises InvalidInput where it is out of range."""
    low, high = RATES
    if not low <= rate <= high:
        raise InvalidInput(
            _(
                "A fraud rate of %(number)s is out of range; use %(count)s to %(total)s, such as 0.01.",
                number=num(rate, "g"),
                count=num(low, "g"),
                total=num(high, "g"),
            )
        )
    return rate


def build_ensemble(
    table: Table,
    specs: Sequence[ColumnSpec],
    plan: EnsemblePlan,
    result: MatchResult,
    references: Sequence[Reference],
    destination: Path,
    progress: Progress,
) -> EnsembleReport:
    """Write an ensemble's files into `destination`, and return its report.

    `references` are those of `result.matches`, none where it abstains. `progress` hears (stage, share, message)
    and may raise to cancel.

    Raises:
        InvalidInput: no column is left to compare rows by, or the rate is out of range.
    """
    begun = time.monotonic()
    checked_rate(plan.fraud_rate)
    progress("read", 0.05, _("Reading the table"))
    sample = table.sample(SAMPLE_ROWS)
    parsed = parse_columns(sample, specs)
    progress("anomaly", 0.15, _("Learning what is usual"))
    left_out = {*plan.left_out, *plan.identifier_columns, *_counter(specs, plan.time_column)}
    anomaly = fit_anomaly(parsed, specs, left_out=left_out, seed=plan.seed)
    used = () if result.abstain else tuple(references)
    members, margins, merits = _members(sample, specs, used, plan, progress)
    progress("calibrate", 0.8, _("Calibrating on the sample"))
    detected = anomaly.detector_scores(anomaly.description.read(parsed))
    best = max((member.similarity for member in members), default=0.0)
    weight = anomaly_weight(best) if members else 1.0
    combined = combined_margin(members, margins, weight, anomaly.together(detected))
    passed_on = dict.fromkeys([*plan.identifier_columns, plan.customer_column, plan.time_column])
    ensemble = Ensemble(
        members=members,
        anomaly=anomaly,
        anomaly_weight=weight,
        shift=shift_to_rate(combined, plan.fraud_rate),
        ranks=ranks_of(combined),
        fraud_rate=plan.fraud_rate,
        passed_on=tuple(name for name in passed_on if name is not None and name in table.columns),
        info={},
    )
    facts = _Facts(ensemble, used, result, plan, sample, margins, detected, merits)
    progress("save", 0.9, _("Saving the model"))
    return _save(facts, destination, time.monotonic() - begun)


def anomaly_weight(similarity: float) -> float:
    """Return how much the anomaly score counts beside references of this similarity, in [0, 1/3]."""
    weak = (STRONG - similarity) / (STRONG - GATE)
    return round(MOST_ANOMALY * float(np.clip(weak, 0.0, 1.0)), 4)


def _counter(specs: Sequence[ColumnSpec], time_column: str | None) -> tuple[str, ...]:
    """List a time that is a number: it only grows, and every later row would be unusual by it."""
    return tuple(spec.name for spec in specs if spec.name == time_column and spec.kind == "number")


def _members(
    sample: pl.DataFrame,
    specs: Sequence[ColumnSpec],
    references: Sequence[Reference],
    plan: EnsemblePlan,
    progress: Progress,
) -> tuple[tuple[Member, ...], list[Floats], list[Merits]]:
    candidates: list[tuple[Reference, FraudModel, Transfer, Floats]] = []
    for at, reference in enumerate(references):
        progress(
            "match", 0.4 + 0.4 * at / len(references), _("Applying %(name)s", name=reference.match.reference)
        )
        model = load_reference(reference.folder)
        mapping = {pair.ours: pair.theirs for pair in reference.match.columns}
        transfer = fit_transfer(sample, specs, mapping, model, reference.facts.columns)
        margin = np.round(transferring.margins(model, transfer.read(sample)), 9)
        # A model that sees too little of the table, or gives all rows one score, has no say.
        if _similarity(reference, transfer) >= GATE and len(np.unique(margin)) > 1:
            candidates.append((reference, model, transfer, margin))
    alike = accords([margin for *_, margin in candidates])
    merits = [
        merits_of(reference.facts, _similarity(reference, transfer), accord)
        for (reference, _, transfer, _), accord in zip(candidates, alike, strict=True)
    ]
    weights = weights_of(merits)
    members = tuple(
        Member(
            reference=reference.match.reference,
            version=reference.version,
            weight=weight,
            similarity=_similarity(reference, transfer),
            transfer=transfer,
            shift=shift_to_rate(margin, plan.fraud_rate),
            prior_shift=_prior_shift(reference, transfer, margin),
            ranks=ranks_of(margin),
            model=model,
        )
        for (reference, model, transfer, margin), weight in zip(candidates, weights, strict=True)
    )
    return members, [margin for *_, margin in candidates], merits


def _similarity(reference: Reference, transfer: Transfer) -> float:
    """Return the similarity of the match (columns), or less where the model lacks more features."""
    return round(min(reference.match.similarity, 1 - transfer.lacking), 4)


def _prior_shift(reference: Reference, transfer: Transfer, margins: Floats) -> float | None:
    """Return what is added to log-odds so that they fit the table's own fraud rate; None where that cannot be known.

    The rate is estimated from the reference's probabilities alone (label shift: Saerens, Latinne & Decaestecker,
    "Adjusting the outputs of a classifier to new a priori probabilities", 2002). It holds where fraud looks the
    same in both tables: a strong match whose columns are all read in the reference's own units.
    """
    prior = reference.facts.fraud_rate
    same_units = all(column.how != "ranks" for column in transfer.columns)
    strong = _similarity(reference, transfer) >= KNOWN_SIMILARITY and transfer.lacking <= KNOWN_LACKING
    if not (strong and same_units and 0 < prior < 1):
        return None
    rate = prior
    for _turn in range(500):
        shift = _odds(rate) - _odds(prior)
        new = float(np.clip(sigmoid(margins + shift).mean(), 1e-6, 1 - 1e-6))
        if abs(new - rate) < 1e-9:
            break
        rate = new
    return round(_odds(rate) - _odds(prior), 9) if 1e-5 < rate < 0.5 else None


def _odds(rate: float) -> float:
    return float(np.log(rate / (1 - rate)))


# Writing


@dataclass(frozen=True)
class _Facts:
    ensemble: Ensemble
    references: tuple[Reference, ...]
    result: MatchResult
    plan: EnsemblePlan
    sample: pl.DataFrame
    margins: list[Floats]
    detected: Mapping[str, Floats]
    merits: list[Merits]


def _save(facts: _Facts, destination: Path, seconds: float) -> EnsembleReport:
    destination.mkdir(parents=True, exist_ok=True)
    ensemble, anomaly = facts.ensemble, facts.ensemble.anomaly
    folders = {reference.match.reference: reference.folder for reference in facts.references}
    for member in ensemble.members:
        # Rows, customers and values of the reference's own table are not everyone's; plots are of no use here.
        folder = destination / MEMBERS_FOLDER / member.reference
        shutil.copytree(folders[member.reference], folder, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        member.model.engineer.save(folder)
    files = anomaly.save(destination)
    judged = ensemble.judge_read(facts.margins, facts.detected)
    info = _info(facts, judged.anomaly)
    report = report_of(info, judged, facts.plan.fraud_rate, seconds, facts.plan.seed)
    files.append(_sketch(facts, ensemble.score(judged), report.threshold).save(destination))
    _write_json(destination / STATE_FILE, ensemble.state())
    _write_json(destination / INFO_FILE, info)
    write_report(destination, report)
    (destination / "model_card.md").write_text(card_of(info, report), encoding="utf-8")
    model = {
        "format": FORMAT,
        "kind": KIND,
        "score": ensemble.names.score,
        "files": [*files, STATE_FILE, INFO_FILE, REPORT_FILE, "model_card.md"],
        **report.thresholds.to_dict(),
        "passed_on": list(ensemble.passed_on),
        "customer_column": facts.plan.customer_column,
        "time_column": facts.plan.time_column,
        "usual_fraud_rate": facts.plan.fraud_rate,
        "target": "",
    }
    _write_json(destination / MODEL_FILE, model)
    return report


def _sketch(facts: _Facts, scores: Floats, threshold: float) -> TrainingSketch:
    """Return what later rows are compared with: the sample that the ensemble was made for."""
    specs = facts.ensemble.anomaly.specs
    parsed = parse_columns(facts.sample, specs)
    time_spec = next((spec for spec in specs if spec.name == facts.plan.time_column), None)
    return sketch_training(parsed, specs, scores=scores, threshold=threshold, time=time_spec)


def _info(facts: _Facts, scores: Floats) -> dict[str, Any]:
    ensemble, anomaly = facts.ensemble, facts.ensemble.anomaly
    by_name = {reference.match.reference: reference for reference in facts.references}
    return {
        "format": FORMAT,
        "kind": "references" if ensemble.members else "anomaly",
        "score": ensemble.names.score,
        "abstained": not ensemble.members,
        "reason": _reason(facts),
        "members": [
            _member_info(member, by_name[member.reference], merits)
            for member, merits in zip(ensemble.members, facts.merits, strict=True)
        ],
        "weights": {
            "references": round(1 - ensemble.anomaly_weight, 4),
            "anomaly": ensemble.anomaly_weight,
        },
        "fraud_rate": ensemble.fraud_rate,
        "estimated_fraud_rate": _estimated_rate(ensemble, facts.margins),
        "sample_rows": facts.sample.height,
        "sample_sha256": hashlib.sha256(facts.sample.write_csv().encode()).hexdigest(),
        "anomaly_columns": list(anomaly.columns),
        "required_columns": list(ensemble.required_columns),
        "agreement": _agreement(ensemble, facts.margins, scores),
        "alerts": {level.key: level.share(ensemble.fraud_rate) for level in raised_levels()},
        "match": facts.result.to_dict(),
    }


def _reason(facts: _Facts) -> str:
    """Return why the members are used, or why none is."""
    if facts.ensemble.members or facts.result.abstain:
        return facts.result.reason
    names = ", ".join(match.reference for match in facts.result.matches)
    return _("%(values)s would miss too much of what it looks at in this table.", values=names)


def _member_info(member: Member, reference: Reference, merits: Merits) -> dict[str, Any]:
    how = {column.ours: column for column in member.transfer.columns}
    read = [pair for pair in reference.match.columns if pair.ours in how]
    return {
        "reference": member.reference,
        "version": member.version,
        "domain": reference.match.domain,
        "weight": member.weight,
        "merits": merits.to_dict(),
        "similarity": member.similarity,
        "lacking": member.transfer.lacking,
        "mapping": [
            asdict(pair) | {"how": how[pair.ours].how, "factor": how[pair.ours].factor} for pair in read
        ],
        "missing": [column.ours for column in member.transfer.columns if column.theirs is None],
        "transfer": dict(reference.facts.transfer),
        "performance": dict(reference.facts.performance),
    }


def _estimated_rate(ensemble: Ensemble, margins: Sequence[Floats]) -> float | None:
    """Return the fraud rate that the references suggest for the sample, where it can be known."""
    if not ensemble.members:
        return None
    total = 0.0
    for member, margin in zip(ensemble.members, margins, strict=True):
        if member.prior_shift is None:
            return None
        total += member.weight * float(sigmoid(margin + member.prior_shift).mean())
    return round(total, 6)


def _agreement(ensemble: Ensemble, margins: Sequence[Floats], scores: Floats) -> dict[str, Any]:
    """Rank correlations on the sample: of each two members, and of each with the anomaly score."""
    from scipy.stats import rankdata

    names = [member.reference for member in ensemble.members]
    ranks = [rankdata(margin) for margin in margins]
    anomaly = rankdata(scores)
    return {
        "members": [
            {"first": names[a], "second": names[b], "correlation": _correlation(ranks[a], ranks[b])}
            for a, b in combinations(range(len(names)), 2)
        ],
        "anomaly": {name: _correlation(rank, anomaly) for name, rank in zip(names, ranks, strict=True)},
    }


def _correlation(first: Floats, second: Floats) -> float | None:
    if first.std() == 0 or second.std() == 0:
        return None
    return round(float(np.corrcoef(first, second)[0, 1]), 4)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(
        json.dumps(pack(content), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )

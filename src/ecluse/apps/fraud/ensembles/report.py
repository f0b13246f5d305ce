"""Say what can honestly be reported of an ensemble: how it came to be, and what is not known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ecluse.apps.fraud.ensembles.ensemble import Floats, Judgement
from ecluse.apps.fraud.performance.ensemble import (
    Agreement,
    EnsembleMember,
    EnsembleReport,
    JudgeWeights,
    SampleHistogram,
    StatedRate,
)
from ecluse.apps.fraud.risk import Thresholds, flagged_level
from ecluse.sentences import _, num
from ecluse.typed_json import read

BINS: Final = 20
#: A member that reads less of what it looks at is warned of.
MUCH_LACKING: Final = 0.2


def report_of(
    info: Mapping[str, Any], judged: Judgement, rate: float, seconds: float, seed: int
) -> EnsembleReport:
    """Report an ensemble on its sample. Without labels there is no figure: `metrics` is empty."""
    scores = judged.probability if info["members"] else judged.anomaly
    rows = len(scores)
    shares = Thresholds.of_shares(rate)
    alerts = shares.counts(judged.combined)
    least = {key: _least(scores, judged.combined >= share) for key, share in shares.least.items()}
    counts, edges = np.histogram(scores, bins=BINS, range=(0.0, 1.0))
    return EnsembleReport(
        score=info["score"],
        warnings=tuple(_warnings(info, alerts[flagged_level().key], rows)),
        rows={"sample": rows},
        fraud_rate=StatedRate(rate, info["estimated_fraud_rate"]),
        alerts=alerts,
        members=tuple(read(EnsembleMember, member, "member") for member in info["members"]),
        abstained=info["abstained"],
        reason=info["reason"],
        matches=tuple(info["match"]["matches"]),
        weights=read(JudgeWeights, info["weights"], "weights"),
        agreement=read(Agreement, info["agreement"], "agreement"),
        required_columns=tuple(info["required_columns"]),
        sample_histogram=SampleHistogram(tuple(edges.tolist()), tuple(counts.tolist())),
        seconds=round(seconds, 2),
        seed=seed,
        **Thresholds(least).to_dict(),
    )


def _least(scores: Floats, flagged: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    """Return the least score of the flagged rows; 1 where none is."""
    return float(scores[flagged].min()) if flagged.any() else 1.0


def _warnings(info: Mapping[str, Any], alerts: int, rows: int) -> list[str]:
    warnings = []
    if info["kind"] == "anomaly":
        warnings.append(
            _("%(error)s Rows are ranked by how unusual they are, not by fraud.", error=info["reason"])
        )
    else:
        warnings.append(
            _(
                "Nothing was measured on this table: it has no labels. Label some rows to learn how "
                "good it is."
            )
        )
    for member in info["members"]:
        if member["lacking"] > MUCH_LACKING:
            warnings.append(
                _(
                    "%(name)s misses columns with %(share)s of what it looks at; its scores are less sure.",
                    name=member["reference"],
                    share=num(member["lacking"], ".0%"),
                )
            )
    if alerts == 0 and rows:
        warnings.append(_("Too many rows share the highest score to choose among them: no row is flagged."))
    return warnings

"""Say what can honestly be said of an ensemble: how it came to be, what its numbers mean, and what is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ecluse.fraud.ensembles.ensemble import KIND, MEDIUM_ALERTS, Judgement

FORMAT: Final = 1
BINS: Final = 20
#: A member that reads less of what it looks at is warned of.
MUCH_LACKING: Final = 0.2


def report_of(
    info: Mapping[str, Any], judged: Judgement, rate: float, seconds: float, seed: int
) -> dict[str, Any]:
    """The content of `performance.json`. Without labels there is no figure: `metrics` is empty."""
    rows = len(judged.probability)
    high = judged.combined >= 1 - rate
    medium = judged.combined >= 1 - MEDIUM_ALERTS * rate
    counts, edges = np.histogram(judged.probability, bins=BINS, range=(0.0, 1.0))
    return {
        "format": FORMAT,
        "kind": KIND,
        "metrics": {},
        "threshold": _least(judged, high),
        "medium_threshold": _least(judged, medium),
        "warnings": _warnings(info, int(high.sum()), rows),
        "rows": {"sample": rows},
        "fraud_rate": {"stated": rate, "estimated": info["estimated_fraud_rate"]},
        "alerts": {"high": int(high.sum()), "medium": int(medium.sum())},
        "members": [
            {name: member[name] for name in ("reference", "weight", "similarity", "lacking", "performance")}
            for member in info["members"]
        ],
        "weights": info["weights"],
        "agreement": info["agreement"],
        "sample_histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "seconds": round(seconds, 2),
        "seed": seed,
    }


def _least(judged: Judgement, flagged: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    """The least probability of the flagged rows; 1 where none is."""
    return float(judged.probability[flagged].min()) if flagged.any() else 1.0


def _warnings(info: Mapping[str, Any], alerts: int, rows: int) -> list[str]:
    warnings = []
    if info["kind"] == "anomaly":
        warnings.append(
            "No reference matches this table: rows are ranked by how unusual they are, not by fraud."
        )
    else:
        warnings.append(
            "Nothing was measured on this table: it has no labels. Label some rows to learn how good it is."
        )
    for member in info["members"]:
        if member["lacking"] > MUCH_LACKING:
            warnings.append(
                f"{member['reference']} misses columns with {member['lacking']:.0%} of what it looks at; "
                "its scores are less sure."
            )
    if alerts == 0 and rows:
        warnings.append("Too many rows share the highest score to choose among them: no row is flagged.")
    return warnings


def card_of(info: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """`model_card.md` in Markdown."""
    judged_by = (
        "reference models that match it"
        if info["kind"] == "references"
        else "how unusual they are, and nothing else"
    )
    sections = [
        "# Ensemble for a table without labels",
        f"Ranks the rows of one table by {judged_by}. Made from a sample of {info['sample_rows']:,} rows "
        f"(SHA-256 {info['sample_sha256'][:16]}…), with which every row is compared.",
        "## Match",
        f"{info['reason']}",
        *[_member_card(member) for member in info["members"]],
        "## What the numbers mean",
        f"- `fraud_probability` is a rank score: its mean on the sample is the stated fraud rate, "
        f"{info['fraud_rate']:.2%}. It is no measured probability.",
        "- `fraud_probability_calibrated` is empty where a probability cannot be known."
        if info["estimated_fraud_rate"] is None
        else "- `fraud_probability_calibrated` follows the fraud rate that the references suggest, "
        f"{info['estimated_fraud_rate']:.2%}; it holds if fraud looks here as it does there.",
        f"- `combined_score` is the share of the sample that is less risky; HIGH is the top "
        f"{info['alerts']['high']:.2%}, MEDIUM the top {info['alerts']['medium']:.2%}.",
        "- `anomaly_score` is the share of the sample that is less unusual. It counts for "
        f"{info['weights']['anomaly']:.0%} of the combined score.",
        "## Limits",
        "\n".join(f"- {warning}" for warning in report["warnings"]),
        "## Load it",
        "```python\nfrom ecluse.fraud.scorers import load_scorer\n\nscorer = load_scorer(directory)\n```",
        "Members in their libraries' own formats, everything else JSON and plain arrays; nothing is unpickled.",
    ]
    return "\n\n".join(sections) + "\n"


def _member_card(member: Mapping[str, Any]) -> str:
    lines = [
        f"### {member['reference']}",
        "",
        f"Weight {member['weight']:.0%}, similarity {member['similarity']:.2f}, "
        f"{member['lacking']:.0%} of what it looks at is missing.",
        "",
        "| column | stands for | why | read |",
        "|---|---|---|---|",
    ]
    for pair in member["mapping"]:
        read = f"× {pair['factor']:g}" if pair["how"] == "factor" else pair["how"]
        lines.append(f"| {pair['theirs']} | {pair['ours']} | {pair['why']} | {read} |")
    return "\n".join(lines)

"""Write the page that goes with an ensemble: what it is, what its numbers mean, where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecluse.apps.fraud.performance.ensemble import EnsembleReport
from ecluse.apps.fraud.risk import raised_levels


def card_of(info: Mapping[str, Any], report: EnsembleReport) -> str:
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
        *(_scores_of_references(info) if info["members"] else _scores_of_anomaly(info)),
        "## Limits",
        "\n".join(f"- {warning}" for warning in report.warnings),
        "## Load it",
        "```python\nfrom ecluse.apps.fraud.scorers import load_scorer\n\nscorer = load_scorer(directory)\n```",
        "Members in their libraries' own formats, everything else JSON and plain arrays; nothing is unpickled.",
    ]
    return "\n\n".join(sections) + "\n"


def _scores_of_references(info: Mapping[str, Any]) -> list[str]:
    return [
        f"- `fraud_score` is a rank score: its mean on the sample is the stated fraud rate, "
        f"{info['fraud_rate']:.2%}. It is no measured probability.",
        "- `fraud_probability_calibrated` is empty where a probability cannot be known."
        if info["estimated_fraud_rate"] is None
        else "- `fraud_probability_calibrated` follows the fraud rate that the references suggest, "
        f"{info['estimated_fraud_rate']:.2%}; it holds if fraud looks here as it does there.",
        f"- `combined_score` is the share of the sample that is less risky; {_tops(info)}.",
        "- `anomaly_score` is the share of the sample that is less unusual. It counts for "
        f"{info['weights']['anomaly']:.0%} of the combined score.",
        "- `review` is 1 for the flagged rows: those to look at first.",
    ]


def _scores_of_anomaly(info: Mapping[str, Any]) -> list[str]:
    return [
        "- `anomaly_score` is the share of the sample that is less unusual. It says nothing of fraud.",
        f"- `anomaly_level`: {_tops(info)}; `review` is 1 for the flagged rows: those to look at first.",
    ]


def _tops(info: Mapping[str, Any]) -> str:
    """Say which rows reach each level of risk, the highest level first."""
    return ", ".join(
        f"{level.name} is the top {info['alerts'][level.key]:.2%}" for level in reversed(raised_levels())
    )


def _grounds(merits: Mapping[str, Any]) -> str:
    at_home = "nothing known of it at home" if merits["home"] is None else f"{merits['home']:.2f} at home"
    elsewhere = "not measured elsewhere"
    if merits["away"] is not None:
        elsewhere = f"{merits['away']:.2f} on {merits['tables']} tables of others"
    return f"{at_home}, {elsewhere}"


def _member_card(member: Mapping[str, Any]) -> str:
    lines = [
        f"### {member['reference']}",
        "",
        f"Weight {member['weight']:.0%}, by its fit ({member['merits']['fit']:.2f}), by how well it can be expected "
        f"to rank here ({member['merits']['worth']:.2f}, {_grounds(member['merits'])}) and by how far it agrees with "
        f"the others ({member['merits']['accord']:.2f}). {member['lacking']:.0%} of what it looks at is missing.",
        "",
        "| column | stands for | why | read |",
        "|---|---|---|---|",
    ]
    for pair in member["mapping"]:
        read = f"× {pair['factor']:g}" if pair["how"] == "factor" else pair["how"]
        lines.append(f"| {pair['theirs']} | {pair['ours']} | {pair['why']} | {read} |")
    return "\n".join(lines)

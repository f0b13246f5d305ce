"""Write the page that goes with a model: what it is, what it was measured on, where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecluse.apps.fraud.goal import Goal
from ecluse.apps.fraud.metrics import METRICS
from ecluse.apps.fraud.performance.parts import TrainingEffort
from ecluse.apps.fraud.performance.trained import TrainingReport
from ecluse.apps.fraud.risk import flagged_level, raised_levels
from ecluse.apps.fraud.sample import SIMULATED
from ecluse.apps.fraud.tables.meaning import fraud_means

CARD_FILE = "model_card.md"


def write_card(directory: Path, report: TrainingReport) -> Path:
    """Write `model_card.md` from the content of `performance.json`."""
    path = directory / CARD_FILE
    path.write_text(model_card(report), encoding="utf-8")
    return path


def model_card(report: TrainingReport) -> str:
    """Return the card in Markdown."""
    sections = [
        f"# Fraud model for `{report.target}`",
        f"A {report.family} model that scores rows by how likely `{report.target}` is "
        f'"{report.positive_value}".',
        *([f"**Simulated data.** {SIMULATED}"] if report.simulated else []),
        _meaning(report),
        effort_text(report.effort),
        refit_text(report.refit),
        "## Data and split",
        _data(report),
        "## Figures",
        _measured(report),
        _figures(report),
        "## Threshold",
        _threshold(report),
        "## Where it does worse",
        _worse(report),
        "## What it looks at",
        _importances(report),
        "## Limits",
        _limits(report),
        "## Load it",
        "```python\nfrom ecluse.apps.fraud.scoring.scoring import load_model\n\nmodel = load_model(directory)\n```",
        "Model file in the library's own format, everything else JSON and Parquet; nothing is unpickled.",
        f"Made with {', '.join(f'{name} {number}' for name, number in report.versions.items())}; "
        f"seed {report.seed}.",
    ]
    return "\n\n".join(sections) + "\n"


def effort_text(effort: TrainingEffort) -> str:
    """Return how much was tried, in how much time."""
    ended = {"complete": "all was tried", "budget": "the budget was spent", "asked": "somebody asked for it"}
    cut = f"; cut short: {', '.join(effort.cut_short)}" if effort.cut_short else ""
    return (
        f"{effort.candidates} of {effort.candidates_planned} settings fitted on {effort.folds} fold(s), "
        f"{effort.rounds:,} rounds in all{cut}. The search ended because {ended[effort.ended]}: "
        f"{effort.work_s:.0f} s of work of {effort.budget_s:g} s, in {effort.wall_s:.0f} s on the clock, with "
        f"{effort.processor_share:.0%} of the processor time asked for ({effort.processor_s:.0f} s)."
    )


def refit_text(why: str) -> str:
    """Tell whether the model in use was fitted on all rows after it was measured, or why not."""
    measured = "The model in use is the one that was measured"
    return {
        "done": "Once it was measured, the model in use was fitted on all rows.",
        "unwanted": f"{measured}: another fit on all rows was not wanted.",
        "all_learned": "The model in use was fitted on all rows; none were kept back to measure on.",
        "many_rows": f"{measured}: with so many rows it is not fitted again on all of them.",
        "slow_features": f"{measured}: to make its features again would have taken most of the budget.",
        "budget": f"{measured}: the budget was spent before it could be fitted on all rows.",
    }[why]


def add_learned(folder: Path, version: str, table: str, result: Mapping[str, Any]) -> None:
    """Say at the end of a copied card what labels of a table changed; `result` is that of learning."""
    what = {
        "corrected": "a new scale, and a correction of the order",
        "kept": "the scale and the order as they were",
    }.get(result["way"], "a new scale alone")
    section = (
        "\n## Learned from labels\n\n"
        f"Version {version} with {what}, from {result['labels']} labelled rows of {table}, {result['frauds']} of "
        "them fraud. The figures above this section are of that version.\n"
    )
    path = folder / CARD_FILE
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(before + section, encoding="utf-8")


INTERVALS = "Intervals are 95 %: of precision and recall Wilson's, of the others from 200 resamples"


def _meaning(report: TrainingReport) -> str:
    """Say which value means fraud, and why."""
    said = fraud_means(f"`{report.target}`", f"`{report.positive_value}`", report.positive_share)
    return f"{said} Why this value: {report.positive_reason}." if report.positive_reason else said


def _measured(report: TrainingReport) -> str:
    if report.is_from_folds:
        return (
            "All rows were learned from, and no part was kept back to measure on. The figures are those of rows that a "
            "fold held out, scored by models that had not seen them; the threshold was chosen on the same rows. "
            f"{INTERVALS} of these rows."
        )
    if report.refitted:
        return (
            "The figures are of a model that had not seen the test rows: it was fitted on "
            f"{_fitted_on(report)}. The model saved here has the same settings and rounds, and was then fitted on "
            f"all rows, the test rows among them, so it knows the latest. {INTERVALS} of the test rows."
        )
    return (
        "The test rows were used for nothing else, and the figures are of the very model saved here, fitted on "
        f"{_fitted_on(report)}. {INTERVALS} of the test rows."
    )


def _fitted_on(report: TrainingReport) -> str:
    if report.fitted_on == ("train",):
        return "the training rows only; the validation rows chose its settings, calibration and threshold"
    return "the training and validation rows with the settings chosen on the validation rows"


def _data(report: TrainingReport) -> str:
    distinct = report.distinct_frauds
    lines = [
        report.split.description,
        "",
        "| part | rows | fraud | distinct frauds |",
        "|---|---:|---:|---:|",
    ]
    for part, rows in report.rows.items():
        shown = f"{distinct[part]:,}" if part in distinct else "–"
        lines.append(f"| {part} | {rows:,} | {report.fraud_rate[part]:.2%} | {shown} |")
    if cuts := report.split.cuts:
        lines += ["", f"Validation starts at {cuts[0]}, test at {cuts[1]}."]
    return "\n".join(lines)


def _figures(report: TrainingReport) -> str:
    lines = ["| figure | value | interval |", "|---|---:|---|"]
    for metric in METRICS:
        if metric.card is None:
            continue
        shown = f"{metric.card} (lower is better)" if metric.better == "lower" else metric.card
        bounds = report.intervals.get(metric.name)
        interval = f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else ""
        lines.append(f"| {shown} | {report.metrics[metric.name]:.3f} | {interval} |")
    baseline = report.baseline
    lines += [
        "",
        f"Chance would give an average precision of {baseline.fraud_rate:.3f}; the best single feature "
        f"(`{baseline.best_feature}`) gives {baseline.best_feature_average_precision:.3f}.",
    ]
    return "\n".join(lines)


def _threshold(report: TrainingReport) -> str:
    counts, least = report.confusion, report.thresholds.least
    levels = " ".join(
        f"From {least[level.key]:.6f} the risk is {level.name}."
        for level in reversed(raised_levels())
        if level != flagged_level()
    )
    text = (
        f"Rows with a probability of at least {report.threshold:.6f} are flagged ({flagged_level().name}): "
        f"chosen on the validation rows for {_goal_in_words(report.goal)}. {levels} On the test "
        f"rows: {counts.tp:,} frauds found, {counts.fn:,} missed, {counts.fp:,} false alarms."
    )
    if cost := report.cost:
        text += (
            f" 1,000 such rows cost {cost.per_1000_rows:,.0f}; without any alert "
            f"{cost.per_1000_rows_without_alerts:,.0f}, with an alert for each "
            f"{cost.per_1000_rows_with_all_alerts:,.0f}."
        )
    return text


def _worse(report: TrainingReport) -> str:
    lines = [
        f"- {group.column} {'missing' if group.value is None else group.value}: {group.found:,} of "
        f"{group.frauds:,} frauds found ({group.rows:,} rows)."
        for group in report.groups
    ]
    lines = lines or ["- No group of test rows in which clearly less fraud is found than in all."]
    if report.periods:
        lines += [
            "",
            "| from | rows | fraud | alerts | recall | precision |",
            "|---|---:|---:|---:|---:|---:|",
        ]
    for period in report.periods:
        shares = ("–" if share is None else f"{share:.2f}" for share in (period.recall, period.precision))
        lines.append(
            f"| {period.start[:16]} | {period.rows:,} | {period.frauds:,} | {period.alerts:,} | "
            f"{' | '.join(shares)} |"
        )
    suspects = report.label_suspects
    lines += [
        "",
        f"Labels worth a second look among {suspects.rows:,} test rows: {suspects.legitimate:,} legitimate, "
        f"{suspects.fraud:,} fraud ({suspects.how}).",
    ]
    return "\n".join(lines)


def _goal_in_words(goal: Goal) -> str:
    return {
        "f1": "the best F1",
        "recall": f"a recall of {goal.value}",
        "precision": f"a precision of {goal.value}",
        "alerts_per_day": f"{goal.value} alerts a day",
        "cost": f"the least cost, at {goal.missed} a missed fraud and {goal.false_alarm} a false alarm",
    }[goal.kind]


def _importances(report: TrainingReport) -> str:
    top = [item for item in report.importances[:10] if item.share > 0]
    return "\n".join(f"- {item.feature}: {item.share:.1%}" for item in top)


def _limits(report: TrainingReport) -> str:
    lines = [f"- {warning}" for warning in report.warnings]
    lines += [
        "- It has learned the fraud that was labelled. New kinds of fraud, and fraud nobody found, are unknown to it.",
        "- Values outside the range seen in training count as the nearest seen; new categories as unseen.",
        "- What it remembers of customers and other values ends with the rows it was fitted on.",
    ]
    return "\n".join(lines)

"""Label rows of a table, monitor models, compare versions and train them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from ecluse.apps.fraud.actions import labelling, monitoring
from ecluse.apps.fraud.commands.tables import add_table, layout_options
from ecluse.apps.fraud.metrics import WATCHED
from ecluse.apps.fraud.monitoring.report import MonitoringReport, read_monitoring
from ecluse.apps.fraud.rows import inspections, labels
from ecluse.apps.fraud.rows.tables import Inspection
from ecluse.catalog.tables import User
from ecluse.cli.output import Record, reports, say
from ecluse.cli.session import acting, finish, home_option, user_option
from ecluse.runtime import Runtime
from ecluse.tabular.layout import Layout

_table = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_other = click.Path(exists=True, dir_okay=False, path_type=Path)
_positive = click.option(
    "--positive",
    help="The value of that column that means fraud. Default: as the model learned it, or as it says of itself.",
)
_KEYS: Final = {"f": 1, "l": 0}


@click.command("label")
@_table
@click.option("--model", required=True, help="NAME, NAME@VERSION or NAME@ALIAS.")
@click.option(
    "--from", "labels_file", type=_other, help="Take labels from a table with the columns row, label."
)
@click.option(
    "--count", default=40, show_default=True, type=click.IntRange(5, 200), help="Rows to ask about."
)
@click.option("--learn", is_flag=True, help="Then learn from the labels: a new version of the model.")
@click.option("--fraud-rate", type=click.FloatRange(0.0001, 0.5), help="Held to be true.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1))
@layout_options
@user_option
@home_option
@reports
def label(
    file: Path,
    model: str,
    labels_file: Path | None,
    count: int,
    learn: bool,
    fraud_rate: float | None,
    seed: int,
    email: str | None,
    home: Path | None,
    layout: Layout,
) -> Record:
    """Answer for the rows of FILE that tell most of MODEL: F fraud, L legitimate, S skip, Q stop.

    Each answer is kept at once. With the same table again, the questions that are left are asked.
    """
    with acting(home, email) as (runtime, user):
        dataset_id = add_table(runtime, user, file, layout)
        asked = _questions(runtime, user, dataset_id, model, count, seed)
        if labels_file is not None:
            labelling.put_labels(runtime, user.id, dataset_id, _labels_of(labels_file))
        else:
            _ask(runtime, user, dataset_id, asked)
        fields = _figures(runtime, user, dataset_id, asked)
        if learn:
            learned = labelling.start_learning(
                runtime,
                user.id,
                dataset_id,
                f"{asked.model_name}@{asked.version}",
                fraud_rate=fraud_rate,
                seed=seed,
            )
            done = _finished(runtime, user, learned, f"Learning from the labels of {file.name}")
            fields["learned"] = {
                "model": f"{done.model_name}@{done.other_version}", **(done.result or {})
            }  # fmt: skip
    return Record(fields, _label_text(fields))


@click.command("monitor")
@click.argument("model")
@_table
@click.option("--outcomes", type=_other, help="A table of identifiers and outcomes, joined to FILE.")
@click.option("--identifier", help="The column that both tables have. Default: guessed.")
@click.option("--label", help="The column of the outcomes. Default: the model's target.")
@_positive
@click.option("--time-column", help="Default: the model's.")
@layout_options
@user_option
@home_option
@reports
def monitor(
    model: str,
    file: Path,
    outcomes: Path | None,
    identifier: str | None,
    label: str | None,
    positive: str | None,
    time_column: str | None,
    email: str | None,
    home: Path | None,
    layout: Layout,
) -> Record:
    """Show how FILE differs from what MODEL learned from, how often it alerts, and how well where that is known."""
    with acting(home, email) as (runtime, user):
        row = monitoring.start_monitoring(
            runtime,
            user.id,
            model,
            add_table(runtime, user, file, layout),
            monitoring.MonitoringChoices(
                outcomes=None if outcomes is None else add_table(runtime, user, outcomes),
                identifier=identifier,
                label=label,
                positive=positive,
                time_column=time_column,
            ),
        )
        done = _finished(runtime, user, row, f"Monitoring {model}")
    name, result = f"{done.model_name}@{done.version}", done.result or {}
    text = _monitor_text(name, read_monitoring(result))
    return Record({"model": name, "inspection": done.id, **result}, text)


@click.command("compare")
@click.argument("name")
@click.argument("a")
@click.argument("b")
@_table
@click.option("--label", help="The column of the outcomes. Default: the model's target.")
@layout_options
@_positive
@user_option
@home_option
@reports
def compare(
    name: str,
    a: str,
    b: str,
    file: Path,
    label: str | None,
    positive: str | None,
    email: str | None,
    home: Path | None,
    layout: Layout,
) -> Record:
    """Versions (or aliases) A and B of the model NAME on the rows of FILE."""
    with acting(home, email) as (runtime, user):
        dataset_id = add_table(runtime, user, file, layout)
        row = monitoring.start_comparison(
            runtime, user.id, name, (a, b), dataset_id, label=label, positive=positive
        )
        done = _finished(runtime, user, row, f"Comparing versions of {name}")
    fields = {"inspection": done.id, **(done.result or {})}
    return Record(fields, _compare_text(name, fields))


@click.command("retrain")
@click.argument("model")
@_table
@click.option(
    "--budget",
    type=click.FloatRange(5, 86_400),
    help="Seconds of work, as of a training. Default: as before.",
)
@layout_options
@user_option
@home_option
@reports
def retrain(
    model: str, file: Path, budget: float | None, email: str | None, home: Path | None, layout: Layout
) -> Record:
    """Train MODEL again on FILE and compare it with the old version on rows neither learned from. No alias moves."""
    with acting(home, email) as (runtime, user):
        dataset_id = add_table(runtime, user, file, layout)
        _, row = monitoring.start_retraining(runtime, user.id, model, dataset_id, budget_s=budget)
        done = _finished(runtime, user, row, f"Training {model} again")
    fields = {
        "model": f"{done.model_name}@{done.other_version}",
        "inspection": done.id,
        **(done.result or {}),
    }
    return Record(fields, "\n".join([_compare_text(done.model_name, fields), *_retrained(done)]))


COMMANDS: Final = (label, monitor, compare, retrain)


def _questions(
    runtime: Runtime, user: User, dataset_id: str, model: str, count: int, seed: int
) -> Inspection:
    """Return the questions chosen before for this table, model, count and seed; else new ones."""
    known = labelling.latest_questions(runtime, user.id, dataset_id, model)
    if known is not None and known.request == {"count": count, "seed": seed} and _left(runtime, user, known):
        return known
    row = labelling.start_questions(runtime, user.id, dataset_id, model, count=count, seed=seed)
    return _finished(runtime, user, row, "Choosing questions")


def _left(runtime: Runtime, user: User, asked: Inspection) -> bool:
    with runtime.catalog.read() as transaction:
        known = labels.labels_of(transaction, user.id, asked.dataset_id or "")
    return any(question["row"] not in known for question in (asked.result or {})["questions"])


def _ask(runtime: Runtime, user: User, dataset_id: str, asked: Inspection) -> None:
    result = asked.result or {}
    with runtime.catalog.read() as transaction:
        known = labels.labels_of(transaction, user.id, dataset_id)
    reasons = result.get("reasons") or [[] for _ in result["questions"]]
    asked_rows = zip(result["questions"], result["shown"], reasons, strict=True)
    waiting = [question_row for question_row in asked_rows if question_row[0]["row"] not in known]
    for number, (question, values, why) in enumerate(waiting, 1):
        say(f"\nQuestion {number} of {len(waiting)}: row {question['row']}")
        for name, value in values.items():
            say(f"  {name:<28} {'–' if value is None else value}")
        answer = click.prompt(
            "F fraud, L legitimate, S skip, Q stop",
            type=click.Choice(["f", "l", "s", "q"], case_sensitive=False),
            show_choices=False,
            err=True,
        ).lower()
        if answer == "q":
            return
        if answer in _KEYS:
            labelling.put_labels(runtime, user.id, dataset_id, {question["row"]: _KEYS[answer]})
            # Not before: whoever sees a score first answers nearer to it.
            effects = "; ".join(f"{text} {effect:+.2f}" for text, effect in why)
            say(f"  The model: score {question['score']:.4f}{f' ({effects})' if effects else ''}")


def _labels_of(file: Path) -> dict[int, int | None]:
    from ecluse.apps.fraud.actions.uploads import labels_of_upload

    return dict(labels_of_upload(file, file.name, most=labelling.MOST_LABELS))


def _figures(runtime: Runtime, user: User, dataset_id: str, asked: Inspection) -> dict[str, Any]:
    from ecluse.apps.fraud.labelling.figures import figures_of
    from ecluse.apps.fraud.labelling.questions import QuestionSet

    with runtime.catalog.read() as transaction:
        known = labels.labels_of(transaction, user.id, dataset_id)
    figures = figures_of(QuestionSet.from_dict(asked.result or {}), known)
    return {
        "dataset": dataset_id,
        "model": f"{asked.model_name}@{asked.version}",
        "rows": len(known),
        "figures": figures.to_dict(),
    }


def _finished(runtime: Runtime, user: User, row: Inspection, title: str) -> Inspection:
    finish(runtime, user, row.job_id or "", title)
    with runtime.catalog.read() as transaction:
        return inspections.inspection_of(transaction, user.id, row.id)


def _label_text(fields: dict[str, Any]) -> str:
    figures = fields["figures"]
    lines = [f"{fields['rows']} rows have a label, {figures['frauds']} of the answers are fraud."]
    from ecluse.apps.fraud.labelling.figures import FIGURES

    for name in FIGURES:
        figure = figures[name]
        lines.append(f"  {name.replace('_', ' '):<18} {_figure_text(figure)}")
    lines += [f"Check: {note}" for note in figures["notes"]]
    if learned := fields.get("learned"):
        lines.append(f"{learned['model']}: {learned['way']} with {learned['labels']} labels.")
        name, _, new = str(learned["model"]).partition("@")
        lines += _now_means(name, str(fields["model"]).partition("@")[2], new)
    return "\n".join(lines)


def _figure_text(figure: dict[str, Any] | None) -> str:
    """Put the interval first: of few answers the number within it says little, and of too wide a one nothing."""
    if figure is None:
        return "not known yet"
    interval = f"{figure['low']:.3f} to {figure['high']:.3f}"
    if not figure["telling"]:
        return f"cannot be said yet (95 %: {interval})"
    return f"{interval} (95 %), estimate {figure['value']:.3f}"


def _monitor_text(name: str, report: MonitoringReport) -> str:
    lines = [f"{name} on {report.rows} rows"]
    if report.alerts is not None:
        usual = report.alerts.usual_rate
        compared = "" if usual is None else f", usually {usual:.2%}"
        lines.append(f"  alerts             {report.alerts.count} ({report.alerts.rate:.2%}{compared})")
    if report.score is not None:
        lines.append(f"  score              {report.score.index:.3f} ({report.score.verdict})")
    for drift in report.drift:
        if drift.verdict != "same":
            new = ", ".join(level for level, _share in drift.new_levels)
            lines.append(
                f"  {drift.column:<18} {drift.index:.3f} ({drift.verdict})" + (f", new: {new}" if new else "")
            )
    lines += [f"  missing            {column}" for column in report.columns.missing]
    lines += _outcome_lines(report)
    return "\n".join([*lines, *(f"Check: {note}" for note in report.notes)])


def _outcome_lines(report: MonitoringReport) -> list[str]:
    outcomes = report.outcomes
    if outcomes is None:
        return []
    lines = [f"  outcomes           {outcomes.rows} rows, {outcomes.frauds} frauds"]
    for name in WATCHED:
        if outcomes.metrics and outcomes.intervals and name in outcomes.intervals:
            low, high = outcomes.intervals[name]
            lines.append(
                f"  {name.replace('_', ' '):<18} {outcomes.metrics[name]:.4f}  (95 %: {low:.4f} to {high:.4f})"
            )
    return lines


def _retrained(done: Inspection) -> list[str]:
    """Return what the new version learned from beside the old one, and who uses it from now on."""
    counts = (done.result or {}).get("learned") or {}
    lines = [
        f"  {side:<18} learned from {counts[letter][0]} rows, {counts[letter][1]} frauds"
        for letter, side in (("a", "old"), ("b", "new"))
        if counts.get(letter)
    ]
    return [*lines, *_now_means(done.model_name, done.version, done.other_version or "")]


def _now_means(name: str, old: str, new: str) -> list[str]:
    return [
        f"{name} alone now means {new}, for everyone who names no version and no alias.",
        f"  To keep the old one for them: ecluse models alias {name}@{old} production, and ask for {name}@production;",
        f"  or delete the new one: ecluse models delete {name}@{new}",
    ]


def _compare_text(name: str, fields: dict[str, Any]) -> str:
    a, b = fields["a"], fields["b"]
    lines = [
        f"{name}: {a['version']} and {b['version']} on {fields['rows']} rows, {fields['frauds']} known frauds",
        f"  alerts             {a['alerts']} → {b['alerts']}, {fields['agreement']['both']} of both",
    ]
    for figure, value in (fields["figures"] or {}).items():
        low, high = value["interval"]
        lines.append(
            f"  {figure.replace('_', ' '):<18} {value['a']:.4f} → {value['b']:.4f}  "
            f"({value['difference']:+.4f}, 95 %: {low:+.4f} to {high:+.4f}: {value['verdict']})"
        )
    return "\n".join([*lines, *(f"Check: {note}" for note in fields.get("notes", []))])

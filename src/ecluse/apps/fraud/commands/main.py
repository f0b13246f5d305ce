"""Analyze, train on and score tables of transactions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from ecluse import models as published
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.actions.versions import expect_may_score
from ecluse.apps.fraud.commands import monitoring as watching
from ecluse.apps.fraud.commands.labels import asked_for_label, label_lines
from ecluse.apps.fraud.commands.references import references
from ecluse.apps.fraud.commands.remote import predict_there, train_there
from ecluse.apps.fraud.commands.results import results, tables
from ecluse.apps.fraud.commands.tables import add_table, layout_options, say_layout
from ecluse.apps.fraud.commands.unlabelled import ensemble, match
from ecluse.apps.fraud.metrics import SUMMARY
from ecluse.apps.fraud.performance.reports import read_trained_report, threshold_of
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.rows import predictions
from ecluse.apps.fraud.scoring.formats import name_for
from ecluse.apps.fraud.tables.meaning import fraud_means
from ecluse.apps.fraud.training.request import TrainingRequest, choices
from ecluse.catalog import models
from ecluse.catalog import runs as run_rows
from ecluse.catalog.tables import User
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, progress, reports
from ecluse.cli.remote import at_server, local_option
from ecluse.cli.runs import run_fields
from ecluse.cli.session import acting, finish, home_option, user_option
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.tabular.layout import Layout

_file = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group(cls=Group)
def fraud() -> None:
    """Analyze, train on and score tables of transactions."""


fraud.add_command(references)
fraud.add_command(match)
fraud.add_command(ensemble)
fraud.add_command(results)
fraud.add_command(tables)


@fraud.command()
@_file
@layout_options
@reports
def analyze(file: Path, layout: Layout) -> Record:
    """Show the columns of FILE, with guesses of the label, identifier, customer and time columns."""
    from ecluse.apps.fraud.actions.uploads import profile_upload

    with progress(f"Reading {file.name}") as report:
        table_profile, stands = profile_upload(file, layout=layout, heard=report)
    profile = table_profile.to_dict()
    profile["layout"] = None if stands is None else stands.to_dict()
    say_layout(file.name, stands)
    return Record(profile, _profile_text(file, profile))


def _training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for each choice of a training; their values come by the names of the choices."""
    for choice in reversed([choice for choice in choices() if choice.flag]):
        several = choice.default == ()
        command = click.option(
            choice.flag,
            choice.name,
            required=choice.is_required,
            default=None if choice.is_required else choice.default,
            show_default=choice.default not in (None, ()) and not choice.is_required,
            multiple=several,
            type={float: float, int: int, bool: bool}.get(choice.kind, str),
            help=f"{choice.help} May be repeated." if several else choice.help,
        )(command)
    return command


@fraud.command()
@_file
@_training_options
@layout_options
@local_option
@user_option
@home_option
@reports
def train(
    file: Path, local: bool, email: str | None, home: Path | None, layout: Layout, **chosen: Any
) -> Record:
    """Train a model on FILE and publish it. Its figures come from rows it has not seen.

    At the server that was signed in to (ecluse login URL), else on this machine.
    """
    request = TrainingRequest.chosen(chosen)
    request.check()
    with at_server(home, email, local) as server:
        if server is not None:
            dataset, version = train_there(server, file, request, layout)
            return _trained(version["name"], version["version"], dataset, version["report"])
    with acting(home, email) as (runtime, user):
        dataset_id = add_table(runtime, user, file, layout)
        request = asked_for_label(workflows.find_dataset(runtime, user.id, dataset_id).profile, request)
        run = workflows.start_training(runtime, user.id, dataset_id, request)
        finish(runtime, user, run.job_id or "", f"Training {request.model_name}")
        with runtime.catalog.read() as transaction:
            row = models.version_of(transaction, user.id, request.model_name)
    return _trained(row.name, row.version, dataset_id, row.report)


def _trained(name: str, version: str, dataset: str, report: dict[str, Any]) -> Record:
    return Record(
        {"name": name, "version": version, "dataset": dataset, "report": report},
        _report_text(name, version, read_trained_report(report)),
    )


@fraud.command()
@click.argument("model")
@_file
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--reasons",
    type=click.Choice(["all", "risky", "none"]),
    default="risky",
    show_default=True,
    help="Rows to explain; explaining a row costs a hundred times its score.",
)
@click.option(
    "--map",
    "mapped",
    multiple=True,
    metavar="THEIRS=OURS",
    help="A column of FILE, and the column of the model that it is; may be repeated.",
)
@layout_options
@local_option
@user_option
@home_option
@reports
def predict(
    model: str,
    file: Path,
    output: Path,
    reasons: Literal["all", "risky", "none"],
    mapped: tuple[str, ...],
    local: bool,
    email: str | None,
    home: Path | None,
    layout: Layout,
) -> Record:
    """Score FILE with MODEL (NAME, NAME@VERSION, NAME@ALIAS) into OUTPUT: CSV, or Parquet if it ends in .parquet.

    A model that is shared with you is called @OWNER/NAME.

    At the server that was signed in to (ecluse login URL), else on this machine.
    """
    if not output.parent.is_dir():
        raise InvalidInput(f"The folder {output.parent} does not exist.")
    columns = _mapping(mapped)
    with at_server(home, email, local) as server:
        if server is not None:
            asked = {"model": model, "format": name_for(output), "reasons": reasons, "columns": columns}
            body = predict_there(server, file, output, asked, layout)
            return _scored(output, body["rows"], body["flagged"], f"{body['model_name']}@{body['version']}")
    with acting(home, email) as (runtime, user):
        used = expect_may_score(published.resolve_readable(runtime, user.id, model))
        name = published.address_of(runtime, user.id, used)
        dataset_id = add_table(runtime, user, file, layout)
        request = workflows.ScoringRequest(name, used.version, name_for(output), reasons, columns)
        prediction = workflows.start_prediction(runtime, user.id, dataset_id, request)
        finish(runtime, user, prediction.job_id or "", f"Scoring {file.name}")
        with runtime.catalog.read() as transaction:
            row = predictions.prediction_of(transaction, user.id, prediction.id)
        located = runtime.stores.locate(row.url or "")
        located.store.download(located.key, output, sha256=row.sha256)
    return _scored(output, row.rows, row.flagged, f"{row.model_name}@{row.version}")


def _scored(output: Path, rows: int | None, flagged: int | None, model: str) -> Record:
    fields = {"output": output, "rows": rows, "flagged": flagged, "model": model}
    return Record(fields, f"{output}: {rows} rows scored with {model}, {flagged} flagged.")


@fraud.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
@reports
def sample(directory: Path) -> Record:
    """Write transactions.csv (labelled), to_score.csv (unlabelled) and the labels hidden from it into DIRECTORY."""
    from ecluse.apps.fraud.sample import write_sample

    directory.mkdir(parents=True, exist_ok=True)
    paths = write_sample(directory)
    return Record({"labelled": paths.labelled, "unlabelled": paths.unlabelled, "truth": paths.truth})


def _mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    """{ours: theirs} of THEIRS=OURS pairs."""
    columns: dict[str, str] = {}
    for pair in pairs:
        theirs, equals, ours = pair.rpartition("=")
        if not (theirs and equals and ours) or ours in columns:
            raise InvalidInput(
                f'--map "{pair}" is not one column of the file and one of the model. Write THEIRS=OURS, each once.'
            )
        columns[ours] = theirs
    return columns


def _profile_text(file: Path, profile: dict[str, Any]) -> str:
    lines = [f"{file.name}: {profile['rows']} rows, {len(profile['columns'])} columns"]
    for column in profile["columns"]:
        role = f"{column['guess_role']}: {column['reason']}" if column.get("reason") else column["guess_role"]
        lines.append(f"  {column['name']:<28} {column['kind']:<11} {column['missing_share']:>6.1%}  {role}")
    lines += label_lines(profile)
    return "\n".join([*lines, *(f"Check: {warning}" for warning in profile["warnings"])])


def _report_text(name: str, version: str, report: TrainedReport) -> str:
    from ecluse.apps.fraud.training.card import effort_text, refit_text

    rows = report.rows
    learned = sum(count for part, count in rows.items() if part != "test")
    tested = (
        f"tested on {rows['test']} it had not seen" if "test" in rows else "measured on folds of the same"
    )
    lines = [f"{name}@{version}, trained on {learned} rows, {tested}"]
    if report.target is not None and report.positive_value is not None:
        lines.append(f"  {fraud_means(report.target, report.positive_value, report.positive_share)}")
    lines += [
        f"  {metric.replace('_', ' '):<18} {value:.4f}"
        for metric in SUMMARY
        if (value := report.metrics.get(metric)) is not None
    ]
    lines.append(f"  {'threshold':<18} {threshold_of(report):.4f}")
    if report.effort:
        lines.append(f"  {effort_text(report.effort)}")
    if report.refit:
        lines.append(f"  {refit_text(report.refit)}")
    if cost := report.cost:
        lines.append(
            f"  {'cost of 1,000 rows':<18} {cost.per_1000_rows:,.0f}; without any alert "
            f"{cost.per_1000_rows_without_alerts:,.0f}"
        )
    return "\n".join([*lines, *(f"Check: {warning}" for warning in report.warnings)])


for command in watching.COMMANDS:
    fraud.add_command(command)


def repeated(runtime: Runtime, user: User, run_id: str) -> Record:
    """Train again what a run trained, and wait for it."""
    run = workflows.start_repeat(runtime, user.id, run_id)
    finish(runtime, user, run.job_id or "", f"Training {run.model_name} again")
    with runtime.catalog.read() as transaction:
        made = run_rows.run_of(transaction, user.id, run.id)
    text = (
        f"{made.name}@{made.version}: the same {len(made.artifacts)} files, by SHA-256, as run {run_id} left."
    )
    return Record(run_fields(made), text)

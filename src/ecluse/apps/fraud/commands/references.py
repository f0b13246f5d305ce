"""Build, list, show, measure and remove the reference models that unlabelled tables are matched against."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import click

from ecluse import models as published
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.jobs import reference_evaluation as evaluation
from ecluse.apps.fraud.jobs import references as building
from ecluse.apps.fraud.jobs.references import Recipe, Started
from ecluse.apps.fraud.metrics import METRICS
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.references.published import POSITIVE, REFERENCES
from ecluse.apps.fraud.rows import datasets
from ecluse.apps.fraud.rows.tables import ReferenceModel
from ecluse.apps.fraud.tables.meaning import fraud_means
from ecluse.catalog.tables import User
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, progress, reports, transfer
from ecluse.cli.session import acting, finish_all, home_option, user_option
from ecluse.errors import InvalidInput, JobFailed, NotFound
from ecluse.registry import checked_name
from ecluse.runtime import Runtime
from ecluse.storage import LONG_PATIENCE, read_chunks, safe_filename
from ecluse.tabular.formats import ENDINGS

#: Metrics that a list of references shows: they hold whatever the threshold.
SHOWN: Final = tuple(metric.name for metric in METRICS if metric.is_summary and metric.of_order)
COLUMNS: Final = (
    "name",
    "domain",
    "rows",
    "fraud_rate",
    *SHOWN,
    "transfer",
    "version",
)

_budget = click.option(
    "--budget",
    default=building.DEMO_BUDGET,
    show_default=True,
    help="Seconds of work for each reference, as of a training.",
)
_without_sample = click.option(
    "--without-sample",
    is_flag=True,
    help="Keep no rows of the table with the reference. Its transfer can then not be measured.",
)


@click.group(cls=Group)
def references() -> None:
    """Build, list, show, measure and remove the reference models that unlabelled tables are matched against."""


@references.command("demo")
@click.option(
    "--domain", "domains", multiple=True, help="One of the simulated domains; repeatable. Default: all."
)
@_budget
@_without_sample
@user_option
@home_option
@reports
def demo(
    domains: tuple[str, ...], budget: float, without_sample: bool, email: str | None, home: Path | None
) -> Record:
    """Build references from simulated institutions, five a domain. Run again, it goes on where it was stopped."""
    with acting(home, email, patience=LONG_PATIENCE) as (runtime, user):
        started = building.start_demo(
            runtime, user, domains=domains, budget_s=budget, with_sample=not without_sample
        )
        return _finished(runtime, user, started, "Building references")


@references.command("sample")
@click.argument("institution")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
@reports
def sample(institution: str, directory: Path) -> Record:
    """Write a table without labels, and its answers apart, into DIRECTORY.

    INSTITUTION is a simulated domain (`cards`, `mobile_money` …), for an institution that is in no library, or
    the name of a simulated institution.
    """
    from ecluse.apps.fraud.references import institutions

    written = institutions.write_unlabelled(institutions.institution(institution), directory)
    return Record({"unlabelled": written.table, "truth": written.truth})


@references.command("import")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--target", help="Label column of every table. Default: guessed for each.")
@click.option(
    "--positive",
    help="The label's value that means fraud, in every table. Default: the one that says so of itself, such as 1.",
)
@click.option(
    "--keep",
    multiple=True,
    help="Column of every table to learn from though it gives the label away; may be repeated.",
)
@click.option("--domain", help="Domain of every table. Default: its file's name without numbers at the end.")
@_budget
@_without_sample
@user_option
@home_option
@reports
def import_references(
    directory: Path,
    target: str | None,
    positive: str | None,
    keep: tuple[str, ...],
    domain: str | None,
    budget: float,
    without_sample: bool,
    email: str | None,
    home: Path | None,
) -> Record:
    """Make a reference of every labelled table and of every model folder in DIRECTORY; exit 1 if one failed.

    Run again, it leaves out what has not changed. A table is removed once its reference is built; that of a
    job that failed stays among yours, to be looked at, until a later import builds its reference.
    """
    tables = sorted(path for path in directory.iterdir() if _is_table(path))
    folders = [path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not tables and not folders:
        raise InvalidInput(
            f"{directory} holds no table and no folder. A table's name ends in {', '.join(ENDINGS)}."
        )
    _expect_distinct(tables)
    with acting(home, email, patience=LONG_PATIENCE) as (runtime, user):
        library.expect_administrator(user)
        imported = _import_folders(runtime, user, directory) if folders else []
        recipes = [
            Recipe(
                name=_name(table),
                domain=domain or building.domain_of(_name(table)),
                content=_sha256(table),
                target=target,
                positive=positive,
                keep=keep,
                budget_s=budget,
                with_sample=not without_sample,
            )
            for table in tables
        ]
        stored: list[str] = []
        try:
            started = [_start(runtime, user, *pair, stored) for pair in zip(recipes, tables, strict=True)]
            return _finished(runtime, user, started, "Building references", imported)
        except KeyboardInterrupt:
            _remove_tables(runtime, user, stored)
            raise


@references.command("list")
@click.option("--domain", help="Only those of one domain.")
@user_option
@home_option
@reports
def list_references(domain: str | None, email: str | None, home: Path | None) -> Rows:
    """List every reference model, with the figures of its own test rows and of its transfer to the others."""
    with acting(home, email, reads=True) as (runtime, _):
        rows = [_row(row) for row in library.find_all(runtime, domain=domain)]
    decimals = {"fraud_rate": 4, **dict.fromkeys(SHOWN, 3)}
    return Rows(rows, COLUMNS, "No references yet. Build some: ecluse fraud references demo", decimals)


@references.command("show")
@click.argument("name")
@user_option
@home_option
@reports
def show(name: str, email: str | None, home: Path | None) -> Record:
    """One reference: its figures, its columns with their importance, and its files."""
    with acting(home, email, reads=True) as (runtime, _):
        row = library.find(runtime, name)
        files = [asdict(file) for file in library.manifest_of(runtime, row).files]
        reading = _reading(runtime, name)
    fields = _row(row) | {
        "target": row.target,
        "positive": row.performance.get(POSITIVE),
        "read_from": reading.get("read_from"),
        "performance": row.performance if library.is_readable(row) else {},
        "columns": _sketches(row) or [{"name": column} for column in row.columns],
        "transfer": row.transfer,
        "files": files,
        "url": row.url,
        "created_at": row.created_at,
    }
    return Record(fields, _reference_text(row, reading, files))


@references.command("evaluate")
@click.argument("names", nargs=-1)
@user_option
@home_option
@reports
def evaluate(names: tuple[str, ...], email: str | None, home: Path | None) -> Rows:
    """Score each reference's rows with the others that match them, as if its own model were not there."""
    with acting(home, email, patience=LONG_PATIENCE) as (runtime, user):
        started = evaluation.start_evaluation(runtime, user, names)
        jobs = finish_all(runtime, user, [each.job_id or "" for each in started], "Measuring references")
        failed = [f"{job.title}: {job.error or job.status}" for job in jobs if job.status != "done"]
        if failed:
            raise JobFailed(f"Not every reference was measured. {' '.join(failed)}")
        rows = [_transfer_row(library.find(runtime, each.name)) for each in started]
    columns = ("name", "domain", "tables", "transfer_roc_auc", "transfer_average_precision", "own_roc_auc")
    decimals = {"transfer_roc_auc": 3, "transfer_average_precision": 3, "own_roc_auc": 3}
    return Rows(rows, columns, decimals=decimals)


@references.command("remove")
@click.argument("names", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@user_option
@home_option
@reports
def remove(names: tuple[str, ...], yes: bool, email: str | None, home: Path | None) -> Record:
    """Remove references with all their versions. Ensembles made with them stay as they are."""
    with acting(home, email) as (runtime, user):
        library.expect_administrator(user)
        for name in names:
            library.find(runtime, name)
        if not yes:
            click.confirm(f"Remove {', '.join(names)} for everyone?", abort=True, err=True)
        for name in names:
            library.remove(runtime, user, name)
    return Record({"removed": list(names)}, f"Removed: {', '.join(names)}.")


# Tables and folders to import


def _is_table(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")


def _name(table: Path) -> str:
    return checked_name(safe_filename(table.name[: table.name.index(".")])[:64])


def _expect_distinct(tables: Sequence[Path]) -> None:
    """`InvalidInput` where two tables would be references of one name."""
    named: dict[str, Path] = {}
    for table in tables:
        other = named.setdefault(_name(table), table)
        if other != table:
            raise InvalidInput(
                f"{other.name} and {table.name} would both be the reference {_name(table)!r}. Rename one of them."
            )


def _sha256(table: Path) -> str:
    with table.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _import_folders(runtime: Runtime, user: User, directory: Path) -> list[published.Imported]:
    total = sum(path.stat().st_size for path in directory.glob("*/**/*") if path.is_file())
    with transfer(f"Importing {directory}", total) as advance:
        return published.import_folder(runtime, user, directory, prefix=REFERENCES, progress=advance)


def _start(runtime: Runtime, user: User, recipe: Recipe, table: Path, stored: list[str]) -> Started:
    """Store the table, unless its reference is built or it is stored already, and queue its job.

    The tables that were stored for this are added to `stored`.
    """
    running = building.running_jobs(runtime, user).get((recipe.name, recipe.digest))
    if running is not None or building.is_built(runtime, recipe):
        return Started(recipe.name, running)
    known = workflows.find_same_table(runtime, user.id, table.name, recipe.content)
    if known is None:
        with progress(f"Storing {table.name}"):
            dataset = workflows.add_table(runtime, user.id, table.name, read_chunks(table))
        stored.append(dataset.id)
    else:
        dataset = known
    complete = replace(recipe, dataset_id=dataset.id, keeps_table=known is not None)
    (started,) = building.start_building(runtime, user, [complete])
    return started


def _remove_tables(runtime: Runtime, user: User, stored: Sequence[str]) -> None:
    """Remove the tables whose references will not be built; those of built ones are gone already."""
    with runtime.catalog.read() as transaction:
        left = {row.id for row in datasets.list_datasets(transaction, user.id, limit=10_000)}
    for dataset_id in left & set(stored):
        workflows.remove_dataset(runtime, user.id, dataset_id)


def _finished(
    runtime: Runtime,
    user: User,
    started: Sequence[Started],
    title: str,
    imported: Sequence[published.Imported] = (),
) -> Record:
    """Follow the jobs to their ends, and tell what became of each reference."""
    jobs = finish_all(runtime, user, [each.job_id for each in started if each.job_id is not None], title)
    ended = {job.id: job for job in jobs}
    rows: list[dict[str, Any]] = [
        {
            "name": each.name,
            "outcome": each.outcome,
            "problems": list(each.problems),
            **_reading(runtime, each.name),
        }
        for each in imported
    ]
    for each in started:
        job = None if each.job_id is None else ended[each.job_id]
        outcome = "unchanged" if job is None else "built" if job.status == "done" else job.status
        problems = [job.error] if job and job.error else []
        reading = _reading(runtime, each.name) if outcome in ("built", "unchanged") else {}
        rows.append({"name": each.name, "outcome": outcome, "problems": problems, **reading})
    lines = []
    for entry in rows:
        lines.append(f"{entry['name']}: {entry['outcome']}")
        lines += [f"  {entry[said]}" for said in ("fraud_means", "read_from") if entry.get(said)]
    lines += [f"Problem: {each['name']}: {problem}" for each in rows for problem in each["problems"]]
    failed = any(each["problems"] or each["outcome"] in ("failed", "cancelled") for each in rows)
    return Record({"references": rows}, "\n".join(lines), failed=failed)


def _reading(runtime: Runtime, name: str) -> dict[str, Any]:
    """Return how the table of a reference was read: what means fraud, and which sheet and row its names stood in."""
    try:
        row = library.find(runtime, name)
    except NotFound:  # a folder that could not be imported
        return {}
    value = row.performance.get(POSITIVE)
    means = fraud_means(row.target, str(value), row.fraud_rate) if value else None
    return {"fraud_means": means, "read_from": library.manifest_of(runtime, row).metadata.get("read_from")}


# What is shown


def _row(row: ReferenceModel) -> dict[str, Any]:
    return {
        "name": row.name,
        "domain": row.domain,
        "rows": row.rows,
        "fraud_rate": row.fraud_rate,
        **{name: row.performance.get(name) for name in SHOWN},
        "transfer": _transfer_words(row.transfer),
        "version": row.version or None,
        "size_bytes": row.size_bytes,
        "matchable": bool(_sketches(row)),
    }


def _sketches(row: ReferenceModel) -> list[dict[str, Any]]:
    return row.sketches if library.is_readable(row) else []


def _transfer_words(measured: Mapping[str, Any]) -> str | None:
    if not measured:
        return None
    if not measured["count"]:
        return "no relative"
    return f"{measured['roc_auc']:.3f} on {measured['count']}"


def _transfer_row(row: ReferenceModel) -> dict[str, Any]:
    return {
        "name": row.name,
        "domain": row.domain,
        "tables": row.transfer["count"],
        "transfer_roc_auc": row.transfer["roc_auc"],
        "transfer_average_precision": row.transfer["average_precision"],
        "own_roc_auc": row.performance.get("roc_auc"),
        "scored": row.transfer["tables"],
    }


def _reference_text(
    row: ReferenceModel, reading: Mapping[str, Any], files: Sequence[Mapping[str, Any]]
) -> str:
    lines = [
        f"{name.replace('_', ' '):<18} {value}" for name, value in _row(row).items() if value is not None
    ]
    lines += [said for said in reading.values() if said]
    columns = [f"  {each['importance']:>6.1%}  {each['kind']:<11} {each['name']}" for each in _sketches(row)]
    measured = [
        f"  {name:<28} similarity {each['similarity']:.2f}, ROC AUC {each['roc_auc']:.3f}, "
        f"average precision {each['average_precision']:.3f}"
        for name, each in row.transfer.get("tables", {}).items()
    ]
    listed = [f"  {file['sha256'][:12]}  {file['size']:>10}  {file['path']}" for file in files]
    return "\n".join(
        [*lines, "columns by importance", *columns, "measured on the tables of", *measured, "files", *listed]
    )

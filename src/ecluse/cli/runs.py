"""List, show and compare runs: the trainings of every application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecluse.application import load
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, counted, reports, say
from ecluse.cli.remote import at_server, list_runs_there, local_option, one_pair, run_there
from ecluse.cli.session import acting, home_option, user_option
from ecluse.cli.sharing import add_sharing
from ecluse.errors import CannotRepeat, NotSignedIn
from ecluse.run_values import SORTED_BY, STATUSES, Direction
from ecluse.sentences import _

if TYPE_CHECKING:  # what a command at a server does without
    from ecluse.catalog.tables import Run

_FIELDS = (
    "id", "application", "kind", "name", "status", "parameters", "tags", "metrics", "artifacts", "subject", "exports",
    "job_id", "version", "url", "parent_version", "error", "created_at", "started_at", "finished_at",
)  # fmt: skip


class _Pair(click.ParamType[tuple[str, str]]):
    """`NAME=VALUE`."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, given = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, given


@click.group(cls=Group)
def runs() -> None:
    """List, show and compare runs: the trainings of every application."""


add_sharing(runs, "runs", "RUN_ID")


@runs.command("list")
@click.option("--application", help="Runs of this application alone.")
@click.option("--name", help="Runs of this model alone.")
@click.option("--kind", help="Runs of this kind alone, such as search or finetune.")
@click.option("--status", type=click.Choice(STATUSES))
@click.option("--tag", "tags", type=_Pair(), multiple=True, help="NAME=VALUE; may be repeated.")
@click.option("--parameter", "parameters", type=_Pair(), multiple=True, help="NAME=VALUE; may be repeated.")
@click.option("--sort", default="created", show_default=True, help="A column, or a metric such as accuracy.")
@click.option("--ascending", is_flag=True, help="The smallest first.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@local_option
@user_option
@home_option
@reports
def list_runs(
    application: str | None,
    name: str | None,
    kind: str | None,
    status: str | None,
    tags: tuple[tuple[str, str], ...],
    parameters: tuple[tuple[str, str], ...],
    sort: str,
    ascending: bool,
    limit: int,
    local: bool,
    email: str | None,
    home: Path | None,
) -> Rows:
    """List the user's runs, newest first. The figure is the one sorted by, or the one each run is judged by."""
    direction: Direction = "ascending" if ascending else "descending"
    shown = ("id", "application", "name", "kind", "status", "metric", "value", "version", "created_at")
    with at_server(home, email, local) as server:
        if server is not None:
            conditions = {
                "application": application, "name": name, "kind": kind, "status": status, "sort": sort,
                "tag": one_pair(tags, "--tag"), "parameter": one_pair(parameters, "--parameter"),
                "direction": direction,
            }  # fmt: skip
            items, total = list_runs_there(server, conditions, limit)
            if total > len(items):
                say(f"{len(items)} of {total} runs. For more: --limit {min(total, 1000)}")
            return Rows([item | _figure_there(item, sort) for item in items], shown, "No runs yet.")
    from ecluse.catalog import runs as run_rows

    selection = run_rows.RunFilter(application, name, kind, status, dict(tags), dict(parameters))
    with acting(home, email, reads=True) as (runtime, user), runtime.catalog.read() as transaction:
        rows, total = run_rows.list_runs(
            transaction, user.id, selection, sort=sort, direction=direction, limit=limit
        )
    if total > len(rows):
        say(f"{len(rows)} of {total} runs. For more: --limit {min(total, 1000)}")
    metric = None if sort in SORTED_BY else sort
    items = [run_fields(row) | _figure(row, metric) for row in rows]
    return Rows(items, shown, "No runs yet.")


@runs.command("show")
@click.argument("run_id")
@local_option
@user_option
@home_option
@reports
def show_run(run_id: str, local: bool, email: str | None, home: Path | None) -> Record:
    """One run: what it was told, its metrics by step, and what it left."""
    with at_server(home, email, local) as server:
        if server is not None:
            body, curves_there = server.run_of(run_id)
            return _shown(run_there(body), curves_there)
    from ecluse import tracking

    with acting(home, email, reads=True) as (runtime, user), runtime.catalog.read() as transaction:
        tracked = tracking.read(transaction, user.id, run_id)
    curves = {name: [asdict(point) for point in points] for name, points in tracked.curves.items()}
    return _shown(run_fields(tracked.run) | {"aliases": list(tracked.aliases)}, curves)


def _shown(run: Mapping[str, Any], curves: Mapping[str, Any]) -> Record:
    return Record({**run, "metrics_by_step": curves}, "\n\n".join(_sections(run, curves)))


@runs.command("send")
@reports
def send_runs() -> Rows:
    """Send the runs that `import ecluse` kept on disk while the server was away, and that have ended.

    They go to the server of ECLUSE_URL, or the one signed in to last. A run whose program ended before it has failed.
    One that the server refuses is named with its file and the reason, and stops no other; exit 1.
    """
    from ecluse.client import credentials, outbox
    from ecluse.client.http import HttpBackend
    from ecluse.client.places import waiting_folder

    server = credentials.signed_in()
    if server is None:
        raise NotSignedIn(_("There is no server to send runs to. Sign in: ecluse login URL"))
    backend, folder = HttpBackend(server), waiting_folder()
    try:
        done = list(outbox.send_waiting(backend, folder))
    finally:
        backend.close()
    for sent in done:
        for refusal in sent.refusals:
            say(f"{sent.file} was refused: {refusal}")
    for address, count in outbox.elsewhere(folder, backend.address).items():
        say(f"{counted(count, 'run')} for {address}. Sign in there to send them: ecluse login {address}")
    rows = [
        {
            "run": sent.run,
            "address": backend.address,
            "problem": "; ".join(sent.refusals) or None,
            "file": sent.file,
        }
        for sent in done
    ]
    failed = any(sent.refusals for sent in done)
    return Rows(rows, ("run", "address", "problem"), "No run waits to be sent.", failed=failed)


@runs.command("repeat")
@click.argument("run_id")
@user_option
@home_option
@reports
def repeat(run_id: str, email: str | None, home: Path | None) -> Record:
    """Train again what the training RUN_ID trained, by its record and no clock: every file the same.

    Of a model of a table, refused where the table or a library is another than it was, or a file comes out differently.
    Of a classifier of images, the same split and settings; the answer names the files that are the same, and those that
    are not, such as those that say how long it took.
    """
    from ecluse.catalog import runs as run_rows
    from ecluse.tracking.kinds import expect_ours, tracked_runs

    with acting(home, email) as (runtime, user):
        with runtime.catalog.read() as transaction:
            run = run_rows.run_of(transaction, user.id, run_id)
        expect_ours(run)
        command = tracked_runs(run.application).repeat_command
        if not command:
            raise CannotRepeat(_("Runs of %(application)s are not repeated.", application=run.application))
        record: Record = load(command)(runtime, user, run_id)
        return record


@runs.command("compare")
@click.argument("run_ids", nargs=-1, required=True)
@local_option
@user_option
@home_option
@reports
def compare(run_ids: tuple[str, ...], local: bool, email: str | None, home: Path | None) -> Record:
    """Up to five runs beside each other: parameters that differ, then figures."""
    with at_server(home, email, local) as server:
        if server is not None:
            body = server.compared_runs(run_ids)
            return _beside(body | {"runs": [run_there(run) for run in body["runs"]]})
    from ecluse import tracking

    with acting(home, email, reads=True) as (runtime, user), runtime.catalog.read() as transaction:
        compared = tracking.compare(transaction, user.id, run_ids)
    return _beside(
        {
            "runs": [run_fields(run) for run in compared.runs],
            "parameters": [asdict(setting) | {"differs": setting.differs} for setting in compared.parameters],
            "metrics": [asdict(setting) | {"differs": setting.differs} for setting in compared.metrics],
            "curves": {
                name: {run: [asdict(point) for point in points] for run, points in by_run.items()}
                for name, by_run in compared.curves.items()
            },
        }
    )


def _beside(compared: Mapping[str, Any]) -> Record:
    """Write runs beside each other: parameters that differ, then figures."""
    compared_runs: Sequence[Mapping[str, Any]] = compared["runs"]
    parts = [
        _table(
            ["", *(run["id"] for run in compared_runs)], [["name", *(run["name"] for run in compared_runs)]]
        ),
        *(
            _table(
                [title, *("" for _run in compared_runs)],
                [[each["name"], *map(_text, each["values"])] for each in settings],
            )
            for title, settings in (
                ("parameters that differ", [each for each in compared["parameters"] if each["differs"]]),
                ("metrics", compared["metrics"]),
            )
            if settings
        ),
    ]
    return Record(compared, "\n\n".join(parts))


def run_fields(run: Run) -> dict[str, Any]:
    """Return a run as a command answers it."""
    return {name: getattr(run, name) for name in _FIELDS}


def _figure(run: Run, metric: str | None) -> dict[str, Any]:
    if metric is not None:
        return {"metric": metric, "value": run.metrics.get(metric)}
    from ecluse import tracking

    main = tracking.main_metric(run)
    return {"metric": main.name, "value": main.value} if main else {"metric": None, "value": None}


def _figure_there(item: Mapping[str, Any], sort: str) -> dict[str, Any]:
    metric = item["main_metric"] if sort in SORTED_BY else sort
    return {"metric": metric, "value": item["metrics"].get(metric)}


def _sections(run: Mapping[str, Any], curves: Mapping[str, Any]) -> list[str]:
    """Write a run as people read it: its row, then its metrics with a line for each step."""
    about = (*_FIELDS[:5], "version", "parent_version", "job_id", "error", "started_at", "finished_at")
    parts = [_table(["run", ""], [[name, _text(run[name])] for name in about])]
    for name in ("parameters", "tags", "metrics"):
        if values := run[name]:
            lines = [[key, _text(value)] for key, value in sorted(values.items())]
            parts.append(_table([name.removesuffix("s"), ""], lines))
    if curves:
        parts.append(_by_step(curves))
    if files := run["artifacts"]:
        parts.append(_table(["file", "bytes"], [[file["name"], str(file["size"])] for file in files]))
    return parts


def _by_step(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    steps = sorted({point["step"] for points in curves.values() for point in points})
    values = {name: {point["step"]: point["value"] for point in points} for name, points in curves.items()}
    lines = [[str(step), *(_text(values[name].get(step)) for name in curves)] for step in steps]
    return _table(["step", *curves], lines)


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, *lines]
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

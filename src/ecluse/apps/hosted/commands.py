"""Offer an application at a terminal: a command for each of its functions, with a flag for each parameter."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from ecluse.app.signature import FILES, Parameter, checked_all
from ecluse.apps.hosted import answering, files
from ecluse.apps.hosted.asking import ask
from ecluse.apps.hosted.jobs import answer_of, queue_score, queue_verb
from ecluse.apps.hosted.snapshot import Snapshot, Verb
from ecluse.apps.hosted.working import memory_of
from ecluse.catalog.tables import User
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, reports
from ecluse.cli.session import acting, finish, home_option, user_option
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _

_TYPES: Final[dict[str, Any]] = {
    "integer": click.INT,
    "number": click.FLOAT,
    "boolean": click.BOOL,
    "text": click.STRING,
}


def command_of(snapshot: Snapshot) -> click.Group:
    """Make the group of commands of an application."""
    group = Group(name=snapshot.name, help=snapshot.description or snapshot.title)
    for verb in (*snapshot.of_role("train"), *snapshot.of_role("job")):
        group.add_command(_job_command(snapshot, verb))
    if snapshot.predicts:
        group.add_command(_predict_command(snapshot))
        if snapshot.predict.takes_rows:
            group.add_command(_score_command(snapshot))
    return group


def _options(verb: Verb, *, without: tuple[str, ...] = ()) -> list[click.Parameter]:
    """Return a parameter of the command for each that a person fills in: files are arguments, the rest are flags."""
    made: list[click.Parameter] = []
    for each in verb.parameters:
        if each.kind in FILES and each.name not in without:
            path = click.Path(exists=True, dir_okay=False, path_type=Path)
            made.append(click.Argument([each.name], required=each.required, type=path))
        elif each.kind in (*_TYPES, "choice"):
            made.append(_flag(each))
    return made


def _flag(parameter: Parameter) -> click.Option:
    kind = click.Choice(parameter.choices) if parameter.kind == "choice" else _TYPES[parameter.kind]
    return click.Option(
        [parameter.flag, parameter.name], type=kind, required=parameter.required, default=parameter.default,
        show_default=parameter.default is not None,
    )  # fmt: skip


def _command(
    name: str, verb: Verb, line: str, run: Callable[..., Any], params: list[click.Parameter]
) -> click.Command:
    function = home_option(user_option(reports(run)))
    own: list[click.Parameter] = list(getattr(function, "__click_params__", []))
    return click.Command(
        name.replace("_", "-"), callback=function, params=[*params, *reversed(own)], help=verb.summary or line
    )


def _job_command(snapshot: Snapshot, verb: Verb) -> click.Command:
    def run(email: str | None, home: Path | None, **given: Any) -> Record:
        with acting(home, email) as (runtime, user):
            values = {name: value for name, value in given.items() if value is not None}
            for each in verb.parameters:
                if each.kind in FILES and isinstance(values.get(each.name), Path):
                    values[each.name] = files.store(runtime, user.id, snapshot.name, values[each.name]).id
            job = queue_verb(runtime, user.id, snapshot, verb, values)
            return _finished(runtime, user, snapshot, job, verb.title)

    return _command(verb.name, verb, f"Run {verb.title} as a job.", run, _options(verb))


def _finished(runtime: Runtime, user: User, snapshot: Snapshot, job_id: str, title: str) -> Record:
    job = finish(runtime, user, job_id, title)
    with runtime.catalog.read() as transaction:
        made = answer_of(runtime, transaction, job) or {}
    lines = []
    if made.get("version"):
        lines.append(f"{made['model']}@{made['version']}")
        lines += [f"  {name}: {value:g}" for name, value in made["metrics"].items()]
    lines += [f"{file['name']}: {file['id']}" for file in made["files"]]
    return Record({"job": job_id, **made}, "\n".join(lines))


def _score_command(snapshot: Snapshot) -> click.Command:
    def run(email: str | None, home: Path | None, table: Path, model: str, out: Path, **given: Any) -> Record:
        with acting(home, email) as (runtime, user):
            row = answering.version_for(runtime, user.id, snapshot, model)
            exact = "" if row is None else f"{row.name}@{row.version}"
            stored = files.store(runtime, user.id, snapshot.name, table)
            job = queue_score(runtime, user.id, snapshot, exact, stored.id, given)
            finish(runtime, user, job, snapshot.title)
            with runtime.catalog.read() as transaction:
                result = files.of_job(transaction, user.id, job)[0]
            out.write_bytes(files.content(runtime, result))
            return Record({"job": job, "file": str(out), "model": exact}, f"{out}")

    params: list[click.Parameter] = [
        click.Argument(["table"], type=click.Path(exists=True, dir_okay=False, path_type=Path)),
        click.Option(["--model"], default="", help="NAME@VERSION. Default: production, else the newest."),
        click.Option(
            ["--out"],
            type=click.Path(dir_okay=False, path_type=Path),
            default=Path("scores.csv"),
            show_default=True,
        ),
    ]
    return _command("score", snapshot.predict, "", run, [*params, *_options(snapshot.predict)])


def _predict_command(snapshot: Snapshot) -> click.Command:
    verb = snapshot.predict

    def run(
        email: str | None, home: Path | None, model: str = "", rows: Path | None = None, **given: Any
    ) -> Record:
        from ecluse.apps.hosted.process import AppProcess

        with (
            acting(home, email) as (runtime, user),
            tempfile.TemporaryDirectory(prefix="ecluse-app-") as folder,
        ):
            row = answering.version_for(runtime, user.id, snapshot, model)
            message: dict[str, Any] = {
                "do": "predict",
                "values": checked_all(list(verb.parameters), given),
                "as_rows": True,
            }
            message |= {"rows": _rows_in(rows) if rows else None, "folder": None}
            if row is not None:
                from ecluse import models

                models.download(runtime, row, Path(folder) / "model")
                message["folder"] = str(Path(folder) / "model")
            process = AppProcess(snapshot.source, Path(folder), memory_of(runtime))
            try:
                reply, _data = ask(process, message, b"", None)
            finally:
                process.end()
        value = reply.get("rows", reply.get("answer"))
        return Record({"answer": value}, json.dumps(value, ensure_ascii=False, indent=1))

    params: list[click.Parameter] = []
    if verb.takes_rows:
        params.append(click.Argument(["rows"], type=click.Path(exists=True, dir_okay=False, path_type=Path)))
    if verb.takes_model:
        params.append(
            click.Option(["--model"], default="", help="NAME@VERSION. Default: production, else the newest.")
        )
    return _command("predict", verb, "Answer a few rows.", run, [*params, *_options(verb)])


def _rows_in(file: Path) -> list[dict[str, Any]]:
    """Read rows from JSON; other tables are scored.

    Raises:
        InvalidInput: it holds no list of rows.
    """
    try:
        rows = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidInput(
            _(
                "%(file)s holds no JSON: %(reason)s. For another table: ecluse … score",
                file=str(file),
                reason=str(error),
            )
        ) from error
    if isinstance(rows, dict):
        rows = [rows]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidInput(_("%(file)s holds no rows, [{…}, …].", file=str(file)))
    return rows

"""Offer an application at a terminal: a command for each of its functions, with a flag for each parameter."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from ecluse.app.images import packed
from ecluse.app.signature import FILES, Parameter, checked_all
from ecluse.apps.hosted import files, printed
from ecluse.apps.hosted.asking import ask
from ecluse.apps.hosted.errors import AppFailed
from ecluse.apps.hosted.jobs import answer_of, queue_score, queue_verb
from ecluse.apps.hosted.rows import columns_of, explained, read_rows
from ecluse.apps.hosted.snapshot import Snapshot, Verb
from ecluse.apps.hosted.versions import version_for
from ecluse.apps.hosted.working import memory_of
from ecluse.catalog.tables import User
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, reports, say
from ecluse.cli.session import acting, finish, home_option, last_address, user_option
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
        if snapshot.score is not None:
            group.add_command(_score_command(snapshot, snapshot.score))
    return group


def _options(verb: Verb, *, without: tuple[str, ...] = ()) -> list[click.Parameter]:
    """Return a parameter of the command for each that a person fills in: files are arguments, the rest are flags."""
    made: list[click.Parameter] = []
    for each in verb.parameters:
        if each.kind in FILES and each.name not in without:
            path = click.Path(exists=True, dir_okay=each.kind == "images", path_type=Path)
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
    sought = [
        f"{each.name.upper()} left out: your newest table{each.newest and ' called '}{each.newest}."
        for each in verb.parameters
        if each.newest is not None
    ]
    words = "\n\n".join([verb.summary or line, *sought])
    return click.Command(
        name.replace("_", "-"), callback=function, params=[*params, *reversed(own)], help=words
    )


def _job_command(snapshot: Snapshot, verb: Verb) -> click.Command:
    def run(email: str | None, home: Path | None, report_folder: Path | None = None, **given: Any) -> Record:
        with acting(home, email) as (runtime, user):
            values = {name: value for name, value in given.items() if value is not None}
            _store_files(runtime, user, snapshot, verb, values)
            job = queue_verb(runtime, user.id, snapshot, verb, values)
            return _finished(runtime, user, snapshot, job, verb.title, report_folder)

    params = _options(verb)
    if verb.role == "job" and all(each.name != "out" for each in verb.parameters):
        folder = click.Path(file_okay=False, path_type=Path)
        words = "Write its text, figures, tables and files to this folder."
        params.append(click.Option(["--out", "report_folder"], type=folder, help=words))
    return _command(verb.name, verb, f"Run {verb.title} as a job.", run, params)


def _store_files(
    runtime: Runtime, user: User, snapshot: Snapshot, verb: Verb, values: dict[str, Any]
) -> None:
    """Store the files that are named by their paths, a folder of images as an archive."""
    for each in verb.files:
        if isinstance(path := values.get(each.name), Path):
            with runtime.scratch() as folder:
                file = packed(path, folder / f"{path.resolve().name}.zip")
                store = files.store_table if each.kind == "table" else files.store
                values[each.name] = store(runtime, user.id, snapshot.name, file).id


def _finished(
    runtime: Runtime, user: User, snapshot: Snapshot, job_id: str, title: str, folder: Path | None
) -> Record:
    """Follow a job, and return what it made: its version, or what it returned, also written to a folder."""
    job = finish(runtime, user, job_id, title)
    with runtime.catalog.read() as transaction:
        made = answer_of(runtime, transaction, job) or {}
        report = next(
            (row for row in files.of_job(transaction, user.id, job_id) if row.purpose == "report"), None
        )
    fields: dict[str, Any] = {"job": job_id, **made}
    lines = []
    if made.get("version"):
        lines.append(f"{made['model']}@{made['version']}")
        lines += [f"  {name}: {value:g}" for name, value in made["metrics"].items()]
    if report is None:
        return Record(fields, "\n".join(lines))
    parts = json.loads(files.content(runtime, report))
    lines.append(printed.as_text(parts))
    if folder is not None:
        fields["written"] = [
            str(file) for file in printed.write(parts, folder, _content_of(runtime, user, snapshot))
        ]
        lines.append("\n".join(fields["written"]))
    fields["report"] = _address_of(runtime, f"/{snapshot.name}/reports/{report.id}")
    lines.append(f"Report: {fields['report']}")
    return Record(fields, "\n\n".join(line for line in lines if line))


def _content_of(runtime: Runtime, user: User, snapshot: Snapshot) -> Callable[[str], bytes]:
    def content(file_id: str) -> bytes:
        with runtime.catalog.read() as transaction:
            row = files.file_of(transaction, user.id, snapshot.name, file_id)
        return files.content(runtime, row)

    return content


def _address_of(runtime: Runtime, path: str) -> str:
    """Return the address of a page, where the pages were last started; the path alone before they were."""
    return f"{runtime.settings.public_url or last_address(runtime.settings.home) or ''}{path}"


def _score_command(snapshot: Snapshot, verb: Verb) -> click.Command:
    def run(email: str | None, home: Path | None, table: Path, model: str, out: Path, **given: Any) -> Record:
        with acting(home, email) as (runtime, user):
            row = version_for(runtime, user.id, snapshot, verb, model)
            exact = "" if row is None else f"{row.name}@{row.version}"
            stored = files.store_table(runtime, user.id, snapshot.name, table)
            _store_files(runtime, user, snapshot, verb, given)
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
    return _command("score", verb, "", run, [*params, *_options(verb)])


def _predict_command(snapshot: Snapshot) -> click.Command:
    verb = snapshot.predict

    def run(
        email: str | None, home: Path | None, model: str = "", rows: Path | None = None, **given: Any
    ) -> Record:
        from ecluse.apps.hosted.starting import start

        with (
            acting(home, email) as (runtime, user),
            tempfile.TemporaryDirectory(prefix="ecluse-app-") as folder,
        ):
            row = version_for(runtime, user.id, snapshot, verb, model)
            message: dict[str, Any] = {
                "do": "predict",
                "values": _values(verb, given),
                "as_rows": True,
            }
            read = read_rows(row, _rows_in(rows)) if rows else None
            message |= {"rows": read and read.values, "folder": None}
            if row is not None:
                from ecluse import models

                models.download(runtime, row, Path(folder) / "model")
                message["folder"] = str(Path(folder) / "model")
            process = start(snapshot, Path(folder), memory_of(runtime))
            try:
                reply, _data = ask(process, message, b"", None)
            except AppFailed as error:
                raise explained(error, columns_of(row), read.values if read else []) from error
            finally:
                process.end()
        value = reply.get("rows", reply.get("answer"))
        warnings = [str(warning) for warning in read.warnings] if read else []
        for warning in warnings:
            say(warning)
        return Record(
            {"answer": value, "warnings": warnings}, json.dumps(value, ensure_ascii=False, indent=1)
        )

    params: list[click.Parameter] = []
    if verb.takes_rows:
        params.append(click.Argument(["rows"], type=click.Path(exists=True, dir_okay=False, path_type=Path)))
    if verb.takes_model:
        params.append(
            click.Option(["--model"], default="", help="NAME@VERSION. Default: production, else the newest.")
        )
    return _command("predict", verb, "Answer a few rows.", run, [*params, *_options(verb)])


def _values(verb: Verb, given: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a function is called with: a file is read where it lies."""
    paths = {each.name: Path(given[each.name]).absolute() for each in verb.files if given.get(each.name)}
    values = checked_all(list(verb.parameters), given | {name: str(path) for name, path in paths.items()})
    return values | {name: {"file": str(path), "name": path.name} for name, path in paths.items()}


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

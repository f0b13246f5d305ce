"""Run functions of applications for jobs, each job in a process of its own, and publish what a training made.

A job that is cancelled, or whose worker stops, has its process killed within a second of it: the job looks twice a
second. A worker that dies takes the process along, and the next worker runs the function again, with what it saved
last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ecluse import models, tracking
from ecluse.apps.hosted import files
from ecluse.apps.hosted.asking import ask
from ecluse.apps.hosted.errors import AppFailed
from ecluse.apps.hosted.process import AppProcess
from ecluse.apps.hosted.settings import HostedSettings
from ecluse.apps.hosted.snapshot import Snapshot, Verb, read
from ecluse.apps.hosted.starting import start
from ecluse.apps.hosted.tables import AppFile
from ecluse.apps.hosted.versions import version_for
from ecluse.catalog import runs
from ecluse.catalog.tables import ModelVersion, Publication
from ecluse.checkpoints import checkpoints_of
from ecluse.confined.limits import usual_memory
from ecluse.errors import JobCancelled
from ecluse.jobs import Task
from ecluse.registry import ManifestFile
from ecluse.runtime import Runtime
from ecluse.sentences import _, num

#: How long a version may take to be loaded and to answer its example (s).
PROOF: Final = 600.0
#: Rows of a table that are answered at a time.
AT_ONCE: Final = 10_000
SAVED: Final = "saved"
#: The step of a job that finds the tables which nobody gave.
NEWEST: Final = "newest"


def memory_of(runtime: Runtime) -> int:
    """Return the bytes of memory that a process of an application may take."""
    return runtime.settings.of(HostedSettings).memory or usual_memory()


class Attempt:
    """One attempt at a job: its process, its folder, and the files that it was given."""

    def __init__(self, runtime: Runtime, task: Task, snapshot: Snapshot, folder: Path) -> None:
        self.runtime, self.task, self.snapshot, self.folder = runtime, task, snapshot, folder
        self._stage, self._fraction, self._message = "run", 0.0, ""

    @contextmanager
    def process(self) -> Iterator[AppProcess]:
        """Yield a process, ended with the block."""
        process = start(self.snapshot, self.folder, memory_of(self.runtime))
        try:
            yield process
        finally:
            process.end()

    def look(self) -> None:
        """Raise JobCancelled where the job is not to be done any more; else say how far it is."""
        self.task.report(self._stage, self._fraction, self._message)

    def heard(self, reply: Mapping[str, Any]) -> None:
        if "report" in reply:
            fraction, message = reply["report"]
            self._fraction, self._message = 0.95 * min(max(float(fraction), 0.0), 1.0), str(message)[:300]

    def begin(self, stage: str, fraction: float) -> None:
        self._stage, self._fraction, self._message = stage, fraction, ""

    def values(self, verb: Verb, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values for a process: files are fetched, and named by where they lie."""
        given = dict(values) | {name: each["id"] for name, each in self.newest(verb, values).items()}
        for each in verb.files:
            if given.get(each.name):
                given[each.name] = self.file(str(given[each.name]))
        return given

    def newest(self, verb: Verb, values: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Find the tables that nobody gave: {"id", "name"} by parameter. Raises NotFound where there is none."""
        user, app = self.task.user_id, self.snapshot.name
        return {
            name: files.newest(self.runtime, user, app, called)
            for name, called in verb.sought(values).items()
        }

    def model(self, row: ModelVersion | None) -> str | None:
        """Fetch a version, its files verified, for a process; return its folder."""
        if row is None:
            return None
        folder = self.folder / "model"
        models.download(self.runtime, row, folder)
        return str(folder)

    def file(self, file_id: str) -> dict[str, str]:
        return files.given(self.runtime, self.task.user_id, self.snapshot.name, file_id, self.folder)


def run_verb(runtime: Runtime, task: Task, app: str, verb: str, values: Mapping[str, Any]) -> None:
    """Run a training, or a job, and keep what it made."""
    snapshot = read(runtime.settings.home, app)
    with runtime.scratch() as folder:
        attempt = Attempt(runtime, task, snapshot, folder)
        function = snapshot.verbs[verb]
        if function.sought(values):  # the same ones where the job begins again
            sought = task.step(NEWEST, attempt.newest, function, values)
            values = dict(values) | {name: each["id"] for name, each in sought.items()}
        if function.role == "train":
            _train(attempt, function, values)
        else:
            task.step("run", _run_job, attempt, function, values)
    task.report("keep", 0.99)


def _train(attempt: Attempt, verb: Verb, values: Mapping[str, Any]) -> None:
    task, name = attempt.task, attempt.snapshot.name
    subject = {each.name: values.get(each.name) for each in verb.files}
    shown = {
        each.name: values.get(each.name)
        for each in verb.parameters
        if each.name in values and each.name not in subject
    }
    context = tracking.RunContext(
        job_id=task.job_id, subject=subject, tags={"code": str(attempt.snapshot.source["digest"])[:12]}
    )
    with tracking.start(
        attempt.runtime.catalog, task.user_id, name, name, kind="train", parameters=shown, context=context
    ) as run:
        made = task.step("train", _make_version, attempt, verb, values, run)
        attempt.begin("keep", 0.97)
        attempt.look()
        task.step("publish", _publish, attempt, run, made)


def _make_version(
    attempt: Attempt, verb: Verb, values: Mapping[str, Any], run: tracking.Tracker
) -> dict[str, Any]:
    """Train, prove in a new process that the version loads and answers, and upload it under a claimed name."""
    made = _ask_to_train(attempt, verb, values, run)
    attempt.begin("check", 0.95)
    folder = attempt.folder / "proved"
    folder.mkdir()
    gathered = models.gathered([Path(path) for path in made["paths"]])
    for name, file in gathered.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        file.replace(folder / name)
    columns: list[dict[str, Any]] = []
    if attempt.snapshot.predicts or "load" in attempt.snapshot.verbs:
        with attempt.process() as process:
            reply, _data = ask(process, {"do": "prove", "folder": str(folder)}, b"", PROOF, look=attempt.look)
        columns = list(reply["columns"])
    attempt.begin("keep", 0.96)
    attempt.look()
    registry = attempt.runtime.registry(attempt.task.user_id)
    uploaded = models.upload_claimed(registry, attempt.snapshot.name, folder, attempt.task.job_id)
    return uploaded | {
        "metrics": made["metrics"],
        "details": made["metadata"]
        | {
            "metrics": made["metrics"],
            "code": attempt.snapshot.source["digest"],
            "columns": [column["name"] for column in columns][:200],
        },
        "report": {"columns": columns},
    }


def _ask_to_train(
    attempt: Attempt, verb: Verb, values: Mapping[str, Any], run: tracking.Tracker
) -> dict[str, Any]:
    checkpoints = checkpoints_of(attempt.runtime, attempt.task)
    of = str(attempt.snapshot.source["digest"])[:64]
    saved = checkpoints.load(SAVED, of=of)

    def heard(reply: Mapping[str, Any], data: bytes) -> None:
        attempt.heard(reply)
        if "log" in reply:
            step, figures = reply["log"]
            run.log(int(step), **{str(name): float(value) for name, value in dict(figures).items()})
        if "save" in reply:
            checkpoints.save(SAVED, data, of=of)

    message = {
        "do": "work",
        "verb": verb.name,
        "values": attempt.values(verb, values),
        "has_saved": saved is not None,
    }
    with attempt.process() as process:
        reply, _data = ask(process, message, saved or b"", None, heard=heard, look=attempt.look)
    made = dict(reply["model"])
    inside = attempt.folder.resolve()
    if not all(Path(path).resolve().is_relative_to(inside) for path in made["paths"]):
        raise AppFailed(
            _(
                "The training returned a folder outside of its own. Write the files below task.folder, and return that."
            )
        )
    return made


def _publish(attempt: Attempt, run: tracking.Tracker, made: Mapping[str, Any]) -> None:
    url, task, name = str(made["url"]), attempt.task, attempt.snapshot.name
    version = url.rsplit("/", 1)[1]
    publication = Publication(
        user_id=task.user_id,
        name=name,
        version=version,
        url=url,
        nonce=made["nonce"],
        application=name,
        report=dict(made["report"]),
    )
    with attempt.runtime.catalog.write() as transaction:
        if not runs.begin_publishing(transaction, run.id, version, metrics=made["metrics"]):
            raise JobCancelled(_("The training was cancelled, or another attempt at it has published."))
        models.announce(transaction, publication)
    manifest = attempt.runtime.registry_at(url).commit(
        name,
        version,
        tuple(ManifestFile(**file) for file in made["files"]),
        created_by=task.user_id,
        nonce=made["nonce"],
        metadata=made["details"] | {"run": run.id},
    )
    with attempt.runtime.catalog.write() as transaction:
        models.record(transaction, publication, manifest)


def _run_job(attempt: Attempt, verb: Verb, values: Mapping[str, Any]) -> None:
    row = version_for(attempt.runtime, attempt.task.user_id, attempt.snapshot, verb)
    message = {
        "do": "work",
        "verb": verb.name,
        "values": attempt.values(verb, values),
        "folder": attempt.model(row),
    }
    with attempt.process() as process:
        reply, _data = ask(
            process, message, b"", None, heard=lambda reply, _data: attempt.heard(reply), look=attempt.look
        )
    parts = [_kept(attempt, verb, part) for part in list(reply["parts"])]
    files.store_report(
        attempt.runtime,
        attempt.task.user_id,
        attempt.snapshot.name,
        parts,
        verb=verb.name,
        job_id=attempt.task.job_id,
    )


def _kept(attempt: Attempt, verb: Verb, part: Mapping[str, Any]) -> dict[str, Any]:
    """Store the file of a part, and name it by its id."""
    kept = dict(part)
    if (path := kept.pop("file", None)) is not None:
        kept["file_id"] = _store(attempt, verb.name, path, str(kept.get("name") or "")).id
    return json.loads(json.dumps(kept))  # type: ignore[no-any-return]


def _store(attempt: Attempt, verb: str, path: str, name: str) -> AppFile:
    file = Path(path).resolve()
    if not file.is_relative_to(attempt.folder.resolve()) or not file.is_file():
        raise AppFailed(
            _("%(file)s is no file below task.folder. Write it there.", file=Path(path).name[:200])
        )
    return files.store(
        attempt.runtime, attempt.task.user_id, attempt.snapshot.name, file, name=name, verb=verb, purpose="result",
        job_id=attempt.task.job_id,
    )  # fmt: skip


def run_score(
    runtime: Runtime, task: Task, app: str, model: str, table: str, values: Mapping[str, Any]
) -> None:
    """Answer every row of a table, and keep the rows with their answers as a file."""
    snapshot = read(runtime.settings.home, app)
    with runtime.scratch() as folder:
        task.step("score", _score, Attempt(runtime, task, snapshot, folder), model, table, dict(values))
    task.report("keep", 0.99)


def _score(attempt: Attempt, model: str, table: str, values: dict[str, Any]) -> dict[str, Any]:
    runtime = attempt.runtime
    message: dict[str, Any] = {
        "do": "score",
        "table": attempt.file(table),
        "values": attempt.values(attempt.snapshot.predict, values),
        "at_once": AT_ONCE,
        "folder": None,
    }
    if attempt.snapshot.predict.takes_model:
        message["folder"] = attempt.model(models.resolve(runtime, attempt.task.user_id, model))
    with attempt.process() as process:
        reply, _data = ask(
            process, message, b"", None, heard=lambda reply, _data: attempt.heard(reply), look=attempt.look
        )
    stored = _store(attempt, "score", str(reply["file"]), "scores.csv")
    attempt.begin("keep", 0.98)
    attempt._message = _("%(count)s rows answered", count=num(int(reply["rows"]), ","))
    return {"file": stored.id, "rows": int(reply["rows"])}

"""Score a table by any version that has a schema, as a job: its rows with the answers beside them are a new table.

Rows are read, asked about and written some at a time. What was answered is kept as the checkpoints of the job, so that
the next worker goes on after the last of them. The table of answers is there once it is whole, or not at all. A row is
answered as it is online: it is read by the schema as the rows of a request are, and asked about in the same way.
"""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ecluse import models, tables
from ecluse.application import application_named
from ecluse.catalog.tables import ModelVersion
from ecluse.checkpoints import Checkpoints, checkpoints_of
from ecluse.errors import InvalidInput, ModelStopped
from ecluse.inference.cells import as_sent
from ecluse.inference.isolated import Isolated
from ecluse.inference.loaded import Loaded
from ecluse.inference.opening import card_of, no_schema, open_version
from ecluse.inference.rows import from_columns
from ecluse.jobs import Task, title_of
from ecluse.later import Later
from ecluse.model_process.steady import Answer, checked_answers, steady_answer
from ecluse.runtime import Runtime
from ecluse.sentences import _, num, pack, unpack
from ecluse.tabular.typing import write_rows, write_table
from ecluse.tabular.uploads import read_upload
from ecluse.work import SCORING

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

#: Rows that a model is asked about at once: few at first, and as many as it answers in `GOAL_SECONDS`; values in them.
FIRST_ROWS: Final = 200
MOST_ROWS: Final = 10_000
MOST_VALUES: Final = 500_000
GOAL_SECONDS: Final = 1.0
#: Rows of the table that are joined with their answers at once; fewer where they have many columns.
PART_ROWS: Final = 50_000
PART_VALUES: Final = 5_000_000
#: Rows of answers that wait to be kept, at most: a store that takes none costs the going on, never the memory.
MOST_UNKEPT: Final = 500_000
#: How often the process of a version is begun anew for the same rows, an eighth as many each time.
MOST_STOPPED: Final = 3
#: What is noted of a table, at most.
MOST_NOTES: Final = 20
#: The share of the job at which all rows are answered.
_ANSWERED: Final = 0.95
#: Called with the rows answered so far and all rows; what it raises ends the scoring.
Progress = Callable[[int, int], None]


def start(runtime: Runtime, user_id: str, reference: str, table_id: str) -> str:
    """Queue the scoring of a table by the version that a reference means now; the id of the job.

    Raises:
        ModelNotFound, VersionNotFound, NotFound: there is no such version, or no such table, of this person.
        InvalidInput: the version has no schema, or its application scores tables in its own way.
    """
    row = models.resolve_readable(runtime, user_id, reference)
    models.check_intact(row)
    expect_scored_here(runtime, row, user_id)
    table = tables.find(runtime, user_id, table_id)
    subject = {"name": models.address_of(runtime, user_id, row), "version": row.version, "table": table.id}
    return runtime.jobs.enqueue(SCORING, SCORING, user_id, title_of(row.name, table.name), subject)


def page_of_scoring(row: ModelVersion, reader_id: str | None = None) -> str:
    """Return the page on which the application of a version scores tables in its own way; empty where none does.

    Of a version of someone else it is the application's first page: from there the reader's tables are scored by it.
    """
    application = application_named(row.application) if row.application else None
    if application is None or not application.scores:
        return ""
    if reader_id not in (None, row.user_id):
        return application.address
    return application.scores.format(name=row.name, version=row.version)


def expect_scored_here(runtime: Runtime, row: ModelVersion, reader_id: str | None = None) -> None:
    """Check that tables are scored by this version as by any other. `reader_id`: who asks; None: its owner.

    Raises:
        InvalidInput: its application scores them in its own way, or it was published without an example.
    """
    if page := page_of_scoring(row, reader_id):
        raise InvalidInput(
            _(
                "%(name)s scores tables in a way of its own, with more than its answers. Go to its page: %(page)s",
                name=f"{row.name}@{row.version}",
                page=page,
            )
        )
    application = application_named(row.application) if row.application else None
    if (application is None or not application.inference) and not (card_of(runtime, row) or {}).get("schema"):
        raise no_schema(row)


def score_table(runtime: Runtime, task: Task, name: str, version: str, table: str) -> None:
    """Score a table; see the top of this module."""
    task.step("score", _score, runtime, task, name, version, table)
    task.report("keep", 0.999)


def _score(runtime: Runtime, task: Task, name: str, version: str, table: str) -> str:
    task.report("read", 0.0)
    row = models.resolve_readable(runtime, task.user_id, f"{name}@{version}")
    models.check_intact(row)
    readable = tables.find(runtime, task.user_id, table)
    with runtime.scratch() as folder:
        source = folder / "table.parquet"
        readable.write(source)
        made = folder / "scores.parquet"

        def tell(done: int, total: int) -> None:
            words = _("%(done)s of %(total)s rows", done=num(done, ","), total=num(total, ","))
            task.report("score", _ANSWERED * done / total, words)

        kept = _Kept(checkpoints_of(runtime, task), f"{row.manifest_digest} {readable.id}")
        notes = score_file(runtime, row, source, made, tell, kept)
        task.report("keep", _ANSWERED)
        origin = tables.Origin(job_id=task.job_id, model=name, version=row.version)
        shown = tables.file_name(readable.name, f"_{row.name}.parquet")
        return tables.keep(runtime, task.user_id, made, shown, notes=notes, origin=origin).id


def score_file(
    runtime: Runtime,
    row: ModelVersion,
    source: Path,
    made: Path,
    tell: Progress = lambda done, total: None,
    kept: _Kept | None = None,
) -> tuple[str, ...]:
    """Write the rows of a Parquet file with the answers of a version beside them; what was noted of the rows.

    Raises:
        InvalidInput: a column is missing, or a value is of another type.
    """

    def open_model() -> Loaded:
        return open_version(runtime, row)

    scoring = _Scoring(open_model(), open_model, row, source, made.parent, kept)
    try:
        scoring.run(tell)
        scoring.write(made)
        return tuple(scoring.notes)
    finally:
        scoring.model.close()


def score_to(
    runtime: Runtime, row: ModelVersion, table: Path, out: Path, tell: Progress
) -> tuple[int, tuple[str, ...]]:
    """Score a file of this machine into another, a .csv or a .parquet; how many rows, and what was noted of them.

    Raises:
        UnreadableTable: the file is no table.
        InvalidInput: as `score_file` and `expect_scored_here`.
    """
    models.check_intact(row)
    expect_scored_here(runtime, row)
    with runtime.scratch() as folder:
        source, made = folder / "table.parquet", folder / "scores.parquet"
        memory = runtime.settings.reader_max_bytes
        with read_upload(table, table.name, folder=folder, memory=memory) as opened:
            write_table(opened, source)
            rows = opened.row_count()
        notes = score_file(runtime, row, source, made, tell)
        if out.suffix == ".csv":
            made = folder / "scores.csv"
            tables.write_csv(folder / "scores.parquet", made)
        partial = out.with_name(f".{out.name}.part")
        try:
            shutil.copyfile(made, partial)
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    return rows, notes


class _Kept:
    """The answers that are kept on the way, as checkpoints: part after part, each with the notes so far.

    A part is named by its first row, so that one of an attempt before is never taken for what follows another.
    """

    def __init__(self, checkpoints: Checkpoints, of: str) -> None:
        self._checkpoints, self._of = checkpoints, of
        self._rows = 0

    def load(self) -> Iterator[tuple[pl.DataFrame, list[str]]]:
        """Yield what was kept, in order."""
        names = set(self._checkpoints.names())
        while (name := self._name()) in names:
            data = self._checkpoints.load(name, of=self._of)
            if data is None:  # damaged, or of other work: what follows cannot be joined to what came before
                return
            frame = pl.read_parquet(io.BytesIO(data))
            notes = pl.read_parquet_metadata(io.BytesIO(data)).get("notes", "[]")
            self._rows += frame.height
            yield frame, unpack(json.loads(notes))

    def save(self, answers: list[pl.DataFrame], notes: list[str]) -> bool:
        """Keep answers that follow those before, where that is due; whether they are kept."""
        if not self._checkpoints.is_due():
            return False
        file = io.BytesIO()
        joined = pl.concat(answers, how="diagonal_relaxed")
        joined.write_parquet(file, metadata={"notes": json.dumps(pack(notes))})
        if not self._checkpoints.save(self._name(), file.getvalue(), of=self._of):
            return False
        self._rows += joined.height
        return True

    def _name(self) -> str:
        return f"answers-{self._rows:012d}"


@dataclass
class _Scoring:
    """The scoring of one file. Answers lie in files of `PART_ROWS` rows or so, in the order of the rows."""

    model: Loaded
    open_model: Callable[[], Loaded]
    row: ModelVersion
    source: Path
    folder: Path
    kept: _Kept | None
    notes: list[str] = field(default_factory=list)
    done: int = 0
    parts: list[tuple[Path, int]] = field(default_factory=list)
    #: Answers that are in no file yet, and those that are in no checkpoint.
    held: list[pl.DataFrame] = field(default_factory=list)
    unkept: list[pl.DataFrame] = field(default_factory=list)
    part_rows: int = PART_ROWS
    #: How often the process of the version was ended since a batch was answered.
    stopped: int = 0

    def run(self, tell: Progress) -> None:
        """Answer every row that was not answered by an attempt before."""
        frame = pl.scan_parquet(self.source, glob=False)
        columns = frame.collect_schema().names()
        names = self._names(columns)
        total = int(frame.select(pl.len()).collect().item())
        self.part_rows = max(1, min(PART_ROWS, PART_VALUES // len(columns)))
        most = max(1, min(MOST_ROWS, MOST_VALUES // max(1, len(names))))
        answer = self._answer()
        for answers, notes in self.kept.load() if self.kept else ():
            self.notes = notes
            self._hold(answers)
        size = min(FIRST_ROWS, most)
        while self.done < total:
            tell(self.done, total)
            began = time.monotonic()
            try:
                answers = self._asked(answer, frame.select(names).slice(self.done, size).collect())
            except ModelStopped:
                self.stopped += 1
                if self.stopped > MOST_STOPPED:
                    raise
                answer, size = self._reopened(), max(1, size // 8)
                continue
            self.stopped = 0
            self._hold(answers)
            self._keep(answers)
            seconds = time.monotonic() - began
            if seconds < GOAL_SECONDS / 2:
                size = min(2 * size, most)
            elif seconds > GOAL_SECONDS:
                size = max(1, size // 2)
        tell(total, total)
        self._to_file()

    def _answer(self) -> Answer:
        if isinstance(self.model, Isolated):
            return self.model.answer
        return steady_answer(self.model) or self.model.answer

    def _reopened(self) -> Answer:
        """Begin the process of the version anew."""
        self.model.close()
        self.model = self.open_model()
        return self._answer()

    def _names(self, given: list[str]) -> list[str]:
        """Return the columns that the version takes of those that there are.

        Raises:
            InvalidInput: one is missing.
        """
        described = self.model.schema["columns"]
        lacking = [
            column["name"]
            for column in described
            if column["name"] not in given and not column.get("optional")
        ]
        if lacking:
            raise InvalidInput(
                _(
                    "The table lacks columns that %(name)s takes: %(values)s. It has: %(columns)s.",
                    name=f"{self.row.name}@{self.row.version}",
                    values=", ".join(lacking[:10]),
                    columns=", ".join(given[:20]),
                )
            )
        return [column["name"] for column in described if column["name"] in given]

    def _asked(self, answer: Answer, rows: pl.DataFrame) -> pl.DataFrame:
        columns: dict[str, Any] = {}
        for column in self.model.schema["columns"]:
            name = column["name"]
            columns[name] = as_sent(rows[name], column) if name in rows.columns else [None] * rows.height
        try:
            read = from_columns(columns, self.model.schema, self.model.dtypes)
            for warning in read.warnings:
                if warning not in self.notes and len(self.notes) < MOST_NOTES:
                    self.notes.append(warning)
            return checked_answers(read.rows, answer(read.rows))
        except InvalidInput as error:
            if self.done == 0:
                raise
            raise InvalidInput(
                _(
                    "After the first %(count)s rows, counted from there: %(reason)s",
                    count=num(self.done, ","),
                    reason=str(error),
                )
            ) from error

    def _hold(self, answers: pl.DataFrame) -> None:
        self.held.append(answers)
        self.done += answers.height
        if sum(frame.height for frame in self.held) >= self.part_rows:
            self._to_file()

    def _keep(self, answers: pl.DataFrame) -> None:
        if self.kept is None:
            return
        self.unkept.append(answers)
        if self.kept.save(self.unkept, self.notes):
            self.unkept = []
        elif sum(frame.height for frame in self.unkept) > MOST_UNKEPT:
            self.kept, self.unkept = None, []

    def _to_file(self) -> None:
        if not self.held:
            return
        answers = pl.concat(self.held, how="diagonal_relaxed")
        path = self.folder / f"answers-{len(self.parts):06d}.parquet"
        answers.write_parquet(path)
        self.parts.append((path, answers.height))
        self.held = []

    def write(self, made: Path) -> None:
        """Write the rows of the table with their answers beside them to one file."""
        source = pl.scan_parquet(self.source, glob=False)
        names = set(source.collect_schema().names())
        joined: list[pl.LazyFrame] = []
        at = 0
        for number, (path, height) in enumerate(self.parts):
            answers = pl.read_parquet(path, glob=False)
            answers = answers.rename({name: _free(name, names) for name in answers.columns if name in names})
            file = self.folder / f"scored-{number:06d}.parquet"
            source.slice(at, height).collect().hstack(answers).write_parquet(file)
            path.unlink()
            joined.append(pl.scan_parquet(file, glob=False))
            at += height
        write_rows(pl.concat(joined, how="diagonal_relaxed"), made)


def _free(name: str, columns: set[str]) -> str:
    """Return a name for an answer where the table has a column of its name."""
    number = 2
    while f"{name}_{number}" in columns:
        number += 1
    return f"{name}_{number}"

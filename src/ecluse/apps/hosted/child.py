"""Run functions of an application, as messages ask for them. This is the process that `process.AppProcess` starts."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import io
import json
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ecluse.app import App, File, Image, Images, Model, Table, Task
from ecluse.app.application import Verb
from ecluse.app.images import packed
from ecluse.app.paths import with_names, without_paths
from ecluse.app.signature import FILES, FILLED, checked_all
from ecluse.apps.hosted.channel import Channel, ChannelClosed
from ecluse.apps.hosted.frames import (
    as_cell,
    as_polars,
    beside,
    cell_of,
    example_for,
    ipc_of,
    plain_answer,
    takes_pandas,
    takes_rows,
)
from ecluse.confined.limits import apply_limits, limit_processes, set_limit, set_oom_score
from ecluse.errors import ApplicationBroken, EcluseError, InvalidInput, ModelRefused
from ecluse.sentences import _, to_json

if TYPE_CHECKING:
    import polars as pl

_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG
_NO_NEW_PRIVILEGES: Final = 38  # PR_SET_NO_NEW_PRIVS
#: Processor time has no bound here: a training may take days. What waits for an answer has a limit of its own.
_WORK: Final = 10.0**9
_WRITTEN: Final = 64 * 1024**3
#: Threads and processes beyond those that its user has when it begins.
MOST_PROCESSES: Final = 2_048
#: Models that a process holds at once; the one that was asked least recently goes.
MOST_MODELS: Final = 4
#: Characters of the words of an error, of someone else's code, that are passed on: a sentence or two.
LONGEST_REASON: Final = 300
#: Rows by which it is found out whether requests may be joined.
FEW_ROWS: Final = 10
#: Rows of a table between two words on how far it is, where each is a call of its own.
SINGLE_AT_ONCE: Final = 100


def main() -> NoReturn:
    """Answer messages until the other side is gone."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    channel = Channel(connection)
    first = channel.receive()
    assert first is not None  # noqa: S101 (without a limit of time there is a message)
    _isolate(first[0])
    work = Work(channel, first[0])
    try:
        while True:
            message = channel.receive()
            assert message is not None  # noqa: S101
            work.answer(*message)
    except ChannelClosed:
        os._exit(0)


def _isolate(begin: Mapping[str, Any]) -> None:
    """End with the process that started this one, gain no rights, leave no core dump, be killed first without
    memory.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if os.getppid() != begin["parent"]:
        os._exit(1)
    set_limit(resource.RLIMIT_CORE, 0)
    set_oom_score(1000)
    limit_processes(MOST_PROCESSES)
    apply_limits({"folder": None, "work": _WORK, "written": _WRITTEN, "memory": begin["memory"]})


@dataclass(frozen=True)
class _Version:
    """A model that was loaded. `example`: its rows, where it was published with some."""

    model: Any
    example: pl.DataFrame | None = None

    def fitted(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the columns of the example, in its order and of its types; others of the rows are left out.

        Raises:
            InvalidInput: one is missing, or holds values that are not of its type.
        """
        if self.example is None:
            return rows
        from ecluse.apps.hosted.casting import cast

        missing = [name for name in self.example.columns if name not in rows.columns]
        if missing:
            raise InvalidInput(
                _("The model needs the columns %(values)s, which are missing.", values=", ".join(missing))
            )
        return rows.select(cast(rows[name], dtype) for name, dtype in self.example.schema.items())


class Work:
    """What this process does for the other side."""

    def __init__(self, channel: Channel, begin: Mapping[str, Any]) -> None:
        self._channel = channel
        self._source = begin["source"]
        self._folder = Path(begin["folder"])
        self._app: App | None = None
        self._models: dict[str, _Version] = {}

    def answer(self, message: Mapping[str, Any], data: bytes) -> None:
        """Do what a message asks for; what fails is said, by the names of files and not where they lie, and concerns
        this request alone.
        """
        names = _names_of(message)
        try:
            reply, beside = getattr(self, f"_do_{message['do']}")(message, data)
        except MemoryError:
            reply, beside = {"error": "memory"}, b""
        except EcluseError as error:
            said = with_names(str(error), names)
            reply, beside = (
                {"error": "refused", "message": to_json(str(error) if said == str(error) else said)},
                b"",
            )
        except (Exception, SystemExit) as error:  # noqa: BLE001 (of a function of another)
            is_memory = any(
                word in str(error) for word in ("Cannot allocate memory", "bad_alloc", "out of memory")
            )
            traceback.print_exc()
            sys.stderr.flush()
            reply, beside = (
                {"error": "memory" if is_memory else "raised", "message": _reason(error, names)},
                b"",
            )
        self._channel.send(reply, beside)

    @property
    def app(self) -> App:
        """Import the application when it is first needed."""
        if self._app is None:
            self._app = load_app(self._source)
        return self._app

    def _do_describe(self, message: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        return {"snapshot": self.app.snapshot()}, b""

    def _do_work(self, message: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Run a training or a job."""
        verb = self._verb(message["verb"])
        task = Task(self._folder)
        task.saved = data if message.get("has_saved") else None
        task.follow(self._channel.send)
        result = verb.function(**self._arguments(verb, message, task))
        if verb.role == "train":
            return {"model": self._packed(result)}, b""
        from ecluse.apps.hosted.shown import shown

        return {"parts": shown(result, self._folder)}, b""

    def _do_sample(self, message: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Write the values that an application gives to be tried with; tables become files."""
        given = dict(self._verb("sample").function())
        own = {
            name: value
            for name, value in given.items()
            if name in self.app.verbs and isinstance(value, Mapping)
        }
        values = self._samples({name: value for name, value in given.items() if name not in own}, "")
        return {
            "values": values,
            "own": {name: self._samples(each, f"{name}_") for name, each in own.items()},
        }, b""

    def _samples(self, given: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        """Return values by the names of parameters, tables and files by where they were written."""
        values: dict[str, Any] = {}
        for name, value in given.items():
            if isinstance(value, str | int | float | bool) or value is None:
                values[name] = value
                continue
            if isinstance(value, File | Images):
                path = value.path.absolute()
                file = packed(path, self._folder / f"{prefix}{name}.zip")
                values[name] = {"file": str(file), "name": value.name if file == path else file.name}
                continue
            if isinstance(value, Image):
                file = self._folder / f"{prefix}{name}"
                file.write_bytes(value.read_bytes())
                values[name] = {"file": str(file), "name": Path(value.name).name}
                continue
            frame = value.read() if isinstance(value, Table) else as_polars(value)
            file = self._folder / f"{prefix}{name}.parquet"
            frame.write_parquet(file)
            values[name] = {"file": str(file), "name": file.name}
        return values

    def _packed(self, model: Any) -> dict[str, Any]:
        """Write the files of the version that a training made."""
        from ecluse.client.package import EXAMPLE, pack

        if not isinstance(model, Model):
            raise InvalidInput(
                _("The training returned a %(what)s and no Model. End it with: return Model(model, example=…)",
                  what=type(model).__name__)
            )  # fmt: skip
        folder = self._folder / "version"
        folder.mkdir()
        verb = self.app.verbs.get("predict")
        is_files = isinstance(model.model, str | Path) and Path(model.model).is_dir()
        # Where a function answers, single values are no rows of the model, and what the model says itself is not asked.
        is_asked = not is_files and (verb is None or takes_rows(verb))
        inputs = model.example if is_asked and model.inputs is None else model.inputs
        try:
            made = pack(model.model, folder, None if is_files else inputs, keeps_example=verb is None)
        except ModelRefused as refused:
            if verb is None or model.inputs is not None:
                raise
            raise ModelRefused(
                _(
                    "%(reason)s Where @app.predict makes of what it is given the rows that the model takes, give these "
                    "too: Model(model, example=…, inputs=features).",
                    reason=str(refused),
                )
            ) from refused
        if verb is not None and model.example is not None:
            example_for(verb, model.example).write_parquet(folder / EXAMPLE)
        return {
            "paths": [str(path) for path in made.paths],
            "metadata": dict(made.metadata),
            "metrics": {name: float(value) for name, value in model.metrics.items()},
        }

    def _do_prove(self, message: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Load a version that is to be published, and ask it about its example."""
        from ecluse.client.frames import Table as Rows
        from ecluse.client.schema import schema_of

        version = self._version(message["folder"])
        if version is None or version.example is None:
            return {"columns": []}, b""
        verb = self.app.verbs.get("predict")
        if verb is None and "load" in self.app.verbs:  # it is loaded, and nothing asks it
            return {"columns": []}, b""
        defaults = {} if verb is None else _defaults(verb)
        if verb is not None and not takes_rows(verb):
            for row in version.example.to_dicts():
                plain_answer(verb.function(**self._arguments(verb, {**message, "values": defaults | row})))
            return {"columns": []}, b""
        self._answers(version, version.example, defaults)
        return {"columns": list(schema_of(Rows(version.example, "polars"))["columns"])}, b""

    def _do_load(self, message: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        self._version(message["folder"])
        return {}, b""

    def _do_example(self, message: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Return the first rows of the example of a version."""
        version = self._version(message["folder"])
        rows = None if version is None else version.example
        return {"rows": [] if rows is None else json.loads(rows.head(FEW_ROWS).write_json())}, b""

    def _do_predict(self, message: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Answer rows, or single values, by the model whose files lie at an address of this machine."""
        import polars as pl

        version = self._version(message.get("folder"))
        verb = self.app.verbs.get("predict")
        if verb is not None and not takes_rows(verb):
            return {"answer": plain_answer(verb.function(**self._arguments(verb, message)))}, b""
        rows = pl.read_ipc(io.BytesIO(data)) if data else _rows(message["rows"])
        answers = self._answers(version, rows, message["values"])
        if not message.get("as_rows"):
            return {}, ipc_of(answers)
        return {"rows": json.loads(answers.write_json())}, b""

    def _do_score(self, message: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Answer all rows of a table, some at a time, and write them beside their answers as one file."""
        import polars as pl

        version = self._version(message.get("folder"))
        table = Table(Path(message["table"]["file"]), message["table"]["name"]).read()
        verb = self.app.verbs.get("predict")
        by_columns = None if verb is None or takes_rows(verb) else verb
        fitted = table if version is None or by_columns else version.fitted(table)
        at_once = SINGLE_AT_ONCE if by_columns else message["at_once"]
        answered = []
        for start in range(0, table.height, at_once):
            rows, asked = table.slice(start, at_once), fitted.slice(start, at_once)
            made = (
                self._answers_by_columns(by_columns, message, asked, start)
                if by_columns
                else self._answers(version, asked, message["values"])
            )
            answered.append(beside(rows, made))
            self._channel.send({"report": [min(start + rows.height, table.height) / table.height, ""]})
        if not answered:
            raise InvalidInput(_("The table has no rows."))
        result = pl.concat(answered, how="diagonal_relaxed")
        file = self._folder / "scores.csv"
        result.write_csv(file)
        return {"file": str(file), "rows": result.height}, b""

    def _answers_by_columns(
        self, verb: Verb, message: Mapping[str, Any], rows: pl.DataFrame, start: int
    ) -> pl.DataFrame:
        """Call @app.predict once for each row, with the values of the columns that are called as its parameters.

        Raises:
            InvalidInput: a column is missing, or a value is none that the function takes; it says the row.
        """
        import polars as pl

        given = [each for each in verb.parameters if each.kind in FILLED]
        missing = [each.name for each in given if each.required and each.name not in rows.columns]
        if missing:
            raise InvalidInput(
                _("The table has no column %(values)s, which @app.predict takes. It has: %(columns)s.",
                  values=", ".join(missing), columns=", ".join(rows.columns))
            )  # fmt: skip
        answers = []
        for number, row in enumerate(rows.to_dicts(), start + 1):
            try:
                values = checked_all(given, {each.name: cell_of(each, row.get(each.name)) for each in given})
            except InvalidInput as error:
                raise InvalidInput(
                    _("Row %(number)s: %(reason)s", number=number, reason=str(error))
                ) from error
            answer = plain_answer(verb.function(**self._arguments(verb, {**message, "values": values})))
            named = answer if isinstance(answer, dict) else {"answer": answer}
            answers.append({name: as_cell(value) for name, value in named.items()})
        return pl.DataFrame(answers, infer_schema_length=None)

    def _do_page(self, message: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        from ecluse.apps.hosted.shown import shown

        verb = self._verb(message["verb"])
        return {"parts": shown(verb.function(**self._arguments(verb, message)), self._folder)}, b""

    def _verb(self, name: str) -> Verb:
        verb = self.app.verbs.get(name)
        if verb is None:
            raise ApplicationBroken(
                _("The application %(what)s has no %(name)s any more. Install it again: ecluse apps install",
                  what=self.app.name, name=name)
            )  # fmt: skip
        return verb

    def _version(self, folder: str | None) -> _Version | None:
        """Return the model of a folder, which is loaded once; each version has a folder of its own."""
        if folder is None:
            return None
        if folder not in self._models:
            while len(self._models) >= MOST_MODELS:
                del self._models[next(iter(self._models))]
            self._models[folder] = self._load(Path(folder))
        else:
            self._models[folder] = self._models.pop(folder)
        return self._models[folder]

    def _load(self, folder: Path) -> _Version:
        import polars as pl

        from ecluse.client.package import EXAMPLE, unpack

        example = pl.read_parquet(folder / EXAMPLE) if (folder / EXAMPLE).exists() else None
        own = self.app.verbs.get("load")
        if own is not None:
            return _Version(own.function(folder), example)
        loaded = unpack(folder)
        return _Version(loaded.model if "predict" in self.app.verbs else loaded, example)

    def _arguments(self, verb: Verb, message: Mapping[str, Any], task: Task | None = None) -> dict[str, Any]:
        """Return what a function is called with: the values, the files they name, the task, the model of a folder."""
        arguments = _filled(verb, message["values"])
        for each in verb.parameters:
            if each.kind == "task":
                arguments[each.name] = task
            elif each.kind == "model":
                version = self._version(message.get("folder"))
                arguments[each.name] = None if version is None else version.model
        return arguments

    def _answers(
        self, version: _Version | None, rows: pl.DataFrame, values: Mapping[str, Any]
    ) -> pl.DataFrame:
        """Ask `@app.predict` about rows; without one, the model itself.

        Raises:
            InvalidInput: it does not answer each row with one.
        """
        verb = self.app.verbs.get("predict")
        rows = rows if version is None else version.fitted(rows)
        if verb is None:
            from ecluse.client.package import answers_of

            assert version is not None  # noqa: S101 (an application without a function asks a model)
            return answers_of(version.model.kind, version.model.model, rows)
        given = _filled(verb, values)
        for each in verb.parameters:
            if each.kind == "model":
                given[each.name] = None if version is None else version.model
            elif each.kind == "rows":
                given[each.name] = rows.to_pandas() if takes_pandas(verb, each.name) else rows
        answers = as_polars(verb.function(**given))
        if answers.height != rows.height:
            raise InvalidInput(
                _("@app.predict answered %(count)s rows with %(number)s. It has to give one row for each.",
                  count=rows.height, number=answers.height)
            )  # fmt: skip
        return answers


def _rows(rows: Any) -> pl.DataFrame:
    """Return rows of JSON as a table. Raises InvalidInput where the values of a column do not go together."""
    import polars as pl

    try:
        return pl.DataFrame(rows, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise InvalidInput(
            _("The rows are no table: %(reason)s", reason=str(error).partition("\n")[0][:300])
        ) from error


def load_app(source: Mapping[str, Any]) -> App:
    """Import an application: a file, or "package.module:attribute" of one that is installed.

    Raises:
        ApplicationBroken: it cannot be imported, or holds no application, or several.
    """
    file = source.get("file")
    name = Path(file).name if file else str(source["reference"])
    try:
        if file:
            sys.path.insert(0, str(Path(source.get("beside") or Path(file).parent)))
            spec = importlib.util.spec_from_file_location(Path(file).stem, file)
            assert spec is not None and spec.loader is not None  # noqa: PT018, S101 (of a file that ends in .py)
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            applications = [value for value in vars(module).values() if isinstance(value, App)]
        else:
            reference, _colon, attribute = name.partition(":")
            applications = [getattr(importlib.import_module(reference), attribute)]  # noqa: TID251 (installed by an administrator; this process has no keys)
    except EcluseError:
        raise
    except (Exception, SystemExit) as error:  # whatever a file of another does when it is imported
        traceback.print_exc()
        raise ApplicationBroken(
            _("%(file)s cannot be imported: %(reason)s", file=name, reason=_reason(error))
        ) from error
    if len(applications) != 1 or not isinstance(applications[0], App):
        raise ApplicationBroken(
            _(
                '%(file)s holds %(count)s applications; it has to hold one: app = App("name", api=1)',
                file=name,
                count=len(applications),
            )
        )
    return applications[0]


def _names_of(message: Mapping[str, Any]) -> dict[str, str]:
    """Return by their paths what the files of a message are called."""
    given = [message.get("table"), *dict(message.get("values") or {}).values()]
    return {each["file"]: each["name"] for each in given if isinstance(each, Mapping)}


def _reason(error: BaseException, names: Mapping[str, str] | None = None) -> str:
    """Say what was raised, and in which line of which file."""
    frames = traceback.extract_tb(error.__traceback__)
    installed = ("/ecluse/", "/site-packages/", "/lib/python", "<")
    own = [
        frame
        for frame in frames
        if Path(frame.filename).is_absolute() and not any(part in frame.filename for part in installed)
    ]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {shortened(without_paths(str(error), names))}{place}"


def shortened(text: str, most: int = LONGEST_REASON) -> str:
    """Return a text, or the sentences that it begins with where it is long; where the first is, its first words."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    ends = [at for mark in (". ", "! ", "? ") if (at := text.rfind(mark, 0, most)) > 0]
    return f"{text[: max(ends) + 1]} …" if ends else f"{text[:most].rpartition(' ')[0] or text[:most]} …"


def _filled(verb: Verb, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a person filled in, files as what the function asks for."""
    kinds: dict[str, Any] = {"table": Table, "file": File, "image": Image, "images": Images}
    filled: dict[str, Any] = {}
    for each in verb.parameters:
        value = values.get(each.name)
        if each.kind in FILES and value:
            filled[each.name] = kinds[each.kind](Path(value["file"]), value["name"])
        elif each.kind in FILLED:
            filled[each.name] = value
    return filled


def _defaults(verb: Verb) -> dict[str, Any]:
    return {each.name: each.default for each in verb.parameters if each.kind in FILLED}

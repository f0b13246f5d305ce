"""Install applications in one file: describe each once, in a process of its own, and keep the description.

`HOME/apps/NAME/` holds `snapshot.json`, the file itself where it was copied, and `entry_point`, which is written
last: with it the core knows the application (`application.look_in`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

from ecluse import __version__
from ecluse.app.reading import NAMED
from ecluse.app.signature import FILES, FILLED, PLAIN, Parameter, parameter_from
from ecluse.application import OURS, POINT, EntryPoint, applications, entry_points, is_in_one_file, look_in
from ecluse.errors import ApplicationBroken, InvalidInput
from ecluse.sentences import _
from ecluse.tabular.formats import ENDINGS

FILE: Final = "snapshot.json"
#: How long an application may take to be imported (s).
PATIENCE: Final = 120.0
#: Endings of the names of files that are tables.
TABLES: Final = (*ENDINGS, *NAMED)
#: The table that is scored.
SCORED: Final = Parameter("table", "table", True)
VALUE: Final = "ecluse.apps.hosted.value:of"


@dataclass(frozen=True)
class Verb:
    """A function of an application as it was described; see `ecluse.app.application.Verb`."""

    name: str
    role: str
    summary: str
    schedule: str
    parameters: tuple[Parameter, ...]

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()

    @property
    def takes_rows(self) -> bool:
        return any(each.kind == "rows" for each in self.parameters)

    @property
    def takes_model(self) -> bool:
        return any(each.kind == "model" for each in self.parameters)

    @property
    def needs_model(self) -> bool:
        return any(each.kind == "model" and each.required for each in self.parameters)

    def sought(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return the tables that nobody gave and that are found when it begins: parameter -> name, "" is any."""
        return {
            each.name: each.newest
            for each in self.parameters
            if each.newest is not None and not values.get(each.name)
        }

    @property
    def files(self) -> list[Parameter]:
        """Return the parameters that are files."""
        return [each for each in self.parameters if each.kind in FILES]


@dataclass(frozen=True)
class Snapshot:
    """What is known of an installed application without importing it."""

    value: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.value["name"])

    @property
    def title(self) -> str:
        return str(self.value["title"])

    @property
    def description(self) -> str:
        return str(self.value["description"])

    @property
    def source(self) -> Mapping[str, Any]:
        """Return where its code is: {"file", "beside"} or {"reference"}, with the {"digest"} of it."""
        source: Mapping[str, Any] = self.value.get("source") or {}
        return source

    @property
    def variables(self) -> list[str]:
        """Return the names of the variables that its functions read."""
        return list(self.value.get("variables", []))

    @property
    def installed_at(self) -> datetime:
        return datetime.fromisoformat(self.value["installed_at"])

    @cached_property
    def verbs(self) -> dict[str, Verb]:
        return {each["name"]: _verb(each) for each in self.value["verbs"]}

    def of_role(self, role: str) -> list[Verb]:
        return [verb for verb in self.verbs.values() if verb.role == role]

    @property
    def predicts(self) -> bool:
        """Return whether it answers: by a function of its own, or by the model that its training makes.

        What `@app.load` returns is asked by a function alone.
        """
        return "predict" in self.verbs or ("train" in self.verbs and "load" not in self.verbs)

    @property
    def predict(self) -> Verb:
        """Return the function that answers; one that asks the model where the application has none."""
        rows = (Parameter("model", "model", True), Parameter("rows", "rows", True))
        return self.verbs.get("predict") or Verb("predict", "predict", "", "", rows)

    @property
    def checks_tables(self) -> bool:
        """Return whether a file that is called as a table can be nothing else here, and so is read when it comes."""
        kinds = {each.kind for verb in self.verbs.values() for each in verb.parameters}
        return ("table" in kinds or self.score is not None) and "file" not in kinds

    @property
    def score(self) -> Verb | None:
        """Return how a whole table is answered: as the rows that @app.predict takes, or by its columns of the names of
        the single values. None where nothing is predicted, or of files.
        """
        asked = self.predict.parameters
        if not self.predicts or (not self.predict.takes_rows and not is_scored_by_columns(asked)):
            return None
        kept = asked if self.predict.takes_rows else tuple(each for each in asked if each.kind not in FILLED)
        return Verb("score", "score", "Answer every row of a table.", "", kept)


def is_scored_by_columns(parameters: Sequence[Parameter]) -> bool:
    """Return whether the rows of a table can be the single values of a function: all it is given are plain ones."""
    given = [each for each in parameters if each.kind in FILLED]
    return bool(given) and all(each.kind in PLAIN for each in given)


def _verb(value: Mapping[str, Any]) -> Verb:
    parameters = tuple(parameter_from(each) for each in value["parameters"])
    return Verb(value["name"], value["role"], value["summary"], value["schedule"], parameters)


def take(source: Mapping[str, Any], memory: int | None = None) -> dict[str, Any]:
    """Describe the application whose code is at `source`, in a process of its own.

    Raises:
        ApplicationBroken: it cannot be imported.
        InvalidInput: its file is not there.
    """
    from ecluse.apps.hosted.asking import ask
    from ecluse.apps.hosted.process import AppProcess
    from ecluse.confined.limits import usual_memory

    with tempfile.TemporaryDirectory(prefix="ecluse-app-") as folder:
        process = AppProcess(source, Path(folder), memory or usual_memory())
        try:
            reply, _data = ask(process, {"do": "describe"}, b"", PATIENCE)
        finally:
            process.end()
    return dict(reply["snapshot"])


def install(home: Path, file: Path, *, copy: bool, memory: int | None = None) -> Snapshot:
    """Install the application in a file, in place of one of its name that was installed so.

    `copy`: keep a copy of the file; else it is read where it is, and may import what lies beside it.

    Raises:
        ApplicationBroken: it cannot be imported, or its name is another application's.
        InvalidInput: there is no such file.
    """
    file = file.absolute()
    if file.suffix != ".py" or not file.is_file():
        raise InvalidInput(_("%(file)s is no file of Python. Name one, such as churn.py.", file=str(file)))
    digest = digest_of(file)
    value = take({"file": str(file), "beside": str(file.parent)}, memory)
    name = str(value["name"])
    kept = folder_of(home, name) / f"{name}.py" if copy else file
    source = {
        "file": str(kept),
        "beside": str(kept.parent if copy else file.parent),
        "digest": digest,
        "from": str(file),
    }
    return _write(home, value | {"source": source}, file if copy else None)


def _install_point(home: Path, point: EntryPoint, memory: int | None) -> Snapshot:
    """Install the application that an entry point of another distribution names."""
    digest = _digest_of_module(point.reference)
    value = take({"reference": point.reference}, memory)
    source = {"reference": point.reference, "digest": digest, "from": point.distribution}
    return _write(home, value | {"source": source}, None)


def _write(home: Path, value: dict[str, Any], file: Path | None) -> Snapshot:
    name = str(value["name"])
    look_in(home / "apps")
    other = next((each for each in applications() if each.name == name), None)
    if other is not None and not (folder_of(home, name) / POINT).is_file():
        raise ApplicationBroken(
            _(
                'There is an application "%(name)s" already. Call yours otherwise: App("%(name)s2", …)',
                name=name,
            )
        )
    value |= {"installed_at": datetime.now(UTC).isoformat(), "ecluse": __version__}
    folder = folder_of(home, name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if file is not None:
        _replace(folder / f"{name}.py", file.read_bytes())
    _replace(folder / FILE, json.dumps(value, ensure_ascii=False, indent=1).encode())
    _replace(folder / POINT, f"{VALUE}.{name}\n".encode())
    look_in(home / "apps")
    return Snapshot(value)


def _replace(file: Path, content: bytes) -> None:
    hidden = file.with_name(f".{file.name}.{os.getpid()}")
    hidden.write_bytes(content)
    hidden.replace(file)


def folder_of(home: Path, name: str) -> Path:
    return home / "apps" / name


def read(home: Path, name: str) -> Snapshot:
    """Return what is known of an installed application.

    Raises:
        ApplicationBroken: it is not installed, or its description is damaged.
    """
    return read_from(folder_of(home, name))


def read_from(folder: Path) -> Snapshot:
    """Return the description in a folder. Raises as `read`."""
    try:
        value = json.loads((folder / FILE).read_text("utf-8"))
        snapshot = Snapshot(value)
        if value["format"] != 1 or snapshot.name != folder.name or not snapshot.verbs:
            raise ValueError(folder.name)  # noqa: TRY301
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ApplicationBroken(
            _("The application %(name)s is not installed, or its description is damaged. Run: ecluse apps install FILE",
              name=folder.name)
        ) from error  # fmt: skip
    return snapshot


def installed(home: Path) -> list[Snapshot]:
    """List the applications that are installed in a home."""
    return [read_from(file.parent) for file in sorted((home / "apps").glob(f"*/{POINT}"))]


def remove(home: Path, name: str) -> None:
    """Remove an installed application; what people made with it stays. Raises as `read`."""
    folder = folder_of(home, read(home, name).name)
    (folder / POINT).unlink(missing_ok=True)
    shutil.rmtree(folder)
    look_in(home / "apps")


def install_listed(settings: Any) -> None:
    """Install what ECLUSE_APPS and the entry points of other distributions name, where it is new or has changed."""
    from ecluse.apps.hosted.settings import HostedSettings

    own = settings.of(HostedSettings)
    held = {str(each.source.get("from")): each for each in installed(settings.home)}
    for file in own.files:
        before = held.get(str(file.absolute()))
        if before is None or not _is_same(before, file):
            install(settings.home, file, copy=False, memory=own.memory)
    for point in entry_points():
        if point.distribution == OURS or not is_in_one_file(point.reference):
            continue
        same = [each for each in held.values() if each.source.get("reference") == point.reference]
        if not same or same[0].source["digest"] != _digest_of_module(point.reference):
            _install_point(settings.home, point, own.memory)


def _is_same(snapshot: Snapshot, file: Path) -> bool:
    is_linked = snapshot.source.get("file") == str(file.absolute())
    return (
        is_linked
        and file.is_file()
        and snapshot.source["digest"] == digest_of(file)
        and snapshot.value["ecluse"] == __version__
    )


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _digest_of_module(reference: str) -> str:
    places: Any = None
    spec = None
    for name in reference.partition(":")[0].split("."):
        spec = PathFinder.find_spec(name, places)
        places = spec.submodule_search_locations if spec is not None else None
    return digest_of(Path(spec.origin)) if spec is not None and spec.origin else ""

"""Walk through an MLflow server, and bring here what is not here yet.

A run is known by MLflow's own id, which is in its tags here; a version by the name, the number and the moment that
MLflow gives it, which are in its metadata. What is here is not brought again, so that the same import twice changes
nothing, and one that was interrupted goes on. Runs are brought first, and each is ended last: one that has ended here
is whole, and is not looked at again.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ecluse.client.backend import Backend, Beginning, End, Publication, TrackedRun, Version
from ecluse.client.mlflow.files import bring
from ecluse.client.mlflow.flavours import DESCRIPTION, Converted, as_ours
from ecluse.client.mlflow.names import alias_name, is_kept, labels, model_names
from ecluse.client.mlflow.server import (
    MlflowServer,
    Place,
    files_behind,
    files_of_model,
    files_of_run,
)
from ecluse.client.mlflow.values import LONGEST, Values, batches, ending_of, moment_of, points_of, values_of
from ecluse.client.places import imports_folder
from ecluse.client.server import patiently
from ecluse.errors import (
    DiskFull,
    EcluseError,
    InvalidInput,
    ModelNotFound,
    NotFound,
    NotSignedIn,
    ServerAway,
)
from ecluse.run_values import TAKEN_FROM
from ecluse.sentences import _

#: Under which name the metadata of a version say where it comes from.
MLFLOW: Final = "mlflow"
#: Histories of metrics that are asked for at once.
_AT_ONCE: Final = 4
#: The tags by which MLflow knows what came from Écluse (`apps.mlflow`).
_OUR_RUN: Final = "ecluse.run"
Report = Callable[["Import"], None]


@dataclass(frozen=True)
class Outcome:
    """What became of something: `new`, `unchanged`, `open` (it goes on there), `files` or `failed`.

    `what`: run, run files (the version of a run whose model is not registered), version or alias. `files`: a version
    that is kept as files, and cannot be served. `notes` say why, and what is otherwise here.
    """

    what: str
    name: str
    here: str
    outcome: str
    notes: tuple[str, ...] = ()


@dataclass
class Import:
    """What an import has done so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    bytes: int = 0
    doing: str = ""
    #: How much of it is done, from 0 to 1: each experiment and each model counts alike.
    share: float = 0.0

    def counts(self, what: str) -> Counter[str]:
        """Count the outcomes of runs, versions or aliases."""
        return Counter(each.outcome for each in self.outcomes if each.what == what)

    @property
    def failed(self) -> list[Outcome]:
        """Return what could not be brought."""
        return [each for each in self.outcomes if each.outcome == "failed"]


@dataclass(frozen=True)
class _Item:
    """A version that is to be: where its files are, and what its metadata say of it besides.

    `owner`: the model, or the experiment whose run this is, by its name there. `run`: the run here that gets it.
    """

    name: str
    owner: tuple[str, str]
    said: Mapping[str, Any]
    models: tuple[Place, ...]
    files: Place | None
    run: str | None
    metrics: Mapping[str, float]


def import_from(
    server: MlflowServer,
    backend: Backend,
    *,
    experiments: Sequence[str] = (),
    report: Report = lambda done: None,
) -> Import:
    """Bring everything, or what belongs to these experiments and the models made of them; return what was done.

    What cannot be brought is an outcome, and the rest goes on.

    Raises:
        ServerAway: one of the two does not answer any more; begun again, it goes on.
        NotSignedIn, DiskFull: it cannot go on.
        NotFound: there is no experiment of such a name.
        InvalidInput: another import from there is under way on this machine.
    """
    with _working_folder(server.address, backend.address) as folder:
        walk = _Walk(server, backend, folder, report)
        walk.bring_all(experiments)
        return walk.done


@contextmanager
def _working_folder(source: str, target: str) -> Iterator[Path]:
    """Yield a folder for what is on its way, which one import from there to here has to itself."""
    from ecluse.client.locks import locked

    name = hashlib.sha256(f"{source} {target}".encode()).hexdigest()[:16]
    folder = imports_folder() / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder / "lock") as is_mine:
        if not is_mine:
            raise InvalidInput(
                _("Another import from %(address)s is under way here. Wait for it.", address=source)
            )
        yield folder


class _Walk:
    def __init__(self, server: MlflowServer, backend: Backend, folder: Path, report: Report) -> None:
        self.done = Import()
        self._server, self._backend, self._folder, self._report = server, backend, folder, report
        self._lock = threading.Lock()
        self._runs: dict[str, TrackedRun] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._versions: dict[str, list[Version]] = {}
        #: By the id of a run there: its id here, and the first version (model, number) that was made of it.
        self._begun: dict[str, str] = {}
        self._registered: dict[str, tuple[str, str]] = {}

    def bring_all(self, chosen: Sequence[str]) -> None:
        """Bring runs, then versions, then aliases."""
        self._say("looking at what is here")
        self._look_here()
        is_all = not chosen
        experiments = self._server.experiments()
        if unknown := set(chosen) - {each["name"] for each in experiments}:
            raise NotFound(
                _(
                    "No experiment %(name)s at %(address)s.",
                    name=repr(min(unknown)),
                    address=self._server.address,
                )
            )
        models = sorted(self._server.models(), key=lambda each: (not is_kept(each["name"]), each["name"]))
        versions = {model["name"]: self._server.versions(model["name"]) for model in models}
        for model in models:
            self._name("model", model["name"])
            for version in versions[model["name"]]:
                made = (model["name"], str(version["version"]))
                self._registered.setdefault(str(version.get("run_id") or ""), made)
        brought, chosen = set[str](), chosen or [each["name"] for each in experiments]
        step = 1 / (len(experiments) + len(models) or 1)
        for number, experiment in enumerate(experiments):
            self.done.share = number * step
            if experiment["name"] in chosen:
                brought |= self._bring_experiment(experiment)
        for number, model in enumerate(models, start=len(experiments)):
            self.done.share = number * step
            of_it = [each for each in versions[model["name"]] if is_all or each.get("run_id") in brought]
            self._say(model["name"])
            for version in of_it:
                label = f"{model['name']} {version['version']}"
                self._guarded("version", label, self._bring_version, version)
            if of_it:
                self._bring_aliases(model, of_it)

    def _look_here(self) -> None:
        """Keep which runs are here."""
        for run in self._backend.tagged_runs(TAKEN_FROM, MLFLOW):
            if run_id := run.tags.get("mlflow.run_id"):
                self._runs[str(run_id)], self._begun[str(run_id)] = run, run.id
        self._learn_names()

    def _bring_experiment(self, experiment: Mapping[str, Any]) -> set[str]:
        """Bring the runs of an experiment; return their ids there."""
        self._say(str(experiment["name"]))
        brought = set[str]()
        for run in self._server.runs(str(experiment["experiment_id"])):
            run_id = str(run["info"]["run_id"])
            model, _number = self._registered.get(run_id, (None, ""))
            self._guarded("run", run_id, self._bring_run, run, str(experiment["name"]), model)
            brought.add(run_id)
        return brought

    def _guarded(self, what: str, name: str, bring_it: Callable[..., Outcome], *values: Any) -> None:
        """Bring something; what cannot be brought is noted, and nothing else ends for it."""
        try:
            outcome = bring_it(*values)
        except (ServerAway, NotSignedIn, DiskFull):
            raise
        except (EcluseError, KeyError, TypeError) as error:
            reason = str(error) if isinstance(error, EcluseError) else f"{type(error).__name__}: {error}"
            outcome = Outcome(what, name, "", "failed", (reason,))
        self.done.outcomes.append(outcome)
        self._report(self.done)

    def _say(self, doing: str) -> None:
        self.done.doing = doing
        self._report(self.done)

    def _progress(self, size: int) -> None:
        with self._lock:
            self.done.bytes += size
            self._report(self.done)

    # Names

    def _learn_names(self) -> None:
        """Keep the names that experiments have here already."""
        for run in self._runs.values():
            experiment = str(run.tags.get("mlflow.experiment", ""))
            if "mlflow.registered_model" not in run.tags:
                self._names.setdefault(("experiment", experiment), run.name)

    def _name(self, kind: str, name: str) -> str:
        """Return what a model or an experiment is called here; no two are called alike."""
        key = (kind, name)
        if key not in self._names:
            candidates = model_names(name, second="-runs" if kind == "experiment" else "")
            self._names[key] = next(each for each in candidates if self._is_free(each, key))
        return self._names[key]

    def _is_free(self, name: str, key: tuple[str, str]) -> bool:
        if name in self._names.values():
            return False
        owners = {tuple(said["of"]) for each in self._versions_of(name) if (said := _said(each))}
        return key in owners or not owners or name.endswith(_marked_as(key))

    def _versions_of(self, name: str) -> list[Version]:
        if name not in self._versions:
            try:
                self._versions[name] = patiently(lambda: self._backend.models((), name))
            except ModelNotFound:
                self._versions[name] = []
        return self._versions[name]

    # Runs

    def _bring_run(self, run: Mapping[str, Any], experiment: str, model: str | None) -> Outcome:
        run_id = str(run["info"]["run_id"])
        label, here = str(run["info"].get("run_name") or run_id), self._runs.get(run_id)
        if here is not None and here.status not in ("queued", "running"):
            return Outcome("run", label, here.id, "unchanged")
        if self._is_ours(run.get("data", {}).get("tags", [])):
            return Outcome("run", label, "", "unchanged", (_("It came from here."),))
        values = values_of(run, experiment)
        if model is not None:
            values.tags["mlflow.registered_model"] = model[:LONGEST]
        name = here.name if here is not None else self._run_name(experiment, model)
        tracked = self._begin(run, name, values, here)
        for batch in batches(points_of(self._curves(run), values.changes)):
            patiently(partial(self._backend.add_points, tracked, batch))
        ending = ending_of(run)
        if ending is None:
            return Outcome("run", label, tracked, "open", tuple(values.changes))
        if model is None:
            self._bring_files(run, name, tracked, experiment)
        patiently(partial(self._backend.end_run, tracked, End(ending, ended=_ended(run))))
        return Outcome("run", label, tracked, "new", tuple(values.changes))

    def _begin(self, run: Mapping[str, Any], name: str, values: Values, here: TrackedRun | None) -> str:
        """Begin a run here, or go on with it; return its id."""
        run_id = str(run["info"]["run_id"])
        if here is None:
            began = moment_of(run["info"].get("start_time"))
            moment = None if began is None else began.isoformat()
            beginning = Beginning(name, f"mlflow-{run_id}", values.parameters, values.tags, moment)
            tracked = patiently(partial(self._backend.begin_run, beginning))
        else:
            tracked = here.id
            patiently(partial(self._backend.change_run, tracked, values.parameters, values.tags))
        self._begun[run_id] = tracked
        return tracked

    def _run_name(self, experiment: str, model: str | None) -> str:
        return self._name("experiment", experiment) if model is None else self._name("model", model)

    def _curves(self, run: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        names, run_id = (
            [str(each["key"]) for each in run.get("data", {}).get("metrics", [])],
            run["info"]["run_id"],
        )
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ecluse-mlflow") as pool:
            return dict(zip(names, pool.map(partial(self._server.points, run_id), names), strict=True))

    def _is_ours(self, tags: Iterable[Mapping[str, Any]]) -> bool:
        """Return whether something was exported by this very place."""
        named = [str(tag.get("value", "")) for tag in tags if tag["key"] == _OUR_RUN]
        return any(patiently(partial(self._backend.has_run, run)) for run in named)

    def _bring_files(self, run: Mapping[str, Any], name: str, tracked: str, experiment: str) -> None:
        """Publish the files of a run whose model is not registered as the version of the run, if it has any."""
        run_id = str(run["info"]["run_id"])
        said = {
            "of": ["experiment", experiment],
            "run": run_id,
            "experiment": experiment,
            "run_name": str(run["info"].get("run_name", "")),
        }
        models = tuple(files_of_model(each) for each in _models_of(run))
        item = _Item(
            name, ("experiment", experiment), said, models, files_of_run(run_id), tracked, _metrics(run)
        )
        if (outcome := self._publish_once(item, f"{experiment} {run_id}", "run files")) is not None:
            self.done.outcomes.append(outcome)

    # Versions

    def _bring_version(self, version: Mapping[str, Any]) -> Outcome:
        model, number = str(version["name"]), str(version["version"])
        run_id, name = str(version.get("run_id") or ""), self._name("model", model)
        if self._is_ours(version.get("tags", [])):
            return Outcome("version", f"{model} {number}", "", "unchanged", (_("It came from here."),))
        said: dict[str, Any] = {
            "of": ["model", model],
            "version": number,
            "created": _iso(version.get("creation_timestamp")),
            "run": run_id,
            "description": str(version.get("description", ""))[:2000],
            "tags": {
                str(tag["key"]): str(tag.get("value", ""))[:LONGEST] for tag in version.get("tags", [])[:100]
            },
        }
        run = self._server.run(run_id) if run_id else None
        place = self._place_of(version)
        first = run is not None and self._registered.get(run_id) == (model, number)
        item = _Item(
            name,
            ("model", model),
            said,
            (place,),
            _others(run_id, place) if first else None,
            self._begun.get(run_id) if first else None,
            {} if run is None else _metrics(run),
        )
        outcome = self._publish_once(item, f"{model} {number}", "version")
        if outcome is None:
            raise InvalidInput(_("It has no files."))
        return outcome

    def _place_of(self, version: Mapping[str, Any]) -> Place:
        """Return where the files of a version are, as the server hands them out.

        Raises:
            InvalidInput: it does not.
        """
        source, run_id = str(version.get("source", "")), str(version.get("run_id") or "")
        model_id = str(version.get("model_id") or "") or _after(source, "models:/")
        if model_id and "/" not in model_id and "@" not in model_id:
            return files_of_model(model_id)
        if run_id and (path := _after(source, f"runs:/{run_id}/")):
            return files_of_run(run_id, path)
        uri = self._server.download_uri(str(version["name"]), str(version["version"]))
        root = self._server.artifacts_of(run_id) if run_id else ""
        if root and (path := _after(uri, f"{root.rstrip('/')}/")):
            return files_of_run(run_id, path)
        if uri.startswith("mlflow-artifacts:"):
            return files_behind(urlsplit(uri).path.strip("/"))
        raise InvalidInput(
            _(
                "Its files lie at %(value)s, which the server does not hand out. Fetch them from there, and publish "
                "the folder: ecluse models publish.",
                value=uri or source,
            )
        )

    # Both

    def _publish_once(self, item: _Item, label: str, what: str) -> Outcome | None:
        """Publish a version, unless it is here; None where it has no files."""
        there = next(
            (each for each in self._versions_of(item.name) if _is_same(_said(each), item.said)), None
        )
        if there is not None:
            return Outcome(what, label, there.reference, "unchanged")
        key = hashlib.sha256(json.dumps([item.owner, item.said], sort_keys=True).encode()).hexdigest()
        folder = self._folder / key[:16]
        converted = self._bring_model(item, folder)
        if converted is None:
            return None
        said = dict(item.said) | {"server": self._server.address, "flavours": list(converted.flavours)}
        if converted.reason is not None:
            said["kept_as_files"] = converted.reason[:500]
        metadata = dict(converted.metadata) | {MLFLOW: said}
        if item.metrics:
            metadata["metrics"] = dict(item.metrics)
        paths = (folder / "files", folder / "packed")
        publication = Publication(item.name, f"mlflow-{key}", paths, metadata, item.run)
        version = patiently(partial(self._backend.publish, publication, lambda size: None))
        shutil.rmtree(folder)
        self._versions_of(item.name).append(version)
        if converted.reason is not None:
            return Outcome(what, label, version.reference, "files", (converted.reason,))
        return Outcome(what, label, version.reference, "new")

    def _bring_model(self, item: _Item, folder: Path) -> Converted | None:
        """Bring the files of a version below `folder`, and make a model of ours of them; None where there are none."""
        from ecluse.client.package import pack

        files, packed = folder / "files", folder / "packed"
        shutil.rmtree(packed, ignore_errors=True)
        packed.mkdir(mode=0o700, parents=True)
        files.mkdir(exist_ok=True)
        if item.files is not None:
            bring(self._server, item.files, files / "run", self._progress)
        for number, place in enumerate(item.models):
            bring(self._server, place, files / _model_folder(number), self._progress)
        folders = [file.parent for file in sorted(files.rglob(DESCRIPTION))]
        if not any(file.is_file() for file in files.rglob("*")):
            return None
        converted = Converted((), reason=_("It holds no model of MLflow."))
        if len(folders) == 1:
            converted = as_ours(folders[0], packed)
        elif folders:
            converted = Converted((), reason=_("It holds several models."))
        if converted.reason is None and converted.source is not None:
            _drop_double(folders[0] / converted.source, packed)
            return converted
        for file in packed.iterdir():
            file.unlink()
        kept = pack(files, packed)
        return Converted(converted.flavours, kept.metadata, converted.reason)

    # Aliases

    def _bring_aliases(self, model: Mapping[str, Any], versions: Sequence[Mapping[str, Any]]) -> None:
        """Point aliases here at what they point at there; one that points at something else of yours stays."""
        name = self._name("model", model["name"])
        pairs = [(_said(each), each) for each in self._versions_of(name)]
        here = {str(said["version"]): each for said, each in pairs if "version" in said}
        fresh = patiently(lambda: self._backend.models((), name)) if here else []
        pointing = {alias: each for each in fresh for alias in each.aliases}
        there = _aliases_there(model, versions)
        kept = [alias for alias in there if alias_name(alias, ()) == alias]
        for alias, number in there.items():
            called = alias_name(alias, kept)
            kept.append(called)
            if number not in here:
                continue
            label, target = f"{model['name']}@{alias}", here[number]
            self._guarded("alias", label, self._point, called, label, target, pointing.get(called))

    def _point(self, alias: str, label: str, target: Version, now_at: Version | None) -> Outcome:
        notes = () if label.endswith(f"@{alias}") else (_("It is %(name)s here.", name=repr(alias)),)
        if now_at is not None and now_at.version == target.version:
            return Outcome("alias", label, target.reference, "unchanged", notes)
        if now_at is not None and not _said(now_at):
            stays = _(
                "It points at %(name)s here, which did not come from there, and stays.", name=now_at.reference
            )
            notes = (*notes, stays)
            return Outcome("alias", label, now_at.reference, "unchanged", notes)
        patiently(partial(self._backend.set_alias, target.name, alias, target.version))
        return Outcome("alias", label, target.reference, "new", notes)


def _said(version: Version) -> Mapping[str, Any]:
    """Return what a version says of where it comes from; nothing for one that was not taken over."""
    said = version.metadata.get(MLFLOW)
    return said if isinstance(said, Mapping) and isinstance(said.get("of"), list) else {}


def _is_same(here: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    names = ("of", "version", "created") if "version" in there else ("of", "run")
    return (
        bool(here)
        and ("version" in here) == ("version" in there)
        and all(here.get(n) == there[n] for n in names)
    )


def _marked_as(key: tuple[str, str]) -> str:
    *_others, marked = model_names(key[1], second="-runs" if key[0] == "experiment" else "")
    return marked[-7:]


def _models_of(run: Mapping[str, Any]) -> list[str]:
    """Return the ids of the models that MLflow 3 keeps apart from the run that made them."""
    outputs = run.get("outputs", {}).get("model_outputs", [])
    return list(dict.fromkeys(str(each["model_id"]) for each in outputs))


def _model_folder(number: int) -> str:
    return "mlflow" if number == 0 else f"mlflow-{number + 1}"


def _metrics(run: Mapping[str, Any]) -> dict[str, float]:
    """Return the last figures of a run that are finite."""
    given = {str(each["key"]): float(each["value"]) for each in run.get("data", {}).get("metrics", [])}
    names = labels(given)
    return {names[name]: value for name, value in list(given.items())[:100] if value - value == 0}


def _others(run_id: str, place: Place) -> Place | None:
    """Return where the other files of the run are that made a version."""
    return files_of_run(run_id, but=(place.root,) if place.values.get("run_id") == run_id else ())


def _after(text: str, beginning: str) -> str:
    return text.removeprefix(beginning).strip("/") if text.startswith(beginning) else ""


def _iso(milliseconds: object) -> str:
    moment = moment_of(milliseconds)
    return "" if moment is None else moment.isoformat()


def _ended(run: Mapping[str, Any]) -> str | None:
    ended, began = moment_of(run["info"].get("end_time")), moment_of(run["info"].get("start_time"))
    return None if ended is None else max(ended, began or ended).isoformat()


def _drop_double(original: Path, packed: Path) -> None:
    """Remove the file that a model was made of, where the version holds the same bytes under another name."""
    if any(filecmp.cmp(original, file, shallow=False) for file in packed.iterdir()):
        original.unlink()


def _aliases_there(model: Mapping[str, Any], versions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the aliases of a model with their versions; a stage is an alias too, if there is none of its name."""
    stages = {
        str(each["current_stage"]).lower(): str(each["version"])
        for each in versions
        if each.get("current_stage") in ("Production", "Staging")
    }
    return stages | {str(each["alias"]): str(each["version"]) for each in model.get("aliases", [])}

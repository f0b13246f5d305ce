"""Import a folder of existing models: each of its folders becomes one version of one model.

Pickles are stored as they are and never read. With `trust` each is read once, in a process of its own, and
what it holds is published beside it as .skops, which is loaded without running anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from ecluse.application import guarded, parts
from ecluse.catalog import models as rows
from ecluse.catalog import trust as trusts
from ecluse.catalog.tables import ModelVersion, User, new_id
from ecluse.errors import (
    CatalogUnavailable,
    DiskFull,
    EcluseError,
    Forbidden,
    InvalidInput,
    ModelNotFound,
    StoreUnavailable,
)
from ecluse.models.versions import manifest_of, publish
from ecluse.registry import (
    Manifest,
    Progress,
    Registry,
    checked_metadata,
    checked_name,
    files_below,
    fits_float,
    gathered,
)
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.settings import inherited
from ecluse.storage import checked_key, read_chunks
from ecluse.storage.areas import RAW

#: Files whose numbers are kept as metadata: name → key in the metadata.
DESCRIBED: Final = {"metadata.json": None, "performance.json": "metrics", "metrics.json": "metrics"}
#: Where versions that belong to everyone lie, unless another prefix is chosen.
SHARED: Final = "automl_models"
#: Prefixes that belong to users, where nothing that is shared may lie.
RESERVED: Final = ("user_models", "user_data")
#: Seconds after which reading a pickle is given up.
READING: Final = 300
_PICKLES: Final = frozenset({".joblib", ".pkl", ".pickle", ".skl"})
_PICKLE_BEGINS: Final = re.compile(rb"\x80[\x02-\x05]")


@dataclass(frozen=True)
class Imported:
    """What became of one folder. `problems` say what could not be done; `pickles` are stored unread.

    `converted`: pickles that were read, on trust, and stand as .skops beside themselves.
    """

    name: str
    outcome: Literal["published", "unchanged", "failed"]
    version: str | None = None
    files: int = 0
    bytes: int = 0
    pickles: tuple[str, ...] = ()
    converted: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass
class _ModelFolder:
    """One folder to import: its files by path with their digests, and what was made of its pickles."""

    name: str
    files: dict[str, Path]
    digests: dict[str, str]
    described: dict[str, Any]
    pickles: list[str]
    converted: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def metadata(self) -> dict[str, Any]:
        unread = [path for path in self.pickles if path not in self.converted]
        import_facts = {"imported": True, "pickles": unread, "converted": self.converted}
        return self.described | {name: value for name, value in import_facts.items() if value}


def import_folder(
    runtime: Runtime,
    user: User,
    directory: Path,
    *,
    prefix: str | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> list[Imported]:
    """Publish every folder in `directory` under its name: `dataset1/…` is the model `dataset1`.

    They become models of the user, or, with `prefix`, shared ones that belong to everyone (the reference models of an
    application), at `{prefix}/{name}/{version}/` in the models' store. With `trust`, pickles are read once and what
    they hold is published as .skops; the catalog keeps who trusted it, by its digest. A folder whose files are those of
    the latest version is left out. What fails is reported of its model, and the rest goes on.

    Raises:
        InvalidInput: `directory` holds no folder, or the prefix cannot be used.
        Forbidden: sharing models, and trusting pickles, is for administrators.
        StoreUnavailable, CatalogUnavailable: what was imported until then stays; run it again.
    """
    if trust and user.role != "admin":
        raise Forbidden(
            _(
                "Only administrators trust pickles, as reading one runs what it says. Leave out "
                "--trust, or ask one of yours."
            )
        )
    if prefix is not None:
        prefix = _checked_prefix(user, prefix)
    folders = sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise InvalidInput(
            _("%(file)s holds no folder. Each folder in it is to be one model.", file=directory)
        )
    return [_import(runtime, user, folder, prefix, trust, progress) for folder in folders]


def _import(
    runtime: Runtime, user: User, folder: Path, prefix: str | None, trust: bool, progress: Progress | None
) -> Imported:
    try:
        model = _read_folder(folder)
        latest = _latest(runtime, user, model.name, prefix)
        trusted = latest is None or not trust or _is_trusted(runtime, latest)
        if latest is not None and trusted and _is_same(model, latest, model.pickles if trust else ()):
            return _unchanged(runtime, user, model, latest, prefix)
        with runtime.scratch() as scratch:
            if trust:
                _convert(model, scratch, user)
                _keep_trust(runtime, user, model, scratch)
            if latest is not None and trusted and _is_same(model, latest, model.converted):
                return _unchanged(runtime, user, model, latest, prefix)
            manifest = _publish(runtime, user, model, folder, scratch, prefix, progress)
    except (StoreUnavailable, CatalogUnavailable, DiskFull):
        raise
    except (EcluseError, OSError) as error:
        return Imported(folder.name, "failed", problems=(str(error),))
    return _imported(model, "published", manifest)


def _publish(
    runtime: Runtime,
    user: User,
    model: _ModelFolder,
    folder: Path,
    scratch: Path,
    prefix: str | None,
    progress: Progress | None,
) -> Manifest:
    if prefix is None:
        paths = [folder, scratch] if model.converted else [folder]
        row = publish(runtime, user.id, model.name, paths, metadata=model.metadata(), progress=progress)
        return manifest_of(runtime, row)
    registry = runtime.registry_in(prefix)
    manifest = registry.publish(
        model.name,
        model.files | files_below(scratch),
        created_by=user.id,
        nonce=new_id(),
        metadata=model.metadata(),
        progress=progress,
    )
    _share(runtime, user, registry, manifest, model)
    return manifest


def _unchanged(
    runtime: Runtime, user: User, model: _ModelFolder, latest: Manifest, prefix: str | None
) -> Imported:
    if prefix is not None:  # its publisher may have died before it wrote the row
        _share(runtime, user, runtime.registry_in(prefix), latest, model)
    return _imported(model, "unchanged", latest)


def _imported(
    model: _ModelFolder, outcome: Literal["published", "unchanged"], manifest: Manifest
) -> Imported:
    converted = tuple(manifest.metadata.get("converted", {}))
    return Imported(
        model.name,
        outcome,
        manifest.version,
        len(manifest.files),
        manifest.size,
        tuple(path for path in model.pickles if path not in converted),
        converted,
        tuple(model.problems),
    )


# Look into a folder


def _read_folder(folder: Path) -> _ModelFolder:
    if folder.is_symlink() and not folder.resolve().is_relative_to(folder.parent.resolve()):
        raise InvalidInput(
            _(
                "%(value)s is a link that leads out of %(file)s. Remove it, or put a copy of the file there.",
                value=folder,
                file=folder.parent,
            )
        )
    name, files = checked_name(folder.name), gathered([folder])
    described, problems = _described(files)
    return _ModelFolder(
        name,
        files,
        {path: _sha256(file) for path, file in files.items()},
        described,
        [path for path, file in files.items() if _is_pickle(file)],
        problems=problems,
    )


def _described(files: Mapping[str, Path]) -> tuple[dict[str, Any], list[str]]:
    """Return the numbers in the JSON files that describe the model, its domain and columns; and what was no JSON."""
    described: dict[str, Any] = {}
    problems = []
    for name, field_path in DESCRIBED.items():
        if name not in files:
            continue
        try:
            data = json.loads(files[name].read_bytes())
        except (ValueError, RecursionError) as error:
            problems.append(
                _("%(file)s is not JSON and is kept as a file only: %(error)s", file=name, error=error)
            )
            continue
        if not isinstance(data, dict):
            continue
        if field_path == "metrics" and isinstance(data.get("metrics"), dict):
            data = data | data.pop("metrics")
        if isinstance(data.get("domain"), str):
            described["domain"] = data["domain"][:100]
        if isinstance(data.get("columns"), list):
            described["columns"] = [column for column in data["columns"] if isinstance(column, str)]
        try:
            checked_metadata(numbers := _numbers(data))
        except (InvalidInput, RecursionError) as error:
            problems.append(_("%(file)s is kept as a file only: %(error)s", file=name, error=error))
            continue
        if field_path is None:
            described |= numbers
        else:
            described[field_path] = described.get(field_path, {}) | numbers
    return described, problems


def _numbers(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the finite numbers among the values, also those that are nested."""
    numbers: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            if nested := _numbers(value):
                numbers[key] = nested
        elif isinstance(value, int | float) and not isinstance(value, bool) and fits_float(value):
            numbers[key] = value
    return numbers


def _is_pickle(file: Path) -> bool:
    """By its name or its first bytes. It is not read any further."""
    if file.suffix.lower() in _PICKLES:
        return True
    with file.open("rb") as opened:
        return _PICKLE_BEGINS.match(opened.read(2)) is not None


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    for chunk in read_chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def _latest(runtime: Runtime, user: User, name: str, prefix: str | None) -> Manifest | None:
    try:
        if prefix is not None:
            registry = runtime.registry_in(prefix)
            return registry.manifest(name, registry.latest(name))
        with runtime.catalog.read() as transaction:
            row: ModelVersion = rows.version_of(transaction, user.id, name)
        return manifest_of(runtime, row)
    except ModelNotFound:  # nothing was published under this name yet
        return None


def _is_same(model: _ModelFolder, latest: Manifest, converted: Collection[str]) -> bool:
    """Return whether the latest version was made of these files, and has these pickles converted."""
    conversions = latest.metadata.get("converted", {})
    digests = {file.path: file.sha256 for file in latest.files}
    for conversion in conversions.values():
        digests.pop(conversion["skops"], None)
    return digests == model.digests and set(converted) <= conversions.keys()


# Convert pickles


def _convert(model: _ModelFolder, scratch: Path, user: User) -> None:
    """Make a .skops of every pickle, below `scratch`; what cannot be is told among the problems."""
    for path in model.pickles:
        target = str(Path(path).with_suffix(".skops"))
        if target in model.files or (scratch / target).exists():
            target = f"{path}.skops"
        (scratch / target).parent.mkdir(parents=True, exist_ok=True)
        conversion = _convert_in_process(model.files[path], scratch / target)
        if "error" in conversion:
            (scratch / target).unlink(missing_ok=True)
            model.problems.append(
                _(
                    "%(file)s could not be converted and is stored unread: %(error)s",
                    file=path,
                    error=conversion["error"],
                )
            )
            continue
        model.converted[path] = {
            "skops": target,
            "sha256": model.digests[path],
            "type": conversion["type"],
            "types": conversion["untrusted"],
            "warnings": conversion["warnings"],
            "trusted_by": user.id,
            "trusted_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def _keep_trust(runtime: Runtime, user: User, model: _ModelFolder, scratch: Path) -> None:
    """Write down in the catalog, before it is published, which .skops a person trusts, by its digest.

    What the metadata beside the object say of it is for people: whoever can write the store can write them.
    """
    with runtime.catalog.write() as transaction:
        for path, conversion in model.converted.items():
            trusts.record(
                transaction,
                user.id,
                _sha256(scratch / conversion["skops"]),
                conversion["types"],
                model=model.name,
                pickle=path,
                pickle_sha256=conversion["sha256"],
            )


def _is_trusted(runtime: Runtime, latest: Manifest) -> bool:
    """Return whether the catalog knows who trusted what was converted; of versions of before it does not."""
    digests = {file.path: file.sha256 for file in latest.files}
    converted_digests = [
        digests.get(conversion["skops"], "") for conversion in latest.metadata.get("converted", {}).values()
    ]
    with runtime.catalog.read() as transaction:
        return all(trusts.types_of(transaction, sha256) is not None for sha256 in converted_digests)


def _convert_in_process(source: Path, destination: Path) -> dict[str, Any]:
    """Convert in a process that has none of our keys in its environment and ends within `READING`."""
    script = Path(__file__).with_name("convert.py")
    variables = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
    environ = inherited(variables)
    process = subprocess.Popen(
        [sys.executable, "-P", str(script), str(source.resolve()), str(destination)],
        cwd=destination.parent,
        env=environ | {"HOME": str(destination.parent)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        answer, _rest = process.communicate(timeout=READING)
        outcome: dict[str, Any] = json.loads(answer.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": _("reading it took more than %(count)s s", count=READING)}
    except (ValueError, IndexError):
        return {"error": _("the process that read it ended with code %(value)s", value=process.returncode)}
    finally:
        _end(process)
    return outcome


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it has started."""
    with contextlib.suppress(ProcessLookupError):  # all of them have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


# Reference models


def _checked_prefix(user: User, prefix: str) -> str:
    if user.role != "admin":
        raise Forbidden(
            _("Only administrators import reference models. Leave out --prefix, or ask one of yours.")
        )
    key = checked_key(prefix.strip("/"))
    segments = [unicodedata.normalize("NFKC", segment).casefold() for segment in key.split("/")]
    if segments[0] in RESERVED:
        raise InvalidInput(
            _(
                "%(value)s belongs to users. Choose another prefix, such as automl_models/.",
                value=repr(prefix),
            )
        )
    if segments[0].startswith(".") or segments[0] == RAW or any(s.startswith(".ecluse-") for s in segments):
        raise InvalidInput(
            _(
                "%(value)s is one that a store keeps for itself. Choose another prefix, such as "
                "automl_models/.",
                value=repr(prefix),
            )
        )
    return key


def _share(runtime: Runtime, user: User, registry: Registry, manifest: Manifest, model: _ModelFolder) -> None:
    """Let applications record a version that belongs to everyone."""
    for application, record in parts("shared"):
        problems = [_("%(application)s has not recorded it; the log says why.", application=application.name)]
        with guarded(application, "shared", passing=(EcluseError, OSError)):
            problems = record(runtime, user.id, registry, manifest, model.files)
        model.problems += problems

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
from ecluse.models.references import DESCRIPTION_FILE, ReferenceDescription, keep_reference, read_description
from ecluse.models.versions import gathered, manifest_of, publish
from ecluse.registry import (
    Manifest,
    Progress,
    Registry,
    checked_metadata,
    checked_name,
    files_below,
    fits_float,
)
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.settings import inherited
from ecluse.storage import checked_key, read_chunks
from ecluse.storage.areas import RAW

#: Files whose numbers are kept as metadata: name → where they stand there.
DESCRIBED: Final = {"metadata.json": None, "performance.json": "metrics", "metrics.json": "metrics"}
#: Prefixes that belong to users, where no reference model may lie.
RESERVED: Final = ("user_models", "user_data")
#: A pickle that takes longer to read is given up (s).
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
class _Found:
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
        told = {"imported": True, "pickles": unread, "converted": self.converted}
        return self.described | {name: value for name, value in told.items() if value}


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

    They become models of the user, or, with `prefix`, reference models for all, at `{prefix}/{name}/{version}/`
    in the models' store. With `trust`, pickles are read once and what they hold is published as .skops; the catalog
    keeps who trusted it, by its digest. A folder whose files are those of the latest version is left out. What fails
    is told of its model, and the rest goes on.

    Raises:
        InvalidInput: `directory` holds no folder, or the prefix cannot be used.
        Forbidden: reference models, and trusting pickles, are for administrators.
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
        found = _look_into(folder)
        latest = _latest(runtime, user, found.name, prefix)
        trusted = latest is None or not trust or _is_trusted(runtime, latest)
        if latest is not None and trusted and _is_same(found, latest, found.pickles if trust else ()):
            return _unchanged(runtime, user, found, latest, prefix)
        with runtime.scratch() as scratch:
            if trust:
                _convert(found, scratch, user)
                _keep_trust(runtime, user, found, scratch)
            if latest is not None and trusted and _is_same(found, latest, found.converted):
                return _unchanged(runtime, user, found, latest, prefix)
            manifest = _publish(runtime, user, found, folder, scratch, prefix, progress)
    except (StoreUnavailable, CatalogUnavailable, DiskFull):
        raise
    except (EcluseError, OSError) as error:
        return Imported(folder.name, "failed", problems=(str(error),))
    return _told(found, "published", manifest)


def _publish(
    runtime: Runtime,
    user: User,
    found: _Found,
    folder: Path,
    scratch: Path,
    prefix: str | None,
    progress: Progress | None,
) -> Manifest:
    if prefix is None:
        paths = [folder, scratch] if found.converted else [folder]
        row = publish(runtime, user.id, found.name, paths, metadata=found.metadata(), progress=progress)
        return manifest_of(runtime, row)
    registry = runtime.registry_in(prefix)
    manifest = registry.publish(
        found.name,
        found.files | files_below(scratch),
        created_by=user.id,
        nonce=new_id(),
        metadata=found.metadata(),
        progress=progress,
    )
    _keep_reference(runtime, user, registry, manifest, found)
    return manifest


def _unchanged(runtime: Runtime, user: User, found: _Found, latest: Manifest, prefix: str | None) -> Imported:
    if prefix is not None:  # its publisher may have died before it wrote the row
        _keep_reference(runtime, user, runtime.registry_in(prefix), latest, found)
    return _told(found, "unchanged", latest)


def _told(found: _Found, outcome: Literal["published", "unchanged"], manifest: Manifest) -> Imported:
    converted = tuple(manifest.metadata.get("converted", {}))
    return Imported(
        found.name,
        outcome,
        manifest.version,
        len(manifest.files),
        manifest.size,
        tuple(path for path in found.pickles if path not in converted),
        converted,
        tuple(found.problems),
    )


# Look into a folder


def _look_into(folder: Path) -> _Found:
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
    return _Found(
        name,
        files,
        {path: _sha256(file) for path, file in files.items()},
        described,
        [path for path, file in files.items() if _is_pickle(file)],
        problems=problems,
    )


def _described(files: Mapping[str, Path]) -> tuple[dict[str, Any], list[str]]:
    """The numbers in the JSON files that describe the model, its domain and columns; and what was no JSON."""
    described: dict[str, Any] = {}
    problems = []
    for name, place in DESCRIBED.items():
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
        if place == "metrics" and isinstance(data.get("metrics"), dict):
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
        if place is None:
            described |= numbers
        else:
            described[place] = described.get(place, {}) | numbers
    return described, problems


def _numbers(data: Mapping[str, Any]) -> dict[str, Any]:
    """The finite numbers among the values, also those that are nested."""
    kept: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            if nested := _numbers(value):
                kept[key] = nested
        elif isinstance(value, int | float) and not isinstance(value, bool) and fits_float(value):
            kept[key] = value
    return kept


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
    except ModelNotFound:
        return None


def _is_same(found: _Found, latest: Manifest, converted: Collection[str]) -> bool:
    """Whether the latest version was made of these files, and has these pickles converted."""
    made = latest.metadata.get("converted", {})
    own = {file.path: file.sha256 for file in latest.files}
    for one in made.values():
        own.pop(one["skops"], None)
    return own == found.digests and set(converted) <= made.keys()


# Convert pickles


def _convert(found: _Found, scratch: Path, user: User) -> None:
    """Make a .skops of every pickle, below `scratch`; what cannot be is told among the problems."""
    for path in found.pickles:
        target = str(Path(path).with_suffix(".skops"))
        if target in found.files or (scratch / target).exists():
            target = f"{path}.skops"
        (scratch / target).parent.mkdir(parents=True, exist_ok=True)
        told = _read_apart(found.files[path], scratch / target)
        if "error" in told:
            (scratch / target).unlink(missing_ok=True)
            found.problems.append(
                _(
                    "%(file)s could not be converted and is stored unread: %(error)s",
                    file=path,
                    error=told["error"],
                )
            )
            continue
        found.converted[path] = {
            "skops": target,
            "sha256": found.digests[path],
            "type": told["type"],
            "types": told["untrusted"],
            "warnings": told["warnings"],
            "trusted_by": user.id,
            "trusted_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def _keep_trust(runtime: Runtime, user: User, found: _Found, scratch: Path) -> None:
    """Write down in the catalog, before it is published, which .skops a person trusts, by its digest.

    What the metadata beside the object say of it is for people: whoever can write the store can write them.
    """
    with runtime.catalog.write() as transaction:
        for path, told in found.converted.items():
            trusts.record(
                transaction,
                user.id,
                _sha256(scratch / told["skops"]),
                told["types"],
                model=found.name,
                pickle=path,
                pickle_sha256=told["sha256"],
            )


def _is_trusted(runtime: Runtime, latest: Manifest) -> bool:
    """Whether the catalog knows who trusted what was converted; of versions of before it does not."""
    digests = {file.path: file.sha256 for file in latest.files}
    made = [digests.get(one["skops"], "") for one in latest.metadata.get("converted", {}).values()]
    with runtime.catalog.read() as transaction:
        return all(trusts.types_of(transaction, sha256) is not None for sha256 in made)


def _read_apart(source: Path, destination: Path) -> dict[str, Any]:
    """Convert in a process that has none of our keys in its environment and ends within `READING`."""
    script = Path(__file__).with_name("convert.py")
    kept = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
    environ = inherited(kept)
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
        told: dict[str, Any] = json.loads(answer.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": _("reading it took more than %(count)s s", count=READING)}
    except (ValueError, IndexError):
        return {"error": _("the process that read it ended with code %(value)s", value=process.returncode)}
    finally:
        _end(process)
    return told


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it has started."""
    with contextlib.suppress(ProcessLookupError):
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


def _keep_reference(
    runtime: Runtime, user: User, registry: Registry, manifest: Manifest, found: _Found
) -> None:
    known, problem = read_description(found.files.get(DESCRIPTION_FILE))
    if problem is not None:
        found.problems.append(problem)
    if known is None:
        known = ReferenceDescription(
            domain=manifest.metadata.get("domain") or _domain(manifest.name),
            columns=manifest.metadata.get("columns", []),
            performance=manifest.metadata.get("metrics", {}),
        )
    keep_reference(runtime, user.id, registry, manifest, known)


def _domain(name: str) -> str:
    """What a model is about, by its name: `dataset40` is of the domain `dataset`."""
    return re.sub(r"[\d._-]+$", "", name) or name

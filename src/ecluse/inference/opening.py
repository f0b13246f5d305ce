"""Make a published version ready to answer: its files verified, its model made by its kind, its example asked again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from ecluse import models
from ecluse.application import application_named, part
from ecluse.catalog.tables import ModelVersion
from ecluse.client.package import CARD, read_card
from ecluse.confined.limits import usual_memory
from ecluse.errors import InvalidInput, ModelRefused
from ecluse.inference.isolated import Isolated, isolated
from ecluse.inference.loaded import Loaded
from ecluse.runtime import Runtime
from ecluse.sentences import _, num

#: The largest version that is loaded to answer requests (bytes).
LARGEST: Final = 2_000_000_000


def open_version(runtime: Runtime, row: ModelVersion, *, one_core: bool = False) -> Loaded:
    """Return a version ready to answer, as its application opens it, or as the client packed it.

    `one_core`: it is asked about few rows at a time; see `model_process.serving`.

    Raises:
        InvalidInput: it has no schema.
        ModelUnreadable: its files are damaged, or it answers its example otherwise than when it was published.
    """
    application = application_named(row.application) if row.application else None
    opener = part(application, "inference") if application is not None else None
    if opener is not None:
        loaded: Loaded = opener(runtime, row)
        return loaded
    return open_package(runtime, row, one_core=one_core)


def open_package(runtime: Runtime, row: ModelVersion, *, one_core: bool = False) -> Isolated:
    """Return a version that the client published; see `open_version`."""
    card = card_of(runtime, row)
    if card is None or not card.get("schema"):
        raise no_schema(row)
    manifest = models.manifest_of(runtime, row)
    if manifest.size > LARGEST:
        raise ModelRefused(
            _(
                "%(name)s has %(count)s bytes; at most %(most)s are loaded to answer requests. Fetch it, and ask it "
                "where you are: ecluse.load.",
                name=f"{row.name}@{row.version}",
                count=num(manifest.size, ","),
                most=num(LARGEST, ","),
            )
        )
    with runtime.scratch() as folder:
        fetch_files(runtime, row, folder)
        memory = runtime.settings.reader_max_bytes or usual_memory()
        return isolated(
            folder, f"{row.name}@{row.version}", str(card["kind"]), memory=memory, one_core=one_core
        )


def fetch_files(runtime: Runtime, row: ModelVersion, folder: Path) -> None:
    """Write every file of a version below a folder.

    A copy out of the cache is hashed on the way: a damaged entry is seen, and fetched again.

    Raises:
        DigestMismatch, ManifestInvalid: a file is not what was published.
    """
    manifest, registry = models.manifest_of(runtime, row), runtime.registry_of(row)
    for file in manifest.files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        registry.fetch_file(manifest, file.path, target)


def card_of(runtime: Runtime, row: ModelVersion) -> dict[str, Any] | None:
    """Return what a version says of itself (`ecluse.json`); None where it came without.

    Raises:
        ModelUnreadable: it is damaged.
    """
    manifest = models.manifest_of(runtime, row)
    if CARD not in {file.path for file in manifest.files}:
        return None
    with tempfile.TemporaryDirectory(prefix="ecluse-card-") as folder:
        runtime.registry_of(row).fetch_file(manifest, CARD, Path(folder, CARD))
        return read_card(Path(folder))


def no_schema(row: ModelVersion) -> InvalidInput:
    """Return the error that says why a version answers no requests."""
    return InvalidInput(
        _(
            "%(name)s was published without an example, so that nothing says which rows it takes. Publish it with "
            "some: ecluse.publish(model, %(word)s, example=X.head()).",
            name=f"{row.name}@{row.version}",
            word=repr(row.name),
        )
    )

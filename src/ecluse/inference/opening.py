"""Make a published version ready to answer: its files verified, its model made by its kind, its example asked again."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from ecluse import models
from ecluse.application import application_named, part
from ecluse.catalog.tables import ModelVersion
from ecluse.client.frames import Table, given_back
from ecluse.client.package import ANSWERS, CARD, answers_of, differences, example_of, read_card, unpack
from ecluse.client.package import Loaded as Unpacked
from ecluse.errors import InvalidInput, ModelRefused, ModelUnreadable
from ecluse.inference.loaded import Loaded
from ecluse.runtime import Runtime
from ecluse.sentences import _, num

#: The largest version that is loaded to answer requests (bytes).
LARGEST: Final = 2_000_000_000
#: Types of columns whose values can be sent as JSON or CSV.
SENDABLE: Final = frozenset({"integer", "number", "boolean", "text", "date", "datetime"})


@dataclass(frozen=True)
class Packaged:
    """A version that the client published with an example; it answers in this process."""

    unpacked: Unpacked
    schema: Mapping[str, Any]
    example: Table

    @property
    def kind(self) -> str:
        return self.unpacked.kind.name

    @property
    def dtypes(self) -> Mapping[str, pl.DataType]:
        return dict(self.example.rows.schema)

    @property
    def waits(self) -> bool:
        return False

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        given = given_back(Table(rows, self.example.form, self.example.details))
        return answers_of(self.unpacked.kind, self.unpacked.model, given)

    def sample(self) -> pl.DataFrame | None:
        return self.example.rows

    def close(self) -> None:
        """Leave it to the memory: nothing else is held."""


def open_version(runtime: Runtime, row: ModelVersion) -> Loaded:
    """Return a version ready to answer, as its application opens it, or as the client packed it.

    Raises:
        InvalidInput: it has no schema.
        ModelUnreadable: its files are damaged, or it answers its example otherwise than when it was published.
    """
    application = application_named(row.application) if row.application else None
    opener = part(application, "inference") if application is not None else None
    if opener is not None:
        loaded: Loaded = opener(runtime, row)
        return loaded
    return open_package(runtime, row)


def open_package(runtime: Runtime, row: ModelVersion) -> Packaged:
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
        return package_in(folder, f"{row.name}@{row.version}")


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


def package_in(folder: Path, name: str) -> Packaged:
    """Return the version whose files lie below a folder, once it has answered its example as it did before.

    Raises:
        ModelUnreadable: it answers otherwise, or its files are damaged.
        InvalidInput: a column of it cannot be sent.
    """
    unpacked = unpack(folder)
    if unpacked.schema is None:
        raise InvalidInput(_("%(name)s says nothing of the rows that it takes.", name=name))
    example = example_of(folder, unpacked)
    columns = checked_columns(unpacked.schema, example.rows)
    for column in columns:
        if column["type"] not in SENDABLE:
            raise InvalidInput(
                _(
                    "The column %(column)s of %(name)s holds neither numbers, texts, truth values nor dates, so that "
                    "rows cannot be sent. Ask it where you are: ecluse.load.",
                    column=column["name"],
                    name=name,
                )
            )
    if (folder / ANSWERS).exists() and (problem := differences(folder, unpacked)) is not None:
        raise ModelUnreadable(
            _(
                "%(name)s does not answer its own example as when it was published: %(reason)s. Publish it again with "
                "the versions of libraries that this server has.",
                name=name,
                reason=problem,
            )
        )
    return Packaged(unpacked, unpacked.schema, example)


def checked_columns(schema: Mapping[str, Any], example: pl.DataFrame) -> list[Mapping[str, Any]]:
    """Return the columns of a schema, which must be those of the example, described as `schema_of` does.

    Raises:
        ModelUnreadable: they are something else: whoever published the version wrote them.
    """
    columns = schema.get("columns")
    if (
        not isinstance(columns, list)
        or not all(isinstance(each, dict) and _is_column(each) for each in columns)
        or [each["name"] for each in columns] != example.columns
    ):
        raise ModelUnreadable(_("The schema of the version is damaged. Publish it again."))
    return list(columns)


def _is_column(column: Mapping[str, Any]) -> bool:
    texts = column.get("categories", [])
    ends = [column[name] for name in ("minimum", "maximum") if name in column]
    return (
        isinstance(column.get("name"), str)
        and isinstance(column.get("type"), str)
        and isinstance(column.get("missing"), bool)
        and isinstance(texts, list)
        and all(isinstance(text, str) for text in texts)
        and len(ends) != 1
        and all(type(end) in (int, float) for end in ends)
    )


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

"""Make a published version ready to answer: its model made by its kind, its example asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ecluse.client.frames import Table, given_back
from ecluse.client.package import ANSWERS, Loaded, answers_of, differences, example_of, unpack
from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.later import Later
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

#: Types of columns whose values can be sent as JSON or CSV.
SENDABLE: Final = frozenset({"integer", "number", "boolean", "text", "date", "datetime"})


@dataclass(frozen=True)
class Packaged:
    """A version that the client published with an example, and that was made in this process."""

    unpacked: Loaded
    schema: Mapping[str, Any]
    example: Table

    @property
    def kind(self) -> str:
        return self.unpacked.kind.name

    @property
    def dtypes(self) -> Mapping[str, pl.DataType]:
        return dict(self.example.rows.schema)

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        given = given_back(Table(rows, self.example.form, self.example.details))
        return answers_of(self.unpacked.kind, self.unpacked.model, given)

    def sample(self) -> pl.DataFrame | None:
        return self.example.rows


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
    columns = checked_columns(unpacked.schema, example.rows.columns)
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


def checked_columns(schema: Mapping[str, Any], names: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the columns of a schema, which must have these names and be described as `schema_of` does.

    Raises:
        ModelUnreadable: they are something else: whoever published the version wrote them.
    """
    columns = schema.get("columns")
    if (
        not isinstance(columns, list)
        or not all(isinstance(each, dict) and _is_column(each) for each in columns)
        or [each["name"] for each in columns] != list(names)
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

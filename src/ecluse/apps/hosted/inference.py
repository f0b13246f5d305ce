"""Answer at the address of models with what `@app.predict` makes of rows: the core checks, joins and counts them.

The process of the application is asked, as it is at /api/NAME/predict; parameters that are no rows have their
defaults. In a process that holds none (a worker that scores a table), one is begun and ended with the version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ecluse.app.signature import FILLED
from ecluse.apps.hosted.answering import Keeper, Keepers, held_keepers
from ecluse.apps.hosted.errors import AppFailed
from ecluse.apps.hosted.rows import TYPES, as_json, columns_of, explained, types_of
from ecluse.apps.hosted.snapshot import Snapshot, read
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput
from ecluse.inference import from_json
from ecluse.runtime import Runtime
from ecluse.sentences import _


@dataclass(frozen=True)
class AppModel:
    """A version whose rows are answered by `@app.predict`."""

    keeper: Keeper
    row: ModelVersion
    columns: list[dict[str, Any]]
    example: pl.DataFrame
    values: Mapping[str, Any]
    #: Ended with this version; None where the process is the web process's.
    own: Keepers | None

    @property
    def kind(self) -> str:
        return "app"

    @property
    def schema(self) -> Mapping[str, Any]:
        return {"form": "polars", "rows_seen": self.example.height, "columns": self.columns}

    @property
    def dtypes(self) -> Mapping[str, pl.DataType]:
        return types_of(self.columns)

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Ask the process. Raises AppFailed, AppAway."""
        sent = as_json(rows)
        message = {
            "do": "predict",
            "folder": str(self.keeper.folder_of(self.row)),
            "rows": sent,
            "values": dict(self.values),
            "as_rows": True,
        }
        try:
            reply, _data = self.keeper.ask(message)
        except AppFailed as error:
            raise explained(error, self.columns, sent) from error
        return pl.DataFrame(reply["rows"], infer_schema_length=None)

    def sample(self) -> pl.DataFrame | None:
        return self.example if self.example.height else None

    def close(self) -> None:
        """End the process where it was begun for this version."""
        if self.own is not None:
            self.own.close()


def open_version(snapshot: Snapshot, runtime: Runtime, row: ModelVersion) -> AppModel:
    """Return a version ready to answer rows.

    Raises:
        InvalidInput: its rows are not known, cannot be sent, or its function asks for more than rows.
        AppFailed, AppAway: the application does not answer.
    """
    verb, name = snapshot.predict, f"{row.name}@{row.version}"
    more = [each.name for each in verb.parameters if each.required and each.kind in FILLED]
    columns = columns_of(row)
    if not columns:
        raise InvalidInput(_("%(name)s says nothing of the rows that it takes.", name=name))
    if more or any(column["type"] not in TYPES for column in columns):
        asked = ", ".join(more) or ", ".join(c["name"] for c in columns if c["type"] not in TYPES)
        raise InvalidInput(
            _(
                "%(name)s asks for %(values)s, which rows do not bring. Send the request to %(address)s.",
                name=name,
                values=asked,
                address=f"/api/{snapshot.name}/predict",
            )
        )
    held = held_keepers(runtime)
    keepers = held or Keepers(runtime)
    keeper = keepers.of(snapshot.name)
    defaults = {each.name: each.default for each in verb.parameters if each.kind in FILLED}
    try:
        reply, _data = keeper.ask({"do": "example", "folder": str(keeper.folder_of(row))})
        example = from_json(list(reply["rows"]), {"columns": columns}, types_of(columns)).rows
    except BaseException:
        if held is None:
            keepers.close()
        raise
    return AppModel(keeper, row, columns, example, defaults, None if held else keepers)


def opener_of(app: str) -> Any:
    """Return how versions of an application answer requests."""

    def opened(runtime: Runtime, row: ModelVersion) -> AppModel:
        return open_version(read(runtime.settings.home, app), runtime, row)

    return opened

"""Train and score at the server that was signed in to: upload the table, follow the job, fetch what it made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any, Final

from ecluse.apps.fraud.commands.labels import asked_for_label
from ecluse.apps.fraud.commands.tables import say_layout
from ecluse.apps.fraud.training.request import TrainingRequest, choices
from ecluse.cli.output import progress
from ecluse.cli.remote import finish_there
from ecluse.client.fetching import fetch_attachment
from ecluse.client.http import HttpBackend
from ecluse.client.server import part_of
from ecluse.errors import InvalidInput, JobFailed
from ecluse.tabular.layout import Layout

#: How long a server may store a table that has arrived (s): the tables of others come first.
_PATIENCE: Final = 3600.0


class _Counted(FileIO):
    """A file that says how much of it was read, as a share."""

    def __init__(self, file: Path, report: Callable[[float], None]) -> None:
        super().__init__(file)
        self._report, self._size = report, max(file.stat().st_size, 1)

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(-1 if size is None else size)
        self._report(self.tell() / self._size)
        return content or b""


def add_table_there(server: HttpBackend, file: Path, layout: Layout) -> str:
    """Upload a local file to a server and wait for its profile; the dataset's id there."""
    if file.stat().st_size == 0:
        raise InvalidInput(f"{file} is empty.")
    title = f"Uploading {file.name}"
    asked = {"sheet": layout.sheet, "header_row": layout.header_row}
    with progress(title) as report, _Counted(file, lambda share: report(share, title)) as opened:
        dataset: dict[str, Any] = server.server.json(
            "POST",
            "upload",
            params={name: value for name, value in asked.items() if value is not None},
            files={"file": (file.name, opened)},
            timeout=_PATIENCE,
        )
    place = f"datasets/{part_of(dataset['id'])}"
    try:
        finish_there(server, dataset["job"], f"Reading {file.name}")
    except (JobFailed, KeyboardInterrupt):
        server.server.send("DELETE", place)
        raise
    read_as = server.server.send_json("GET", place)["layout"]
    say_layout(file.name, None if read_as is None else Layout.from_dict(read_as))
    return str(dataset["id"])


def train_there(
    server: HttpBackend, file: Path, request: TrainingRequest, layout: Layout
) -> tuple[str, dict[str, Any]]:
    """Train at a server; the table's id there, and the version as the API describes it."""
    dataset = add_table_there(server, file, layout)
    profile = server.server.send_json("POST", "analyze", json={"dataset": dataset}).get("profile")
    chosen = asdict(asked_for_label(profile, request))
    body = {choice.name: chosen[choice.name] for choice in choices()}
    started = server.server.json("POST", "train", json={"dataset": dataset} | body)
    finish_there(server, started["job"], f"Training {request.model_name}")
    run, _curves = server.run_of(started["training"])
    return dataset, server.described(f"{run['name']}@{run['version']}")


def predict_there(
    server: HttpBackend, file: Path, output: Path, asked: dict[str, Any], layout: Layout
) -> dict[str, Any]:
    """Score a table at a server with what is `asked`, and write the result; the prediction as the API describes it."""
    server.version(asked["model"])  # before a table is uploaded for nothing
    dataset = add_table_there(server, file, layout)
    started = server.server.json("POST", "predict", json={"dataset": dataset} | asked)
    finish_there(server, started["job"], f"Scoring {file.name}")
    place = f"predictions/{part_of(started['prediction'])}"
    title = f"Fetching {output.name}"
    with progress(title) as report:
        fetch_attachment(server.server, f"{place}/download", output, lambda share: report(share, title))
    prediction: dict[str, Any] = server.server.send_json("GET", place)
    return prediction

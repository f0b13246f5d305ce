"""An application that looks at one image, reads the newest table, and fails with words that name a path."""

import io
from pathlib import Path
from typing import Literal

import pandas as pd

from ecluse.app import App, File, Image, Images, Refused, Table, Task

app = App("looking", title="Looking", api=1)


@app.predict
def predict(image: Image, other: Image | None = None) -> dict:
    """Say how large an image is."""
    picture = image.open()
    return {"name": image.name, "size": list(picture.size), "other": other.open().mode if other else "-"}


@app.job(schedule="monday 07:30")
def weekly(task: Task, table: Table = Table.newest, currency: str = "EUR") -> list:
    """Add up what was sold."""
    return [f"# {table.name}", {"sold": int(table.read()["sold"].sum()), "currency": currency}]


@app.job
def named(task: Task, table: Table = Table.newest("sales-*.csv")) -> list:  # noqa: B008
    """Add up what was sold, of tables of one name."""
    return [{"name": table.name, "sold": int(table.read()["sold"].sum())}]


@app.page
def latest(table: Table = Table.newest) -> list:
    """Show what came last."""
    return [table.name, table.read()]


@app.page
def fail(file: File, how: Literal["open", "refuse", "images", "raise", "library"] = "open") -> list:
    """Fail, by words with the path of a file."""
    if how == "open":
        (file.path / "below").read_text()
    if how == "refuse":
        raise Refused(f"{file.path} is not for us")
    if how == "library":
        pd.read_csv(io.BytesIO(b"name\n\xc9lan\n"))
    if how == "images":
        len(Images(file.path, file.name))
    raise ValueError(
        f"no 'weights' in {Path.cwd() / 'x y' / 'w.bin'}, /home/ann/models/w.bin nor https://example.org/w/b"
    )

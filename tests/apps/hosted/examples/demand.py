"""Forecast a daily series: a model of its own form, a page that draws it, a report by it. Written from the guide."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from ecluse.app import App, Model, Table, Task

app = App("demand", title="Demand", description="The next weeks of a daily series.", api=1)


@app.train
def train(task: Task, table: Table, day: str = "day", value: str = "value", season: int = 7) -> Model:
    """Fit level, trend and season."""
    rows = table.read().sort(day)
    values, steps = rows[value].to_numpy().astype(float), np.arange(rows.height)
    slope, level = np.polyfit(steps, values, 1)
    rest = values - slope * steps - level
    seasons = [float(rest[start::season].mean()) for start in range(season)]
    error = float(np.abs(rest - np.array(seasons)[steps % season]).mean())
    folder = task.folder / "fit"
    folder.mkdir()
    fit = {
        "slope": slope,
        "level": level,
        "seasons": seasons,
        "count": rows.height,
        "last": str(rows[day][-1])[:10],
    }
    (folder / "fit.json").write_text(json.dumps(fit))
    return Model(folder, example={"days": 3}, metrics={"error": error})


@app.load
def load(folder: Path) -> dict:
    """Read the fit."""
    return json.loads((folder / "fit.json").read_text())


@app.predict
def predict(model, days: int) -> list:
    """Say what the next days will bring."""
    last = date.fromisoformat(model["last"])
    steps = [model["count"] + number for number in range(days)]
    return [
        {
            "day": str(last + timedelta(days=number + 1)),
            "value": model["slope"] * step + model["level"] + model["seasons"][step % len(model["seasons"])],
        }
        for number, step in enumerate(steps)
    ]


@app.page
def weeks(model=None, count: int = 2) -> list:
    """Show the next weeks."""
    return ["Train first." if model is None else pl.DataFrame(predict(model, 7 * count))]


@app.job(schedule="monday 07:00")
def plan(task: Task, model) -> list:
    """Plan the week."""
    return [{"sum of the week": sum(each["value"] for each in predict(model, 7))}]


@app.sample
def sample() -> dict:
    """Give a year."""
    days = [date(2025, 1, 1) + timedelta(days=number) for number in range(365)]
    return {
        "table": pl.DataFrame({"day": days, "value": [100 + 10 * (number % 7) for number in range(365)]}),
        "days": 5,
    }

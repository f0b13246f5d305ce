"""Count, refuse, and learn a line: an application in one file, whose answers are known beforehand."""

import time

import polars as pl
from sklearn.linear_model import LinearRegression

from ecluse.app import App, Model, Refused, Table, Task

app = App("tally", title="Tally", description="Count and learn a line.", api=1)


@app.train
def train(task: Task, table: Table, seconds: float = 1.0) -> Model:
    """Learn y from x."""
    rows = table.read()
    linger(task, seconds)
    features = rows.select("x")
    model = LinearRegression().fit(features.to_numpy(), rows["y"].to_numpy())
    return Model(model, example=features.head(3), metrics={"rows": float(rows.height)})


@app.predict
def predict(model, rows: pl.DataFrame) -> pl.DataFrame:
    """Say y."""
    return pl.DataFrame({"y": model.predict(rows.to_numpy())})


@app.job
def count(task: Task, number: int, seconds: float = 1.0) -> str:
    """Add the numbers up."""
    linger(task, seconds)
    return f"The sum up to {number} is {number * (number + 1) // 2}."


@app.job
def refuse(task: Task, word: str) -> str:
    """Refuse a word."""
    linger(task, 0.5)
    raise Refused(f"The word {word} is refused.")


def linger(task: Task, seconds: float) -> None:
    parts = max(1, round(seconds / 0.2))
    for part in range(parts):
        task.report(part / parts, "working")
        time.sleep(seconds / parts)

"""An application that tests watch: its training takes as many steps as asked for and goes on from its checkpoint."""

import json
import os
import threading
from typing import Literal

import polars as pl
from sklearn.linear_model import LinearRegression

from ecluse.app import App, Model, Refused, Table, Task

app = App("slow", title="Slow sums", description="Adds numbers, at leisure.", api=1)


@app.train
def train(task: Task, table: Table, target: str = "y", steps: int = 3, pause: float = 0.0) -> Model:
    """Fit a line, and note what a step costs."""
    rows = table.read()
    done = json.loads(task.saved)["done"] if task.saved else 0
    for step in range(done, steps):
        threading.Event().wait(pause)
        task.log(step, loss=1 / (step + 1))
        task.report((step + 1) / steps, f"step {step + 1}")
        task.save(json.dumps({"done": step + 1}).encode())
    features = rows.drop(target)
    model = LinearRegression().fit(features.to_numpy(), rows[target].to_numpy())
    return Model(model, example=features.head(3), metrics={"begun_at": done})


@app.predict
def predict(
    model, rows: pl.DataFrame, mode: Literal["sum", "crash", "loop", "eat", "raise", "refuse"] = "sum"
) -> pl.DataFrame:
    """Answer, or fail as asked."""
    if mode == "crash":
        os._exit(7)
    while mode == "loop":
        pass
    if mode == "eat":
        held = []
        while True:
            held.append(bytearray(64 * 1024**2))
    if mode == "raise":
        raise ValueError("no such luck")
    if mode == "refuse":
        raise Refused("There is no product 'milk'. Known: tea, cocoa.")
    return pl.DataFrame({"y": model.predict(rows.to_numpy())})


@app.job(schedule="daily 06:00")
def surroundings(task: Task, word: str = "none") -> list:
    """Write down what this process can see."""
    return ["# Seen", {"word": word, "pid": os.getpid()}, pl.DataFrame({"name": sorted(os.environ)})]


class Figure:
    """What draws itself as a figure of matplotlib does."""

    def __init__(self, title: str) -> None:
        self.title = title

    def get_suptitle(self) -> str:
        return self.title

    def savefig(self, file, **_options) -> None:
        file.write(b"\x89PNG drawn")


@app.job
def forecast(task: Task, table: Table, product: str = "tea", days: int = 2) -> list:
    """Say what will be sold."""
    made = task.folder / "made.txt"
    made.write_text("by the job")
    sold = pl.DataFrame({"day": [f"day {number}" for number in range(days)], "units": [1.5] * days})
    return [f"# {product}", {"rows": table.read().height}, Figure(f"Sales of {product}"), sold, made]


@app.page
def about(times: int = 2) -> list:
    """Draw a page."""
    return [f"## About\n\n**Bold** <script>alert(1)</script> {times * 21}", {"figure": 42}]


@app.sample
def sample() -> dict:
    """Give what the check trains on."""
    return {
        "table": pl.DataFrame(
            {"a": [1.0, 2.0, 3.0, 4.0], "b": [0.0, 1.0, 0.0, 1.0], "y": [2.0, 5.0, 6.0, 9.0]}
        )
    }

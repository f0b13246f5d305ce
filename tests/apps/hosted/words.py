"""An application that answers single values, with samples for one function alone."""

import polars as pl

from ecluse.app import App, Model, Table, Task

app = App("words", title="Words", api=1)


@app.train
def train(task: Task, table: Table, text: str = "text") -> Model:
    """Count the words of a column."""
    folder = task.folder / "made"
    folder.mkdir()
    (folder / "count.txt").write_text(str(table.read()[text].len()))
    return Model(folder)


@app.load
def load(folder):
    """Read the count."""
    return int((folder / "count.txt").read_text())


@app.predict
def predict(model, text: str, times: int = 1) -> dict:
    """Say what a text holds."""
    words = text.split()
    return {"words": times * len(words), "lengths": {word: len(word) for word in words}}


@app.sample
def sample() -> dict:
    """A table, the column that holds its texts, and a text to ask about."""
    return {
        "table": pl.DataFrame({"note": ["a b", "c"]}),
        "train": {"text": "note"},
        "predict": {"text": "one two"},
    }

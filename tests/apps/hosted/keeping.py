"""An application that reads its models itself, and has no function that answers."""

from pathlib import Path

from ecluse.app import App, Model, Task

app = App("keeping", title="Keeping", api=1)


@app.train
def train(task: Task, word: str = "kept") -> Model:
    """Keep a word."""
    folder = task.folder / "made"
    folder.mkdir()
    (folder / "word").write_text(word)
    return Model(folder)


@app.load
def load(folder: Path) -> str:
    """Read it; some words are not to be read."""
    word = (folder / "word").read_text()
    if word == "broken":
        raise ValueError(word)
    return word


@app.page
def said(model) -> list:
    """Say it."""
    return [f"It is {model}."]

"""An application whose every function fails as it is asked to."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

from ecluse.app import App, Model, Task

app = App("fragile", title="Fragile", api=1)
Mode = Literal["none", "crash", "loop", "eat", "threads", "processes"]


def fail(mode: str) -> None:
    """Fail as asked."""
    if mode == "crash":
        os._exit(7)
    while mode == "loop":
        pass
    held = []
    while mode == "eat":
        held.append(bytearray(64 * 1024**2))
    while mode == "threads":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if mode == "processes":
        for _turn in range(10):
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "of-fragile"])
        threading.Event().wait()


@app.train
def train(task: Task, mode: Mode = "none", loads: Mode = "none") -> Model:
    """Train, or fail; what it makes fails when it is loaded, for whoever is not its proof."""
    fail(mode)
    folder = task.folder / "made"
    folder.mkdir()
    (folder / "loads").write_text(loads)
    return Model(folder)


@app.load
def load(folder: Path) -> str:
    """Load it; the proof, whose folder is called so, is let through."""
    if folder.name != "proved":
        fail((folder / "loads").read_text())
    return "loaded"


@app.predict
def predict(model, mode: Mode = "none") -> str:
    """Answer, or fail."""
    fail(mode)
    return model


@app.page
def drawn(mode: Mode = "none") -> str:
    """Draw, or fail."""
    fail(mode)
    return "Drawn."

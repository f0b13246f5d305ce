"""Write an application in one file: functions with annotated parameters, and a decorator for what each is.

    from ecluse.app import App, Model, Table, Task

    app = App("churn", title="Churn", api=1)

    @app.train
    def train(task: Task, table: Table, target: str = "left", rounds: int = 60) -> Model: ...

The names of this module are what an application may build on; `api=1` says which edition of them it was written for.
A decorator returns the function as it is, so that a notebook or a test can call it: `train(Task(), Table("a.csv"))`.
Nothing else of Écluse is imported here, and no function of an application ever runs in the web process.
"""

from __future__ import annotations

from ecluse.app.application import API, App
from ecluse.app.images import Image, Images
from ecluse.app.values import File, Model, Refused, Table, Task

__all__ = ["API", "App", "File", "Image", "Images", "Model", "Refused", "Table", "Task"]

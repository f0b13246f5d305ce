"""Tell the core what this application is: finished trainings are shown in MLflow."""

from __future__ import annotations

from typing import Final

from ecluse.application import Application, Command

APPLICATION: Final = Application(
    name="mlflow",
    order=90,
    settings="ecluse.apps.mlflow.settings:SECTION",
    commands={
        "mlflow": Command(
            "ecluse.apps.mlflow.commands:mlflow", "Show trainings in MLflow, and serve it behind the sign-in."
        )
    },
    run_part="mlflow/_run.html",
    jobs=("ecluse.apps.mlflow.jobs:KINDS",),
    due=("ecluse.apps.mlflow.jobs:queue_due",),
    after_jobs=("ecluse.apps.mlflow.jobs:after_job",),
)

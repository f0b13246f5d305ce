"""Fill an MLflow server with what people have in theirs: `python tests/mlflow_seed.py`, MLFLOW_TRACKING_URI set.

It prints as JSON what the server then says of it.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import xgboost
from mlflow import MlflowClient
from mlflow.entities import Metric
from sklearn.linear_model import LogisticRegression

ROWS = pd.DataFrame({"age": [20.0, 35.0, 50.0, 65.0], "calls": [1, 4, 2, 9]})
LABELS = [0, 1, 0, 1]
#: Beginning of the first run (ms).
BEGAN = 1_700_000_000_000


def main(runs: int) -> None:
    client = MlflowClient()
    churn = client.create_experiment("churn")
    first = client.create_run(churn, start_time=BEGAN, run_name="first", tags={"team": "growth"})
    run = first.info.run_id
    client.log_param(run, "rounds", 300)
    client.log_param(run, "rate", 0.1)
    client.log_param(run, "model/kind", "tree")
    client.log_param(run, "note", "x" * 700)
    client.log_batch(
        run,
        [Metric("loss", 1 / (step + 1), BEGAN + 1000 * step, step) for step in range(25)]
        + [Metric("val/loss", 2.0, BEGAN + 5, 3), Metric("val.loss", 3.0, BEGAN + 6, 3)]
        + [Metric("time", value, BEGAN + 10 * value, 0) for value in (1, 2, 3)]
        + [Metric("gone", float("nan"), BEGAN, 1)],
    )
    model = xgboost.XGBClassifier(n_estimators=4, max_depth=2).fit(ROWS, LABELS)
    with tempfile.TemporaryDirectory() as folder:
        plot = Path(folder, "plot.txt")
        plot.write_text("a plot")
        client.log_artifact(run, str(plot), "plots")
    with mlflow.start_run(run):
        mlflow.xgboost.log_model(
            model,
            name="model",
            registered_model_name="churn",
            input_example=ROWS,
            pip_requirements=["xgboost"],
        )
    client.set_terminated(run, "FINISHED", BEGAN + 60_000)
    client.set_registered_model_alias("churn", "Champion", "1")
    answers = model.predict(ROWS).tolist()

    pickled = LogisticRegression().fit(ROWS, LABELS)
    with mlflow.start_run(experiment_id=churn, run_name="pickled") as active:
        mlflow.sklearn.log_model(
            pickled,
            name="model",
            registered_model_name="churn model",
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
        )
        second = active.info.run_id
    client.copy_model_version("models:/churn model/1", "churn-model")

    lost = client.create_run(churn, run_name="lost")
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder, "notes.pkl")
        notes.write_bytes(pickle.dumps({"a": 1}))
        client.log_artifact(lost.info.run_id, str(notes))
    client.set_terminated(lost.info.run_id, "FAILED")
    client.create_run(churn, run_name="still running")

    many = client.create_experiment("many: runs/over time")
    content = np.random.default_rng(1).bytes(100_000)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "weights.bin").write_bytes(content)
        for number in range(runs):
            made = client.create_run(many, start_time=BEGAN + number, run_name=f"run {number}")
            client.log_metric(made.info.run_id, "loss", 1 / (number + 1), BEGAN + number, 1)
            client.log_artifact(made.info.run_id, str(Path(folder, "weights.bin")))
            client.set_terminated(made.info.run_id, "FINISHED", BEGAN + number + 1)
    sys.stdout.write(json.dumps({"first": run, "pickled": second, "answers": answers}) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    main(int(sys.argv[1]))

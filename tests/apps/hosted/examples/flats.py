"""Rents of flats: a regression on columns of several types, kept as files of the application's own."""

import json
from pathlib import Path

import pandas as pd
import xgboost

from ecluse.app import App, Model, Table, Task

app = App("flats", title="Rents", description="What a flat should cost a month.", api=1)


@app.train
def train(task: Task, table: Table, target: str = "rent", rounds: int = 30, rate: float = 0.3) -> Model:
    """Learn rents, with a curve of the error."""
    rows = table.read().to_pandas()
    features = prepared(rows.drop(columns=[target]))
    test = len(rows) // 5

    class Curve(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            task.log(epoch, rmse=evals_log["test"]["rmse"][-1])
            task.report((epoch + 1) / rounds)
            return False

    learned = xgboost.DMatrix(features[test:], rows[target][test:])
    held_out = xgboost.DMatrix(features[:test], rows[target][:test])
    booster = xgboost.train(
        {"eta": rate}, learned, rounds, evals=[(held_out, "test")], callbacks=[Curve()], verbose_eval=False
    )
    folder = task.folder / "flats"
    folder.mkdir()
    booster.save_model(folder / "rent.ubj")
    (folder / "columns.json").write_text(json.dumps(list(features.columns)))
    error = float(booster.eval(held_out).rpartition(":")[2])
    return Model(folder, example=rows.drop(columns=[target]).head(5), metrics={"rmse": error})


@app.load
def load(folder: Path):
    booster = xgboost.Booster()
    booster.load_model(folder / "rent.ubj")
    return booster, json.loads((folder / "columns.json").read_text())


@app.predict
def predict(model, rows: pd.DataFrame, currency: str = "EUR") -> pd.DataFrame:
    """Say what each flat should cost."""
    booster, columns = model
    features = prepared(rows).reindex(columns=columns, fill_value=0)
    return pd.DataFrame({"rent": booster.predict(xgboost.DMatrix(features)), "currency": currency})


def prepared(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.get_dummies(rows, columns=["district"]).astype(float)


@app.sample
def sample() -> dict:
    size = [20 + number % 90 for number in range(200)]
    district = [["north", "south", "east"][number % 3] for number in range(200)]
    return {
        "table": pd.DataFrame({"size": size, "district": district, "rent": [15.0 * each for each in size]})
    }

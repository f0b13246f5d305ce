"""Train and apply one contender of `benchmarks.fraud`, in an environment where it is installed.

    python fraud_peers.py ecluse|autogluon|catboost train|apply TASK.json

TASK.json names the CSV files and says what is allowed. `train` writes the model into `folder`, `apply` loads it in
another process and writes the probabilities of the held-out rows into `scores`; both write their figures into `answer`.
Libraries are imported before a clock starts. By time, the last `latest` training rows are what a peer chooses by.
"""

import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

TARGET = "__target__"
#: A text column is a date when this share of its values reads as one.
MOSTLY = 0.95


class Ecluse:
    """`train`, then `load_model` and `score_table`."""

    def __init__(self):
        from ecluse.apps.fraud.families import catboost, lightgbm, linear, xgboost
        from ecluse.apps.fraud.scoring import model, scoring
        from ecluse.apps.fraud.training import training
        from ecluse.tabular.dataset import open_table

        self.loaded = (catboost, lightgbm, linear, xgboost)
        self.training, self.load_model, self.score_table = training, model.load_model, scoring.score_table
        self.open_table = open_table

    def train(self, task, folder):
        plan = self.training.TrainingPlan(
            target=task["target"],
            positive_value="1",
            time_column=task["time"],
            identifier_columns=tuple(task["identifiers"]),
            budget_s=task["budget"],
        )
        with self.open_table(Path(task["train"])) as table:
            self.training.train(table, plan, folder, lambda stage, share, message: None)

    def load(self, task, folder):
        return self.load_model(folder)

    def probabilities(self, model, path, task):
        with self.open_table(Path(path)) as table:
            frames = list(self.score_table(model, table, reasons_for=None))
        return np.concatenate([frame["fraud_probability"].to_numpy() for frame in frames])


class AutoGluon:
    """`TabularPredictor` with `medium_quality` and without dynamic stacking, which needs a quarter of the time."""

    def __init__(self):
        # AutoGluon imports its learners within `fit`; here this does not count as training.
        import catboost
        import fastai.tabular.all
        import lightgbm
        import torch
        import xgboost
        from autogluon.tabular import TabularPredictor

        self.loaded = (catboost, fastai, lightgbm, torch, xgboost)
        self.predictor = TabularPredictor

    def train(self, task, folder):
        frame, target = read_training(task)
        rows, latest = frame.assign(**{TARGET: target}), task["latest"]
        chosen_by = {"tuning_data": rows.iloc[-latest:]} if latest else {}
        whole = folder.parent / "whole"
        predictor = self.predictor(TARGET, eval_metric="average_precision", path=str(whole), verbosity=1)
        predictor.fit(
            rows.iloc[:-latest] if latest else rows,
            **chosen_by,
            presets="medium_quality",
            time_limit=task["budget"],
            dynamic_stacking=False,
        )
        folder.rmdir()  # it makes its own
        predictor.clone_for_deployment(str(folder))

    def load(self, task, folder):
        predictor = self.predictor.load(str(folder), verbosity=0)
        predictor.persist()
        return predictor

    def probabilities(self, predictor, path, task):
        return predictor.predict_proba(read_like_training(path, task))[1].to_numpy()


class CatBoost:
    """Random search over depth, learning rate and l2 with early stopping on a fifth of the rows; then all rows.

    Where a fit ranks that fifth without a fault, the log loss ends it: else one tree would be kept.
    """

    def __init__(self):
        from catboost import CatBoostClassifier, Pool
        from sklearn.metrics import average_precision_score
        from sklearn.model_selection import train_test_split

        self.classifier, self.pool = CatBoostClassifier, Pool
        self.score, self.divide = average_precision_score, train_test_split

    def train(self, task, folder):
        end = time.perf_counter() + 0.97 * task["budget"]
        frame, target = read_training(task)
        dates = date_columns(frame)
        frame = self.prepared(frame, dates)
        names = [name for name in frame.columns if frame[name].dtype == object]
        rows, latest = np.arange(len(target)), task["latest"]
        kept, held = self.divide(rows, test_size=0.2, stratify=target, random_state=0)
        if latest:
            kept, held = rows[:-latest], rows[-latest:]
        train, valid = (self.pool(frame.iloc[part], target[part], names) for part in (kept, held))
        _, params, model, seconds = self.search(train, valid, target[held], end)
        if 1.3 * seconds < end + 1 - time.perf_counter():
            rounds, rate = max(1, round(1.1 * model.tree_count_)), model.get_all_params()["learning_rate"]
            again = params | {"iterations": rounds, "learning_rate": rate}
            model = self.model(again).fit(self.pool(frame, target, names))
        model.save_model(str(folder / "model.cbm"))
        (folder / "dates.json").write_text(json.dumps(dates))

    def search(self, train, valid, truth, end):
        """The best fit while the time allows a last one like it: its score, settings, model and seconds."""
        draw, best = np.random.default_rng(0), None
        while best is None or time.perf_counter() + 1.3 * best[3] < end:
            params, started = {}, time.perf_counter()
            until = started + 0.36 * (end - started)
            if best is not None:
                rate, l2 = np.exp(draw.uniform(np.log([0.02, 1]), np.log([0.3, 30])))
                params = {"depth": int(draw.integers(4, 11)), "learning_rate": rate, "l2_leaf_reg": l2}
                until = end - 1.3 * best[3]
            for metric in ("PRAUC", "Logloss"):
                model = self.model(params | {"iterations": 2000, "eval_metric": metric})
                stop = {"early_stopping_rounds": 50, "callbacks": [Until(until)]}
                model.fit(train, eval_set=valid, use_best_model=True, **stop)
                ranked = self.score(truth, model.predict_proba(valid)[:, 1])
                if ranked < 1:
                    break
            if best is None or ranked > best[0]:
                best = (ranked, params, model, time.perf_counter() - started)
        return best

    def model(self, params):
        quiet = {"verbose": False, "allow_writing_files": False}
        return self.classifier(random_seed=0, thread_count=os.cpu_count(), **quiet, **params)

    def prepared(self, frame, dates):
        """Dates as numbers, other text as categories."""
        for name, day_first in dates.items():
            moment = as_dates(frame.pop(name), day_first)
            frame[f"{name} s"] = moment.astype("int64").where(moment.notna()) / 1e9
            for part in ("month", "day", "dayofweek", "hour"):
                frame[f"{name} {part}"] = getattr(moment.dt, part)
        for name in frame.columns:
            if frame[name].dtype == object:
                frame[name] = frame[name].where(frame[name].notna(), "missing").astype(str).astype(object)
        return frame

    def load(self, task, folder):
        model = self.classifier().load_model(str(folder / "model.cbm"))
        return model, json.loads((folder / "dates.json").read_text())

    def probabilities(self, model, path, task):
        fitted, dates = model
        return fitted.predict_proba(self.prepared(read_like_training(path, task), dates))[:, 1]


class Until:
    """Ends a CatBoost fit at a moment of `time.perf_counter`."""

    def __init__(self, end):
        self.end = end

    def after_iteration(self, info):
        return time.perf_counter() < self.end


# Tables


def read_training(task):
    frame = pd.read_csv(task["train"], low_memory=False).drop(columns=task["identifiers"])
    target = frame.pop(task["target"]).to_numpy()
    return frame, target


def read_like_training(path, task):
    """A file's rows with the types that the training rows have; a number that is none is missing."""
    kinds = json.loads((Path(task["folder"]).parent / "kinds.json").read_text())
    text = {name: object for name, kind in kinds.items() if kind == "object"}
    frame = pd.read_csv(path, dtype=text, low_memory=False).drop(columns=task["identifiers"])
    for name, kind in kinds.items():
        if kind != "object" and frame[name].dtype == object:
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def date_columns(frame):
    """The text columns that read as dates, each with whether the day comes first."""
    found = {}
    for name in frame.select_dtypes(object).columns:
        values = frame[name].dropna().astype(str)
        if values.empty or values.str.contains(r"\d\D\d").mean() <= MOSTLY:
            continue
        shares = {day: as_dates(values, day).notna().mean() for day in (False, True)}
        best = max(shares, key=shares.get)
        if shares[best] > MOSTLY:
            found[name] = best
    return found


def as_dates(values, day_first):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pd.to_datetime(values, format="mixed", dayfirst=day_first, errors="coerce")


# The two verbs, the same for all


def train(contender, task):
    folder = Path(task["folder"])
    folder.mkdir()
    wall, used = time.perf_counter(), cpu_seconds()
    contender.train(task, folder)
    answer = {"train_s": time.perf_counter() - wall, "cpu_s": cpu_seconds() - used}
    kinds = {name: str(kind) for name, kind in read_training(task)[0].dtypes.items()}
    (folder.parent / "kinds.json").write_text(json.dumps(kinds))
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return answer | {"model_mb": size / 1e6, "peak_mb": peak / 1024}


def apply(contender, task):
    model = contender.load(task, Path(task["folder"]))
    np.save(task["scores"], contender.probabilities(model, task["test"], task))
    seconds = []
    while len(seconds) < 3 and sum(seconds) < 10:
        start = time.perf_counter()
        rows = len(contender.probabilities(model, task["big"], task))
        seconds.append(time.perf_counter() - start)
    return {"rows_per_s": rows / min(seconds)}


def cpu_seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


CONTENDERS = {"ecluse": Ecluse, "autogluon": AutoGluon, "catboost": CatBoost}

if __name__ == "__main__":
    name, verb, path = sys.argv[1:]
    task = json.loads(Path(path).read_text())
    answer = {"train": train, "apply": apply}[verb](CONTENDERS[name](), task)
    Path(task["answer"]).write_text(json.dumps(answer))

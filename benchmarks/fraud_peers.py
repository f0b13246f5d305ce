"""Train and apply AutoGluon, FLAML and tuned CatBoost for `benchmarks.fraud`, where these are installed.

    python fraud_peers.py autogluon|flaml|catboost train|apply task.json

Knows nothing of Écluse. `task.json` names the CSV files and says what is allowed; `train` writes the model into
`folder` and its figures into `answer`, `apply` loads that model in a process of its own, writes the probabilities of
the rows to be scored into `scores`, and times itself. Libraries are imported before any clock starts. Where later rows
will be scored, the training rows stand in the order of time, and the last `latest` are what a peer chooses by.
"""

import json
import os
import pickle
import resource
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

TARGET = "__target__"
#: A text column is a date when this share of its values reads as one.
MOSTLY = 0.95


class AutoGluon:
    """`TabularPredictor` with a preset and without dynamic stacking; deployed is what `clone_for_deployment` writes."""

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
        if latest and task["preset"] != "medium_quality":
            chosen_by["use_bag_holdout"] = True  # other presets bag, and then ask for this word
        whole = folder / "whole"
        predictor = self.predictor(TARGET, eval_metric="average_precision", path=str(whole), verbosity=1)
        # Dynamic stacking spends a quarter of the time on trial fits; without Ray, which other presets than medium
        # would need for it, one that finds no time for a model ends the whole training with an error.
        predictor.fit(
            rows.iloc[:-latest] if latest else rows,
            **chosen_by,
            presets=task["preset"],
            time_limit=task["budget"],
            dynamic_stacking=False,
        )
        return predictor

    def save(self, predictor, folder):
        predictor.clone_for_deployment(str(folder / "deployed"))
        board = predictor.leaderboard()
        return {
            "whole_mb": megabytes(folder / "whole"),
            "note": f"{len(board)} models, best {predictor.model_best}",
            "stopped_perfect": int(board["score_val"].max() >= 1),
        }

    def load(self, folder):
        predictor = self.predictor.load(str(folder / "deployed"), verbosity=0)
        predictor.persist()
        return predictor

    def probabilities(self, predictor, frame):
        return predictor.predict_proba(frame)[1].to_numpy()


class Flaml:
    """`AutoML` for average precision with its own estimators; what is kept is the pickle of the object."""

    def __init__(self):
        import flaml
        import lightgbm
        import xgboost

        self.loaded = (lightgbm, xgboost)
        self.automl = flaml.AutoML

    def train(self, task, folder):
        frame, target = read_training(task)
        dates = date_columns(frame)
        automl, latest = self.automl(), task["latest"]
        chosen_by = {}
        if latest:
            chosen_by = {
                "eval_method": "holdout",
                "split_type": "time",
                "split_ratio": latest / len(frame),
            }
        automl.fit(
            with_dates(frame, dates),
            target,
            task="classification",
            metric="ap",
            time_budget=task["budget"],
            seed=task["seed"],
            n_jobs=os.cpu_count(),
            verbose=0,
            **chosen_by,
        )
        return automl, dates

    def save(self, model, folder):
        with (folder / "deployed" / "automl.pkl").open("wb") as file:
            pickle.dump(model, file)
        automl = model[0]
        return {"note": f"best {automl.best_estimator}", "stopped_perfect": int(automl.best_loss <= 0)}

    def load(self, folder):
        with (folder / "deployed" / "automl.pkl").open("rb") as file:
            return pickle.load(file)  # noqa: S301, TID251 - written by `save`, a moment ago, in a folder of our own

    def probabilities(self, model, frame):
        automl, dates = model
        return automl.predict_proba(with_dates(frame, dates))[:, 1]


class CatBoost:
    """Random search over depth, learning rate and l2 with early stopping on a fifth of the rows; then all rows.

    Where a fit ranks that fifth without a fault, the log loss ends it: else one tree would be kept.
    """

    ITERATIONS = 2000
    PATIENCE = 50
    FIRST = 0.35
    REFIT = 1.3

    def __init__(self):
        from catboost import CatBoostClassifier, Pool
        from sklearn.metrics import average_precision_score
        from sklearn.model_selection import train_test_split

        self.classifier, self.pool = CatBoostClassifier, Pool
        self.score, self.divide = average_precision_score, train_test_split

    def train(self, task, folder):
        begun = time.perf_counter()
        frame, target = read_training(task)
        reading = self.reading(frame)
        frame = self.read(frame, reading)
        names = list(reading["categories"])
        kept, held = self.parts(target, task)
        train = self.pool(frame.iloc[kept], target[kept], cat_features=names)
        valid = self.pool(frame.iloc[held], target[held], cat_features=names)
        deadline = begun + 0.97 * task["budget"]
        # The time to fit the best settings again, on all rows, is kept.
        end = begun + self.FIRST * task["budget"]
        rng, best, tried = np.random.default_rng(task["seed"]), None, 0
        while best is None or time.perf_counter() < end:
            params = {} if best is None else sampled(rng)
            started = time.perf_counter()
            model = self.fit(train, valid, params, task["seed"], end)
            ranked = self.score(target[held], model.predict_proba(valid)[:, 1])
            if ranked >= 1:
                model = self.fit(train, valid, params, task["seed"], end, metric="Logloss")
                ranked = self.score(target[held], model.predict_proba(valid)[:, 1])
            seconds = time.perf_counter() - started
            tried += 1
            if best is None or ranked > best[0]:
                best = (ranked, params, model, seconds)
            end = deadline - self.REFIT * best[3]
        _, params, model, seconds = best
        if self.REFIT * seconds < deadline + 1 - time.perf_counter():
            rounds = max(1, round(1.1 * model.tree_count_))
            rate = model.get_all_params()["learning_rate"]
            whole = self.pool(frame, target, cat_features=names)
            settings = self.settings(params, task["seed"]) | {"iterations": rounds, "learning_rate": rate}
            model = self.classifier(**settings).fit(whole)
        return model, reading, tried

    def parts(self, target, task):
        """The rows to fit and those to choose by: the latest where the rows stand in the order of time, else drawn."""
        rows, latest = np.arange(len(target)), task["latest"]
        if latest:
            return rows[:-latest], rows[-latest:]
        return self.divide(rows, test_size=0.2, stratify=target, random_state=task["seed"])

    def fit(self, train, valid, params, seed, end, metric="PRAUC"):
        settings = self.settings(params, seed) | {"iterations": self.ITERATIONS, "eval_metric": metric}
        model = self.classifier(**settings)
        return model.fit(
            train,
            eval_set=valid,
            early_stopping_rounds=self.PATIENCE,
            callbacks=[Until(end)],
            use_best_model=True,
        )

    def settings(self, params, seed):
        quiet = {"verbose": False, "allow_writing_files": False}
        return quiet | {"random_seed": seed, "thread_count": os.cpu_count()} | params

    def reading(self, frame):
        dates = date_columns(frame)
        others = [name for name in frame.columns if frame[name].dtype == object and name not in dates]
        return {"dates": dates, "categories": others}

    def read(self, frame, reading):
        frame = with_dates(frame, reading["dates"])
        for name in reading["dates"]:
            moment = frame.pop(name)
            frame[f"{name} s"] = moment.astype("int64").where(moment.notna()) / 1e9
            for part in ("month", "day", "dayofweek", "hour"):
                frame[f"{name} {part}"] = getattr(moment.dt, part)
        for name in reading["categories"]:
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "missing").astype(str)
        return frame

    def save(self, model, folder):
        fitted, reading, tried = model
        fitted.save_model(str(folder / "deployed" / "model.cbm"))
        (folder / "deployed" / "reading.json").write_text(json.dumps(reading))
        return {"note": f"{tried} settings tried"}

    def load(self, folder):
        model = self.classifier().load_model(str(folder / "deployed" / "model.cbm"))
        return model, json.loads((folder / "deployed" / "reading.json").read_text())

    def probabilities(self, model, frame):
        fitted, reading = model
        return fitted.predict_proba(self.read(frame, reading))[:, 1]


class Until:
    """Ends a CatBoost fit at a moment of `time.perf_counter`."""

    def __init__(self, end):
        self.end = end

    def after_iteration(self, info):
        return time.perf_counter() < self.end


def sampled(rng):
    return {
        "depth": int(rng.integers(4, 11)),
        "learning_rate": float(np.exp(rng.uniform(np.log(0.02), np.log(0.3)))),
        "l2_leaf_reg": float(np.exp(rng.uniform(np.log(1), np.log(30)))),
    }


# Tables


def read_training(task):
    frame = pd.read_csv(task["train"], low_memory=False).drop(columns=task["identifiers"])
    target = frame.pop(task["target"]).to_numpy()
    return frame, target


def read_like(path, task, kinds):
    """A file's rows with the types that the training rows have: text stays text, a number that is none is missing."""
    text = {name: object for name, kind in kinds.items() if kind == "object"}
    frame = pd.read_csv(path, dtype=text, low_memory=False).drop(columns=task["identifiers"])
    for name, kind in kinds.items():
        if kind != "object" and frame[name].dtype == object:
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def date_columns(frame):
    """The text columns that read as dates, each with whether the day comes first."""
    found = {}
    for name in frame.columns:
        values = frame[name].dropna()
        if (
            frame[name].dtype != object
            or values.empty
            or not values.astype(str).str.contains(r"\d\D\d").mean() > MOSTLY
        ):
            continue
        read = {day: as_dates(values, day).notna().mean() for day in (False, True)}
        best = max(read, key=read.get)
        if read[best] > MOSTLY:
            found[name] = best
    return found


def as_dates(values, day_first):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pd.to_datetime(values, format="mixed", dayfirst=day_first, errors="coerce")


def with_dates(frame, dates):
    return frame.assign(**{name: as_dates(frame[name], day_first) for name, day_first in dates.items()})


# The two verbs, the same for all


def train(peer, task):
    folder = Path(task["folder"])
    (folder / "deployed").mkdir(parents=True)
    if isinstance(peer, AutoGluon):
        shutil.rmtree(folder / "deployed")  # it makes its own
    Path(task["begun"]).touch()
    wall, cpu = time.perf_counter(), cpu_seconds()
    model = peer.train(task, folder)
    answer = {"train_s": time.perf_counter() - wall, "cpu_s": cpu_seconds() - cpu}
    kinds = (
        pd.read_csv(task["train"], low_memory=False)
        .drop(columns=[*task["identifiers"], task["target"]])
        .dtypes
    )
    (folder / "kinds.json").write_text(json.dumps({name: str(kind) for name, kind in kinds.items()}))
    answer |= peer.save(model, folder)
    return answer | {"model_mb": megabytes(folder / "deployed")}


def apply(peer, task):
    folder = Path(task["folder"])
    kinds = json.loads((folder / "kinds.json").read_text())
    Path(task["begun"]).touch()
    start = time.perf_counter()
    model = peer.load(folder)
    answer = {"load_s": time.perf_counter() - start}
    np.save(task["scores"], peer.probabilities(model, read_like(task["test"], task, kinds)))

    def whole():
        return peer.probabilities(model, read_like(task["big"], task, kinds))

    frame = read_like(task["big"], task, kinds)
    answer["rows_per_s"] = len(frame) / fastest(whole)
    answer["frame_rows_per_s"] = len(frame) / fastest(lambda: peer.probabilities(model, frame.copy()))
    return answer


def fastest(work):
    """Seconds of the fastest of up to three runs; one is enough where it takes long."""
    seconds = []
    while len(seconds) < 3 and sum(seconds) < 10:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def cpu_seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def megabytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


PEERS = {"autogluon": AutoGluon, "flaml": Flaml, "catboost": CatBoost}


if __name__ == "__main__":
    name, verb, path = sys.argv[1:]
    wanted = json.loads(Path(path).read_text())
    answer = {"train": train, "apply": apply}[verb](PEERS[name](), wanted)
    Path(wanted["answer"]).write_text(json.dumps(answer))

"""Fit, save and load gradient-boosted trees of LightGBM, as its text format."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from ecluse.errors import ModelUnreadable
from ecluse.fraud.evaluation import average_precision
from ecluse.fraud.models import OWN_PARAMS, FitData, Floats, Matrix, Params, Tick, boost, fit_threads

FILE = "best_model.txt.gz"
# Per-row TreeSHAP holds (features + 1) doubles a row: chunks keep a batch within some tens of MB.
SHAP_ROWS = 10_000
QUIET = {"verbosity": -1}
FIXED = {
    "objective": "binary",
    "metric": "None",
    "deterministic": True,
    "force_row_wise": True,
    "feature_pre_filter": False,
    "max_bin": 255,
    **QUIET,
}


class LightGbmModel:
    """A LightGBM booster cut at its best round."""

    family = "lightgbm"

    def __init__(self, booster: lightgbm.Booster) -> None:
        self._booster = booster

    @property
    def rounds(self) -> int:
        return int(self._booster.num_trees())

    def predict_margin(self, matrix: Matrix) -> Floats:
        return np.asarray(self._booster.predict(matrix, raw_score=True), dtype=np.float64)

    def contributions(self, matrix: Matrix) -> Floats:
        parts = [
            np.asarray(
                self._booster.predict(matrix[at : at + SHAP_ROWS], pred_contrib=True), dtype=np.float64
            )
            for at in range(0, len(matrix), SHAP_ROWS)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, matrix.shape[1] + 1))

    def importances(self) -> Floats:
        gain = np.asarray(self._booster.feature_importance("gain"), dtype=np.float64)
        return gain / (gain.sum() or 1.0)

    def save(self, directory: Path) -> str:
        text = self._booster.model_to_string(importance_type="gain")
        # A fixed time stamp keeps the file, and so its digest, the same for the same model.
        (directory / FILE).write_bytes(gzip.compress(text.encode(), mtime=0))
        return FILE


def fit(data: FitData, params: Params, *, seed: int, deadline: float, tick: Tick) -> LightGbmModel:
    """Boost with early stopping on the validation rows.

    Besides LightGBM's own parameters: `rounds`, `patience`, `fixed_rounds`, and `native_categories` (split
    level codes as sets instead of as ordered numbers).
    """
    not_theirs = OWN_PARAMS | {"native_categories"}
    own = {name: params[name] for name in params if name not in not_theirs}
    train, valid = _datasets(data, native=bool(params.get("native_categories")))
    threads = {"num_threads": fit_threads(data.train)}
    booster = lightgbm.Booster({**FIXED, **threads, **own, "seed": seed}, train)
    booster.add_valid(valid, "valid")
    margins: dict[str, Floats] = {}

    def remember(predictions: NDArray[Any], _: lightgbm.Dataset) -> tuple[str, float, bool]:
        margins["valid"] = np.asarray(predictions, dtype=np.float64)
        return "kept", 0.0, True

    def score() -> float:
        booster.eval_valid(remember)
        return average_precision(data.valid_labels, margins["valid"])

    best = boost(
        lambda _: _ignore(booster.update()),
        score,
        params=params,
        every=1 + len(data.valid) // 50_000,
        deadline=deadline,
        tick=tick,
    )
    return LightGbmModel(_from_text(booster.model_to_string(num_iteration=best, importance_type="gain")))


def load(path: Path) -> LightGbmModel:
    """Read `best_model.txt` or its gzip. Raises ModelUnreadable."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ModelUnreadable(f"{path.name} cannot be read: {error}. Fetch the version again.") from error
    if not text.startswith("tree\nversion="):
        raise ModelUnreadable(f"{path.name} is not a LightGBM text model. Fetch the version again.")
    try:
        return LightGbmModel(_from_text(text))
    except lightgbm.basic.LightGBMError as error:
        raise ModelUnreadable(f"{path.name} is damaged: {error}. Fetch the version again.") from error


def _from_text(text: str) -> lightgbm.Booster:
    return lightgbm.Booster(model_str=text)


def _ignore(_: object) -> None:
    return None


def _datasets(data: FitData, *, native: bool) -> tuple[lightgbm.Dataset, lightgbm.Dataset]:
    key = f"lightgbm native={native}"
    if key not in data.prepared:
        params = {name: FIXED[name] for name in ("max_bin", "feature_pre_filter", "verbosity")}
        categorical = list(data.categorical) if native else []
        train = lightgbm.Dataset(
            data.train, data.train_labels, params=params, categorical_feature=categorical, free_raw_data=True
        )
        valid = lightgbm.Dataset(data.valid, data.valid_labels, reference=train, params=params)
        data.prepared[key] = (train.construct(), valid.construct())
    train, valid = data.prepared[key]
    return train, valid

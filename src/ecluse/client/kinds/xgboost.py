"""Keep models of XGBoost as `.ubj`, the library's own format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost

from ecluse.client.kinds import Answers, Kind, class_named, own_class, unreadable
from ecluse.client.kinds.estimators import answer as ask
from ecluse.client.kinds.estimators import columns
from ecluse.client.kinds.whole import is_whole_xgboost

FILE: Final = "model.ubj"
#: The classes that are made from a file.
CLASSES: Final[Mapping[str, Any]] = {
    each.__name__: each
    for each in (
        xgboost.Booster,
        xgboost.XGBClassifier,
        xgboost.XGBRegressor,
        xgboost.XGBRanker,
        xgboost.XGBRFClassifier,
        xgboost.XGBRFRegressor,
    )
}


def save(model: Any, folder: Path, example: Any = None) -> Mapping[str, Any]:
    """Write a booster or an estimator; what it was fitted with, such as callbacks, is not kept."""
    name = own_class(model, CLASSES)
    model.save_model(folder / FILE)
    return {"class": name}


def load(folder: Path, details: Mapping[str, Any]) -> Any:
    """Return a model of the class that was published; `ModelUnreadable` where the file is none."""
    model = class_named(details.get("class"), CLASSES)()
    raw = (folder / FILE).read_bytes()
    if not is_whole_xgboost(raw):
        raise unreadable(FILE, "cut off, or no UBJ")
    try:
        model.load_model(bytearray(raw))
    except (xgboost.core.XGBoostError, ValueError, TypeError, KeyError) as error:
        raise unreadable(FILE, type(error).__name__) from error
    return model


def answer(model: Any, rows: Any) -> Answers:
    """Return what a model says of rows; a booster is asked about a matrix made of them."""
    if isinstance(model, xgboost.Booster):
        return columns("prediction", model.predict(xgboost.DMatrix(rows, enable_categorical=True)))
    return ask(model, rows, _labels_of(model))


def _labels_of(model: Any) -> Callable[[Any], Any] | None:
    """Return how `XGBClassifier.predict` makes labels of probabilities; None where it asks otherwise."""
    if not isinstance(model, xgboost.XGBClassifier):
        return None
    if model.objective == "binary:logistic":
        return lambda probabilities: (probabilities[:, 1] > 0.5).astype(int)
    if model.objective == "multi:softprob" and model.n_classes_ > 2:
        return lambda probabilities: np.argmax(probabilities, axis=1)
    return None


KIND: Final = Kind("xgboost", ("xgboost",), save, load, answer)

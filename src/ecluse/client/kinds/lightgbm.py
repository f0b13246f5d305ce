"""Keep models of LightGBM as its text format, the estimators with the names of their classes beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from sklearn.preprocessing import LabelEncoder

from ecluse.client.kinds import Answers, Kind, class_named, own_class, unreadable
from ecluse.client.kinds.estimators import answer as ask
from ecluse.client.kinds.estimators import classes_from, plain_classes
from ecluse.client.kinds.whole import is_whole_lightgbm

FILE: Final = "model.txt"
#: The classes that are made from a file.
CLASSES: Final[Mapping[str, Any]] = {
    each.__name__: each
    for each in (lightgbm.Booster, lightgbm.LGBMClassifier, lightgbm.LGBMRegressor, lightgbm.LGBMRanker)
}


def save(model: Any, folder: Path, example: Any = None) -> Mapping[str, Any]:
    """Write a booster, or that of an estimator with its classes."""
    name = own_class(model, CLASSES)
    booster = model if isinstance(model, lightgbm.Booster) else model.booster_
    (folder / FILE).write_text(booster.model_to_string(), encoding="utf-8")
    classes = plain_classes(model) if isinstance(model, lightgbm.LGBMClassifier) else None
    return {"class": name} | ({} if classes is None else {"classes": classes})


def load(folder: Path, details: Mapping[str, Any]) -> Any:
    """Return a model of the class that was published; `ModelUnreadable` where the file is none."""
    kind = class_named(details.get("class"), CLASSES)
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
        if not is_whole_lightgbm(text):
            raise unreadable(FILE, "cut off, or no model in text")
        booster = lightgbm.Booster(model_str=text)
    except (lightgbm.basic.LightGBMError, ValueError, TypeError, KeyError) as error:
        raise unreadable(FILE, type(error).__name__) from error
    if kind is lightgbm.Booster:
        return booster
    return _fitted(kind(), booster, details)


def _fitted(model: Any, booster: Any, details: Mapping[str, Any]) -> Any:
    """Make an estimator one that was fitted: it has no way of its own to be made from a file."""
    model._Booster = booster
    model._n_features = model._n_features_in = booster.num_feature()
    model._best_iteration = booster.best_iteration
    model._objective = booster.dump_model(num_iteration=1)["objective"].partition(" ")[0]
    model._fitted_with_feature_names = booster.feature_name() != [
        f"Column_{number}" for number in range(booster.num_feature())
    ]
    if isinstance(model, lightgbm.LGBMClassifier):
        model._le = LabelEncoder()
        model._le.classes_ = model._classes = classes_from(details.get("classes"))
        model._n_classes = len(model._classes)
        model._class_map = dict(zip(model._classes, np.arange(model._n_classes), strict=True))
    model.fitted_ = True
    return model


def answer(model: Any, rows: Any) -> Answers:
    """Return what a model says of rows; of a booster, its predictions alone."""
    return ask(model, rows, _labels_of(model))


def _labels_of(model: Any) -> Callable[[Any], Any] | None:
    """Return how `LGBMClassifier.predict` makes labels of probabilities; None where it asks otherwise."""
    if not isinstance(model, lightgbm.LGBMClassifier) or callable(model.objective_):
        return None
    return lambda probabilities: model._le.inverse_transform(np.argmax(probabilities, axis=1))


KIND: Final = Kind("lightgbm", ("lightgbm",), save, load, answer)

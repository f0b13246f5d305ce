"""Keep models of CatBoost as `.cbm`, the library's own format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import catboost

from ecluse.client.kinds import Kind, class_named, own_class, unreadable
from ecluse.client.kinds.estimators import answer
from ecluse.client.kinds.whole import is_whole_catboost

FILE: Final = "model.cbm"
#: The classes that are made from a file.
CLASSES: Final[Mapping[str, Any]] = {
    each.__name__: each
    for each in (
        catboost.CatBoost,
        catboost.CatBoostClassifier,
        catboost.CatBoostRegressor,
        catboost.CatBoostRanker,
    )
}


def save(model: Any, folder: Path, example: Any = None) -> Mapping[str, Any]:
    """Write a model; the names of its classes stand in the file."""
    name = own_class(model, CLASSES)
    model.save_model(str(folder / FILE), format="cbm")
    return {"class": name}


def load(folder: Path, details: Mapping[str, Any]) -> Any:
    """Return a model of the class that was published; `ModelUnreadable` where the file is none."""
    model = class_named(details.get("class"), CLASSES)()
    raw = (folder / FILE).read_bytes()
    if not is_whole_catboost(raw):
        raise unreadable(FILE, "cut off, or no CBM")
    try:
        model.load_model(blob=raw, format="cbm")
    except (catboost.CatBoostError, ValueError, TypeError, KeyError) as error:
        raise unreadable(FILE, type(error).__name__) from error
    return model


KIND: Final = Kind("catboost", ("catboost",), save, load, answer)

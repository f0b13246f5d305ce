"""Ask models that have the methods of scikit-learn, and keep the names of their classes as plain JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ecluse.client.kinds import Answers
from ecluse.errors import ModelRefused, ModelUnreadable
from ecluse.sentences import _


def answer(model: Any, rows: Any, labels: Callable[[Any], Any] | None = None) -> Answers:
    """Return what a model says of rows: `prediction`, and a probability for each class where it has them.

    A model that predicts nothing, such as a scaler, says what it makes of them. `labels` makes predictions of the
    probabilities as the model itself does, which is asked once then and not twice.
    """
    if labels is not None:
        probabilities = model.predict_proba(rows)
        return columns("prediction", labels(probabilities)) | _probabilities(model, probabilities)
    ask = getattr(model, "predict", None) or getattr(model, "transform", None)
    if ask is None:
        raise ModelRefused(
            _(
                "A %(what)s answers nothing: it has neither predict nor transform. Publish it without an example.",
                what=type(model).__name__,
            )
        )
    answers = columns("prediction", ask(rows))
    if hasattr(model, "predict_proba"):
        answers |= _probabilities(model, model.predict_proba(rows))
    return answers


def _probabilities(model: Any, probabilities: Any) -> dict[str, Any]:
    return columns("probability", probabilities, getattr(model, "classes_", None))


def columns(name: str, values: Any, labels: Any = None) -> dict[str, Any]:
    """Return an array of answers as one column, or as several with a name each."""
    array = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
        return {name: array.reshape(-1)}
    flat = array.reshape(len(array), -1)
    names = [str(label) for label in labels] if labels is not None and len(labels) == flat.shape[1] else []
    if len(set(names)) < flat.shape[1]:
        names = [str(number) for number in range(flat.shape[1])]
    return {f"{name}_{label}": flat[:, number] for number, label in enumerate(names)}


def plain_classes(model: Any) -> list[Any] | None:
    """Return the classes of a classifier as plain JSON; None where it has none.

    Raises:
        ModelRefused: they are neither texts, whole numbers nor truth values.
    """
    classes = getattr(model, "classes_", None)
    if classes is None:
        return None
    plain: list[Any] = np.asarray(classes).tolist()
    if not all(isinstance(label, str | int) for label in plain):
        raise ModelRefused(
            _(
                "Its classes are %(values)s; those that are kept are texts, whole numbers or truth values. Train it on "
                "such labels.",
                values=", ".join(map(repr, plain[:5])),
            )
        )
    return plain


def classes_from(details: object) -> Any:
    """Return classes as `plain_classes` wrote them, in an array.

    Raises:
        ModelUnreadable: they are something else.
    """
    if (
        not isinstance(details, list)
        or not details
        or not all(isinstance(label, str | int) for label in details)
    ):
        raise ModelUnreadable(_("The classes of the model are damaged. Fetch the version again."))
    return np.asarray(details)

"""Keep models of scikit-learn as `.skops`, which is loaded by our list of types alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import skops.io
from skops.io.exceptions import UnsupportedTypeException

from ecluse.client.kinds import Kind
from ecluse.client.kinds.estimators import answer
from ecluse.errors import ModelRefused
from ecluse.sentences import _
from ecluse.skops_files import load_safe, types_outside

FILE: Final = "model.skops"


def save(model: Any, folder: Path, example: Any = None) -> Mapping[str, Any]:
    """Write a model, after a look at whether it could be loaded again.

    Raises:
        ModelRefused: skops cannot write it, or it holds types that are not loaded without a person's consent.
    """
    try:
        content = skops.io.dumps(model)
    except (UnsupportedTypeException, TypeError, AttributeError) as error:
        raise ModelRefused(
            _(
                "A %(what)s cannot be kept without a pickle: %(reason)s.",
                what=type(model).__name__,
                reason=str(error),
            )
        ) from error
    if outside := types_outside(content, FILE):
        raise ModelRefused(
            _(
                "This %(what)s holds %(values)s, which would be loaded on no machine: such a file can take all the "
                "memory it asks for, or run code.",
                what=type(model).__name__,
                values=", ".join(sorted(outside)),
            )
        )
    (folder / FILE).write_bytes(content)
    return {}


def load(folder: Path, details: Mapping[str, Any]) -> Any:
    """Return the model that a `.skops` holds; `ModelUnreadable` where it names a type outside our list."""
    return load_safe((folder / FILE).read_bytes(), FILE)


KIND: Final = Kind("sklearn", ("scikit-learn", "skops"), save, load, answer, is_convertible=True)

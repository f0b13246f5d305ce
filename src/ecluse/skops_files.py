"""Load a .skops file: of the objects it names only those that this list, or a person by the catalog, trusts.

A .skops names the types of the objects in it, and to load it is to make them. Which types may be made is never taken
from what lies beside it in the store, as whoever can write the one can write the other. What a person has trusted:
`models.trust`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from ecluse.errors import ModelUnreadable
from ecluse.sentences import _

#: The types that are loaded without a person's consent, besides those that skops itself trusts: estimators of
#: scikit-learn, arrays, functions of numpy and scipy. They are plain Python objects that hold no others than these.
#: Not here, as they take memory as it is written in the file: trees (`sklearn.tree._tree.Tree`, of forests too),
#: search trees of neighbours, boosters of other libraries. To load these, a person has to say so: `--trust`.
SAFE_TYPES: Final = frozenset(
    {
        "collections.OrderedDict",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.utils._bunch.Bunch",
    }
)


def load_safe(content: bytes, name: str) -> Any:
    """Return what a .skops holds, by `SAFE_TYPES` alone. `name` is what the file is called.

    Raises:
        ModelUnreadable: it is none, or names other types.
    """
    if outside := types_outside(content, name):
        raise ModelUnreadable(
            _(
                "%(file)s holds types that are not loaded: %(values)s. Ask its publisher for the model as a graph "
                "(ONNX).",
                file=name,
                values=", ".join(sorted(outside)),
            )
        )
    return load_types(content, name, SAFE_TYPES)


def types_outside(content: bytes, name: str) -> set[str]:
    """Return the types that a .skops names and that neither skops nor `SAFE_TYPES` trusts.

    Raises:
        ModelUnreadable: it is no .skops.
    """
    import skops.io

    with _readable(name):
        return set(skops.io.get_untrusted_types(data=content)) - SAFE_TYPES


def load_types(content: bytes, name: str, types: frozenset[str]) -> Any:
    """Return what a .skops holds, by these types and those that skops trusts; `ModelUnreadable` where it is none."""
    import skops.io

    with _readable(name):
        return skops.io.loads(content, trusted=sorted(types))  # noqa: TID251 (the types are named)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever a foreign archive makes of its reader into `ModelUnreadable`."""
    try:
        yield
    except Exception as error:
        raise ModelUnreadable(
            _("%(file)s is no .skops that can be read. Fetch the version again.", file=name)
        ) from error

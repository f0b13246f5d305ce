"""Keep a model as files and make it again from them: one module for each kind, none of them by pickle.

What a kind writes is the library's own format, or one that names only types of our list. What is read was written by a
stranger: no name in a file chooses a module or a class; `KINDS` and the lists of each kind do.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ecluse.errors import ModelRefused, ModelUnreadable
from ecluse.sentences import _

#: Kind of a model → its module, imported when one is published or loaded. Of a library that builds on another, as the
#: estimators of XGBoost do on scikit-learn, the class itself decides.
KINDS: Final[Mapping[str, str]] = {
    "xgboost": "ecluse.client.kinds.xgboost",
    "lightgbm": "ecluse.client.kinds.lightgbm",
    "catboost": "ecluse.client.kinds.catboost",
    "sklearn": "ecluse.client.kinds.sklearn",
    "onnx": "ecluse.client.kinds.onnx",
    "torch": "ecluse.client.kinds.torch",
    "folder": "ecluse.client.kinds.folder",
}
#: Answers of a model to rows, by name: arrays with one value for each row.
Answers = Mapping[str, Any]
#: How far an answer may be from what it was, as a share of it (of 1 where it is smaller).
TOLERANCE: Final = 1e-6


@dataclass(frozen=True)
class Kind:
    """How models of one kind are kept.

    `save(model, folder, example)` writes files and returns what `load(folder, details)` needs besides, as plain JSON;
    it looks at the example only where a model cannot be written without being asked. `answer` asks a model about rows,
    and is None where it answers nothing. `packages`: the distributions behind it.
    """

    name: str
    packages: tuple[str, ...]
    save: Callable[[Any, Path, Any], Mapping[str, Any]]
    load: Callable[[Path, Mapping[str, Any]], Any]
    answer: Callable[[Any, Any], Answers] | None
    #: Whether a model that it refuses may be turned into a graph; see `kinds.conversion`.
    is_convertible: bool = False
    #: How far an answer may be from that of the model that was published, as `TOLERANCE` is.
    tolerance: float = TOLERANCE


def kind_named(name: str) -> Kind:
    """Return a kind by its name.

    Raises:
        ModelUnreadable: there is none of this name, or the library behind it is not installed.
    """
    if name not in KINDS:
        raise ModelUnreadable(
            _("It is a model of the kind %(value)s, which this Écluse cannot load. Update it: pip install -U ecluse",
              value=repr(name))
        )  # fmt: skip
    try:
        module = importlib.import_module(KINDS[name])  # noqa: TID251 (a name of KINDS)
    except ModuleNotFoundError as error:
        raise ModelUnreadable(
            _(
                "Models of the kind %(kind)s need %(name)s, which is not installed here. Install it: pip install "
                "%(name)s",
                kind=name,
                name=error.name or "",
            )
        ) from error
    kind: Kind = module.KIND
    return kind


def kind_of(model: Any) -> Kind:
    """Return the kind that keeps a model; a path is a graph (`.onnx`), or any files.

    Raises:
        ModelRefused: none does. It says the way out.
    """
    if isinstance(model, str | Path):
        path = Path(model)
        return kind_named("onnx" if path.suffix.lower() == ".onnx" and path.is_file() else "folder")
    loaded_as = type(model).__module__.removeprefix(f"{__name__}.")  # what a kind of ours made from a file
    packages = [loaded_as, *(each.__module__.partition(".")[0] for each in type(model).__mro__)]
    name = next((package for package in packages if package in KINDS and package != "folder"), None)
    if name is None:
        raise ModelRefused(
            _(
                "A %(what)s cannot be kept without a pickle. Publish a model of scikit-learn, XGBoost, LightGBM or "
                "CatBoost, a network of torch, a graph (model.onnx), or a folder of files by its path.",
                what=f"{type(model).__module__}.{type(model).__qualname__}",
            )
        )
    return kind_named(name)


def class_named(name: object, classes: Mapping[str, Any]) -> Any:
    """Return the class that a file names, out of those that its kind may make.

    Raises:
        ModelUnreadable: it is none of them.
    """
    if not isinstance(name, str) or name not in classes:
        raise ModelUnreadable(
            _(
                "It names the class %(value)s, which is not one that is made from a file. Fetch the version again.",
                value=repr(name),
            )
        )
    return classes[name]


def own_class(model: Any, classes: Mapping[str, Any]) -> str:
    """Return the name of a model's class, where that is one of the library itself.

    Raises:
        ModelRefused: it is another, such as one that a person derived from it.
    """
    name = type(model).__name__
    if classes.get(name) is not type(model):
        raise ModelRefused(
            _(
                "A %(what)s cannot be made again from a file, as its class is not one of %(values)s. Publish the model "
                "within it.",
                what=f"{type(model).__module__}.{type(model).__qualname__}",
                values=", ".join(classes),
            )
        )
    return name


def unreadable(file: str, reason: object) -> ModelUnreadable:
    """Return the error that says a file of a version is none of its kind."""
    return ModelUnreadable(
        _("%(file)s is damaged or of another kind: %(reason)s. Fetch the version again.", file=file, reason=str(reason))
    )  # fmt: skip

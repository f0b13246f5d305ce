"""Keep graphs (ONNX) as they are: bytes that name no other file and no operators of elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from ecluse.client.kinds import Answers, Kind, unreadable
from ecluse.client.kinds.estimators import answer as as_estimator
from ecluse.client.kinds.estimators import classes_from, columns
from ecluse.errors import InvalidInput, ModelRefused
from ecluse.sentences import _

FILE: Final = "model.onnx"
_UNREADABLE: Final = (
    state.InvalidProtobuf,
    state.InvalidGraph,
    state.InvalidArgument,
    state.Fail,
    state.NotImplemented,
    state.RuntimeException,
)
#: The types of a graph's inputs, as numpy calls them.
_TYPES: Final = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class Graph:
    """A graph that answers: `predict(rows)` gives its first output, `run(inputs)` all of them by name.

    `session` is ONNX Runtime's own.
    """

    def __init__(self, content: bytes) -> None:
        """Raise ModelUnreadable for bytes that are no graph that can be run here."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong is raised
        # A thread that waits for work leaves the core to others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A graph may name files of this machine that hold its numbers; no folder is looked in.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])  # noqa: TID251 (bytes)
        except _UNREADABLE as error:
            raise unreadable(FILE, type(error).__name__) from error
        self.content = content

    @property
    def details(self) -> dict[str, Any]:
        """Return what `load` needs besides the content."""
        return {}

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return every output that is an array, by its name, for the arrays of the inputs."""
        names = [output.name for output in self.session.get_outputs() if output.type.startswith("tensor(")]
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))

    def answer(self, rows: Any) -> dict[str, Any]:
        """Return every output for rows; a graph with several inputs takes the columns of these names."""
        return self.run(self._inputs(rows))

    def predict(self, rows: Any) -> Any:
        """Return the first output for rows."""
        return next(iter(self.answer(rows).values()))

    def _inputs(self, rows: Any) -> dict[str, Any]:
        needed = self.session.get_inputs()
        if len(needed) == 1:
            return {needed[0].name: np.asarray(rows).astype(_type_of(needed[0]))}
        if not hasattr(rows, "columns"):
            raise InvalidInput(
                _(
                    "The graph has %(count)s inputs. Give a table with the columns %(values)s.",
                    count=len(needed),
                    values=", ".join(each.name for each in needed),
                )
            )
        missing = [each.name for each in needed if each.name not in list(rows.columns)]
        if missing:
            raise InvalidInput(
                _("The graph needs the columns %(values)s, which are missing.", values=", ".join(missing))
            )
        return {
            each.name: np.asarray(rows[each.name]).astype(_type_of(each)).reshape(-1, 1) for each in needed
        }


class Estimator(Graph):
    """A graph made of an estimator: `predict(rows)` answers as that did. It has no parameters and is not trained."""

    @property
    def details(self) -> dict[str, Any]:
        return {"estimator": {}}

    def predict(self, rows: Any) -> Any:
        """Return what is predicted of rows."""
        values = super().predict(rows)
        return values.reshape(-1) if values.ndim == 2 and values.shape[1] == 1 else values


class Classifier(Estimator):
    """A graph made of a classifier: `predict(rows)` gives labels, `predict_proba(rows)` a number for each class."""

    def __init__(self, content: bytes, classes: Any, *, by_probability: bool) -> None:
        """`by_probability`: the label is that of the largest probability, else what the graph says."""
        super().__init__(content)
        self.classes_ = classes
        self._by_probability = by_probability

    @property
    def details(self) -> dict[str, Any]:
        labels = "probability" if self._by_probability else "output"
        return {"estimator": {"classes": self.classes_.tolist(), "labels": labels}}

    def predict(self, rows: Any) -> Any:
        """Return the label of each row."""
        if self._by_probability:
            return self.classes_[np.argmax(self.predict_proba(rows), axis=1)]
        return super().predict(rows).astype(self.classes_.dtype)

    def predict_proba(self, rows: Any) -> Any:
        """Return the probability of each class, in the order of `classes_`."""
        return list(self.answer(rows).values())[1]


def estimator_of(content: bytes, details: Mapping[str, Any]) -> Graph:
    """Return a graph as what it was made of; `details` are those that are kept with it.

    Raises:
        ModelUnreadable: it cannot be run here, or the details are damaged.
    """
    described = details.get("estimator")
    if described is None:
        return Graph(content)
    if not isinstance(described, Mapping):
        raise unreadable(FILE, "estimator")
    if described.get("classes") is None:
        return Estimator(content)
    classes = classes_from(described["classes"])
    return Classifier(content, classes, by_probability=described.get("labels") == "probability")


def _type_of(needed: Any) -> Any:
    if needed.type not in _TYPES:
        raise InvalidInput(
            _(
                "The input %(name)s of the graph is a %(what)s, which cannot be made of rows. Use run(inputs) of the "
                "loaded model.",
                name=needed.name,
                what=needed.type,
            )
        )
    return _TYPES[needed.type]


def save(model: Any, folder: Path, example: Any = None) -> Mapping[str, Any]:
    """Write a graph, given as a file, a graph of the package onnx, or one that was loaded here.

    Raises:
        ModelRefused: it cannot be run here, or its numbers lie in another file.
    """
    content = _content(model)
    try:
        graph = model if isinstance(model, Graph) else Graph(content)
    except Exception as error:
        raise ModelRefused(
            _(
                "The graph cannot be run from its own bytes (%(reason)s). Save it with all its numbers in one file: "
                'onnx.save_model(model, "model.onnx", save_as_external_data=False)',
                reason=type(error).__name__ if error.__cause__ is None else type(error.__cause__).__name__,
            )
        ) from error
    (folder / FILE).write_bytes(content)
    return graph.details


def _content(model: Any) -> bytes:
    if isinstance(model, str | Path):
        return Path(model).read_bytes()
    if isinstance(model, Graph):
        return model.content
    content: bytes = model.SerializeToString()
    return content


def load(folder: Path, details: Mapping[str, Any]) -> Graph:
    """Return the graph, ready to answer."""
    return estimator_of((folder / FILE).read_bytes(), details)


def answer(model: Any, rows: Any) -> Answers:
    """Return the outputs of a graph for rows, each by its name; of an estimator, as the estimator named them."""
    if isinstance(model, Estimator):
        return as_estimator(model, rows)
    graph = model if isinstance(model, Graph) else Graph(_content(model))
    answers: dict[str, Any] = {}
    for name, values in graph.answer(rows).items():
        answers |= columns(name, values)
    return answers


KIND: Final = Kind("onnx", ("onnxruntime",), save, load, answer)

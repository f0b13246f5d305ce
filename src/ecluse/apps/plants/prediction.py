"""Say what an image shows, with the files of a published version: ONNX Runtime, no torch.

An image that is unlike what its label was learned from is answered with "none of these": the cosine between what
the network sees in it and the mean of what it saw in the training images of that label is below a threshold that
`EXPECTED` of the validation images reach. What other measures do: docs/decisions/2026-11-21-none-of-these.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.plants.errors import PlantsError
from ecluse.apps.plants.evaluation import softmax
from ecluse.apps.plants.graphs import FEATURES, IMAGES, LOGITS, MAPS
from ecluse.apps.plants.pictures import Transform, read_picture
from ecluse.sentences import _

if TYPE_CHECKING:
    import onnxruntime

#: The files of a version that answering needs.
GRAPH_FILE, LABELS_FILE, TRANSFORM_FILE, KNOWN_FILE = SERVED_FILES = (
    "model.onnx",
    "labels.json",
    "transform.json",
    "known.safetensors",
)
#: Share of the validation images that are taken for one of the labels.
EXPECTED: Final = 0.97
METHOD: Final = "cosine"
#: Threads of one answer.
THREADS: Final = 2

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What is said of one image.

    `label` is None where it shows none of the labels; `nearest` is the likeliest in any case, and `probability` its
    own. `familiarity`: the cosine, -1 to 1. `evidence`, if it was asked for: what each part of the square that was
    looked at (`Transform.box`) says for `nearest` rather than for the labels' mean, (height, width) float32.
    `width` and `height` are the image's, upright, in pixels.
    """

    label: str | None
    nearest: str
    probability: float
    probabilities: Mapping[str, float]
    familiarity: float
    evidence: Array | None
    width: int
    height: int

    @property
    def known(self) -> bool:
        return self.label is not None


@dataclass(frozen=True)
class ArrayCache:
    """What a graph gives for one image: `logits` (labels,), `features` (features,), `maps` (labels, h, w)."""

    logits: Array
    features: Array
    maps: Array
    width: int
    height: int


class Graph:
    """A graph of `graphs.build_graph`, and how images are made for it."""

    def __init__(self, graph: bytes, transform: Transform, *, threads: int = THREADS) -> None:
        self.transform = transform
        self._session = _session(graph, threads)
        (images,) = self._session.get_inputs()
        if list(images.shape[1:]) != [3, transform.crop, transform.crop]:
            raise PlantsError(
                _(
                    "The graph takes images of the shape %(word)s; its transform makes them %(count)s "
                    "pixels wide.",
                    word=images.shape[1:],
                    count=transform.crop,
                )
            )
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        self.labels, self.features = int(shapes[LOGITS][1]), int(shapes[FEATURES][1])

    @classmethod
    def open(cls, folder: Path, *, threads: int = THREADS) -> Self:
        """Return the graph in a folder that has the files of a version."""
        transform = Transform.from_dict(json.loads((folder / TRANSFORM_FILE).read_text(encoding="utf-8")))
        return cls((folder / GRAPH_FILE).read_bytes(), transform, threads=threads)

    def see(self, data: bytes) -> ArrayCache:
        """Return what it gives for an image file.

        Raises:
            UnreadableImage: the bytes are no image.
        """
        picture = read_picture(data, side=self.transform.resize)
        logits, features, maps = self.run(self.transform(picture.image)[np.newaxis])
        return ArrayCache(logits[0], features[0], maps[0], picture.width, picture.height)

    def run(self, pixels: Array) -> tuple[Array, Array, Array]:
        """Logits, features and maps of (images, 3, crop, crop)."""
        logits, features, maps = self._session.run([LOGITS, FEATURES, MAPS], {IMAGES: pixels})
        return logits, features, maps


@dataclass(frozen=True)
class Familiarity:
    """`means` (labels, features) float32, each of length 1: the mean features of each label's training images."""

    means: Array
    threshold: float

    def of(self, features: Array, labels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the cosine between each row of features (n, features) and the mean of its label (n,)."""
        cosines: NDArray[np.float64] = (_directions(features) * self.means[labels]).sum(axis=1)
        return cosines

    def accepted(self, features: Array, labels: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which rows are like their label."""
        return self.of(features, labels) >= self.threshold


def learn_familiarity(
    train: Array, truth: NDArray[np.intp], validation: Array, predicted: NDArray[np.intp]
) -> Familiarity:
    """Return how like their labels images have to be.

    `train` and `validation` are features (images, features); `truth` and `predicted` their labels. Each label has a
    training image, and there is a validation image.
    """
    means = np.stack([train[truth == label].mean(axis=0) for label in range(int(truth.max()) + 1)])
    familiarity = Familiarity(_directions(means).astype(np.float32), -1.0)
    cosines = np.sort(familiarity.of(validation, predicted))
    return Familiarity(familiarity.means, float(cosines[int((1 - EXPECTED) * len(cosines))]))


def write_familiarity(familiarity: Familiarity, folder: Path) -> dict[str, Any]:
    """Write what the graph lacks to say "none of these"; what comes back belongs in labels.json as `none_of_these`."""
    from safetensors.numpy import save_file

    save_file({"means": np.ascontiguousarray(familiarity.means)}, folder / KNOWN_FILE)
    return {"method": METHOD, "threshold": familiarity.threshold, "expected": EXPECTED}


@dataclass(frozen=True)
class Predictor:
    """A published classifier, ready to answer; several threads may ask at once."""

    graph: Graph
    labels: tuple[str, ...]
    temperature: float
    familiarity: Familiarity

    @classmethod
    def open(cls, folder: Path, *, threads: int = THREADS) -> Self:
        """From the `SERVED_FILES` of a version, whose digests the caller has compared.

        Raises:
            PlantsError: a file is missing, or does not fit the others.
        """
        from safetensors import SafetensorError

        for name in SERVED_FILES:
            if not (folder / name).is_file():
                raise PlantsError(
                    _("The version has no %(file)s, which answering needs. Train the model again.", file=name)
                )
        try:
            return cls._read(folder, threads)
        except (SafetensorError, ValueError, LookupError, TypeError) as error:
            if isinstance(error, PlantsError):
                raise
            raise PlantsError(
                _(
                    "The files of the version do not fit each other: %(error)s. Train the model again.",
                    error=error,
                )
            ) from error

    @classmethod
    def _read(cls, folder: Path, threads: int) -> Self:
        from safetensors.numpy import load_file

        content = json.loads((folder / LABELS_FILE).read_text(encoding="utf-8"))
        labels, temperature = tuple(map(str, content["labels"])), float(content["temperature"])
        method, threshold = content["none_of_these"]["method"], float(content["none_of_these"]["threshold"])
        means = np.asarray(load_file(folder / KNOWN_FILE)["means"], dtype=np.float32)
        graph = Graph.open(folder, threads=threads)
        if method != METHOD or not temperature > 0 or len(set(labels)) != len(labels):
            raise ValueError(_("%(file)s is not understood", file=LABELS_FILE))
        if graph.labels != len(labels) or means.shape != (len(labels), graph.features):
            raise ValueError(
                _(
                    "%(file)s has %(count)s labels, %(name)s %(number)s",
                    file=LABELS_FILE,
                    count=len(labels),
                    name=GRAPH_FILE,
                    number=graph.labels,
                )
            )
        return cls(graph, labels, temperature, Familiarity(means, threshold))

    @property
    def transform(self) -> Transform:
        return self.graph.transform

    def predict(self, data: bytes, *, explain: bool = False) -> Prediction:
        """Return what an image file shows, and, to `explain` it, where.

        Raises:
            UnreadableImage: the bytes are no image.
        """
        outputs = self.graph.see(data)
        shares = softmax(outputs.logits[np.newaxis].astype(np.float64), self.temperature)[0]
        best = int(shares.argmax())
        familiarity = float(self.familiarity.of(outputs.features[np.newaxis], np.array([best]))[0])
        nearest = self.labels[best]
        return Prediction(
            label=nearest if familiarity >= self.familiarity.threshold else None,
            nearest=nearest,
            probability=float(shares[best]),
            probabilities=dict(zip(self.labels, shares.tolist(), strict=True)),
            familiarity=familiarity,
            evidence=outputs.maps[best] - outputs.maps.mean(axis=0) if explain else None,
            width=outputs.width,
            height=outputs.height,
        )


def _session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:  # noqa: TID251 (the type alone)
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A thread that waits for work leaves the core to others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A graph may name files of this machine that hold its numbers; ours hold their own, and no folder is looked in.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])  # noqa: TID251 (bytes, no folder)
    except (
        state.InvalidProtobuf,
        state.InvalidGraph,
        state.InvalidArgument,
        state.Fail,
        state.NotImplemented,
    ) as error:
        raise PlantsError(
            _("%(file)s is no graph that can be run. Train the model again.", file=GRAPH_FILE)
        ) from error


def _directions(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return each row divided by its length; a row of zeros stays one."""
    rows = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: NDArray[np.float64] = rows / np.where(lengths > 0, lengths, 1.0)
    return directions

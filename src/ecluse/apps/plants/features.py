"""Learn a linear layer on what EfficientNet-Lite0 sees: the recipe `features`, which needs no torch.

The network stays as it learned on ImageNet. Each training image is seen five times (its middle square, four
squares in its corners); a regularised logistic regression tells the labels apart, and is folded into the network's
last layer. An epoch of its history is a strength of regularisation, from strong to weak, not a pass over images.
How views and strengths were chosen: docs/decisions/2026-11-21-linear-layer-on-features.md.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecluse.apps.plants.architectures import CLASSIFIER, TAPS, lite0
from ecluse.apps.plants.checkpoints import history_of, pack, unpack
from ecluse.apps.plants.errors import UnusableCheckpoint, UnusableImages
from ecluse.apps.plants.graphs import extractor
from ecluse.apps.plants.pictures import Transform, read_picture
from ecluse.apps.plants.recipe import (
    Callbacks,
    Epoch,
    Options,
    TrainedClassifier,
    TrainingData,
    check_choices,
)
from ecluse.apps.plants.weights import PACKAGE, SHA256, lite0_state
from ecluse.sentences import _

if TYPE_CHECKING:
    import onnxruntime

    from ecluse.apps.plants.array_cache import ArrayCache

#: The middle square of an image, bicubic; each colour in [-1, 1], as EfficientNet-Lite0 learned with.
LITE0: Final = Transform(resize=224, crop=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
#: Pixels that are decoded and seen at a time: 16 × 3 × 224 × 224 float32 are 10 MB.
_BATCH: Final = 16
#: Above so many training images each is seen once: what five views teach, more images teach better.
_FEW: Final = 2_000
#: Of a large machine's cores; a batch has 15 or 16 squares.
_MOST_THREADS: Final = 8
#: A corner's square, in shares of the shorter side.
_CORNER: Final = 0.7
#: Inverse strengths of regularisation, as scikit-learn's C: the first and the last of a path, and their number.
_STRONGEST, _WEAKEST, _STRENGTHS = 1e-3, 1e1, 13
#: The format of its checkpoints.
FORMAT: Final = "ecluse-features-2"
#: Of the whole work: seeing the images, by far the longest.
_SEEN: Final = 0.95

View = Callable[[Image.Image], NDArray[np.float32]]
#: What is kept of an image: what is seen in its middle square, and in its corners.
Kind = Literal["features", "corners"]
#: Where it is kept: raised where a view or the network is another.
MEANING: Final = "lite0-2"
#: The network, and how many numbers it sees in a square: 1280 of its last convolution, 704 of blocks before it.
_NETWORK: Final = lite0(TAPS)
SEEN: Final = _NETWORK.inputs
Array = NDArray[np.float32]
#: The digest of an image, and what reads its bytes.
Named = tuple[str, Callable[[], bytes]]


def features(training_data: TrainingData, options: Options, callbacks: Callbacks) -> TrainedClassifier:
    """Return a linear layer on frozen features; the strength whose loss on the validation part is the least.

    `options.epochs` is the number of strengths; the seed changes nothing, since nothing is drawn by lot.

    Raises:
        InvalidInput: another architecture, a learning rate or CUDA is asked for.
        UnusableImages: the validation part, or the training images of a label, are none.
    """
    _check(training_data, options)
    kinds: tuple[Kind, ...] = ("features", "corners") if len(training_data.train) <= _FEW else ("features",)
    train, validation = _seen_parts(training_data, kinds, callbacks)
    truth, held_out = (
        np.array([example.label for example in part])
        for part in (training_data.train, training_data.validation)
    )
    path = _Path(train, truth, len(training_data.labels))
    strengths = np.geomspace(_STRONGEST, _WEAKEST, options.epochs or _STRENGTHS).tolist()
    about = _about(training_data, strengths, train.shape[1])
    epochs = _taken_up(path, callbacks, about)
    while len(epochs) < len(strengths) and not (epochs and callbacks.asked_to_finish()):
        began = time.perf_counter()
        layer = path.at(strengths[len(epochs)])
        metrics = (*layer.measured(train[:, 0], truth), *layer.measured(validation, held_out))
        epochs.append(Epoch(len(epochs) + 1, *metrics, seconds=time.perf_counter() - began))
        callbacks.epoch(epochs[-1])
        figures = {"about": about, "history": [asdict(epoch) for epoch in epochs]}
        callbacks.save(pack(FORMAT, figures, path.fitted()))
        done = _SEEN + (1 - _SEEN) * len(epochs) / len(strengths)
        callbacks.report(
            "learn", done, _("Epoch %(number)s of %(count)s", number=len(epochs), count=len(strengths))
        )
    candidates = list(zip(epochs, path.layers(), strict=True))
    best, layer = min(candidates, key=lambda candidate: candidate[0].validation_loss)
    details = {
        "optimiser": "L-BFGS",
        "pretrained": {"package": PACKAGE, "sha256": SHA256},
        "views": train.shape[1],
        "epochs_are": "strengths of regularisation, from strong to weak",
        "strengths": strengths[: len(candidates)],
        "strength": strengths[best.epoch - 1],
    }
    digests = [example.sha256 for example in (*training_data.train, *training_data.validation)]
    seen = dict(zip(digests, (*train[:, 0], *validation), strict=True))
    return TrainedClassifier(
        "lite0", lite0_state() | layer.state(), LITE0, epochs, best.epoch, "cpu", details, seen
    )


def _check(training_data: TrainingData, options: Options) -> None:
    check_choices("features", options)
    counted = Counter(example.label for example in training_data.train)
    for number, label in enumerate(training_data.labels):
        if not counted[number]:
            raise UnusableImages(
                _('No training image shows "%(name)s". Import more images of it.', name=label)
            )
    if not training_data.validation:
        raise UnusableImages(
            _("The validation part has no image. Import more images, or split with other shares.")
        )


def _about(training_data: TrainingData, strengths: Sequence[float], views: int) -> dict[str, Any]:
    """Return what a checkpoint has to agree with."""
    digest = hashlib.sha256()
    for part in (training_data.train, training_data.validation):
        for example in part:
            digest.update(f"{example.sha256} {example.label}\n".encode())
        digest.update(b"\n")
    return {
        "network": SHA256,
        "views": views,
        "strengths": list(strengths),
        "labels": list(training_data.labels),
        "images": digest.hexdigest(),
        "scikit-learn": version("scikit-learn"),
    }


def _taken_up(path: _Path, callbacks: Callbacks, about: Mapping[str, Any]) -> list[Epoch]:
    """Put a path where the checkpoint of this very training says; the epochs up to there, none where it begins."""
    if (data := callbacks.saved()) is None:
        return []
    try:
        figures, arrays = unpack(FORMAT, data)
        epochs = history_of(figures)
    except UnusableCheckpoint as error:
        callbacks.report("learn", _SEEN, _("%(reason)s The training begins again.", reason=error))
        return []
    if figures.get("about") != about:
        callbacks.report(
            "learn",
            _SEEN,
            _(
                "%(reason)s The training begins again.",
                reason=_("The checkpoint is of other images or options."),
            ),
        )
        return []
    path.go_on(arrays)
    return list(epochs)


def _seen_parts(
    training_data: TrainingData, kinds: Sequence[Kind], callbacks: Callbacks
) -> tuple[Array, Array]:
    """Return what is seen of the training images, (images, views, features), and of the validation's, (images,
    features).
    """
    views, images = len(_views_of(kinds)), len(training_data.train) + len(training_data.validation)
    total = len(training_data.train) * views + len(training_data.validation)

    def progress(before: int, each: int) -> Callable[[int, int], None]:
        """Told after `before` images; each that is done is `each` views more."""

        def tell(done: int, _total: int) -> None:
            share = _SEEN * (before * views + done * each) / total
            callbacks.report(
                "learn", share, _("%(done)s of %(total)s images", done=before + done, total=images)
            )

        return tell

    train = see_images(
        [(example.sha256, example.read) for example in training_data.train],
        callbacks.cache(MEANING),
        kinds=kinds,
        progress=progress(0, views),
    ).reshape(len(training_data.train), views, -1)
    validation = see_images(
        [(example.sha256, example.read) for example in training_data.validation],
        callbacks.cache(MEANING),
        progress=progress(len(training_data.train), 1),
    )
    return train, validation


@dataclass(frozen=True)
class _Layer:
    """A linear layer from features to labels: weights (labels, features) and biases (labels,)."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def measured(self, inputs: Array, truth: NDArray[np.intp]) -> tuple[float, float]:
        """Mean cross-entropy (nats) and accuracy."""
        logits = inputs @ self.weight.T + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss = -float(logs[np.arange(len(truth)), truth].mean())
        return loss, float((logits.argmax(axis=1) == truth).mean())

    def state(self) -> dict[str, Array]:
        return {
            f"{CLASSIFIER}.weight": self.weight.astype(np.float32),
            f"{CLASSIFIER}.bias": self.bias.astype(np.float32),
        }


class _Path:
    """Logistic regressions on the same features (images, views, features), each begun where the last ended.

    Features are centred. Those of the last convolution are divided by one number for all, those of the blocks before
    it by another: differences in spread within each say something.
    """

    def __init__(self, inputs: Array, truth: NDArray[np.intp], labels: int) -> None:
        from sklearn.linear_model import LogisticRegression

        self._views, self._labels = inputs.shape[1], labels
        self._truth = np.repeat(truth, self._views)
        rows = inputs.reshape(-1, inputs.shape[2])
        self._centre = rows.mean(axis=0, dtype=np.float64)
        rows = rows - self._centre.astype(np.float32)
        self._scale = np.concatenate(
            [np.full(part.shape[1], _spread(part)) for part in np.split(rows, [_NETWORK.features], axis=1)]
        )
        self._rows = rows / self._scale.astype(np.float32)
        self._model = LogisticRegression(warm_start=True, max_iter=1000)
        #: What was fitted so far, as scikit-learn has it.
        self._weights = list[NDArray[Any]]()
        self._biases = list[NDArray[Any]]()

    def at(self, strength: float) -> _Layer:
        """`strength`: the inverse of the penalty, as scikit-learn's C; the views of an image count as one image."""
        self._model.set_params(C=strength / self._views)
        self._model.fit(self._rows, self._truth)
        self._weights.append(self._model.coef_)
        self._biases.append(self._model.intercept_)
        return self._layer(-1)

    def fitted(self) -> dict[str, NDArray[Any]]:
        """Return all that the next fit depends on beside the features, and what was fitted before."""
        return {"weights": np.stack(self._weights), "biases": np.stack(self._biases)}

    def go_on(self, fitted: Mapping[str, NDArray[Any]]) -> None:
        """As it was when it had `fitted` these."""
        self._weights, self._biases = list(fitted["weights"]), list(fitted["biases"])
        self._model.coef_, self._model.intercept_ = self._weights[-1], self._biases[-1]

    def layers(self) -> list[_Layer]:
        """Return what was fitted, in order."""
        return [self._layer(number) for number in range(len(self._weights))]

    def _layer(self, number: int) -> _Layer:
        weight = np.asarray(self._weights[number], dtype=np.float64)
        bias = np.asarray(self._biases[number], dtype=np.float64)
        if self._labels == 2:
            # One row says how far the second label is ahead; two that differ by it say the same.
            weight, bias = np.concatenate((-weight, weight)) / 2, np.concatenate((-bias, bias)) / 2
        weight = weight / self._scale
        return _Layer(weight, bias - weight @ self._centre)


def _spread(rows: Array) -> float:
    return float(np.sqrt(np.mean(rows * rows, dtype=np.float64))) or 1.0


def see_images(
    images: Sequence[Named],
    cache: ArrayCache,
    *,
    kinds: Sequence[Kind] = ("features",),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float32]:
    """Return what Lite0 sees in each image, (images, views × 1984) float32, by digest and bytes; see
    `extract_features`.

    A view that was seen of an image before, whatever for, is not looked at again: what is seen of an image does not
    depend on those beside it.
    """
    width = len(_views_of(kinds)) * SEEN
    seen = {kind: cache.load((digest for digest, _ in images), kind) for kind in kinds}
    ahead: dict[tuple[Kind, ...], list[Named]] = {}
    for digest, read in dict(images).items():
        if missing := tuple(kind for kind in kinds if digest not in seen[kind]):
            ahead.setdefault(missing, []).append((digest, read))
    done = len(images) - sum(map(len, ahead.values()))
    if ahead:
        progress(done, len(images))
    for missing, rest in ahead.items():
        for batch, features in _seen_batches(rest, _views_of(missing), None):
            for (digest, _read), values in zip(batch, features, strict=True):
                for kind, part in _parts_of(missing, values).items():
                    seen[kind][digest] = {kind: part}
                cache.keep(digest, **{kind: seen[kind][digest][kind] for kind in kinds})
            done += len(batch)
            progress(done, len(images))
    cache.finish()
    features_of = [[seen[kind][digest][kind] for kind in kinds] for digest, _ in images]
    return (
        np.array([np.concatenate(parts) for parts in features_of])
        if images
        else np.empty((0, width), np.float32)
    )


def _views_of(kinds: Sequence[Kind]) -> tuple[View, ...]:
    return tuple(view for kind in kinds for view in VIEWS[kind])


def _parts_of(kinds: Sequence[Kind], values: Array) -> dict[Kind, Array]:
    """Return what is seen in the views of each kind, of (views × 1984,)."""
    ends = np.cumsum([len(VIEWS[kind]) for kind in kinds])[:-1] * SEEN
    return dict(zip(kinds, np.split(values, ends), strict=True))


def extract_features(
    reads: Sequence[Callable[[], bytes]],
    *,
    views: Sequence[View] = (LITE0,),
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return what Lite0 sees in each image, (images, views × 1984) float32: one view after another.

    A batch of images is in memory at a time. `progress` is told how many are done, of how many; what it raises
    ends the work. `threads`: as many as there are cores, up to eight.

    Raises:
        UnreadableImage: one of `reads` gives no image.
    """
    values = np.empty((len(reads), len(views) * SEEN), np.float32)
    done = 0
    for batch, features in _seen_batches([("", read) for read in reads], views, threads):
        values[done : done + len(batch)] = features
        done += len(batch)
        if progress is not None:
            progress(done, len(reads))
    return values


def _seen_batches(
    images: Sequence[Named], views: Sequence[View], threads: int | None
) -> Iterator[tuple[Sequence[Named], Array]]:
    """Yield some images at a time, with what is seen in them, (images, views × 1984)."""
    threads = threads or min(_MOST_THREADS, os.cpu_count() or 1)
    session = _session(threads)
    size = max(1, _BATCH // len(views))
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            pixels = np.concatenate(list(pool.map(partial(_seen, views=views), [read for _, read in batch])))
            (features,) = session.run(None, {"images": pixels})
            yield batch, features.reshape(len(batch), len(views) * SEEN)


def _corner(image: Image.Image, across: float, down: float) -> Array:
    """Return a square of `_CORNER` of the shorter side; `across` and `down` are 0 at the left and the top, 1 at the
    end.
    """
    width, height = image.size
    side = _CORNER * min(width, height)
    left, top = across * (width - side), down * (height - side)
    size = (LITE0.crop, LITE0.crop)
    box = (left, top, left + side, top + side)
    return LITE0.normalised(image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


#: Views of the four corners, which training adds.
CORNERS: Final[tuple[View, ...]] = tuple(
    partial(_corner, across=across, down=down) for across in (0.0, 1.0) for down in (0.0, 1.0)
)

VIEWS: Final[Mapping[Kind, tuple[View, ...]]] = {"features": (LITE0,), "corners": CORNERS}


def _seen(read: Callable[[], bytes], views: Sequence[View]) -> NDArray[np.float32]:
    image = read_picture(read(), side=LITE0.resize).image
    return np.stack([view(image) for view in views])


@cache
def _session(threads: int) -> onnxruntime.InferenceSession:  # noqa: TID251 (the type alone)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(  # noqa: TID251 (a graph that this process builds)
        extractor(_NETWORK, lite0_state()), options, providers=["CPUExecutionProvider"]
    )

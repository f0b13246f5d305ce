"""Small sets of images for trainings, and a recipe that learns them in a second, without torch."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors import numpy as safetensors

from ecluse.apps.plants import rows as images
from ecluse.apps.plants.architectures import resnet18
from ecluse.apps.plants.evaluation import softmax
from ecluse.apps.plants.graphs import extractor
from ecluse.apps.plants.pictures import Transform, read_picture
from ecluse.apps.plants.recipe import Callbacks, Epoch, Example, Options, TrainedClassifier, TrainingData
from ecluse.apps.plants.tables import Image, ImageSet
from ecluse.catalog.tables import new_id, now
from ecluse.runtime import Runtime
from ecluse.storage import join_key

LABELS = ("disc", "stripes")
SMALL = Transform(resize=36, crop=32)


def drawn(label: int, number: int, side: int = 48) -> bytes:
    """A bright disc or stripes over noise and patches of grey, by which no two images look nearly the same, as a PNG."""
    dice = np.random.default_rng([label, number])
    pixels = dice.integers(0, 90, (side, side, 3))
    patches = np.random.default_rng([label, number, 1]).integers(0, 2, (6, 6)) * 90
    pixels += np.kron(patches, np.ones((side // 6, side // 6), int))[:, :, None]
    y, x = np.mgrid[:side, :side]
    middle = dice.uniform(0.35, 0.65, 2) * side
    shape = np.hypot(x - middle[0], y - middle[1]) < side / 4 if label == 0 else (x + number) % 12 < 5
    pixels[shape] += dice.integers(90, 160, 3)
    file = io.BytesIO()
    Pillow.fromarray(np.minimum(pixels, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def add_set(runtime: Runtime, user_id: str, name: str = "shapes", each: int = 20) -> ImageSet:
    """A set of so many drawn images of each label, as an import leaves it."""
    row = ImageSet(id=new_id(), user_id=user_id, name=name, created_at=now(), imported_at=now())
    rows = []
    for label, word in enumerate(LABELS):
        for number in range(each):
            data = drawn(label, number)
            digest = hashlib.sha256(data).hexdigest()
            key = join_key("user_data", user_id, "images", row.id, f"{digest}.png")
            runtime.data.put(key, data)
            rows.append(
                Image(
                    id=new_id(), set_id=row.id, user_id=user_id, sha256=digest, url=runtime.data.url_of(key),
                    size_bytes=len(data), format="PNG", width=48, height=48, label=word, imported_label=word,
                    origin=f"{name}/{word}/{number}.png",
                )
            )  # fmt: skip
    with runtime.catalog.write() as transaction:
        images.add_set(transaction, row)
        images.add_images(transaction, rows)
    return row


@cache
def network_state(width: int = 4) -> dict[str, NDArray[np.float32]]:
    """Random weights of a small ResNet18 with two labels."""
    dice = np.random.default_rng(0)
    state = {}
    for name, shape in resnet18(width).shapes(len(LABELS)).items():
        fan = float(np.prod(shape[1:]) or 1)
        values = dice.normal(0, np.sqrt(2 / fan), shape) if len(shape) > 1 else np.zeros(shape)
        if name.endswith(("running_var", "bn1.weight", "bn2.weight", "downsample.1.weight")):
            values = np.ones(shape)
        state[name] = values.astype(np.float32)
    return state


def learn_last_layer(
    training_data: TrainingData, options: Options, callbacks: Callbacks
) -> TrainedClassifier:
    """A recipe: a few steps of gradient descent an epoch, on what a random network sees; it can go on."""
    seen = {part: _features(getattr(training_data, part)) for part in ("train", "validation")}
    dice = np.random.default_rng(options.seed)
    weight, bias = dice.normal(0, 0.01, (len(training_data.labels), seen["train"].shape[1])), np.zeros(2)
    history: list[Epoch] = []
    if (saved := callbacks.saved()) is not None:
        kept = safetensors.load(saved)
        weight, bias = kept["weight"], kept["bias"]
        history = [Epoch(int(line[0]), *map(float, line[1:])) for line in kept["history"]]
    epochs = options.epochs or 5
    while len(history) < epochs and not (history and callbacks.asked_to_finish()):
        for _ in range(20):
            error = softmax(seen["train"] @ weight.T + bias) - np.eye(2)[_truth(training_data.train)]
            weight -= 0.5 * error.T @ seen["train"] / len(error)
            bias -= 0.5 * error.mean(axis=0)
        measured = [
            measure
            for part in ("train", "validation")
            for measure in _measured(seen[part] @ weight.T + bias, _truth(getattr(training_data, part)))
        ]
        history.append(Epoch(len(history) + 1, *measured))
        callbacks.report("descending", len(history) / epochs, f"Epoch {len(history)} of {epochs}")
        callbacks.epoch(history[-1])
        lines = [[e.epoch, e.train_loss, e.train_accuracy, e.validation_loss, e.validation_accuracy]
                 for e in history]  # fmt: skip
        checkpoint = {"weight": weight, "bias": bias, "history": np.array(lines)}
        callbacks.save(safetensors.save(checkpoint))
    state: dict[str, Any] = {
        **network_state(), "classifier.weight": weight.astype(np.float32), "classifier.bias": bias.astype(np.float32)
    }  # fmt: skip
    return TrainedClassifier(
        "resnet18", state, SMALL, history, len(history), "cpu", {"optimiser": "gradient descent"}
    )


def _features(examples: list[Example]) -> NDArray[np.float64]:
    import onnxruntime

    session = onnxruntime.InferenceSession(extractor(resnet18(4), network_state(), 32))
    pixels = np.stack([SMALL(read_picture(example.read()).image) for example in examples])
    features: NDArray[np.float64] = session.run(None, {"images": pixels})[0].astype(np.float64)
    return features / 3


def _truth(examples: list[Example]) -> NDArray[np.int64]:
    return np.array([example.label for example in examples])


def _measured(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> tuple[float, float]:
    probabilities = softmax(logits)
    loss = -np.log(probabilities[np.arange(len(truth)), truth]).mean()
    return float(loss), float((logits.argmax(axis=1) == truth).mean())

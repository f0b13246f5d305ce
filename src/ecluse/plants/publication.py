"""Write the files of a version from what a recipe learned, and measure what will be served from these files.

The figures of the test part are those of `model.onnx` as it is served: bytes, picture, transform, ONNX Runtime.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse import __version__
from ecluse.plants import evaluation
from ecluse.plants.architectures import Network, network
from ecluse.plants.card import model_card
from ecluse.plants.evaluation import Answers
from ecluse.plants.graphs import build_graph
from ecluse.plants.lessons import Lessons
from ecluse.plants.pictures import Transform, read_picture
from ecluse.plants.recipe import Example, Learned
from ecluse.plants.training import APPLICATION, TrainingRequest

WEIGHTS: Final = "best_model.safetensors"
GRAPH: Final = "model.onnx"
LABELS: Final = "labels.json"
TRANSFORM: Final = "transform.json"
KNOWN: Final = "known.safetensors"
HISTORY: Final = "training_history.json"
METRICS: Final = "metrics.json"
SPLIT: Final = "split.json"
CARD: Final = "model_card.md"
NOT_CHECKED: Final = "not checked: torch is not installed"


@dataclass(frozen=True)
class Written:
    """The report of a version, its metrics.json, and what its manifest says of it."""

    report: dict[str, Any]
    details: dict[str, Any]


def write_model(
    folder: Path,
    learned: Learned,
    lessons: Lessons,
    request: TrainingRequest,
    *,
    seconds: Mapping[str, float],
    progress: Callable[[float], None] = lambda done: None,
) -> Written:
    """Write every file of a version below `folder`, and measure the classifier on the test part, once.

    `seconds` says how long reading and training took; `progress` is told the share of the measuring that is done.
    """
    began = monotonic()
    folder.mkdir(parents=True)
    labels = list(lessons.lesson.labels)
    write_network(folder, learned)
    looking = _Looking(folder, progress, len(lessons.lesson.validation) + len(lessons.test))
    validation = looking.at(lessons.lesson.validation)
    reference = torch_logits(learned)
    test = looking.at(lessons.test, reference)
    temperature = evaluation.fit_temperature(validation.logits, validation.truth)
    none_of_these = _known(folder, validation, test, temperature)
    _write_json(
        folder / LABELS,
        {"labels": labels, "temperature": temperature, "none_of_these": none_of_these},
    )
    counted = lessons.counted()
    took = dict(seconds) | {"evaluation": monotonic() - began}
    best = next(epoch for epoch in learned.history if epoch.epoch == learned.best_epoch)
    report: dict[str, Any] = {
        "application": APPLICATION,
        "recipe": request.recipe,
        "architecture": learned.architecture,
        "labels": labels,
        "image_size": learned.transform.crop,
        "images": {part: dict(counts) for part, counts in counted.items()},
        "train": {"accuracy": best.train_accuracy, "log_loss": best.train_loss},
        **evaluation.evaluation_of(labels, test, validation, counted["train"], temperature),
        "none_of_these": none_of_these,
        "history": [asdict(epoch) for epoch in learned.history],
        "best_epoch": learned.best_epoch,
        "epochs": len(learned.history),
        "optimiser": learned.details.get("optimiser"),
        "details": dict(learned.details),
        "seconds": took | {"total": sum(took.values())},
        "device": learned.device,
        "seed": request.options.seed,
        "split": _split(lessons),
        "data_digest": lessons.split.data_digest,
        "code_version": __version__,
        "export": looking.export(reference is not None, len(lessons.test)),
        "size_bytes": (folder / GRAPH).stat().st_size,
    }
    _write_json(folder / HISTORY, report["history"])
    _write_json(folder / SPLIT, lessons.manifest)
    _write_json(folder / METRICS, report)
    (folder / CARD).write_text(model_card(report), encoding="utf-8")
    return Written(report, _details(report))


def write_network(folder: Path, learned: Learned) -> None:
    """The weights, the graph that is served, and the transform that goes with both."""
    from safetensors.numpy import save_file

    state = {
        name: np.ascontiguousarray(values, dtype=np.float32) for name, values in sorted(learned.state.items())
    }
    save_file(state, folder / WEIGHTS, metadata={"architecture": learned.architecture})
    graph = build_graph(_network(learned), state, learned.transform.crop)
    (folder / GRAPH).write_bytes(graph)
    _write_json(folder / TRANSFORM, learned.transform.to_dict())


def _network(learned: Learned) -> Network:
    """The table the weights are of; that of ResNet18 comes in several widths."""
    stem = network(learned.architecture).stem.name
    return network(learned.architecture, len(learned.state[f"{stem}.weight"]))


Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def torch_logits(learned: Learned) -> Logits | None:
    """What the same weights say in torch, (images, labels) of (images, 3, crop, crop); None without torch."""
    if find_spec("torch") is None:
        return None
    import torch

    from ecluse.plants.networks import Classifier, set_state

    classifier = Classifier(_network(learned), len(learned.state["classifier.bias"]))
    set_state(classifier, learned.state)
    classifier.eval()

    def logits(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            said: NDArray[np.float32] = classifier(torch.from_numpy(pixels)).numpy()
        return said

    return logits


class _Looking:
    """The written graph as it is served, looking at one image after another."""

    def __init__(self, folder: Path, progress: Callable[[float], None], images: int) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(
            (folder / GRAPH).read_bytes(), providers=["CPUExecutionProvider"]
        )
        self._transform = Transform.from_dict(json.loads((folder / TRANSFORM).read_text(encoding="utf-8")))
        self._progress, self._images, self._done = progress, images, 0
        self._difference = 0.0

    def at(self, examples: Sequence[Example], reference: Logits | None = None) -> Answers:
        logits = []
        for example in examples:
            picture = read_picture(example.read(), side=self._transform.resize)
            pixels = self._transform(picture.image)[np.newaxis]
            (said,) = self._session.run(["logits"], {"images": pixels})
            logits.append(said[0])
            if reference is not None:
                difference = float(np.abs(reference(pixels) - said).max())
                self._difference = max(self._difference, difference)
            self._done += 1
            self._progress(self._done / self._images)
        return Answers(examples, np.array(logits, dtype=np.float64))

    def export(self, is_checked: bool, images: int) -> dict[str, Any]:
        """How far what is served is from the same weights in torch, in logits, at most."""
        if not is_checked:
            return {"checked_against": NOT_CHECKED, "largest_difference": None, "images": 0}
        return {"checked_against": "torch", "largest_difference": self._difference, "images": images}


def _known(folder: Path, validation: Answers, test: Answers, temperature: float) -> dict[str, Any]:
    accepted = 0.97
    sure = validation.probabilities(temperature).max(axis=1)
    threshold = float(np.quantile(sure, 1 - accepted))
    return {
        "method": "probability",
        "threshold": threshold,
        "accepted_validation": float(np.mean(sure >= threshold)),
        "accepted_test": float(np.mean(test.probabilities(temperature).max(axis=1) >= threshold)),
        "expected": accepted,
    }


def _split(lessons: Lessons) -> dict[str, Any]:
    split = lessons.split
    return {"id": split.id, "seed": split.seed, "sha256": split.sha256, "shares": split.shares}


def _details(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of a version."""
    metrics = report["metrics"]
    return {
        "application": APPLICATION,
        "recipe": report["recipe"],
        "architecture": report["architecture"],
        "num_classes": len(report["labels"]),
        "best_epoch": report["best_epoch"],
        "epochs": report["epochs"],
        "optimiser": report["optimiser"],
        "train_accuracy": report["train"]["accuracy"],
        "train_loss": report["train"]["log_loss"],
        "validation_accuracy": report["validation"]["accuracy"],
        "validation_loss": report["validation"]["log_loss"],
        "test_accuracy": metrics["accuracy"],
        "test_loss": metrics["log_loss"],
        "test_images": report["interval"]["of"],
        "metrics": metrics,
        "split": report["split"]["id"],
        "data_digest": report["data_digest"],
        "seed": report["seed"],
        "code_version": report["code_version"],
    }


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")

"""Write the files of a version from what a recipe learned, and measure what will be served from these files.

The figures of the test part are those of `model.onnx` as it is served: bytes, picture, transform, ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse import __version__
from ecluse.apps.plants import evaluation
from ecluse.apps.plants.architectures import CLASSIFIER, network_of
from ecluse.apps.plants.array_cache import ArrayCache
from ecluse.apps.plants.card import model_card
from ecluse.apps.plants.demo import SIMULATED
from ecluse.apps.plants.evaluation import Answers
from ecluse.apps.plants.graphs import build_graph
from ecluse.apps.plants.pictures import read_picture
from ecluse.apps.plants.prediction import (
    GRAPH_FILE,
    LABELS_FILE,
    TRANSFORM_FILE,
    Graph,
    learn_familiarity,
    write_familiarity,
)
from ecluse.apps.plants.recipe import Example, TrainedClassifier
from ecluse.apps.plants.report import (
    REPORT_FILE,
    ClassifierReport,
    ServedShare,
    classifier_content,
    read_classifier_report,
)
from ecluse.apps.plants.training import APPLICATION, TrainingRequest
from ecluse.apps.plants.training_data import SplitImages
from ecluse.sentences import _, pack
from ecluse.typed_json import write

WEIGHTS: Final = "best_model.safetensors"
HISTORY: Final = "training_history.json"
SPLIT: Final = "split.json"
CARD: Final = "model_card.md"
#: Images of a label by which it is known what it looks like; more of them hardly move their mean.
TYPICAL: Final = 200
_BATCH: Final = 16
NOT_CHECKED: Final = _("not checked: torch is not installed")


@dataclass(frozen=True)
class Written:
    """The report of a version, its metrics.json, and what its manifest says of it."""

    report: ClassifierReport
    details: dict[str, Any]


def write_model(
    folder: Path,
    trained: TrainedClassifier,
    split_images: SplitImages,
    request: TrainingRequest,
    *,
    seconds: Mapping[str, float],
    progress: Callable[[float], None] = lambda done: None,
    cache_of: Callable[[str], ArrayCache] = ArrayCache,
) -> Written:
    """Write every file of a version below `folder`, and measure the classifier on the test part, once.

    `seconds` says how long reading and training took; `progress` is given the share of the measuring that is done.
    What the written graph says of an image is kept where `seen` says, so that measuring that was interrupted goes on.
    """
    began = monotonic()
    folder.mkdir(parents=True)
    write_network(folder, trained)
    measured, served = _measured(folder, trained, split_images, progress, cache_of)
    took = dict(seconds) | {"evaluation": monotonic() - began}
    content = (
        _made(trained)
        | measured
        | {
            "application": APPLICATION,
            "recipe": request.recipe,
            "seconds": took | {"total": sum(took.values())},
            "seed": request.options.seed,
            "split": _split(split_images),
            "data_digest": split_images.split.data_digest,
            "code_version": __version__,
            "size_bytes": (folder / GRAPH_FILE).stat().st_size,
            "simulated": split_images.simulated,
        }
    )
    report = read_classifier_report(content)
    _write_json(folder / HISTORY, content["history"])
    _write_json(folder / SPLIT, split_images.manifest)
    _write_json(folder / REPORT_FILE, classifier_content(report))
    (folder / CARD).write_text(model_card(report), encoding="utf-8")
    return Written(report, _details(report, served))


def _measured(
    folder: Path,
    trained: TrainedClassifier,
    split_images: SplitImages,
    progress: Callable[[float], None],
    cache_of: Callable[[str], ArrayCache],
) -> tuple[dict[str, Any], ServedShare]:
    """Measure the written graph on every part, and write what serving needs besides: labels and what is unfamiliar."""
    labels, chosen_by = list(split_images.training_data.labels), split_images.training_data.validation
    typical = _typical(split_images)
    images = len(split_images.test) + (0 if trained.seen else len(typical) + len(chosen_by))
    looking = _Looking(folder, progress, images, cache_of)
    look = partial(_said_before, trained, looking.graph.features) if trained.seen else looking.at
    train, train_seen = look(typical)
    validation, validation_seen = look(chosen_by)
    familiarity = learn_familiarity(train_seen, train.truth, validation_seen, validation.predicted)
    temperature = evaluation.fit_temperature(validation.logits, validation.truth)
    test, test_seen = looking.at(split_images.test)
    accepted = familiarity.accepted(test_seen, test.predicted)
    none_of_these = write_familiarity(familiarity, folder) | {
        "accepted_validation": float(familiarity.accepted(validation_seen, validation.predicted).mean()),
        "accepted_test": float(accepted.mean()),
    }
    _write_json(
        folder / LABELS_FILE,
        {"labels": labels, "temperature": temperature, "none_of_these": none_of_these},
    )
    counted, served = split_images.counted(), evaluation.as_served(test, accepted)
    values = evaluation.evaluation_of(labels, test, validation, counted["train"], temperature)
    warnings = [SIMULATED] if split_images.simulated else []
    return values | {
        "labels": labels,
        "images": {part: dict(counts) for part, counts in counted.items()},
        "metrics": {"served_accuracy": served.value} | values["metrics"],
        "warnings": [*warnings, *values["warnings"]],
        "served": write(served),
        "none_of_these": none_of_these,
        "export": check_export(looking.graph, test, torch_logits(trained)),
    }, served


def _made(trained: TrainedClassifier) -> dict[str, Any]:
    """Tell how a classifier was trained: fields of its report."""
    best = next(epoch for epoch in trained.history if epoch.epoch == trained.best_epoch)
    return {
        "architecture": trained.architecture,
        "image_size": trained.transform.crop,
        "train": {"accuracy": best.train_accuracy, "log_loss": best.train_loss},
        "history": [asdict(epoch) for epoch in trained.history],
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.history),
        "optimiser": trained.details.get("optimiser"),
        "details": dict(trained.details),
        "device": trained.device,
    }


def write_network(folder: Path, trained: TrainedClassifier) -> None:
    """Write the weights, the graph that is served, and the transform that goes with both."""
    from safetensors.numpy import save_file

    state = {
        name: np.ascontiguousarray(values, dtype=np.float32) for name, values in sorted(trained.state.items())
    }
    save_file(state, folder / WEIGHTS, metadata={"architecture": trained.architecture})
    graph = build_graph(network_of(trained.architecture, state), state, trained.transform.crop)
    (folder / GRAPH_FILE).write_bytes(graph)
    _write_json(folder / TRANSFORM_FILE, trained.transform.to_dict())


Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def torch_logits(trained: TrainedClassifier) -> Logits | None:
    """Return what the same weights say in torch, (images, labels) of (images, 3, crop, crop); None without torch."""
    if find_spec("torch") is None:
        return None
    import torch

    from ecluse.apps.plants.networks import Classifier, set_state

    classifier = Classifier(
        network_of(trained.architecture, trained.state), len(trained.state["classifier.bias"])
    )
    set_state(classifier, trained.state)
    classifier.eval()

    def logits(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # several wait for each other where other work has the cores
        try:
            with torch.inference_mode():
                outputs: NDArray[np.float32] = classifier(torch.from_numpy(pixels)).numpy()
        finally:
            torch.set_num_threads(threads)
        return outputs

    return logits


class _Looking:
    """The written graph as it is served, looking at one image after another."""

    def __init__(
        self,
        folder: Path,
        progress: Callable[[float], None],
        images: int,
        cache_of: Callable[[str], ArrayCache],
    ) -> None:
        self.graph = Graph.open(folder)
        self._progress, self._images, self._done = progress, images, 0
        files = b"".join((folder / name).read_bytes() for name in (GRAPH_FILE, TRANSFORM_FILE))
        self._seen = cache_of(f"served-{hashlib.sha256(files).hexdigest()}")

    def at(self, examples: Sequence[Example]) -> tuple[Answers, NDArray[np.float32]]:
        """Return what it says of images, and the features (images, features) that it says it by."""
        cached = self._seen.load((example.sha256 for example in examples), "logits", "features")
        for example in examples:
            if example.sha256 not in cached:
                outputs = self.graph.see(example.read())
                cached[example.sha256] = {"logits": outputs.logits, "features": outputs.features}
                self._seen.keep(example.sha256, **cached[example.sha256])
            self._done += 1
            self._progress(self._done / self._images)
        self._seen.finish()
        logits, features = (
            np.array([cached[example.sha256][name] for example in examples])
            for name in ("logits", "features")
        )
        return Answers(examples, logits.astype(np.float64)), features


def _said_before(
    trained: TrainedClassifier, width: int, examples: Sequence[Example]
) -> tuple[Answers, NDArray[np.float32]]:
    """Return the same of images that were learned from or chosen by, but for rounding: they are not looked at again.

    Those of the test part are looked at by the file that will be served, whatever was seen of them before.
    """
    features = np.array([trained.seen[example.sha256] for example in examples])
    logits = features @ trained.state[f"{CLASSIFIER}.weight"].T + trained.state[f"{CLASSIFIER}.bias"]
    return Answers(examples, logits.astype(np.float64)), features[:, :width]


def check_export(graph: Graph, answers: Answers, reference: Logits | None) -> dict[str, Any]:
    """Return how far what is served is from the same weights in torch, in logits, at most."""
    if reference is None:
        return {"checked_against": NOT_CHECKED, "largest_difference": None, "images": 0}
    largest, images = 0.0, len(answers.examples)
    for start in range(0, images, _BATCH):
        batch = answers.examples[start : start + _BATCH]
        side = graph.transform.resize
        pixels = np.stack(
            [graph.transform(read_picture(example.read(), side=side).image) for example in batch]
        )
        apart = np.abs(reference(pixels) - answers.logits[start : start + _BATCH])
        largest = max(largest, float(apart.max()))
    return {"checked_against": "torch", "largest_difference": largest, "images": images}


def _typical(split_images: SplitImages) -> list[Example]:
    """Images that were learned from, `TYPICAL` of a label at most: what each label looks like."""
    counted: Counter[int] = Counter()
    examples = []
    for example in split_images.training_data.train:
        counted[example.label] += 1
        if counted[example.label] <= TYPICAL:
            examples.append(example)
    return examples


def _split(split_images: SplitImages) -> dict[str, Any]:
    split = split_images.split
    return {"id": split.id, "seed": split.seed, "sha256": split.sha256, "shares": split.shares}


def _details(report: ClassifierReport, served: ServedShare) -> dict[str, Any]:
    """Return what the manifest says of a version."""
    return {
        "application": APPLICATION,
        "simulated": report.simulated,
        "recipe": report.recipe,
        "architecture": report.architecture,
        "num_classes": len(report.labels),
        "best_epoch": report.best_epoch,
        "epochs": report.epochs,
        "optimiser": report.optimiser,
        "train_accuracy": report.train.accuracy,
        "train_loss": report.train.log_loss,
        "validation_accuracy": report.validation.accuracy,
        "validation_loss": report.validation.log_loss,
        "served_accuracy": served.value,
        "test_accuracy": report.metrics["accuracy"],
        "test_loss": report.metrics["log_loss"],
        "test_images": served.of,
        "metrics": report.metrics,
        "split": report.split.id,
        "data_digest": report.data_digest,
        "seed": report.seed,
        "code_version": report.code_version,
    }


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(pack(value), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")

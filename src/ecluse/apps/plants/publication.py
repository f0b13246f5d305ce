"""Write the files of a version from what a recipe learned, and measure what will be served from these files.

The figures of the test part are those of `model.onnx` as it is served: bytes, picture, transform, ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse import __version__
from ecluse.apps.plants import evaluation
from ecluse.apps.plants.architectures import Network, network
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
from ecluse.apps.plants.recipe import Example, Learned
from ecluse.apps.plants.seen import Seen
from ecluse.apps.plants.training import APPLICATION, TrainingRequest
from ecluse.apps.plants.training_data import Lessons
from ecluse.sentences import _, pack

WEIGHTS: Final = "best_model.safetensors"
HISTORY: Final = "training_history.json"
METRICS: Final = "metrics.json"
SPLIT: Final = "split.json"
CARD: Final = "model_card.md"
#: Images of a label by which it is known what it looks like; more of them hardly move their mean.
TYPICAL: Final = 200
_BATCH: Final = 16
NOT_CHECKED: Final = _("not checked: torch is not installed")


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
    seen: Callable[[str], Seen] = Seen,
) -> Written:
    """Write every file of a version below `folder`, and measure the classifier on the test part, once.

    `seconds` says how long reading and training took; `progress` is told the share of the measuring that is done.
    What the written graph says of an image is kept where `seen` says, so that measuring that was interrupted goes on.
    """
    began = monotonic()
    folder.mkdir(parents=True)
    labels = list(lessons.lesson.labels)
    write_network(folder, learned)
    typical = _typical(lessons)
    measured = len(typical) + len(lessons.lesson.validation) + len(lessons.test)
    looking = _Looking(folder, progress, measured, seen)
    train, train_seen = looking.at(typical)
    validation, validation_seen = looking.at(lessons.lesson.validation)
    familiarity = learn_familiarity(train_seen, train.truth, validation_seen, validation.predicted)
    temperature = evaluation.fit_temperature(validation.logits, validation.truth)
    test, test_seen = looking.at(lessons.test)
    accepted = familiarity.accepted(test_seen, test.predicted)
    none_of_these = write_familiarity(familiarity, folder) | {
        "accepted_validation": float(familiarity.accepted(validation_seen, validation.predicted).mean()),
        "accepted_test": float(accepted.mean()),
    }
    _write_json(
        folder / LABELS_FILE,
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
        "served": evaluation.as_served(test, accepted),
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
        "export": check_export(looking.graph, test, torch_logits(learned)),
        "size_bytes": (folder / GRAPH_FILE).stat().st_size,
    }
    report["simulated"] = lessons.simulated
    if lessons.simulated:
        report["warnings"] = [SIMULATED, *report["warnings"]]
    served = report["served"]
    report["metrics"] = {"served_accuracy": served["right"] / served["of"]} | report["metrics"]
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
    (folder / GRAPH_FILE).write_bytes(graph)
    _write_json(folder / TRANSFORM_FILE, learned.transform.to_dict())


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

    from ecluse.apps.plants.networks import Classifier, set_state

    classifier = Classifier(_network(learned), len(learned.state["classifier.bias"]))
    set_state(classifier, learned.state)
    classifier.eval()

    def logits(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # several wait for each other where other work has the cores
        try:
            with torch.inference_mode():
                said: NDArray[np.float32] = classifier(torch.from_numpy(pixels)).numpy()
        finally:
            torch.set_num_threads(threads)
        return said

    return logits


class _Looking:
    """The written graph as it is served, looking at one image after another."""

    def __init__(
        self, folder: Path, progress: Callable[[float], None], images: int, seen: Callable[[str], Seen]
    ) -> None:
        self.graph = Graph.open(folder)
        self._progress, self._images, self._done = progress, images, 0
        files = b"".join((folder / name).read_bytes() for name in (GRAPH_FILE, TRANSFORM_FILE))
        self._seen = seen(f"served-{hashlib.sha256(files).hexdigest()}")

    def at(self, examples: Sequence[Example]) -> tuple[Answers, NDArray[np.float32]]:
        """What it says of images, and the features (images, features) that it says it by."""
        known = self._seen.load((example.sha256 for example in examples), "logits", "features")
        for example in examples:
            if example.sha256 not in known:
                found = self.graph.see(example.read())
                known[example.sha256] = {"logits": found.logits, "features": found.features}
                self._seen.keep(example.sha256, **known[example.sha256])
            self._done += 1
            self._progress(self._done / self._images)
        self._seen.finish()
        logits, features = (
            np.array([known[example.sha256][name] for example in examples]) for name in ("logits", "features")
        )
        return Answers(examples, logits.astype(np.float64)), features


def check_export(graph: Graph, answers: Answers, reference: Logits | None) -> dict[str, Any]:
    """How far what is served is from the same weights in torch, in logits, at most."""
    if reference is None:
        return {"checked_against": NOT_CHECKED, "largest_difference": None, "images": 0}
    largest, images = 0.0, len(answers.examples)
    for start in range(0, images, _BATCH):
        batch = answers.examples[start : start + _BATCH]
        side = graph.transform.resize
        pixels = np.stack([graph.transform(read_picture(one.read(), side=side).image) for one in batch])
        apart = np.abs(reference(pixels) - answers.logits[start : start + _BATCH])
        largest = max(largest, float(apart.max()))
    return {"checked_against": "torch", "largest_difference": largest, "images": images}


def _typical(lessons: Lessons) -> list[Example]:
    """Images that were learned from, `TYPICAL` of a label at most: what each label looks like."""
    taken: Counter[int] = Counter()
    found = []
    for example in lessons.lesson.train:
        taken[example.label] += 1
        if taken[example.label] <= TYPICAL:
            found.append(example)
    return found


def _split(lessons: Lessons) -> dict[str, Any]:
    split = lessons.split
    return {"id": split.id, "seed": split.seed, "sha256": split.sha256, "shares": split.shares}


def _details(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of a version."""
    metrics = report["metrics"]
    return {
        "application": APPLICATION,
        "simulated": report["simulated"],
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
        "served_accuracy": report["served"]["right"] / report["served"]["of"],
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
    text = json.dumps(pack(value), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")

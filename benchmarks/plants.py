"""Measure the recipes of plants on photographs: accuracy, seconds, size and latency of what is served.

    python -m benchmarks.plants [--data ../shared/data/plants/dandelion_grass] [--recipes features,pixels] [--seeds 0,1]
                                [--keep FOLDER]

`--recipes`: features, finetune, resnet18 (finetune from nothing), pixels (a linear layer on 32 × 32 pixels), and
scikit-learn's logistic regression on what Lite0 sees in the middle square: logistic (its last features, C = 1),
logistic-folds (C by five folds of the training part), logistic-same (on all that `features` is given, C by folds). A
seed is one split of .7 / .15 / .15 (near-duplicates together) and one training; the test part is looked at once, after
it. `--keep` keeps what Lite0 sees of images for the next recipe, seed and run: their seconds are then without it.
Accuracies are those of model.onnx as it is served, with Wilson intervals of 95 %. Intervals over all seeds are too
narrow: the same images are in the test part of several. Latency: from an image file's bytes to the answer, one at a
time, warm. Skips what cannot be: without the images nothing is measured, without torch the recipes that need it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecluse.apps.plants.architectures import lite0, network_of
from ecluse.apps.plants.array_cache import ArrayCache, LocalArrays
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.features import MEANING, SEEN, features, see_images
from ecluse.apps.plants.graphs import build_graph
from ecluse.apps.plants.likeness import near_groups, perceptual_hash, thumbnail
from ecluse.apps.plants.pictures import read_picture
from ecluse.apps.plants.prediction import Graph, Predictor, learn_familiarity, write_familiarity
from ecluse.apps.plants.recipe import Epoch, Example, Options, TrainedClassifier, TrainingData
from ecluse.apps.plants.splits import Divided, assign_parts
from ecluse.intervals import wilson

DATA = Path("../shared/data/plants/dandelion_grass")
RECIPES = ("features", "finetune", "resnet18", "logistic", "logistic-folds", "logistic-same", "pixels")
#: Sides of the small image that a linear layer on pixels is given.
PIXELS = 32


@dataclass(frozen=True)
class Result:
    """One training. `right` of `of` test images; `seconds` by the clock, `processor` those of all cores together."""

    right: int
    of: int
    seconds: float
    processor: float
    accepted: float | None = None


@dataclass(frozen=True)
class Latency:
    """Of one image, in milliseconds."""

    threads: int
    p50: float
    p95: float
    inference: float


class Quiet:
    """A callbacks that nobody listens to; what is seen of images is kept below a folder, if there is one."""

    def __init__(self, kept: Path | None) -> None:
        self.kept = kept

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        pass

    def epoch(self, epoch: Epoch) -> None:
        pass

    def asked_to_finish(self) -> bool:
        return False

    def save(self, checkpoint: bytes) -> None:
        pass

    def saved(self) -> bytes | None:
        return None

    def cache(self, meaning: str) -> ArrayCache:
        return ArrayCache(meaning, None if self.kept is None else LocalArrays(self.kept, meaning))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.data.is_dir():
        print(
            f"Skipped: there are no images at {args.data}. Give a folder with a folder for each label: --data"
        )
        return
    examples, labels, groups = read_examples(args.data)
    told: dict[str, Any] = {
        "images": len(examples),
        "labels": labels,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    for recipe in args.recipes.split(","):
        if recipe in ("finetune", "resnet18") and find_spec("torch") is None:
            print(f"Skipped: {recipe} needs torch.")
            continue
        seeds = [int(seed) for seed in args.seeds.split(",")]
        told[recipe] = measure(recipe, examples, labels, groups, seeds, Quiet(args.keep))
        print(json.dumps({recipe: told[recipe]}) if args.json else in_words(recipe, told[recipe]), flush=True)
    print(
        json.dumps(told)
        if args.json
        else f"Load while it began: {told['load'][0]:.1f} on {told['cores']} cores"
    )


def read_examples(folder: Path) -> tuple[list[Example], tuple[str, ...], dict[str, str]]:
    """The readable images, each once, their labels, and the group of each that has near-duplicates."""
    labels = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    found: dict[str, Example] = {}
    hashes, thumbnails = [], []
    for number, label in enumerate(labels):
        for path in sorted((folder / label).iterdir()):
            data = path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 in found:
                continue
            try:
                image = read_picture(data).image
            except UnreadableImage as error:
                print(f"Left out: {path.name}: {error}")
                continue
            hashes.append(perceptual_hash(image))
            thumbnails.append(thumbnail(image))
            found[sha256] = Example(str(path), sha256, number, path.read_bytes)
    examples = list(found.values())
    groups = {
        examples[one].sha256: f"group {number}"
        for number, group in enumerate(near_groups(hashes, np.stack(thumbnails)))
        for one in group
    }
    return examples, labels, groups


def measure(
    recipe: str,
    examples: Sequence[Example],
    labels: tuple[str, ...],
    groups: dict[str, str],
    seeds: Sequence[int],
    callbacks: Quiet,
) -> dict[str, Any]:
    """The figures of a recipe over the seeds; size and latency are those of the last training."""
    results: list[Result] = []
    told: dict[str, Any] = {}
    for seed in seeds:
        parts = assign_parts(
            [Divided(one.sha256, labels[one.label], groups.get(one.sha256)) for one in examples], seed=seed
        )
        training_data = TrainingData(
            labels,
            [one for one in examples if parts[one.sha256] == "train"],
            [one for one in examples if parts[one.sha256] == "validation"],
        )
        test = [one for one in examples if parts[one.sha256] == "test"]
        if recipe == "pixels":
            results.append(on_pixels(training_data, test))
            continue
        if recipe.startswith("logistic"):
            results.append(on_features(recipe, training_data, test, callbacks))
            continue
        with tempfile.TemporaryDirectory() as name:
            result, told = on_network(recipe, training_data, test, seed, Path(name), callbacks)
        results.append(result)
    right, of = sum(one.right for one in results), sum(one.of for one in results)
    return told | {
        "seeds": list(seeds),
        "accuracies": [one.right / one.of for one in results],
        "right": [one.right for one in results],
        "of": [one.of for one in results],
        "intervals": [wilson(one.right, one.of) for one in results],
        "accuracy": right / of,
        "interval": wilson(right, of),
        "seconds": [round(one.seconds, 1) for one in results],
        "processor_seconds": [round(one.processor, 1) for one in results],
        "accepted_test": [one.accepted for one in results],
    }


def on_network(
    recipe: str,
    training_data: TrainingData,
    test: Sequence[Example],
    seed: int,
    folder: Path,
    callbacks: Quiet,
) -> tuple[Result, dict[str, Any]]:
    """Train, write what is served, and ask it about each image of the test part."""
    began, used = time.perf_counter(), time.process_time()
    trained = trained_model(recipe, training_data, seed, callbacks)
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    write(trained, training_data, folder)
    predictor = Predictor.open(folder)
    found = [(one, predictor.predict(one.read())) for one in test]
    right = sum(said.nearest == training_data.labels[one.label] for one, said in found)
    accepted = statistics.fmean(said.known for _, said in found)
    told = {
        "size_bytes": (folder / "model.onnx").stat().st_size,
        "latency": [latency(folder, test, threads).__dict__ for threads in (1, 2)],
    }
    return Result(right, len(test), seconds, processor, accepted), told


def trained_model(recipe: str, training_data: TrainingData, seed: int, callbacks: Quiet) -> TrainedClassifier:
    if recipe == "features":
        return features(training_data, Options(seed), callbacks)
    from ecluse.apps.plants.finetune import finetune

    architecture = "resnet18" if recipe == "resnet18" else "lite0"
    return finetune(training_data, Options(seed, architecture=architecture, device="cpu"), callbacks)


def write(trained: TrainedClassifier, training_data: TrainingData, folder: Path) -> None:
    """The files that answering needs."""
    graph = build_graph(
        network_of(trained.architecture, trained.state), trained.state, trained.transform.crop
    )
    (folder / "model.onnx").write_bytes(graph)
    (folder / "transform.json").write_text(json.dumps(trained.transform.to_dict()))
    served = Graph.open(folder)
    train, validation = (
        [served.see(one.read()) for one in part] for part in (training_data.train, training_data.validation)
    )
    familiarity = learn_familiarity(
        np.stack([seen.features for seen in train]),
        np.array([one.label for one in training_data.train]),
        np.stack([seen.features for seen in validation]),
        np.array([int(seen.logits.argmax()) for seen in validation]),
    )
    none_of_these = write_familiarity(familiarity, folder)
    told = {"labels": training_data.labels, "temperature": 1.0, "none_of_these": none_of_these}
    (folder / "labels.json").write_text(json.dumps(told))


def latency(folder: Path, images: Sequence[Example], threads: int) -> Latency:
    """Of the answer to each image, one after another, after ten that are not counted."""
    predictor, data = Predictor.open(folder, threads=threads), [one.read() for one in images]
    for one in data[:10]:
        predictor.predict(one)
    times = [_milliseconds(lambda one=one: predictor.predict(one)) for one in data * 2]
    pixels = np.zeros((1, 3, predictor.transform.crop, predictor.transform.crop), np.float32)
    alone = [_milliseconds(lambda: predictor.graph.run(pixels)) for _ in range(30)]
    p50, p95 = np.percentile(times, [50, 95])
    return Latency(threads, round(float(p50), 1), round(float(p95), 1), round(statistics.median(alone), 1))


def _milliseconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def on_features(
    recipe: str, training_data: TrainingData, test: Sequence[Example], callbacks: Quiet
) -> Result:
    """What anyone would fit on the frozen network: scikit-learn's logistic regression, on one view of each image."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    began, used = time.perf_counter(), time.process_time()
    width = SEEN if recipe == "logistic-same" else lite0().features
    train, unseen = (
        see_images([(one.sha256, one.read) for one in part], callbacks.cache(MEANING))[:, :width]
        for part in (training_data.train, test)
    )
    model = LogisticRegression(max_iter=1000)
    if recipe != "logistic":
        strengths = {"C": np.geomspace(1e-3, 10, 5)}
        model = GridSearchCV(model, strengths, cv=5, scoring="neg_log_loss")
    model.fit(train, [one.label for one in training_data.train])
    right = int((model.predict(unseen) == [one.label for one in test]).sum())
    return Result(right, len(test), time.perf_counter() - began, time.process_time() - used)


def on_pixels(training_data: TrainingData, test: Sequence[Example]) -> Result:
    """A regularised linear layer on small images; its strength is the one best on the validation part."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    began, used = time.perf_counter(), time.process_time()
    (train, train_truth), (validation, validation_truth) = (
        _pixels(training_data.train),
        _pixels(training_data.validation),
    )
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=float(strength), max_iter=1000))
        for strength in np.geomspace(1e-6, 1, 7)
    ]
    best = max(
        (model.fit(train, train_truth) for model in models),
        key=lambda model: model.score(validation, validation_truth),
    )
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    pixels, truth = _pixels(test)
    return Result(int((best.predict(pixels) == truth).sum()), len(test), seconds, processor)


def _pixels(examples: Sequence[Example]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    small = [
        np.asarray(read_picture(one.read()).image.resize((PIXELS, PIXELS), Image.Resampling.BOX), np.float32)
        for one in examples
    ]
    return np.stack(small).reshape(len(examples), -1), np.array([one.label for one in examples])


def in_words(recipe: str, found: dict[str, Any]) -> str:
    each = ", ".join(
        f"{seed}: {accuracy:.1%} ({low:.1%} to {high:.1%})"
        for seed, accuracy, (low, high) in zip(
            found["seeds"], found["accuracies"], found["intervals"], strict=True
        )
    )
    low, high = found["interval"]
    lines = [
        f"{recipe}: {found['accuracy']:.1%} of {sum(found['of'])} ({low:.1%} to {high:.1%}); by seed {each}",
        f"  training {statistics.median(found['seconds']):.1f} s,"
        f" of which all cores together {statistics.median(found['processor_seconds']):.1f} s (medians)",
    ]
    if "size_bytes" in found:
        accepted = statistics.fmean(found["accepted_test"])
        lines.append(
            f"  model.onnx {found['size_bytes'] / 1e6:.1f} MB; test images taken for a label {accepted:.1%}"
        )
        lines += [
            f"  {one['threads']} threads: p50 {one['p50']} ms, p95 {one['p95']} ms;"
            f" the network alone {one['inference']} ms"
            for one in found["latency"]
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

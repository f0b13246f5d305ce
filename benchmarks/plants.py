"""Train classifiers of photographs and measure what is served: accuracy, seconds, size, latency.

    python -m benchmarks.plants [--data FOLDER] [--recipes features,logistic] [--seeds 0,1,2,3,4] [--keep FOLDER]

FOLDER has a folder of images for each label. `features` and `finetune` are the product's recipes, `resnet18` is
finetune from nothing (both need torch); `logistic` is scikit-learn's logistic regression on the last features of
Lite0, C by five folds. A seed is one split of .7 / .15 / .15, near-duplicates together, and one training; the test part
is used once, after it.

Printed are test images right over all seeds, the Wilson interval of 95 % (too narrow: the same images are in the test
part of several seeds), right of each seed; seconds of training by the clock and of the processors (medians); megabytes
of model.onnx; and milliseconds from the bytes of an image to its logits, one at a time on one thread (p50, p95).
`--keep` keeps what Lite0 computes of images for the next seed and run, whose seconds are then without it.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measuring import DATA, Spent, options, print_table, say, timed
from ecluse.apps.plants.architectures import lite0
from ecluse.apps.plants.array_cache import ArrayCache, LocalArrays
from ecluse.apps.plants.features import MEANING, features, see_images
from ecluse.apps.plants.likeness import near_groups, perceptual_hash, thumbnail
from ecluse.apps.plants.pictures import read_picture
from ecluse.apps.plants.prediction import Graph
from ecluse.apps.plants.publication import write_network
from ecluse.apps.plants.recipe import Callbacks, Example, Options, TrainedClassifier, TrainingData
from ecluse.apps.plants.splits import Divided, assign_parts
from ecluse.intervals import wilson


@dataclass(frozen=True)
class Result:
    """One training: `right` of `of` test images, what it took, megabytes served, milliseconds of each answer."""

    right: int
    of: int
    spent: Spent
    megabytes: float | None = None
    latencies: Sequence[float] = ()


class Quiet(Callbacks):
    """Tells nobody; what Lite0 computes is kept below a folder, if there is one."""

    def __init__(self, kept: Path | None) -> None:
        self._kept = kept

    def asked_to_finish(self) -> bool:
        return False

    def cache(self, meaning: str) -> ArrayCache:
        return ArrayCache(meaning, LocalArrays(self._kept, meaning) if self._kept else None)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "plants" / "dandelion_grass")
    parser.add_argument("--recipes", default="features,logistic")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    examples, labels, groups = read_examples(arguments.data)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    lines = []
    for recipe in arguments.recipes.split(","):
        measure = on_features if recipe == "logistic" else on_network
        results = []
        for seed in seeds:
            divided = [Divided(one.sha256, labels[one.label], groups.get(one.sha256)) for one in examples]
            part_of, parts = assign_parts(divided, seed=seed), dict[str, list[Example]]()
            for one in examples:
                parts.setdefault(part_of[one.sha256], []).append(one)
            data = TrainingData(labels, parts["train"], parts["validation"])
            results.append(measure(recipe, data, parts["test"], seed, Quiet(arguments.keep)))
            say(f"{recipe}, seed {seed}: {results[-1].right} of {results[-1].of}")
        lines.append(line_of(recipe, results))
    head = ("recipe", "right", "interval", "by seed", "s", "s of processors", "MB", "p50, ms", "p95, ms")
    print_table(head, lines)


def read_examples(folder: Path) -> tuple[list[Example], tuple[str, ...], dict[str, str]]:
    """The images, each once, their labels, and the group of each that has near-duplicates."""
    labels = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    found: dict[str, Example] = {}
    hashes, thumbnails = [], []
    for number, label in enumerate(labels):
        for path in sorted((folder / label).iterdir()):
            sha256 = hashlib.sha256(data := path.read_bytes()).hexdigest()
            if sha256 in found:
                continue
            image = read_picture(data).image
            hashes.append(perceptual_hash(image))
            thumbnails.append(thumbnail(image))
            found[sha256] = Example(str(path), sha256, number, path.read_bytes)
    examples = list(found.values())
    near = enumerate(near_groups(hashes, np.stack(thumbnails)))
    groups = {examples[one].sha256: f"group {number}" for number, group in near for one in group}
    return examples, labels, groups


def on_network(
    recipe: str, data: TrainingData, test: Sequence[Example], seed: int, callbacks: Callbacks
) -> Result:
    """Train, write what is served, and ask it about each test image twice; the second time counts."""
    trained: list[TrainedClassifier] = []
    spent = timed(lambda: trained.append(trained_by(recipe, data, seed, callbacks)))
    with tempfile.TemporaryDirectory() as name:
        write_network(Path(name), trained[0])
        graph, images = Graph.open(Path(name), threads=1), [one.read() for one in test]
        nearest = [int(graph.see(image).logits.argmax()) for image in images]
        latencies = [timed(lambda image=image: graph.see(image)).seconds * 1000 for image in images]
        size = (Path(name) / "model.onnx").stat().st_size / 1e6
    right = sum(label == one.label for label, one in zip(nearest, test, strict=True))
    return Result(right, len(test), spent, size, latencies)


def trained_by(recipe: str, data: TrainingData, seed: int, callbacks: Callbacks) -> TrainedClassifier:
    if recipe == "features":
        return features(data, Options(seed), callbacks)
    from ecluse.apps.plants.finetune import finetune

    architecture = "resnet18" if recipe == "resnet18" else "lite0"
    return finetune(data, Options(seed, architecture=architecture, device="cpu"), callbacks)


def on_features(
    recipe: str, data: TrainingData, test: Sequence[Example], seed: int, callbacks: Callbacks
) -> Result:
    """What anyone would fit on the frozen network."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    def seen(part: Sequence[Example]) -> np.ndarray:
        found = see_images([(one.sha256, one.read) for one in part], callbacks.cache(MEANING))
        return found[:, : lite0().features]

    strengths = {"C": np.geomspace(1e-3, 10, 5)}
    model = GridSearchCV(LogisticRegression(max_iter=1000), strengths, cv=5, scoring="neg_log_loss")
    spent = timed(lambda: model.fit(seen(data.train), [one.label for one in data.train]))
    right = (model.predict(seen(test)) == [one.label for one in test]).sum()
    return Result(int(right), len(test), spent)


def line_of(recipe: str, results: Sequence[Result]) -> tuple[object, ...]:
    right, of = sum(one.right for one in results), sum(one.of for one in results)
    low, high = wilson(right, of)
    latencies = [latency for one in results for latency in one.latencies]
    percentiles = np.percentile(latencies, [50, 95]).tolist() if latencies else [None, None]
    return (
        recipe,
        f"{right} of {of} ({right / of:.1%})",
        f"{low:.1%} to {high:.1%}",
        ", ".join(str(one.right) for one in results),
        statistics.median(one.spent.seconds for one in results),
        statistics.median(one.spent.processor for one in results),
        results[-1].megabytes,
        *percentiles,
    )


if __name__ == "__main__":
    main()

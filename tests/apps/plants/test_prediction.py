"""Answers from the files of a version, on small drawings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ecluse.apps.plants.architectures import network_of, resnet18
from ecluse.apps.plants.errors import PlantsError, UnreadableImage
from ecluse.apps.plants.features import LITE0, features
from ecluse.apps.plants.graphs import build_graph, extractor
from ecluse.apps.plants.pictures import Transform
from ecluse.apps.plants.prediction import (
    EXPECTED,
    SERVED_FILES,
    Familiarity,
    Graph,
    Predictor,
    learn_familiarity,
    write_familiarity,
)
from ecluse.apps.plants.recipe import Options
from tests.apps.plants.test_features import LABELS, Told, drawing, examples, training_data
from tests.apps.plants.test_graphs import some_state


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that tells three kinds of drawings apart."""
    folder, trained_model = tmp_path_factory.mktemp("version"), training_data(3, 6)
    trained = features(trained_model, Options(epochs=6), Told())
    (folder / "model.onnx").write_bytes(build_graph(network_of("lite0", trained.state), trained.state))
    (folder / "transform.json").write_text(json.dumps(trained.transform.to_dict()))
    graph = Graph.open(folder)
    train, validation = (
        [graph.see(one.read()) for one in part] for part in (trained_model.train, trained_model.validation)
    )
    familiarity = learn_familiarity(
        np.stack([seen.features for seen in train]),
        np.array([one.label for one in trained_model.train]),
        np.stack([seen.features for seen in validation]),
        np.array([int(seen.logits.argmax()) for seen in validation]),
    )
    told = {
        "labels": LABELS,
        "temperature": 2.0,
        "none_of_these": write_familiarity(familiarity, folder),
    }
    (folder / "labels.json").write_text(json.dumps(told))
    return folder


def test_an_answer_has_a_label_probabilities_and_a_map(folder: Path) -> None:
    predictor = Predictor.open(folder)
    right = 0
    for one in examples(3, 3, start=300):
        found = predictor.predict(one.read(), explain=True)
        right += found.nearest == LABELS[one.label]
        assert list(found.probabilities) == list(LABELS)
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert found.probability == max(found.probabilities.values()) == found.probabilities[found.nearest]
        assert (found.width, found.height) == (72, 56)
        assert found.evidence is not None
        assert found.evidence.shape == (7, 7)
        assert found.known == (found.familiarity >= predictor.familiarity.threshold)
        assert found.label == (found.nearest if found.known else None)
    assert right >= 7


def test_the_temperature_softens_what_the_graph_says(folder: Path) -> None:
    data = drawing(0, 500)
    logits = Graph.open(folder).see(data).logits.astype(float)
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum()
    found = Predictor.open(folder).predict(data)
    np.testing.assert_allclose(list(found.probabilities.values()), expected, rtol=1e-5)
    assert found.evidence is None


def test_the_map_sums_up_to_what_speaks_for_the_label(folder: Path) -> None:
    data, predictor = drawing(2, 501), Predictor.open(folder)
    found, seen = predictor.predict(data, explain=True), predictor.graph.see(data)
    assert found.evidence is not None
    graph_bias = seen.logits - seen.maps.mean(axis=(1, 2))
    best = LABELS.index(found.nearest)
    ahead = (seen.logits - graph_bias)[best] - (seen.logits - graph_bias).mean()
    assert found.evidence.mean() == pytest.approx(ahead, abs=1e-4)


def test_noise_is_none_of_these(folder: Path) -> None:
    import io

    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (240, 240, 3), dtype=np.uint8)
    into = io.BytesIO()
    Image.fromarray(pixels).save(into, "PNG")
    found = Predictor.open(folder).predict(into.getvalue())
    assert found.label is None
    assert not found.known
    assert found.nearest in LABELS


def test_the_threshold_is_what_the_share_expected_of_the_validation_images_reach() -> None:
    rng = np.random.default_rng(0)
    centres = rng.uniform(1, 2, (3, 40))
    truth = rng.integers(0, 3, 500)
    seen = (centres[truth] + rng.normal(0, 0.3, (500, 40))).astype(np.float32)
    found = learn_familiarity(seen[:200], truth[:200], seen[200:], truth[200:])
    assert found.accepted(seen[200:], truth[200:]).mean() == pytest.approx(EXPECTED, abs=0.5 / 300)
    assert not found.accepted(-seen[:9], truth[:9]).any()
    np.testing.assert_allclose(np.linalg.norm(found.means, axis=1), 1, rtol=1e-6)


def test_an_image_in_which_nothing_is_seen_is_unlike_every_label() -> None:
    means = np.eye(2, 3, dtype=np.float32)
    assert Familiarity(means, 0.1).of(np.zeros((1, 3), np.float32), np.array([1])) == [0.0]


def test_answers_do_not_depend_on_the_number_of_threads(folder: Path) -> None:
    data = drawing(1, 502)
    one, two = (Predictor.open(folder, threads=threads).predict(data) for threads in (1, 2))
    assert one.nearest == two.nearest
    assert one.probability == pytest.approx(two.probability, abs=1e-5)


def test_what_is_no_image_is_told(folder: Path) -> None:
    with pytest.raises(UnreadableImage):
        Predictor.open(folder).predict(b"GIF89a")


@pytest.mark.parametrize("name", SERVED_FILES)
def test_a_version_without_a_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    _copied(folder, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(PlantsError, match=name):
        Predictor.open(tmp_path)


def _labels(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        told = json.loads((folder / "labels.json").read_text())
        change(told)
        (folder / "labels.json").write_text(json.dumps(told))

    return changed


def _small_graph(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(build_graph(resnet18(4), some_state(resnet18(4), 3), 224))


def _graph_of_another_kind(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(extractor(resnet18(4), some_state(resnet18(4), 3), 224))


def _other_transform(folder: Path) -> None:
    (folder / "transform.json").write_text(json.dumps(Transform(resize=96, crop=64).to_dict()))


def _one_mean_less(folder: Path) -> None:
    save_file({"means": load_file(folder / "known.safetensors")["means"][1:]}, folder / "known.safetensors")


@pytest.mark.parametrize(
    "spoil",
    [
        _labels(lambda told: told["labels"].pop()),
        _labels(lambda told: told.pop("temperature")),
        _labels(lambda told: told.update(temperature=0)),
        _labels(lambda told: told.update(labels=["a", "a", "b"])),
        _labels(lambda told: told["none_of_these"].update(method="stars")),
        _small_graph,
        _other_transform,
        _one_mean_less,
        lambda folder: (folder / "labels.json").write_text("{"),
        lambda folder: (folder / "model.onnx").write_bytes(b"no graph"),
        lambda folder: (folder / "model.onnx").write_bytes(b""),
        _graph_of_another_kind,
        lambda folder: (folder / "known.safetensors").write_bytes(b"nothing"),
    ],
)
def test_files_that_do_not_fit_each_other_are_refused(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    _copied(folder, tmp_path)
    spoil(tmp_path)
    with pytest.raises(PlantsError):
        Predictor.open(tmp_path)


def _copied(folder: Path, target: Path) -> None:
    for name in SERVED_FILES:
        (target / name).write_bytes((folder / name).read_bytes())


def test_the_transform_of_a_version_is_the_one_of_its_training(folder: Path) -> None:
    assert Predictor.open(folder).transform == LITE0

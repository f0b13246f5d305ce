"""The drawn leaves are a task worth learning: no linear model of the pixels solves it, and a seeing one does."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecluse.apps.plants.demo import COPIES, LABELS, MISLABELLED, WRONG, Drawn, draw_sample, write_demo
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.pictures import read_picture
from ecluse.errors import InvalidInput


@pytest.fixture(scope="module")
def sample() -> list[Drawn]:
    return list(draw_sample(each=20, seed=4))


def test_the_same_seed_gives_the_same_leaves_and_another_one_others(sample: list[Drawn]) -> None:
    assert list(draw_sample(each=20, seed=4)) == sample
    assert {one.data for one in draw_sample(each=20, seed=5)}.isdisjoint(one.data for one in sample)


def test_a_name_says_nothing_of_a_leaf(sample: list[Drawn]) -> None:
    assert len({one.path for one in sample}) == len(sample)
    for label in LABELS:
        numbers = [
            int(one.path[-8:-4]) for one in sample if one.path.startswith(label) and "copy" not in one.path
        ]
        assert min(numbers) < 10
        assert max(numbers) >= 30


def test_all_files_but_the_one_that_broke_off_are_images(sample: list[Drawn]) -> None:
    broken = []
    for one in sample:
        try:
            read_picture(one.data)
        except UnreadableImage:
            broken.append(one.wrong)
    assert broken == ["broken off"]


def test_what_is_wrong_is_listed(tmp_path: Path, sample: list[Drawn]) -> None:
    count = write_demo(tmp_path / "leaves", each=20, seed=4)
    files = list((tmp_path / "leaves").rglob("*.jpg"))
    assert count == len(files) == 2 * 20 + COPIES + 1
    with (tmp_path / "leaves" / WRONG).open(newline="") as table:
        rows = list(csv.reader(table))[1:]
    assert {row[0] for row in rows} == {one.path for one in sample if one.wrong}
    said = [row[1].split(":")[0].split(" ")[0] for row in rows]
    assert said.count("wrong") == MISLABELLED
    assert said.count("copy") == COPIES
    assert all((tmp_path / "leaves" / row[0]).is_file() for row in rows)


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="is not empty"):
        write_demo(tmp_path, each=20)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.nightly
def test_a_linear_classifier_of_pixels_fails_where_one_of_learned_features_does_well() -> None:
    from ecluse.apps.plants.features import extract_features

    right = [one for one in draw_sample(each=60) if not one.wrong]
    truth = np.array([one.path.startswith("spotted") for one in right])
    for side in (8, 24):
        pixels = np.stack([_small(one.data, side) for one in right])
        assert _accuracy(pixels, truth) < 0.68
    features = extract_features([lambda data=one.data: data for one in right])
    assert _accuracy(features, truth) > 0.75


def _small(data: bytes, side: int) -> NDArray[np.float32]:
    image = Image.open(io.BytesIO(data)).resize((side, side), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32).ravel()


def _accuracy(features: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """Out of five folds, by logistic regression."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    return float((cross_val_predict(model, features, truth, cv=5) == truth).mean())

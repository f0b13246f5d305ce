"""Copies of an image are found whatever was done to them in passing, and other images are not taken for copies."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from ecluse.apps.plants.demo.leaf import draw_leaf
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.likeness import near_groups, perceptual_hash, thumbnail
from ecluse.apps.plants.pictures import read_picture

PHOTOGRAPHS = Path(__file__).parents[4] / "shared/data/plants/dandelion_grass"


def _groups(pictures: list[Image.Image]) -> list[list[int]]:
    return near_groups(
        [perceptual_hash(one) for one in pictures], np.stack([thumbnail(one) for one in pictures])
    )


def _compressed(image: Image.Image, quality: int = 40) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


@pytest.fixture(scope="module")
def leaves() -> list[Image.Image]:
    return [draw_leaf(np.random.default_rng([5, n]), 128, spotted=n % 2 == 1) for n in range(30)]


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "compressed again": _compressed,
    "at half the size": lambda image: _compressed(image.resize((image.width // 2, image.height // 2)), 80),
    "squashed": lambda image: image.resize((150, 97)),
    "lighter": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "of less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "without colour": lambda image: image.convert("L").convert("RGB"),
    **{
        method.name.lower(): lambda image, method=method: _compressed(image.transpose(method), 80)
        for method in Image.Transpose
    },
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found(leaves: list[Image.Image], how: str) -> None:
    found = _groups([*leaves, *(COPIES[how](image) for image in leaves)])
    assert found == [[n, n + len(leaves)] for n in range(len(leaves))]


def test_drawn_leaves_are_not_taken_for_copies(leaves: list[Image.Image]) -> None:
    assert _groups(leaves) == []


def test_hashes_alone_find_what_was_turned_and_compressed_and_take_no_other_for_a_copy(
    leaves: list[Image.Image],
) -> None:
    turned = [_compressed(image.transpose(Image.Transpose.ROTATE_90), 70) for image in leaves]
    found = near_groups([perceptual_hash(one) for one in (*leaves, *turned)])
    assert found == [[n, n + len(leaves)] for n in range(len(leaves))]


def test_photographs_are_not_taken_for_copies_and_their_copies_are_found() -> None:
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("the photographs are not here")
    pictures = []
    for path in sorted(PHOTOGRAPHS.glob("*/*"))[::4]:
        try:
            pictures.append(read_picture(path.read_bytes()).image)
        except UnreadableImage:
            continue
    mirrored = [_compressed(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for image in pictures]
    assert len(pictures) > 90
    assert _groups([*pictures, *mirrored]) == [[n, n + len(pictures)] for n in range(len(pictures))]


def test_a_copy_of_a_copy_joins_the_group_of_the_first(leaves: list[Image.Image]) -> None:
    copies = [leaves[3], *leaves[10:14], _compressed(leaves[3]), COPIES["at half the size"](leaves[3])]
    assert _groups(copies) == [[0, 5, 6]]


def test_even_surfaces_do_not_look_like_photographs(leaves: list[Image.Image]) -> None:
    white, black = (Image.new("RGB", (90, 60), colour) for colour in ("white", "black"))
    assert perceptual_hash(white) == perceptual_hash(black) == "0" * 16
    assert _groups([white, black, *leaves[:4]]) == []


def test_thousands_of_images_are_compared_at_once() -> None:
    rng = np.random.default_rng(3)
    hashes = [f"{value:016x}" for value in rng.integers(0, 2**63, 3000)]
    thumbnails = rng.standard_normal((3000, 24, 24), dtype=np.float32)
    thumbnails /= np.linalg.norm(thumbnails, axis=(1, 2), keepdims=True)
    hashes[2500], thumbnails[2500] = hashes[7], thumbnails[7]
    said: list[float] = []
    assert near_groups(hashes, thumbnails, report=said.append) == [[7, 2500]]
    assert said == sorted(said)
    assert said[-1] == 1

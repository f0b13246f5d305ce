"""An image is shown differently in each epoch, alike for the same seed, and always at the size that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ecluse.apps.plants.augmentation import BEYOND, Augmentation, draw_for, order_of
from ecluse.apps.plants.pictures import Transform

SQUARE = Transform(36, 32)
#: One that leaves images as they are.
NONE = Augmentation(area=1.0, stretch=1.0, degrees=0.0, mirrored=0.0, colour=0.0)


def picture(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@given(
    st.integers(min_value=-(2**63), max_value=2**70),
    st.integers(1, 1000),
    st.integers(16, 90),
    st.integers(16, 90),
)
def test_any_image_gives_a_square_of_plain_numbers(seed: int, epoch: int, width: int, height: int) -> None:
    shown = Augmentation()(picture(width, height), SQUARE, draw_for(seed, epoch, "ab" * 32))
    assert shown.shape == (3, 32, 32)
    assert shown.dtype == np.float32
    assert np.abs(shown).max() <= 1


def test_what_is_drawn_depends_on_seed_epoch_and_image_alone() -> None:
    def shown(seed: int, epoch: int, sha256: str) -> bytes:
        return Augmentation()(picture(), SQUARE, draw_for(seed, epoch, sha256)).tobytes()

    first = shown(0, 1, "a" * 64)
    assert shown(0, 1, "a" * 64) == first
    assert first not in (shown(1, 1, "a" * 64), shown(0, 2, "a" * 64), shown(0, 1, "b" * 64))


def test_without_any_change_it_shows_the_whole_image() -> None:
    image = picture(32, 32)
    shown = NONE(image, SQUARE, draw_for(0, 1, "a" * 64))
    np.testing.assert_allclose(shown, SQUARE.normalised(image), atol=1e-6)


def test_mirrored_it_is_the_mirror_image() -> None:
    image = picture(32, 32)
    mirror = Augmentation(area=1.0, stretch=1.0, degrees=0.0, mirrored=1.0, colour=0.0)
    shown = mirror(image, SQUARE, draw_for(0, 1, "a" * 64))
    np.testing.assert_allclose(shown, SQUARE.normalised(image)[:, :, ::-1], atol=1e-6)


def test_a_part_that_is_shown_lies_within_the_image() -> None:
    white = Image.new("RGB", (50, 33), "white")
    crop = Augmentation(area=0.3, degrees=0.0, colour=0.0)
    for epoch in range(50):
        assert crop(white, SQUARE, draw_for(0, epoch, "a" * 64)).min() == 1
    turned = Augmentation(area=1.0, stretch=1.0, degrees=15.0, colour=0.0)
    seen = np.stack([turned(white, SQUARE, draw_for(0, epoch, "a" * 64)) for epoch in range(20)])
    assert seen.min() == pytest.approx(BEYOND[0] / 127.5 - 1)


@given(st.integers(0, 2**70), st.integers(1, 100), st.integers(1, 200))
def test_each_epoch_shows_every_image_once_in_an_order_of_its_own(seed: int, epoch: int, count: int) -> None:
    order = order_of(seed, epoch, count)
    assert sorted(order) == list(range(count))
    assert list(order) == list(order_of(seed, epoch, count))
    if count > 20:
        assert list(order) != list(order_of(seed, epoch + 1, count))

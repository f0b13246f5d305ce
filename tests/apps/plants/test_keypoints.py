"""Copies as people make them (turned, sheared, shifted, zoomed, mirrored) are found, and other images are not taken for them."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import array_cache, looks
from ecluse.apps.plants.array_cache import LocalArrays
from ecluse.apps.plants.importing import import_images
from ecluse.apps.plants.keypoints import copies, describe
from ecluse.apps.plants.sources.folders import open_folder
from ecluse.apps.plants.splits import manifest_of, split_for
from ecluse.catalog.tables import User
from ecluse.errors import DigestMismatch
from ecluse.runtime import Runtime

PHOTOGRAPHS = Path(__file__).parents[4] / "shared/data/plants/dandelion_grass"


def scene(seed: int, size: tuple[int, int] = (420, 320)) -> Image.Image:
    """A picture with much in it: a hundred shapes, as its seed says."""
    rng = random.Random(seed)
    image = Image.new("RGB", size, (rng.randrange(60, 190),) * 3)
    draw = ImageDraw.Draw(image)
    for _ in range(110):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        corners = [(x + rng.randint(-35, 35), y + rng.randint(-35, 35)) for _ in range(rng.randint(3, 5))]
        draw.polygon(corners, fill=tuple(rng.randrange(256) for _ in range(3)))
    return image


def augmented(image: Image.Image, seed: int) -> Image.Image:
    """A copy as training code makes them: turned by 5 to 40°, and some of: sheared, shifted, zoomed, mirrored, lightened."""
    rng = random.Random(seed)
    width, height = image.size
    angle = np.deg2rad(rng.uniform(5, 40) * rng.choice((-1, 1)))
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    made = turned @ np.array([[1, rng.uniform(-0.2, 0.2)], [0, 1]]) / rng.uniform(0.85, 1.25)
    middle = np.array([width / 2, height / 2])
    shift = middle - made @ (middle + np.array([rng.uniform(-0.1, 0.1) * one for one in image.size]))
    data = (*made[0], shift[0], *made[1], shift[1])
    copy = image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        copy = ImageOps.mirror(copy)
    copy = ImageEnhance.Brightness(copy).enhance(rng.uniform(0.75, 1.25))
    copy = copy.resize((rng.choice((256, 400)),) * 2) if rng.random() < 0.3 else copy
    file = io.BytesIO()
    copy.save(file, "JPEG", quality=rng.choice((75, 90)))
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


@pytest.mark.nightly
def test_augmented_copies_are_found_and_nothing_else() -> None:
    pictures = [scene(seed) for seed in range(24)]
    made = [augmented(picture, seed) for seed, picture in enumerate(pictures[:12])]
    assert copies([describe(one) for one in (*pictures, *made)]) == [(n, 24 + n) for n in range(12)]


@pytest.mark.nightly
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs of dandelions and grass are not here")
def test_augmented_copies_of_photographs_are_found_and_nothing_else() -> None:
    files = sorted([*PHOTOGRAPHS.glob("dandelion/0000010*"), *PHOTOGRAPHS.glob("grass/0000014*")])
    pictures = [Image.open(path).convert("RGB") for path in files]
    made = [augmented(picture, seed) for seed, picture in enumerate(pictures)]
    found = copies([describe(one) for one in (*pictures, *made)])
    count = len(pictures)
    true = {(n, count + n) for n in range(count)}
    assert len(true & set(found)) >= 0.9 * count
    assert set(found) <= true


def test_a_watermark_in_two_pictures_does_not_make_them_copies() -> None:
    mark = scene(99, (110, 26))
    pictures = [scene(seed) for seed in range(100, 108)]
    for picture in pictures:
        picture.paste(mark, (300, 285))
    assert copies([describe(one) for one in pictures]) == []


def test_even_surfaces_and_single_images_have_nothing_to_compare() -> None:
    even = describe(Image.new("RGB", (300, 300), (9, 200, 9)))
    assert len(even.at) == 0
    assert copies([even, even]) == copies([describe(scene(1))]) == copies([]) == []


@pytest.fixture
def user(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


@pytest.mark.nightly
def test_augmented_copies_are_on_one_side_of_a_split_and_an_image_is_seen_once(
    runtime: Runtime, user: User, tmp_path: Path
) -> None:
    for label, seeds in (("even", range(0, 24, 2)), ("odd", range(1, 24, 2))):
        (tmp_path / label).mkdir()
        for seed in seeds:
            scene(seed).save(tmp_path / label / f"{seed}.png")
            if seed < 12:
                augmented(scene(seed), seed).save(tmp_path / label / f"{seed}-copy.png")
    row = workflows.make_set(runtime, user.id, "scenes")
    import_images(runtime, user.id, row.id, open_folder(tmp_path))
    rows = looks.usable(runtime, user.id, row.id)
    told: list[float] = []
    groups = looks.group_copies(runtime, row.id, rows, lambda done, _: told.append(done))
    by_name = {one.origin.rpartition("/")[2].removesuffix(".png"): one for one in rows}
    named = dict(zip((one.id for one in rows), groups, strict=True))
    pairs = [(by_name[f"{seed}"], by_name[f"{seed}-copy"]) for seed in range(12)]
    assert all(named[one.id] == named[copy.id] is not None for one, copy in pairs)
    assert sum(group is not None for group in groups) == 24
    assert told == sorted(told)
    assert told[-1] == 1
    for seed in range(4):
        parts = manifest_of(runtime, split_for(runtime, user.id, row.id, seed=seed))["parts"]
        assert all(parts[one.sha256] == parts[copy.sha256] for one, copy in pairs)
    features = looks.features_of(runtime, rows, lambda done, _: None)
    for one in rows:
        located = runtime.stores.locate(one.url)
        located.store.delete(located.key)
    assert looks.group_copies(runtime, row.id, rows, lambda done, _: None) == groups
    assert np.array_equal(looks.features_of(runtime, rows, lambda done, _: None), features)
    for path in (runtime.settings.home / array_cache.FOLDER).rglob("*.npz"):
        path.write_bytes(b"damaged")
    with pytest.raises(DigestMismatch):
        looks.group_copies(runtime, row.id, rows, lambda done, _: None)


def test_what_was_seen_first_goes_first_when_there_is_no_room(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = LocalArrays(runtime.settings.home, "something")
    for number in range(4):
        kept.save(f"{number:064}", values=np.full(1000, number))
        path = kept._path(f"{number:064}")
        os.utime(path, (number, number))
    monkeypatch.setattr(array_cache, "MOST_BYTES", 2.5 * path.stat().st_size)
    kept.prune()
    assert [kept.load(f"{number:064}", "values") is not None for number in range(4)] == [
        False,
        False,
        True,
        True,
    ]


def test_pages_and_commands_do_not_wait_for_opencv() -> None:
    code = (
        "import sys, ecluse.cli, ecluse.web.app, ecluse.work, ecluse.web.pages, ecluse.web.api\n"
        "from ecluse.apps.plants import splits\n"
        "from ecluse.apps.plants.jobs import audit, training\n"
        "ecluse.web.pages.make_router(), ecluse.web.api.make_router(), ecluse.work.kinds()\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('cv2', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_killed_process_was_writing_is_removed_and_what_one_writes_now_stays(runtime: Runtime) -> None:
    kept = LocalArrays(runtime.settings.home, "something")
    kept.save("a" * 64, values=np.zeros(3))
    folder = runtime.settings.home / array_cache.FOLDER / "something" / "aa"
    left, written = (folder / f".{'a' * 64}.npz.{number}-7f3a" for number in (4711, os.getpid()))
    for path in (left, written):
        path.write_bytes(b"the half of it")
    os.utime(left, (0, 0))
    kept.prune()
    assert not left.exists()
    assert written.exists()
    assert kept.load("a" * 64, "values") is not None

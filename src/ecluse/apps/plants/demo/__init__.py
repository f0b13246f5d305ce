"""Write a folder of drawn leaves, healthy and spotted, so that everything works without a network.

A linear classifier on the pixels does no better than a coin: spots are of all colours, and what lies around them,
the light, dew, holes and crumbs differ as much between healthy leaves. A few things are wrong on purpose, as in a real
collection, and listed in `WRONG.csv`: copies, wrong labels, and a file whose transfer broke off.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from ecluse.apps.plants.demo.leaf import draw_leaf
from ecluse.errors import InvalidInput
from ecluse.sentences import _

LABELS: Final = ("healthy", "spotted")
#: Images of each label, unless another number is asked for.
EACH: Final = 150
#: Pixels of a side: what the networks see.
SIDE: Final = 224
#: Of what is wrong on purpose: copies that were changed a little, and wrong labels.
COPIES: Final = 6
MISLABELLED: Final = 4
WRONG: Final = "WRONG.csv"
_QUALITY: Final = 88
_THREADS: Final = 2

#: What a training says of images that are `is_drawn`.
SIMULATED: Final = _(
    "The images are the sample: its leaves are drawn, so that these figures say nothing of photographs."
)
_NAMED: Final = re.compile(rf"(?:.*/)?(?:{'|'.join(LABELS)})/(copy_)?leaf_\d{{4}}\.jpg")

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Drawn:
    """A file of the sample: where it is below the folder, its bytes, and what is wrong with it ("": nothing)."""

    path: str
    data: bytes
    wrong: str = ""


def write_demo(folder: Path, *, each: int = EACH, seed: int = 0, report: Report = lambda *_: None) -> int:
    """Write the sample below a folder that is empty or not there yet; how many images were written.

    Raises:
        InvalidInput: the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is not empty. Give another folder, or empty it.")
    wrong, count = [], 0
    for count, drawn in enumerate(draw_sample(each=each, seed=seed), 1):
        path = folder / drawn.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn.data)
        if drawn.wrong:
            wrong.append((drawn.path, drawn.wrong))
        report(count / _total(each), "")
    (folder / WRONG).write_bytes(_table(wrong))
    return count


def is_drawn(images: Iterable[tuple[str, int | None, int | None]]) -> bool:
    """Return whether images, by origin, width and height, are those of the sample, with the copies that it has."""
    copies = 0
    for origin, width, height in images:
        match = _NAMED.fullmatch(origin)
        if match is None or not (match[1] or width == height == SIDE):
            return False
        copies += bool(match[1])
    return copies > 0


def draw_sample(*, each: int = EACH, seed: int = 0) -> Iterator[Drawn]:
    """Yield the files of the sample one after another: of the same seed, the same images."""
    numbers = np.random.default_rng([seed, 1]).permutation(2 * each)
    with ThreadPoolExecutor(_THREADS) as pool:  # NumPy and Pillow let others work while they draw
        images = pool.map(partial(_leaf, seed), range(2 * each))
        for number, image in enumerate(images):
            label = LABELS[number % 2]
            name = f"leaf_{numbers[number]:04d}.jpg"
            data = _jpeg(image)
            if 2 <= number < 2 + MISLABELLED:
                label = LABELS[(number + 1) % 2]
                yield Drawn(f"{label}/{name}", data, f"wrong label: it is {LABELS[number % 2]}")
            elif number == 2 + MISLABELLED:
                yield Drawn(f"{label}/{name}", data[: len(data) // 2], "broken off")
            else:
                yield Drawn(f"{label}/{name}", data)
            if 10 <= number < 10 + COPIES:
                copy, how = _COPIED[number % len(_COPIED)]
                yield Drawn(f"{label}/copy_{name}", _jpeg(copy(image)), f"copy of {label}/{name}: {how}")
            if number == 10 + COPIES:
                other = f"{LABELS[(number + 1) % 2]}/{name}"
                yield Drawn(other, data, f"the same file as {label}/{name}, with the wrong label")


def _leaf(seed: int, number: int) -> Image.Image:
    return draw_leaf(np.random.default_rng([seed, 0, number]), SIDE, spotted=number % 2 == 1)


_COPIED: Final[tuple[tuple[Callable[[Image.Image], Image.Image], str], ...]] = (
    (lambda image: image.resize((160, 160)), "smaller"),
    (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "mirrored"),
    (lambda image: image.transpose(Image.Transpose.ROTATE_90), "turned"),
)


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _total(each: int) -> int:
    return 2 * each + COPIES + 1


def _table(rows: Iterable[tuple[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("file", "what is wrong with it"))
    writer.writerows(rows)
    return text.getvalue().encode()

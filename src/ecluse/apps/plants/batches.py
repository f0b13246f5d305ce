"""Decode images and put them together for a network, some ahead of it, without holding all of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecluse.apps.plants.augmentation import Augmentation, draw_for
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.pictures import Transform, read_picture
from ecluse.apps.plants.recipe import Example
from ecluse.sentences import _

#: Bytes of decoded images that are kept in memory; those beyond are decoded each time.
KEPT: Final = 512 * 2**20
#: Batches that are made ready while the network works on one.
AHEAD: Final = 2

Loader = Callable[[Example], NDArray[np.float32]]
Batch = tuple[NDArray[np.float32], NDArray[np.int64]]


class Pictures:
    """Images as a network sees them: to learn from, each time a little different, or to measure on."""

    def __init__(self, transform: Transform, augmentation: Augmentation, cache_size: int = KEPT) -> None:
        self.transform, self.augmentation = transform, augmentation
        self._room = cache_size
        self._held: dict[tuple[str, bool], Image.Image] = {}
        self._lock = threading.Lock()

    def to_learn(self, example: Example, seed: int, epoch: int) -> NDArray[np.float32]:
        """(3, crop, crop) float32; the same for the same seed, epoch and image."""
        image = self._image(example, whole=True)
        return self.augmentation(image, self.transform, draw_for(seed, epoch, example.sha256))

    def to_measure(self, example: Example) -> NDArray[np.float32]:
        """(3, crop, crop) float32, as in serving."""
        return self.transform.normalised(self._image(example, whole=False))

    def _image(self, example: Example, *, whole: bool) -> Image.Image:
        """Decode and shrink an image: the whole, or the square that serving looks at."""
        cached = self._held.get((example.sha256, whole))
        if cached is not None:
            return cached
        try:
            image = read_picture(example.read(), side=self.transform.resize).image
        except UnreadableImage as error:
            raise UnreadableImage(
                _("The image %(file)s cannot be learned from: %(reason)s", file=example.id, reason=error)
            ) from error
        small = _shrunk(image, self.transform.resize) if whole else self.transform.square(image)
        size = 3 * small.width * small.height
        with self._lock:
            if size <= self._room:
                self._room -= size
                self._held[example.sha256, whole] = small
        return small


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """With its shorter side at `side`; a smaller one stays."""
    share = side / min(image.size)
    if share >= 1:
        return image
    size = round(image.width * share), round(image.height * share)
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def batches(load: Loader, groups: Sequence[Sequence[Example]], threads: int) -> Generator[Batch, None, None]:
    """Yield each group as its images (n, 3, crop, crop) float32 and labels (n,) int64, loaded by threads, in order."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="images")
    waiting: deque[tuple[Sequence[Example], list[Future[NDArray[np.float32]]]]] = deque()
    try:
        for group in groups:
            waiting.append((group, [pool.submit(load, example) for example in group]))
            if len(waiting) > AHEAD:
                yield _together(*waiting.popleft())
        while waiting:
            yield _together(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _together(group: Sequence[Example], loading: Sequence[Future[NDArray[np.float32]]]) -> Batch:
    images = np.stack([future.result() for future in loading])
    return images, np.array([example.label for example in group], dtype=np.int64)

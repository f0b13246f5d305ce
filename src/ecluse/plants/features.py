"""See images as EfficientNet-Lite0 does: 1280 numbers each, from what it learned on ImageNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ecluse.plants.architectures import lite0
from ecluse.plants.graphs import extractor
from ecluse.plants.pictures import Transform, read_picture
from ecluse.plants.weights import lite0_state

if TYPE_CHECKING:
    import onnxruntime

#: What EfficientNet-Lite0 was evaluated with: the middle 7/8 of the shorter side, bicubic, each colour in [-1, 1].
LITE0: Final = Transform(resize=256, crop=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
#: Images that are decoded and seen at a time: 16 × 3 × 224 × 224 float32 are 10 MB.
_BATCH: Final = 16

View = Callable[[Image.Image], NDArray[np.float32]]


def extract_features(
    reads: Sequence[Callable[[], bytes]],
    *,
    views: Sequence[View] = (LITE0,),
    progress: Callable[[int, int], None] | None = None,
    threads: int = 2,
) -> NDArray[np.float32]:
    """What Lite0 sees in each image, (images, views × 1280) float32: one view after another.

    A batch of images is in memory at a time. `progress` is told how many are done, of how many; what it raises
    ends the work.

    Raises:
        UnreadableImage: one of `reads` gives no image.
    """
    session = _session(threads)
    found = np.empty((len(reads), len(views), lite0().features), np.float32)
    size = max(1, _BATCH // len(views))
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(reads), size):
            batch = reads[start : start + size]
            pixels = np.concatenate(list(pool.map(partial(_seen, views=views), batch)))
            (features,) = session.run(None, {"images": pixels})
            found[start : start + len(batch)] = features.reshape(len(batch), len(views), -1)
            if progress is not None:
                progress(start + len(batch), len(reads))
    return found.reshape(len(reads), -1)


def mirrored(image: Image.Image) -> NDArray[np.float32]:
    """The view `LITE0` of an image's mirror image."""
    return LITE0(ImageOps.mirror(image))


def _seen(read: Callable[[], bytes], views: Sequence[View]) -> NDArray[np.float32]:
    image = read_picture(read(), side=LITE0.resize).image
    return np.stack([view(image) for view in views])


@cache
def _session(threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        extractor(lite0(), lite0_state()), options, providers=["CPUExecutionProvider"]
    )

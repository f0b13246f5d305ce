"""Show an image a little differently each time it is learned from: the same way for the same seed, epoch and image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecluse.apps.plants.pictures import Transform

#: What lies beyond an image that was turned.
BEYOND = (127, 127, 127)
#: How much each colour adds to how bright a pixel looks (ITU-R BT.601).
BRIGHTNESS = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be changed; each change is drawn evenly between none and this."""

    #: The least part of the image's area that is shown, and the most that one side is stretched over the other.
    area: float = 0.4
    stretch: float = 4 / 3
    degrees: float = 15.0
    #: How often it is mirrored, left and right.
    mirrored: float = 0.5
    #: Brightness, contrast and saturation are each multiplied by 1 - colour … 1 + colour.
    colour: float = 0.3

    def __call__(
        self, image: Image.Image, transform: Transform, draw: np.random.Generator
    ) -> NDArray[np.float32]:
        """(3, crop, crop) float32, normalised as `transform` does."""
        square = image.transform(
            (transform.crop, transform.crop),
            Image.Transform.AFFINE,
            self._look(image.width, image.height, transform.crop, draw),
            Image.Resampling.BICUBIC,
            fillcolor=BEYOND,
        )
        return transform.normalised(self._tinted(square, draw))

    def _look(
        self, width: int, height: int, crop: int, draw: np.random.Generator
    ) -> tuple[float, float, float, float, float, float]:
        """Return where in the image each pixel of the square comes from: crop, stretch, turn and mirror at once."""
        part = width * height * draw.uniform(self.area, 1.0)
        aspect = math.exp(draw.uniform(-1.0, 1.0) * math.log(self.stretch))
        across, down = min(math.sqrt(part * aspect), width), min(math.sqrt(part / aspect), height)
        left, top = draw.uniform(0.0, width - across), draw.uniform(0.0, height - down)
        angle = math.radians(draw.uniform(-self.degrees, self.degrees))
        side = -1.0 if draw.random() < self.mirrored else 1.0
        a, d = side * across / crop * math.cos(angle), side * across / crop * math.sin(angle)
        b, e = -down / crop * math.sin(angle), down / crop * math.cos(angle)
        c = left + across / 2 - (a + b) * crop / 2
        f = top + down / 2 - (d + e) * crop / 2
        return a, b, c, d, e, f

    def _tinted(self, square: Image.Image, draw: np.random.Generator) -> Image.Image:
        if not self.colour:
            return square
        brightness, contrast, saturation = draw.uniform(1 - self.colour, 1 + self.colour, 3).astype(
            np.float32
        )
        pixels = np.asarray(square, dtype=np.float32) * brightness
        grey = (pixels @ BRIGHTNESS)[:, :, None]
        pixels = grey.mean() + contrast * (grey + saturation * (pixels - grey) - grey.mean())
        return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


def draw_for(seed: int, epoch: int, sha256: str) -> np.random.Generator:
    """Yield the chances of one image in one epoch, whatever was drawn before."""
    return np.random.default_rng([seed % 2**64, epoch, int(sha256[:16], 16)])


def order_of(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """In which order the images are learned from in an epoch."""
    return np.random.default_rng([seed % 2**64, epoch]).permutation(count)

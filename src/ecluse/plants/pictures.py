"""Read an image that a stranger gives, and turn it into what a model sees: the same in training and in serving."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ecluse.errors import UnreadableImage

#: Bytes of one image, and pixels of one once it is decoded: a bomb says its size before it is.
MAX_BYTES: Final = 25_000_000
MAX_PIXELS: Final = 50_000_000
#: The shorter side of an image in which there is something to see.
MIN_SIDE: Final = 16
#: What is taken, by Pillow's name: the ending of its key, and its media type.
FORMATS: Final[dict[str, tuple[str, str]]] = {
    "JPEG": ("jpg", "image/jpeg"),
    "PNG": ("png", "image/png"),
    "WEBP": ("webp", "image/webp"),
}


@dataclass(frozen=True)
class Picture:
    """A decoded image: RGB, upright. `width` and `height` are those of the file, upright, in pixels."""

    image: Image.Image
    format: str
    width: int
    height: int


def read_picture(data: bytes, *, side: int | None = None) -> Picture:
    """Decode a whole image file of which nothing is known.

    With `side` a large JPEG is decoded at a half, a quarter or an eighth of its size, while its shorter side
    stays at least twice that.

    Raises:
        UnreadableImage: it is no image of `FORMATS`, is damaged, or is too large or too small.
    """
    if len(data) > MAX_BYTES:
        raise UnreadableImage(
            f"The file has {len(data):,} bytes; {MAX_BYTES:,} are the most. Make the image smaller."
        )
    try:
        with Image.open(io.BytesIO(data), formats=list(FORMATS)) as opened:
            return _decoded(opened, side)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(
            f"The image says it has more than {MAX_PIXELS:,} pixels, which are the most."
        ) from error
    except UnidentifiedImageError as error:
        raise UnreadableImage("The file is not a JPEG, PNG or WebP image.") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        if isinstance(error, UnreadableImage):
            raise
        raise UnreadableImage(f"The image is damaged: {error}.") from error


def _decoded(opened: Image.Image, side: int | None) -> Picture:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            f"The image has {width} × {height} pixels; {MAX_PIXELS:,} are the most. Make it smaller."
        )
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(
            f"The image has {width} × {height} pixels; each side needs at least {MIN_SIDE}."
        )
    kind = opened.format or ""
    if side is not None and kind == "JPEG" and min(width, height) >= 4 * side:
        opened.draft("RGB", (2 * side, 2 * side))
    upright = ImageOps.exif_transpose(opened)
    turned = (upright.width > upright.height) != (width > height) and width != height
    return Picture(_rgb(upright), kind, *((height, width) if turned else (width, height)))


def _rgb(image: Image.Image) -> Image.Image:
    """Without transparency, over white."""
    if image.mode == "RGB":
        return image
    if image.has_transparency_data:
        over = Image.new("RGBA", image.size, "white")
        over.alpha_composite(image.convert("RGBA"))
        return over.convert("RGB")
    return image.convert("RGB")


@dataclass(frozen=True)
class Transform:
    """How an image becomes numbers: its middle, `crop / resize` of the shorter side, at `crop` × `crop` pixels.

    Each colour, 0 to 1, has `mean` taken off and is divided by `std`.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The square of an image that is looked at: left, top, right, bottom, in its pixels."""
        side = min(width, height) * self.crop / self.resize
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """(3, crop, crop) float32."""
        square = image.resize(
            (self.crop, self.crop), Image.Resampling.BICUBIC, box=self.box(*image.size), reducing_gap=3.0
        )
        return self.normalised(square)

    def normalised(self, square: Image.Image) -> NDArray[np.float32]:
        """An RGB image as (3, height, width) float32, not resized: what augmentation ends with."""
        pixels = np.asarray(square, dtype=np.float32) / np.float32(255)
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1), dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same transform back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        mean, std = (tuple(float(value) for value in data[name]) for name in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3:
            raise ValueError("mean and std have one value for each of three colours")
        return cls(int(data["resize"]), int(data["crop"]), mean, std)

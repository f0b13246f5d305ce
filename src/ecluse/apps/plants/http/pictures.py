"""Draw images for pages and programs: small, upright, without metadata; and what of them spoke for a label.

Whatever was sent, what is drawn is made anew from pixels: a JPEG or PNG of ours.
"""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecluse.apps.plants.pictures import Transform, read_picture

#: Pixels of the longer side of a thumbnail.
THUMBNAIL: Final = 256
#: How much light is left where nothing speaks for the label.
DIM: Final = 0.35


def thumbnail(data: bytes, side: int = THUMBNAIL) -> bytes:
    """Return a JPEG of at most `side` × `side` pixels, the whole image, upright.

    Raises:
        UnreadableImage: `data` is no image that can be used.
    """
    image = read_picture(data, side=side // 2).image
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return encoded(image, "JPEG")


def looked_at(data: bytes, transform: Transform, evidence: NDArray[np.float32], side: int) -> Image.Image:
    """Return the square that the model looked at, in colour where it speaks for the label, grey and dim where not.

    `evidence` is (height, width) float32; what is below zero speaks against the label and counts as nothing. A
    map without anything above zero leaves the whole square dim.
    """
    image = read_picture(data, side=side).image
    square = image.resize(
        (side, side), Image.Resampling.BICUBIC, box=transform.box(*image.size), reducing_gap=3.0
    )
    positive = np.maximum(evidence, 0.0)
    most = float(positive.max())
    weights = Image.fromarray((positive / most if most > 0 else positive).astype(np.float32))
    mask = np.asarray(weights.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
    mask = np.clip(mask, 0.0, 1.0)[..., None]
    colour = np.asarray(square, dtype=np.float32)
    grey = np.asarray(square.convert("L"), dtype=np.float32)[..., None] * np.float32(DIM)
    return Image.fromarray(np.rint(mask * colour + (1 - mask) * grey).astype(np.uint8))


def encoded(image: Image.Image, kind: str) -> bytes:
    """Return the file of an image; `kind` is JPEG or PNG. No metadata is in it."""
    buffer = io.BytesIO()
    plain = Image.fromarray(np.asarray(image))  # leaves Exif, text and profiles behind
    if kind == "JPEG":
        plain.save(buffer, "JPEG", quality=82, optimize=True)
    else:
        plain.save(buffer, "PNG", compress_level=3)  # more takes 20 times as long and saves a fifth
    return buffer.getvalue()


def data_url(jpeg: bytes) -> str:
    """Return the address that is the picture itself."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"

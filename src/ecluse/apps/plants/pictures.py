"""Read an image that a stranger gives, and turn it into what a model sees: the same in training and in serving.

Each image is decoded in a process of its own (see `confined`), so that what it does to its decoder is done there. It is
forked from one that has the libraries loaded, in a few ms. `decode` is what it does.
"""

from __future__ import annotations

import io
import itertools
import logging
import re
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL import WebPImagePlugin as WebPImagePlugin

from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.formats import FORMATS, MAX_BYTES
from ecluse.confined import Answer, Beside, Heard, Limits, run
from ecluse.errors import EcluseError, Overloaded, ReaderStopped
from ecluse.sentences import _, num

#: Pixels of an image once it is decoded: a bomb says its size before it is.
MAX_PIXELS: Final = 50_000_000
#: An image of more pixels is decoded while no other of that size is.
MANY_PIXELS: Final = 8_000_000
#: What decoding one image may take: one of 50 million pixels takes some 600 MB and 5 s where nothing else runs.
LIMITS: Final = Limits(memory=1 << 30, work=60.0, wall=1800.0, written=0)
#: The shorter side of an image in which there is something to see.
MIN_SIDE: Final = 16
#: What phones write beside a photograph is a second one in the same file; the first is the image.
_SAME_AS: Final = {"MPO": "JPEG"}
#: A marker of a JPEG that is neither a byte of the image nor a restart.
_MARKER: Final = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
#: Markers that no length follows.
_ALONE: Final = frozenset({0x01, 0xD8, 0xD9})
#: Times that a JPEG may go over its pixels, and markers it may have: each costs its reader what some bytes do not tell.
MOST_SCANS: Final = 100
MOST_MARKERS: Final = 1000
#: How a JPEG that is coded by Huffman and in one pass begins: of others, a decoder may read on behind the end, or the
#: end adds details that are not seen in a small image.
_HUFFMAN: Final = frozenset({0xC0, 0xC1})
#: Markers that say the size: of any coding.
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: What a decoder that lacks bytes takes for them.
_FILLING: Final = b"\x5a\x3c" * 512


logger = logging.getLogger(__name__)
Image.preinit()  # once, before processes are forked, and not by each of them


@dataclass(frozen=True)
class Picture:
    """A decoded image: RGB, upright. `width` and `height` are those of the file, upright, in pixels."""

    image: Image.Image
    format: str
    width: int
    height: int


def read_picture(data: bytes, *, side: int | None = None, whole: bool = False) -> Picture:
    """Decode an image file of which nothing is known, in a process of its own.

    With `side` a large JPEG is decoded at a half, a quarter or an eighth of its size, while its shorter side
    stays at least twice that. With `whole` one that lacks bytes is refused, see `expect_whole`.

    Raises:
        UnreadableImage: it is no image of `FORMATS`, is damaged, is too large or too small, or takes its decoder more
            memory or work than any image does.
        Overloaded: the machine ended its decoder, several times.
    """
    if len(data) > MAX_BYTES:
        raise _too_many_bytes(data)
    try:
        answer = run(f"{__name__}:reader", {"side": side, "whole": whole}, limits=LIMITS, data=data)
    except ReaderStopped as stopped:
        raise what_stopped(stopped) from stopped
    return _picture_of(answer)


def what_stopped(stopped: ReaderStopped) -> EcluseError:
    """Return what it means for an image that its decoder was stopped."""
    logger.warning(
        "The decoder of an image was stopped (%s, %s): %s", stopped.why, stopped.limit, stopped.detail
    )
    if stopped.why == "memory":
        return UnreadableImage(
            _(
                "The image needs more than %(count)s MB of memory to be decoded. Make it smaller.",
                count=num(stopped.limit / 1000000.0, ",.0f"),
            )
        )
    if stopped.why == "time":
        return UnreadableImage(
            _(
                "The image took more than %(count)s s of work to be decoded. Save it anew.",
                count=num(stopped.limit, ","),
            )
        )
    if stopped.why == "ended":
        return Overloaded(
            _(
                "The image was not read: the machine ended the process that decoded it, as it does "
                "where memory is short. Try again later."
            ),
            60,
        )
    return UnreadableImage(_("The image cannot be decoded: the decoder failed on it. Save it anew."))


def _picture_of(answer: Answer) -> Picture:
    description = answer.value
    image = Image.frombytes("RGB", (int(description["size"][0]), int(description["size"][1])), answer.data)
    return Picture(image, str(description["format"]), int(description["width"]), int(description["height"]))


def reader(tell: Heard, data: bytes, *, side: int | None, whole: bool) -> Beside:
    """Return what the process does that `read_picture` asks: the pixels of an image beside what it is."""
    picture = decode(data, side=side)
    if whole:
        expect_whole(data)
    description = {
        "size": picture.image.size,
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
    }
    return Beside(description, picture.image.tobytes())


def _too_many_bytes(data: bytes) -> UnreadableImage:
    return UnreadableImage(
        _(
            "The file has %(count)s bytes; %(total)s are the most. Make the image smaller.",
            count=num(len(data), ","),
            total=num(MAX_BYTES, ","),
        )
    )


def decode(data: bytes, *, side: int | None = None) -> Picture:
    """Decode an image file here, as `read_picture` says.

    Raises:
        UnreadableImage: it is no image of `FORMATS`, is damaged, or is too large or too small.
    """
    if len(data) > MAX_BYTES:
        raise _too_many_bytes(data)
    if (declared_size := said_size(data)) is not None and declared_size[0] * declared_size[
        1
    ] > MAX_PIXELS:  # before a canvas is laid out
        raise _too_many_pixels(*declared_size)
    if _is_laborious(data):
        raise UnreadableImage(
            _(
                "The JPEG has more than %(scans)s passes or %(count)s segments, as no camera writes. "
                "Save it anew.",
                scans=MOST_SCANS,
                count=num(MOST_MARKERS, ","),
            )
        )
    try:
        with Image.open(io.BytesIO(data), formats=list(FORMATS)) as opened:
            return _decoded(opened, side)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(
            _(
                "The image says it has more than %(count)s pixels, which are the most.",
                count=num(MAX_PIXELS, ","),
            )
        ) from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(_("The file is not a JPEG, PNG or WebP image.")) from error
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error) as error:
        if isinstance(error, UnreadableImage):
            raise
        raise UnreadableImage(_("The image is damaged: %(error)s.", error=error)) from error


def says_many_pixels(data: bytes) -> bool:
    """Return whether an image says that it takes much memory once it is decoded; nothing of it is decoded."""
    declared_size = said_size(data)
    return (
        declared_size is not None
        and declared_size[0] * declared_size[1] > MANY_PIXELS
        and not _is_laborious(data)
    )


def said_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the first bytes of an image say them; None where they say none."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _said_by_webp(data)
    if data.startswith(b"\xff\xd8"):
        for kind, start in itertools.islice(_markers(data), MOST_MARKERS):
            if kind in _FRAMES:
                at = start + 5
                return (
                    int.from_bytes(data[at + 2 : at + 4], "big"),
                    int.from_bytes(data[at : at + 2], "big"),
                )
    return None


def _said_by_webp(data: bytes) -> tuple[int, int] | None:
    if data[12:16] == b"VP8X":
        return (1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))
    if data[12:16] == b"VP8L":
        packed = int.from_bytes(data[21:25], "little")
        return (1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF))
    if data[12:16] == b"VP8 ":
        return (
            int.from_bytes(data[26:28], "little") & 0x3FFF,
            int.from_bytes(data[28:30], "little") & 0x3FFF,
        )
    return None


def expect_whole(data: bytes) -> None:
    """Refuse a JPEG that can be decoded and lacks bytes before its end, where a decoder silently invents the rest.

    Bytes put in before the end of a whole image change nothing; where some are missing, they are taken for those. A
    single one that is missing may pass, and so does a progressive JPEG, which is whole, if coarse, at any length.

    Raises:
        UnreadableImage: it lacks bytes.
    """
    end = _end_of_jpeg(data)
    if end is not None and _small(data) != _small(data[:end] + _FILLING + data[end:]):
        raise UnreadableImage(_("The image is damaged: bytes are missing before its end."))


def _end_of_jpeg(data: bytes) -> int | None:
    """Return where the marker is that ends the image; None of what is no JPEG that can be asked."""
    if not data.startswith(b"\xff\xd8"):
        return None
    is_huffman = False
    for kind, start in _markers(data):
        if kind == 0xD9:
            return start if is_huffman else None
        is_huffman = is_huffman or kind in _HUFFMAN
    return None


def _is_laborious(data: bytes) -> bool:
    """Return whether a JPEG was made to take its reader long: minutes are a few MB of empty passes, or of tiny
    segments.
    """
    if not data.startswith(b"\xff\xd8"):
        return False
    scans = 0
    for count, (kind, _rest) in enumerate(_markers(data), 1):
        scans += kind == 0xDA
        if scans > MOST_SCANS or count > MOST_MARKERS:
            return True
        if kind == 0xD9 and scans:
            return False  # what comes behind is not read
    return False


def _markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG behind the first, and where it is, as its readers go from one to the next."""
    at = 2
    while (marker := _MARKER.search(data, at)) is not None:
        kind, at = marker[1][0], marker.end()
        yield kind, marker.start()
        if kind not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")


def _small(data: bytes) -> bytes:
    """Return the pixels at an eighth of the size."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as opened:
        opened.draft(None, (max(opened.width // 8, 1), max(opened.height // 8, 1)))
        return opened.tobytes()


def _decoded(opened: Image.Image, side: int | None) -> Picture:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(width, height)
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(
            _(
                "The image has %(width)s × %(height)s pixels; each side needs at least %(least)s.",
                width=width,
                height=height,
                least=MIN_SIDE,
            )
        )
    kind = _SAME_AS.get(opened.format or "", opened.format or "")
    if side is not None and kind == "JPEG" and min(width, height) >= 4 * side:
        opened.draft("RGB", (2 * side, 2 * side))
    upright = ImageOps.exif_transpose(opened)
    turned = (upright.width > upright.height) != (width > height) and width != height
    return Picture(_rgb(upright), kind, *((height, width) if turned else (width, height)))


def _too_many_pixels(width: int, height: int) -> UnreadableImage:
    return UnreadableImage(
        _(
            "The image has %(width)s × %(height)s pixels; %(count)s are the most. Make it smaller.",
            width=width,
            height=height,
            count=num(MAX_PIXELS, ","),
        )
    )


def _rgb(image: Image.Image) -> Image.Image:
    """Without transparency, over white."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # a grey of 16 bits, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image, dtype=np.uint32) >> 8).astype(np.uint8))
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
        """Return the square of an image that is looked at: left, top, right, bottom, in its pixels."""
        side = min(width, height) * self.crop / self.resize
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """(3, crop, crop) float32."""
        return self.normalised(self.square(image))

    def square(self, image: Image.Image) -> Image.Image:
        """Return what is looked at, at its size in pixels."""
        return image.resize(
            (self.crop, self.crop), Image.Resampling.BICUBIC, box=self.box(*image.size), reducing_gap=3.0
        )

    def normalised(self, square: Image.Image) -> NDArray[np.float32]:
        """Return an RGB image as (3, height, width) float32, not resized: what augmentation ends with."""
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

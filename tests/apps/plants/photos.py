"""Make small images, whole and hostile, for tests."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def photo(seed: int, size: tuple[int, int] = (48, 40), format: str = "JPEG", **options: object) -> bytes:
    """A soft random image, another one for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (5, 6, 3), dtype=np.uint8))
    return encoded(small.resize(size, Image.Resampling.BICUBIC), format, **options)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels, and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def jpeg_of_passes(passes: int, side: int = 64) -> bytes:
    """A grey progressive JPEG that goes over its pixels so many times, each time with a few bytes that say nothing."""
    blocks = (side // 8) ** 2
    table = struct.pack(">H", 67) + b"\0" + b"\1" * 64
    codes = b"\1" + bytes(15)  # one code, of one bit
    runs = -(-blocks // 2**14)  # each of 2**14 blocks in 15 bits
    scan = struct.pack(">H", 8) + b"\1\1\0"
    return b"".join(
        (
            b"\xff\xd8\xff\xdb" + table,
            b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, side, side, 1) + b"\1\x11\0",
            b"\xff\xc4" + struct.pack(">H", 20) + b"\0" + codes + b"\0",
            b"\xff\xc4" + struct.pack(">H", 20) + b"\x10" + codes + b"\xe0",
            b"\xff\xda" + scan + b"\0\0\0" + bytes(-(-blocks // 8)),
            (b"\xff\xda" + scan + b"\1\x3f\0" + bytes(-(-15 * runs // 8))) * (passes - 1),
            b"\xff\xd9",
        )
    )


def jpeg_of_segments(segments: int) -> bytes:
    """A JPEG with so many small pieces of Exif, which a reader puts together one by one."""
    whole = photo(1)
    return whole[:2] + (b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0" + b"x" * 10) * segments + whole[2:]


def animation(format: str) -> bytes:
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "green", "blue")]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=100)


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root

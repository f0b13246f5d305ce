"""Say which image files are taken: their formats, endings and media types, and how many bytes one may have.

Nothing is decoded here, so that pages can say it without what reads images.
"""

from __future__ import annotations

from typing import Final

#: Bytes of one image.
MAX_BYTES: Final = 25_000_000
#: By Pillow's name: the ending of its key, and its media type. None of them is anything that a browser runs.
FORMATS: Final[dict[str, tuple[str, str]]] = {
    "JPEG": ("jpg", "image/jpeg"),
    "PNG": ("png", "image/png"),
    "WEBP": ("webp", "image/webp"),
}
#: What the names of such files end with.
ENDINGS: Final = (".jpeg", *(f".{ending}" for ending, _ in FORMATS.values()))
MEDIA_TYPES: Final = tuple(media_type for _, media_type in FORMATS.values())

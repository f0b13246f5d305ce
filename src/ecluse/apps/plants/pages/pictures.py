"""What pages say of an image beside its picture: its name, its size on the page, where it leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ecluse.apps.plants.sharing import name_of
from ecluse.apps.plants.tables import Image

#: The longer side of a thumbnail on a page, in pixels, and the shorter one of an image nothing is known of.
THUMBNAIL: Final = 160


@dataclass(frozen=True)
class Shown:
    """An image as a page shows it. `width` and `height` are those of its thumbnail on the page, in pixels."""

    row: Image
    name: str
    width: int
    height: int

    @property
    def href(self) -> str:
        return f"/plants/{self.row.set_id}/images/{self.row.id}"

    @property
    def thumbnail(self) -> str:
        return f"/plants/images/{self.row.id}/thumbnail"

    @property
    def file(self) -> str:
        return f"/plants/images/{self.row.id}/file"


def shown(row: Image, *, side: int = THUMBNAIL) -> Shown:
    """Return an image with its name and the size at which it fits a square of `side` pixels."""
    width, height = row.width or side, row.height or side
    scale = min(1.0, side / max(width, height))
    return Shown(row, name_of(row.origin), max(1, round(width * scale)), max(1, round(height * scale)))

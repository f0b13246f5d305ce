"""Images with labels, as a person gives them: an archive or a folder with a folder for each label."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from ecluse.errors import InvalidInput
from ecluse.sentences import _

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

#: Endings of the files that count as images; others of an archive are passed over.
ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
#: Endings of archives.
ARCHIVES: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
#: Bytes of one image.
LARGEST: Final = 256 * 1024**2
_DAMAGED: Final = (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Image:
    """An image: `name` is its path within the archive, `label` the folder that it is in, "" where it is in none."""

    name: str
    label: str
    _read: Callable[[], bytes] = field(repr=False, compare=False)

    def read_bytes(self) -> bytes:
        return self._read()

    def open(self) -> Picture:
        """Return it as an image of Pillow.

        Raises:
            InvalidInput: it is no image, or damaged.
        """
        import PIL.Image

        try:
            picture = PIL.Image.open(io.BytesIO(self.read_bytes()))
            picture.load()
        except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
            raise InvalidInput(
                _(
                    "%(file)s is no image that can be read: %(reason)s",
                    file=self.name,
                    reason=str(error)[:300],
                )
            ) from error
        return picture


class Images:
    """Images that a person chose: a .zip or .tar with a folder for each label, or, in a notebook, such a folder.

    Goes through them in the order of their names: `for image in images: image.label, image.open()`. Each is read when
    it is asked for.
    """

    def __init__(self, source: Path | str, name: str = "") -> None:
        self.path = Path(source)
        self.name = name or self.path.name

    def __iter__(self) -> Iterator[Image]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)

    @property
    def labels(self) -> list[str]:
        """Return the labels that occur, in order; images without one count for none."""
        return sorted({image.label for image in self._every} - {""})

    @cached_property
    def _every(self) -> list[Image]:
        readers = {name: read for name, read in self._files() if _is_image(name)}
        if not readers:
            raise InvalidInput(
                _(
                    "%(file)s holds no images. Put a folder for each label into a .zip; images end in %(values)s.",
                    file=self.name,
                    values=", ".join(sorted(ENDINGS)),
                )
            )
        return [Image(name, PurePosixPath(name).parent.name, readers[name]) for name in sorted(readers)]

    def _files(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        if self.path.is_dir():
            for file in self.path.rglob("*"):
                if file.is_file():
                    yield file.relative_to(self.path).as_posix(), file.read_bytes
            return
        try:
            if zipfile.is_zipfile(self.path):
                archive = zipfile.ZipFile(self.path)
                for member in archive.infolist():
                    if not member.is_dir():
                        yield (
                            member.filename,
                            _reader(member.filename, member.file_size, partial(archive.read, member)),
                        )
                return
            tar = tarfile.open(self.path)  # noqa: SIM115 (as long as its images are read)
            for entry in tar:
                if entry.isfile():
                    yield entry.name, _reader(entry.name, entry.size, partial(_of_tar, tar, entry))
        except _DAMAGED as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InvalidInput:
        return InvalidInput(
            _(
                "%(file)s is no archive that can be read: %(reason)s. Send a .zip or a .tar.",
                file=self.name,
                reason=str(error)[:300],
            )
        )


def packed(path: Path, archive: Path) -> Path:
    """Return a file as it is, and a folder as an archive: what can be sent."""
    if not path.is_dir():
        return path
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as made:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                made.write(file, file.relative_to(path))
    return archive


def _reader(name: str, size: int, read: Callable[[], bytes]) -> Callable[[], bytes]:
    def bounded() -> bytes:
        if size > LARGEST:
            raise InvalidInput(
                _(
                    "%(file)s has %(count)s bytes; an image has %(most)s at most.",
                    file=name,
                    count=size,
                    most=LARGEST,
                )
            )
        try:
            return read()
        except _DAMAGED as error:
            raise InvalidInput(
                _("%(file)s is no image that can be read: %(reason)s", file=name, reason=str(error)[:300])
            ) from error

    return bounded


def _of_tar(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry)
    return file.read() if file is not None else b""


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in ENDINGS and not hidden

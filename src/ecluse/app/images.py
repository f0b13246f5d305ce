"""Images with labels, as a person gives them: an archive or a folder with a folder for each label."""

from __future__ import annotations

import io
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from ecluse.app.paths import without_paths
from ecluse.errors import InvalidInput
from ecluse.sentences import _, num

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

#: Endings of the files that count as images; others of an archive are passed over.
ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
#: Endings of archives.
ARCHIVES: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
#: By the names of Pillow: what such files are. No other decoder is asked, whatever a file is called.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
#: Bytes of an image within an archive, and of one that a person chose.
LARGEST: Final = 256 * 1024**2
LARGEST_CHOSEN: Final = 25_000_000
#: Pixels of an image once it is decoded: a bomb says its size before it is.
MOST_PIXELS: Final = 50_000_000
_DAMAGED: Final = (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError)


class Image:
    """An image that a person chose, or one of `Images`; in a notebook `Image("leaf.png")`.

    `name` is what it is called (within an archive its path), `label` the folder that it is in, "" where it is in none.
    """

    def __init__(
        self, source: Path | str, name: str = "", *, label: str = "", read: Callable[[], bytes] | None = None
    ) -> None:
        """`read` returns the bytes of one that is no file of its own."""
        path = Path(source)
        self.name = name or path.name
        self.label = label
        self._read = read or partial(_chosen, path, self.name)

    def __repr__(self) -> str:
        return f"Image({self.name!r}, label={self.label!r})"

    def read_bytes(self) -> bytes:
        """Return the file as it is.

        Raises:
            InvalidInput: it is larger than an image may be, or cannot be read.
        """
        return self._read()

    def open(self) -> Picture:
        """Return it decoded, as an upright image of Pillow, of the mode that the file has: `.convert("RGB")`.

        Raises:
            InvalidInput: it is no image, damaged, or larger than an image may be.
        """
        import PIL.Image
        import PIL.ImageOps

        data = self.read_bytes()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # refused below
                picture: Picture = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
            if picture.width * picture.height > MOST_PIXELS:
                raise self._too_many_pixels()
            picture.load()
            return PIL.ImageOps.exif_transpose(picture)
        except PIL.UnidentifiedImageError as error:
            raise InvalidInput(
                _(
                    "%(file)s is no image. Send one of these: %(values)s.",
                    file=self.name,
                    values=", ".join(sorted(ENDINGS)),
                )
            ) from error
        except PIL.Image.DecompressionBombError as error:
            raise self._too_many_pixels() from error
        except InvalidInput:
            raise
        except (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error) as error:
            raise InvalidInput(
                _(
                    "%(file)s is no image that can be read: %(reason)s",
                    file=self.name,
                    reason=without_paths(str(error))[:300],
                )
            ) from error

    def _too_many_pixels(self) -> InvalidInput:
        return InvalidInput(
            _(
                "%(file)s has more than %(count)s pixels. Make it smaller.",
                file=self.name,
                count=num(MOST_PIXELS, ","),
            )
        )


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
        return [
            Image(name, name, label=PurePosixPath(name).parent.name, read=readers[name])
            for name in sorted(readers)
        ]

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
                reason=without_paths(str(error), {str(self.path): self.name})[:300],
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


def _chosen(path: Path, name: str) -> bytes:
    try:
        return _reader(name, path.stat().st_size, path.read_bytes, LARGEST_CHOSEN)()
    except OSError as error:
        raise _unread(name, str(path), error) from error


def _reader(name: str, size: int, read: Callable[[], bytes], most: int = LARGEST) -> Callable[[], bytes]:
    def bounded() -> bytes:
        if size > most:
            raise InvalidInput(
                _(
                    "%(file)s has %(count)s bytes; an image has %(most)s at most.",
                    file=name,
                    count=size,
                    most=most,
                )
            )
        try:
            return read()
        except _DAMAGED as error:
            raise _unread(name, name, error) from error

    return bounded


def _unread(name: str, path: str, error: Exception) -> InvalidInput:
    return InvalidInput(
        _(
            "%(file)s is no image that can be read: %(reason)s",
            file=name,
            reason=without_paths(str(error), {path: name})[:300],
        )
    )


def _of_tar(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry)
    return file.read() if file is not None else b""


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in ENDINGS and not hidden

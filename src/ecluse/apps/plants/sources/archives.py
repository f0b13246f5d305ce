"""Read images from a .zip, .tar or .tar.gz without unpacking it to a disk, and within bounds.

A folder that the whole archive is in is passed over; below it, the folder at the first level is the label.
"""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.formats import MAX_BYTES
from ecluse.apps.plants.sources import MOST_FILES, File, folder_label, is_hidden, refused, too_large
from ecluse.errors import EcluseError, InvalidInput
from ecluse.sentences import _, num

#: Bytes that one archive may unpack to.
MOST_BYTES: Final = 50_000_000_000
#: A file or an archive that is larger than `_SMALL` once unpacked is no more than so many times its packed size.
MOST_RATIO: Final = 100
_SMALL: Final = 2_000_000
#: Characters of the path of a file in an archive, and bytes of what a zip lists.
LONGEST_PATH: Final = 1000
_LISTED_BYTES: Final = 50_000_000
_STEP: Final = 1_000_000
SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz")
_DRIVE: Final = re.compile(r"^[A-Za-z]:")


def is_archive_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def is_archive(data: bytes) -> bool:
    """Return whether bytes begin as those of an archive or a packed file do."""
    starts = (
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\x1f\x8b",
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!\x1a\x07",
        b"BZh",
        b"\xfd7zXZ\0",
    )
    return data.startswith(starts) or data[257:262] == b"ustar"


def open_archive(path: Path, name: str) -> Iterator[File]:
    """Yield the files of an archive that is called `name`. Links, and what would lie outside, are refused one by one.

    Raises:
        InvalidInput: it is no archive, is damaged, or holds more than may be unpacked.
    """
    with path.open("rb") as file:
        head = file.read(512)
    try:
        if zipfile.is_zipfile(path):
            yield from _zip(path, name)
        elif head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
            yield from _tar(path, name, packed=head.startswith(b"\x1f\x8b"))
        else:
            raise InvalidInput(
                _("%(file)s is no .zip, .tar or .tar.gz archive. Pack the images as one of these.", file=name)
            )
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        gzip.BadGzipFile,
        NotImplementedError,
    ) as error:
        raise InvalidInput(
            _("%(file)s is a damaged archive: %(error)s. Pack it again.", file=name, error=error)
        ) from error
    except (ValueError, RecursionError) as error:
        # Of a tar: no number where one belongs, headers about headers.
        if isinstance(error, EcluseError):
            raise
        raise InvalidInput(
            _(
                "%(file)s is a damaged archive: %(error)s. Pack it again.",
                file=name,
                error=_("a header of it cannot be understood"),
            )
        ) from error


def _zip(path: Path, name: str) -> Iterator[File]:
    with path.open("rb") as file, zipfile.ZipFile(_Sipped(file, name)) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        _expect_number(len(entries), name)
        _expect_size(sum(entry.file_size for entry in entries), name)
        visible = [entry for entry in entries if not is_hidden(entry.filename)]
        shared = _shared_folder([entry.filename for entry in visible])
        for number, entry in enumerate(visible):
            yield _file(entry.filename, shared, _zip_reader(archive, entry), number / len(visible))


def _zip_reader(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], bytes]:
    """Read the bytes now, as the archive is read by one alone."""
    if stat.S_ISLNK(entry.external_attr >> 16):
        return refused(_("It is a link, which is not followed."))
    if entry.flag_bits & 1:
        return refused(_("It is locked with a password."))
    if entry.file_size > _SMALL and entry.file_size > MOST_RATIO * max(entry.compress_size, 1):
        return refused(_bomb_words(entry.file_size, entry.compress_size))
    if entry.file_size > MAX_BYTES:
        return refused(too_large(entry.file_size))
    try:
        with archive.open(entry) as opened:
            return _kept(opened.read(MAX_BYTES + 1))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        return refused(_("It cannot be unpacked: %(error)s.", error=error))


def _tar(path: Path, name: str, *, packed: bool) -> Iterator[File]:
    names = []
    with _opened_tar(path, name, packed=packed) as archive:
        for number, entry in enumerate(archive):
            _expect_number(number + 1, name)
            if not entry.isdir() and not is_hidden(_plain(entry.name)):
                names.append(_plain(entry.name)[:LONGEST_PATH])
            archive.members = []  # type: ignore[attr-defined]  # or it keeps every one
    shared = _shared_folder(names)
    number = 0
    with _opened_tar(path, name, packed=packed) as archive:
        for entry in archive:
            if not entry.isdir() and not is_hidden(_plain(entry.name)):
                yield _file(
                    _plain(entry.name), shared, _tar_reader(archive, entry), number / max(len(names), 1)
                )
                number += 1
            archive.members = []  # type: ignore[attr-defined]


def _tar_reader(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[], bytes]:
    if entry.issym() or entry.islnk():
        return refused(_("It is a link, which is not followed."))
    if not entry.isreg() or entry.issparse():
        return refused(_("It is no plain file."))
    if entry.size > MAX_BYTES:
        return refused(too_large(entry.size))
    opened = archive.extractfile(entry)
    assert opened is not None  # noqa: S101 (it is a plain file)
    data = opened.read(MAX_BYTES + 1)
    return _kept(data) if len(data) == entry.size else refused(_("It ends early."))


def _opened_tar(path: Path, name: str, *, packed: bool) -> tarfile.TarFile:
    inner: IO[bytes] = gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[assignment]  # noqa: SIM115
    return tarfile.open(fileobj=_Bounded(inner, name, path.stat().st_size), mode="r:", errorlevel=1)


class _Sipped:
    """A zip, of which no read asks for more than the list of as many files as one import takes."""

    def __init__(self, inner: IO[bytes], name: str) -> None:
        self._inner, self._name = inner, name
        self.seek, self.tell, self.seekable, self.close = inner.seek, inner.tell, inner.seekable, inner.close

    def read(self, size: int = -1) -> bytes:
        if size > _LISTED_BYTES:
            raise InvalidInput(
                _(
                    "%(file)s holds more than %(count)s files. Import it in parts.",
                    file=self._name,
                    count=num(MOST_FILES, ","),
                )
            )
        return self._inner.read(size)


class _Bounded(io.RawIOBase):
    """A tar as it is unpacked, read forwards, which ends in an error where it turns out to be a bomb."""

    def __init__(self, inner: IO[bytes], name: str, packed_size: int) -> None:
        self._inner, self._name, self._packed = inner, name, packed_size
        self._at = 0
        #: The byte before `_at`, and whether it is to be read again: `tarfile` looks back so far and no further.
        self._last, self._again = b"", False

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_BYTES + 1:
            raise tarfile.ReadError(_("a header of it is too large"))
        if self._again and size:
            self._again = False
            return self._last + self._forwards(size - 1)
        return self._forwards(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Return what is passed over is unpacked too."""
        if whence != io.SEEK_SET or offset < self._at - 1:
            raise io.UnsupportedOperation("a tar is read forwards")
        self._again = offset == self._at - 1
        while offset > self._at and self._forwards(min(offset - self._at, _STEP)):
            pass
        return offset

    def tell(self) -> int:
        return self._at - self._again

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._inner.close()
        super().close()

    def _forwards(self, size: int) -> bytes:
        data = self._inner.read(size)
        self._at += len(data)
        self._last = data[-1:] or self._last
        _expect_size(self._at, self._name)
        if self._at > _SMALL and self._at > MOST_RATIO * self._packed:
            raise InvalidInput(
                _(
                    "%(file)s is refused: %(reason)s",
                    file=self._name,
                    reason=_bomb_words(self._at, self._packed),
                )
            )
        return data


def _file(path: str, shared: str, read: Callable[[], bytes], fraction: float) -> File:
    if len(path) > LONGEST_PATH:
        reason = _(
            "Its path has %(count)s characters; %(most)s are the most.",
            count=num(len(path), ","),
            most=num(LONGEST_PATH, ","),
        )
        return File(path[:LONGEST_PATH], None, refused(reason), fraction)
    if _leaves(path):
        return File(path, None, refused(_("Its name leads out of the archive.")), fraction)
    inside = path[len(shared) :]
    return File(path, folder_label(inside), read, fraction)


def _shared_folder(paths: list[str]) -> str:
    """Return the folder that holds everything and whose own folders hold images, with its slash; else nothing."""
    firsts = {path.partition("/")[0] for path in paths}
    nested = any(path.count("/") >= 2 for path in paths)
    return f"{next(iter(firsts))}/" if len(firsts) == 1 and nested else ""


def _leaves(path: str) -> bool:
    return (
        path.startswith("/")
        or "\\" in path
        or _DRIVE.match(path) is not None
        or ".." in path.split("/")
        or "\0" in path
    )


def _plain(path: str) -> str:
    return path.removeprefix("./")


def _kept(data: bytes) -> Callable[[], bytes]:
    def read() -> bytes:
        if len(data) > MAX_BYTES:
            raise UnreadableImage(too_large(len(data)))
        return data

    return read


def _expect_number(number: int, name: str) -> None:
    if number > MOST_FILES:
        raise InvalidInput(
            _(
                "%(file)s holds more than %(count)s files. Import it in parts.",
                file=name,
                count=num(MOST_FILES, ","),
            )
        )


def _expect_size(size: int, name: str) -> None:
    if size > MOST_BYTES:
        raise InvalidInput(
            _(
                "%(file)s unpacks to more than %(count)s GB. Import it in parts.",
                file=name,
                count=num(MOST_BYTES / 1000000000.0, ",.0f"),
            )
        )


def _bomb_words(size: int, packed: int) -> str:
    return _(
        "It unpacks to %(count)s times its size; an image does to %(total)s times at most.",
        count=num(size / max(packed, 1), ",.0f"),
        total=MOST_RATIO,
    )

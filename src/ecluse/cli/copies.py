"""Copy files and trees between this machine and stores, several at a time, each read back and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from ecluse.cli.addresses import Address, below, is_local, read_address
from ecluse.errors import DigestMismatch, EcluseError, InvalidInput, ObjectExists, ObjectNotFound
from ecluse.storage import Digest, ObjectStore, Stores, read_chunks
from ecluse.storage.side_by_side import side_by_side

#: new: nothing is there. same: this content is there. other: another one is.
State = Literal["new", "same", "other"]
Tick = Callable[[int], None]


@dataclass(frozen=True)
class End:
    """One side of a copy: a local file, or an object of a store."""

    path: Path | None = None
    store: ObjectStore | None = None
    key: str = ""

    def __str__(self) -> str:
        return str(self.path) if self.store is None else self.store.url_of(self.key)

    def chunks(self) -> Iterator[bytes]:
        """Its bytes."""
        if self.store is not None:
            return self.store.stream(self.key)
        assert self.path is not None  # noqa: S101 (a side is one or the other)
        return read_chunks(self.path)

    def size(self) -> int | None:
        """Its size in bytes; None where nothing is.

        Raises:
            InvalidInput: a folder is in its place.
        """
        if self.store is not None:
            try:
                return self.store.head(self.key).size
            except ObjectNotFound:
                return None
        assert self.path is not None  # noqa: S101 (a side is one or the other)
        if self.path.is_dir():
            raise InvalidInput(f"{self.path} is a folder where a file would go. Choose another destination.")
        return self.path.stat().st_size if self.path.exists() else None


@dataclass(frozen=True)
class Pair:
    """A file to copy and where to; `size` in bytes."""

    source: End
    target: End
    size: int


@dataclass(frozen=True)
class Compared:
    """What is at a pair's target already; `sha256` is that of both where they are the same."""

    pair: Pair
    state: State
    sha256: str | None = None


@dataclass(frozen=True)
class Copied:
    """What became of a file: `state` is what was found at the target before."""

    source: str
    target: str
    size: int
    sha256: str
    state: State


def pairs(source: str, target: str, stores: Stores) -> list[Pair]:
    """List what is to be copied where. A file goes to the target, or into it where that is a folder; the files of a
    folder or a prefix go below the target.

    Raises:
        UsageError: both are local.
        ObjectNotFound, InvalidInput: there is nothing to copy.
    """
    if is_local(source) and is_local(target):
        raise click.UsageError("Both are local paths. One of them has to be an address in a store.")
    files = _local_files(Path(source)) if is_local(source) else _stored_files(read_address(source, stores))
    whole = [path for path, _, _ in files] == [""]
    place = Path(target) if is_local(target) else read_address(target, stores, writing=True)
    into = target.endswith("/") or (place.is_dir() if isinstance(place, Path) else place.is_folder)
    name = source.rstrip("/").replace(":", "/").rsplit("/", 1)[-1]
    made = [
        Pair(end, _target(place, (name if into else "") if whole else path), size)
        for path, end, size in files
    ]
    _check_folders(made)
    return made


def compare(pair: Pair, tick: Tick) -> Compared:
    """Say what is at the target already; contents are read only where the sizes are equal."""
    there = pair.target.size()
    if there is None:
        return Compared(pair, "new")
    if there != pair.size or (sent := _digest(pair.source, tick)) != _digest(pair.target, tick):
        return Compared(pair, "other")
    return Compared(pair, "same", sent)


def check_free(pairs: Sequence[Compared]) -> None:
    """Raise ObjectExists where a target has another content."""
    occupied = [each.pair.target for each in pairs if each.state == "other"]
    if occupied:
        more = f" and {len(occupied) - 1} more" if len(occupied) > 1 else ""
        raise ObjectExists(
            f"{occupied[0]}{more} is there with another content; nothing was copied. Replace it with --force, or "
            "choose another destination."
        )


def copy(compared: Compared, tick: Tick) -> Copied:
    """Copy one file unless it is there, and read it back.

    Raises:
        DigestMismatch: what was read back is not what was sent.
    """
    pair = compared.pair
    if compared.sha256 is not None:
        return Copied(str(pair.source), str(pair.target), pair.size, compared.sha256, compared.state)
    sent = _send(pair, tick)
    if (kept := _digest(pair.target, tick)) != sent:
        raise DigestMismatch(
            f"{pair.target} is not what was sent: its SHA-256 is {kept[:12]}…, {sent[:12]}… was sent. Copy it again."
        )
    return Copied(str(pair.source), str(pair.target), pair.size, sent, compared.state)


def copy_all(compared: Sequence[Compared], tick: Tick) -> list[Copied]:
    """Copy every file, several at a time; the first failure stops the rest, and what is done stays."""
    return side_by_side(copy, compared, tick)


def _send(pair: Pair, tick: Tick) -> str:
    """Copy the bytes; their SHA-256."""
    source, target = pair.source, pair.target
    if target.store is None:
        assert target.path is not None  # noqa: S101 (a side is one or the other)
        assert source.store is not None  # noqa: S101 (one side is a store)
        try:
            target.path.parent.mkdir(parents=True, exist_ok=True)
            return source.store.download(source.key, target.path, progress=tick).sha256
        except EcluseError:
            raise
        except OSError as error:
            raise InvalidInput(f"{target.path} cannot be written: {error.strerror}.") from error
    if source.store is None:
        assert source.path is not None  # noqa: S101 (a side is one or the other)
        return target.store.upload(source.path, target.key, progress=tick).sha256
    if source.store is target.store:
        source.store.copy(source.key, target.key)  # a store in the network copies by itself
        return _digest(source, tick)
    attributes = source.store.attributes(source.key)
    return target.store.put_stream(
        target.key, _with_progress(source.chunks(), tick), attributes=attributes
    ).sha256


def _digest(end: End, tick: Tick) -> str:
    digest = Digest()
    for _ in _with_progress(digest.through(end.chunks()), tick):
        pass
    return digest.stored("").sha256


def _with_progress(chunks: Iterator[bytes], tick: Tick) -> Iterator[bytes]:
    for chunk in chunks:
        tick(len(chunk))
        yield chunk


def _local_files(source: Path) -> list[tuple[str, End, int]]:
    """Path below `source` ("" for a file itself), the file and its size."""
    if source.is_file():
        return [("", End(path=source), source.stat().st_size)]
    files = sorted(path for path in source.rglob("*") if path.is_file())
    if not files:
        raise InvalidInput(f"{source} is no file, and no folder with files. Check the path.")
    return [(path.relative_to(source).as_posix(), End(path=path), path.stat().st_size) for path in files]


def _stored_files(source: Address) -> list[tuple[str, End, int]]:
    cut = len(source.key) + 1 if source.key else 0
    return [
        (info.key[cut:] if info.key != source.key else "", End(store=source.store, key=info.key), info.size)
        for info in source.objects()
    ]


def _target(place: Path | Address, path: str) -> End:
    if isinstance(place, Path):
        return End(path=place / path if path else place)
    return End(store=place.store, key=below(place, path) if path else place.key)


def _check_folders(made: Sequence[Pair]) -> None:
    """No file may be where another's folder has to be; stores allow that and folders do not."""
    files = {pair.target.path for pair in made if pair.target.path is not None}
    folders = {parent for path in files for parent in path.parents}
    if both := files & folders:
        raise InvalidInput(
            f"{min(both)} would be a file and a folder: the store has an object and more below its name. Copy the "
            "parts one by one, under names of your own."
        )

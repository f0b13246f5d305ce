"""Give a text of a client to each place that makes a part of a key, a path or a member's name of it.

Each of `DRIVERS` takes the house, the owner for whom it is done, and the text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

import pytest

from ecluse import tables
from ecluse.apps.fraud.actions.main import _upload_key, prediction_by_owned_key
from ecluse.apps.fraud.jobs.main import _result_key
from ecluse.apps.fraud.jobs.tables import fetch_table
from ecluse.apps.fraud.rows.tables import Dataset, Prediction
from ecluse.apps.hosted import files as hosted
from ecluse.apps.plants import actions as plants
from ecluse.apps.plants.exporting import _folders, _name
from ecluse.apps.plants.sources.stores import importable
from ecluse.apps.plants.tables import Image
from ecluse.catalog.tables import new_id
from ecluse.checkpoints import Checkpoints, checkpoints_prefix
from ecluse.cli.addresses import below, read_address
from ecluse.client.fetching import fetch_version
from ecluse.client.mlflow.files import local_path
from ecluse.errors import EcluseError, InvalidInput
from ecluse.jobs.task import Task
from ecluse.models import places, uploads
from ecluse.registry import CLAIM
from ecluse.registry.manifest import Manifest, ManifestFile
from ecluse.runtime import Runtime
from ecluse.storage import ObjectStore, Stores, is_within, join_key, safe_filename
from ecluse.storage.zips import ZipStream
from ecluse.web.downloads import saved_as

VERSION: Final = "v20260101_000000"
DIGEST: Final = "0" * 64


@dataclass
class House:
    """An installation with a person, the organisation she owns, and another person, each with things."""

    runtime: Runtime
    me: str
    org: str
    other: str
    folder: Path
    table: Path


#: Those that reach no store, whichever it is.
APART: Final = frozenset({"prediction_key", "export", "model_address", "cached", "file_name", "fetched"})
Driver = Callable[[House, str, str], None]
DRIVERS: dict[str, Driver] = {}


def driver(function: Driver) -> Driver:
    DRIVERS[function.__name__] = function
    return function


def tried(*calls: Callable[[], Any]) -> None:
    """Call each; what is refused is refused in our own words."""
    for call in calls:
        try:
            call()
        except EcluseError:
            continue


def expect_inside(name: str | PurePosixPath) -> None:
    """A path of a file or of a member of an archive leads to nothing outside the folder that it is put in."""
    path = PurePosixPath(str(name).replace("\\", "/"))
    assert str(name) not in ("", ".")
    assert not path.is_absolute(), name
    assert ".." not in path.parts, name
    assert "\0" not in str(name), name


@driver
def store(house: House, owner: str, text: str) -> None:
    scoped = house.runtime.data.scoped(f"user_data/{owner}")
    tried(
        lambda: scoped.put(text, b"x"),
        lambda: scoped.put(f"uploads/{text}", b"x"),
        lambda: scoped.put(text, b"x", create_only=True),
        lambda: scoped.put_stream(text, [b"x"]),
        lambda: asyncio.run(scoped.put_stream_async(text, _chunks())),
        lambda: scoped.upload(house.table, text),
        lambda: scoped.upload_tree(house.folder / "tree", text),
        lambda: scoped.copy("uploads/mark.csv", text),
        lambda: scoped.copy(text, "uploads/copied.csv"),
        lambda: scoped.get(text),
        lambda: b"".join(scoped.stream(text)),
        lambda: scoped.head(text),
        lambda: scoped.exists(text),
        lambda: scoped.attributes(text),
        lambda: scoped.download(text, house.folder / "downloaded"),
        lambda: scoped.download_tree(text, house.folder / "downloads"),
        lambda: list(scoped.list(text)),
        lambda: list(scoped.list("uploads", after=text)),
        lambda: scoped.list_page(text),
        lambda: scoped.list_names(text),
        lambda: scoped.local_path(text),
        lambda: scoped.url_of(text),
        lambda: scoped.sign(text, "GET", timedelta(minutes=1)),
        lambda: scoped.sign(text, "PUT", timedelta(minutes=1)),
        lambda: scoped.can_hold(text),
    )
    tried(lambda: scoped.scoped(text).put("x", b"x"), lambda: list(scoped.scoped(text).list()))
    if text:
        tried(lambda: scoped.delete_prefix(text), lambda: scoped.delete(text))


@driver
def address(house: House, owner: str, text: str) -> None:
    """An address that begins as one's own and goes on as the text."""
    stores, data = house.runtime.stores, house.runtime.data
    own = data.url_of(f"user_data/{owner}/uploads")
    tried(
        lambda: _read(stores, f"{own}/{text}"),
        lambda: _read(stores, f"{own}{text}"),
        lambda: list(stores.folder(f"{own}/{text}").list()),
        lambda: _below(stores, f"data:user_data/{owner}/uploads", text),
    )


@driver
def upload(house: House, owner: str, text: str) -> None:
    data = house.runtime.data
    tried(lambda: data.put(_upload_key(owner, text), b"x"))


@driver
def result(house: House, owner: str, text: str) -> None:
    runtime = house.runtime
    try:
        dataset, prediction = _scored(runtime, owner, text)
    except InvalidInput:  # no catalog keeps half a character
        return
    task = Task(cast(Any, _Claim(owner)), runtime.catalog, cast(Any, None))
    tried(lambda: runtime.data.put(_result_key(runtime, task, prediction), b"x"))
    into = house.folder / "scratch"
    into.mkdir(exist_ok=True)
    tried(lambda: fetch_table(runtime, dataset, into))
    assert [path.parent for path in house.folder.rglob("*fetched*")] in ([], [into])


@driver
def prediction_key(house: House, owner: str, text: str) -> None:
    own = f"user_data/{owner}/predictions"
    for key in (text, f"{own}/{text}", f"{own}{text}"):
        try:
            prediction_by_owned_key(house.runtime, owner, key)
        except EcluseError:
            continue
        raise AssertionError(key)


@driver
def table(house: House, owner: str, text: str) -> None:
    runtime = house.runtime
    tried(lambda: tables.keep(runtime, owner, house.table, tables.checked_name(text)))
    for wrong in (text, f"{text}.csv"):
        expect_inside(tables.file_name(wrong, ".csv"))
    try:
        shown = tables.find(runtime, owner, text)
    except EcluseError:
        return
    raise AssertionError(shown)


@driver
def images(house: House, owner: str, text: str) -> None:
    runtime = house.runtime
    staging = plants.new_staging(runtime, owner)
    tried(
        lambda: plants.stage_bytes(runtime, staging, text, b"x"),
        lambda: asyncio.run(plants.stage(runtime, staging, text, _chunks())),
        lambda: runtime.stores.area("images").put(
            join_key(plants.images_prefix(owner, text), f"{DIGEST}.jpg"), b"x"
        ),
    )


@driver
def import_place(house: House, owner: str, text: str) -> None:
    """An address of a store to import from is one's own, or one that the settings allow."""
    root = house.runtime.data.url_of(f"user_data/{owner}")
    for url in (text, f"{root}/images/{text}", f"{root}/images{text}"):
        try:
            place = importable(house.runtime, owner, url, at_terminal=False)
        except EcluseError:
            continue
        assert place == root or is_within(place, root), url
        assert ".." not in place.split("/"), place


@driver
def export(house: House, owner: str, text: str) -> None:
    names = _folders({text, f"{text} ", "x.csv"})
    assert len({name.casefold() for name in names.values()}) == len(names)
    row = Image(origin=text, url=f"file:///x/{DIGEST}.jpg", sha256=DIGEST)
    for folder in names.values():
        expect_inside(f"{folder}/{_name(row)}")
        assert f"{folder}/{_name(row)}".count("/") == 1


@driver
def version(house: House, owner: str, text: str) -> None:
    registry = house.runtime.registry(owner)
    data = house.folder / "tree" / "mark.txt"
    file = ManifestFile("x.bin", 1, DIGEST, "text/plain")
    tried(
        lambda: registry.claim(text, "nonce"),
        lambda: registry.published(text, "nonce"),
        lambda: registry.versions(text),
        lambda: registry.latest(text),
        lambda: registry.names(),
        lambda: registry.leftovers(),
    )
    for name, number in ((text, VERSION), ("mark", text)):
        tried(
            lambda name=name, number=number: registry.url_of(name, number),
            lambda name=name, number=number: registry.manifest(name, number),
            lambda name=name, number=number: registry.signature(name, number),
            lambda name=name, number=number: registry.keep_signature(name, number, b"x"),
            lambda name=name, number=number: registry.incoming(name, number).arrived(),
            lambda name=name, number=number: registry.incoming(name, number).keep(0, 1, b"x"),
            lambda name=name, number=number: registry.abandon(name, number, "nonce"),
            lambda name=name, number=number: registry.upload(name, number, {"x.bin": data}),
            lambda name=name, number=number: registry.commit(
                name, number, (file,), created_by=owner, nonce="nonce", metadata={}
            ),
            lambda name=name, number=number: registry.delete(name, number),
        )
    incoming = registry.incoming("mark", VERSION)
    bad = ManifestFile(text, 1, DIGEST, "text/plain")
    tried(
        lambda: registry.upload("mark", VERSION, {text: data}),
        lambda: incoming.put_together(0, bad, 1),
        lambda: Manifest.from_json(
            json.dumps(asdict(Manifest("mark", VERSION, "", "", "n", (bad,)))).encode()
        ),
    )


@driver
def announced(house: House, owner: str, text: str) -> None:
    """A program announces the files of a version, and gives it up again."""
    runtime = house.runtime
    for name, path in ((text, "x.bin"), ("announced", text), ("announced", f"a/{text}")):
        try:
            request = uploads.UploadRequest(new_id(), (uploads.AnnouncedFile(path, 1, DIGEST),))
            begun = uploads.begin(runtime, owner, name, request)
        except EcluseError:
            continue
        part = uploads.part_of(runtime, owner, name, begun.id, 0, 1)
        uploads.keep_part(runtime, part, b"x")
        tried(lambda name=name, begun=begun: uploads.commit_upload(runtime, owner, name, begun.id))
        tried(lambda name=name, begun=begun: uploads.give_up(runtime, owner, name, begun.id))


@driver
def model_address(house: House, owner: str, text: str) -> None:
    """The name of a model means nobody else's, however it is written."""
    if owner != house.me:
        return  # an organisation asks for nothing itself
    runtime = house.runtime
    allowed = {house.me, house.org}
    for name in (text, f"@acme/{text}", f"@acme~{text}", f"@acme{text}", f"@{text}"):
        for ask in (places.place_to_make, places.place_to_change):
            try:
                place = ask(runtime, owner, name)
            except EcluseError:
                continue
            assert place.owner_id in allowed, name
        tried(lambda name=name: _resolved(runtime, owner, name, allowed))


@driver
def hosted_file(house: House, owner: str, text: str) -> None:
    runtime = house.runtime
    tried(
        lambda: hosted.store(runtime, owner, "words", house.table, name=text),
        lambda: hosted.store(runtime, owner, text, house.table),
        lambda: hosted.expect(runtime, owner, "words", [text]),
        lambda: runtime.data.put(join_key(hosted.prefix_of(owner, text), "x"), b"x"),
    )


@driver
def checkpoint(house: House, owner: str, text: str) -> None:
    task = cast(Any, _Claim(owner))
    kept = Checkpoints(house.runtime, owner, task.job_id)
    for call in (
        lambda: kept.save(text, b"x", force=True),
        lambda: kept.load(text),
        lambda: list(house.runtime.data.list(checkpoints_prefix(owner, text))),
    ):
        try:
            call()
        except (EcluseError, ValueError):
            continue


@driver
def cached(house: House, owner: str, text: str) -> None:
    """A digest names a file of the cache, and nothing else is one."""
    cache, data = house.runtime.cache, house.runtime.data
    key, target = f"user_data/{owner}/uploads/mark.csv", house.folder / "linked"
    for call in (
        lambda: cache.link(data, key, text, 1, target),
        lambda: cache.copy(data, key, text, 1, target),
        lambda: cache.read(data, key, text),
    ):
        with pytest.raises(EcluseError, match="digest"):
            call()


@driver
def file_name(house: House, owner: str, text: str) -> None:
    name = safe_filename(text)
    expect_inside(name)
    assert PurePosixPath(name).name == name
    assert (house.folder / name).parent == house.folder
    header = saved_as(text)
    assert header.isascii()
    assert "\n" not in header
    assert "\r" not in header


@driver
def member(house: House, owner: str, text: str) -> None:
    """What the archive of an account has: keys below its owner's folders, which are checked ones."""
    archive = ZipStream()
    scoped = house.runtime.data.scoped(f"user_data/{owner}")
    try:
        path = join_key("objects", "user_data", scoped.put(f"uploads/{text}", b"x").key)
    except EcluseError:
        return
    b"".join(archive.add(path, [b"x"]))
    expect_inside(path)


@driver
def fetched(house: House, owner: str, text: str) -> None:
    """A server names no file outside the folder that a client fetches to."""
    into = house.folder / "fetching" / "deep"
    into.mkdir(parents=True, exist_ok=True)
    server = _Server(text)
    row = cast(Any, type("Row", (), {"name": "mark", "version": VERSION}))
    with suppress(EcluseError, _Asked):
        fetch_version(cast(Any, server), row, into, lambda _: None)
    if server.asked:
        expect_inside(text)
    expect_inside(local_path(text).as_posix())


class _Asked(Exception):
    """A client was about to write a file."""


@dataclass
class _Server:
    """A server that names a file as it likes."""

    path: str
    asked: bool = False

    def send_json(self, *_: Any) -> Any:
        return {"files": [{"path": self.path, "sha256": DIGEST, "size": 1}]}

    def __getattr__(self, _: str) -> Any:
        self.asked = True
        raise _Asked


@dataclass
class _Claim:
    user_id: str
    job_id: str = "0" * 32
    subject: Any = None
    fence: int = 1


async def _chunks() -> AsyncIterator[bytes]:
    yield b"x"


def _read(stores: Stores, url: str) -> bytes:
    located = stores.locate(url)
    return located.store.get(located.key)


def _below(stores: Stores, text: str, path: str) -> bytes:
    found = read_address(text, stores)
    return found.store.get(below(found, path))


def _resolved(runtime: Runtime, reader: str, name: str, allowed: set[str]) -> None:
    row = places.resolve_readable(runtime, reader, name)
    assert row.user_id in allowed, name


def _scored(runtime: Runtime, owner: str, filename: str) -> tuple[Dataset, str]:
    with runtime.catalog.write() as transaction:
        dataset = Dataset(user_id=owner, filename=filename[:300])
        transaction.add(dataset)
        transaction.flush()
        dataset.key = f"user_data/{owner}/uploads/mark.csv"
        dataset.url = runtime.data.url_of(dataset.key)
        prediction = Prediction(user_id=owner, dataset_id=dataset.id, model_name="m", version=VERSION)
        transaction.add(prediction)
        transaction.flush()
        return dataset, prediction.id


def marks(store: ObjectStore, owner: str) -> dict[str, bytes]:
    """What an owner has from the beginning, by its key."""
    return {
        f"user_data/{owner}/uploads/mark.csv": b"a\n1\n",
        f"user_data/{owner}/images/mark/{DIGEST}.jpg": b"jpeg",
        f"user_models/{owner}/mark/{VERSION}/model.bin": b"model",
        f"user_models/{owner}/mark/{VERSION}/{CLAIM}": b"{}",
    }

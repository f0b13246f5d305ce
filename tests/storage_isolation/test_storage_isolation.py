"""Nothing that a client sends reaches what is another's in a store: each place is tried with each hostile text."""

from __future__ import annotations

import posixpath
import shutil
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage.backend import STAGING
from tests.servers import ObjectServer
from tests.storage_isolation.drivers import APART, DRIVERS, House, marks
from tests.storage_isolation.hostile import ALWAYS, of_others
from tests.storage_isolation.watched import Watched, watch

pytestmark = pytest.mark.nightly

STORES = ("memory", "folder", "s3")
CASES = [(store, name) for store in STORES for name in DRIVERS if store == "memory" or name not in APART]


@pytest.fixture
def settings(request: pytest.FixtureRequest, home: Path, store: str) -> Settings:
    environment: dict[str, str] = {}
    if store == "memory":
        environment = {"ECLUSE_STORE_URL": "memory://"}
    elif store == "s3":
        server: ObjectServer = request.getfixturevalue("object_server")
        environment = server.environment(uuid.uuid4().hex)
    return Settings.from_environment(environment, home=home)


@pytest.fixture
def house(settings: Settings, tmp_path: Path) -> Iterator[House]:
    with Runtime.open(settings) as runtime:
        accounts = runtime.accounts
        accounts.add("first@example.org")  # the administrator
        me, other = (accounts.add(f"{name}@example.org").id for name in ("anna", "ben"))
        org = accounts.add_organisation(me, "acme").id
        for owner in (me, org, other, f"{me}x", f"{org}x"):
            for key, data in marks(runtime.data, owner).items():
                runtime.data.put(key, data)
        folder = tmp_path / "scratch"
        (folder / "tree").mkdir(parents=True)
        (folder / "tree" / "mark.txt").write_bytes(b"x")
        table = folder / "table.parquet"
        pl.DataFrame({"a": [1]}).write_parquet(table)
        yield House(runtime, me, org, other, folder, table)


@pytest.mark.parametrize(("store", "name"), CASES)
def test_no_text_leads_to_what_is_anothers(name: str, house: House) -> None:
    watched = watch(house.runtime.data)
    outside = files_beside(house)
    for owner, other in ((house.me, house.other), (house.me, house.org), (house.org, house.me)):
        before = objects_beside(house, owner)
        for kind, text in (ALWAYS | of_others(other, owner)).items():
            watched.touched.clear()
            DRIVERS[name](house, owner, text)
            assert left(watched, owner) == [], kind
        assert objects_beside(house, owner) == before
    assert files_beside(house) == outside


@pytest.mark.parametrize("store", STORES)
def test_what_is_asked_for_rightly_is_let_through(house: House) -> None:
    """The wall stands where it should: what is one's own is read and written by the same doors."""
    watched = watch(house.runtime.data)
    DRIVERS["upload"](house, house.me, "x.csv")
    DRIVERS["images"](house, house.org, "x.csv")
    wrote = [path for method, path in watched.touched if method.startswith("put")]
    assert any(f"user_data/{house.me}/uploads/" in path for path in wrote)
    assert any(f"user_data/{house.org}/uploads/images_" in path for path in wrote)
    assert left(watched, house.other) != []  # and who looks sees it


def left(watched: Watched, owner: str) -> list[tuple[str, str]]:
    """What was touched outside of an owner's folders, on any reading."""
    root = f"{watched.prefix}/".lstrip("/")
    return [
        (method, path)
        for method, path in watched.touched
        if not all(
            form.startswith(root) and is_own(form.removeprefix(root), owner) for form in readings(path)
        )
    ]


def is_own(path: str, owner: str) -> bool:
    place = posixpath.normpath(f"/{path}".replace("\\", "/")).split("/")[1:]
    return place[:2] in (["user_data", owner], ["user_models", owner]) or place[0] == STAGING


def readings(path: str) -> set[str]:
    """A path as others may read it: normalised and decoded, in turn, until nothing changes."""
    forms, new = {path}, {path}
    while (
        new := {form for each in new for form in (unquote(each), unicodedata.normalize("NFKC", each))} - forms
    ):
        forms |= new
    return forms


def objects_beside(house: House, owner: str) -> dict[str, Any]:
    """Every object that is not the owner's, with what it holds."""
    data = house.runtime.data
    return {
        info.key: data.get(info.key)
        for info in data.list()
        if not is_own(info.key, owner) or info.key.split("/")[0] not in ("user_data", "user_models")
    }


def files_beside(house: House) -> set[str]:
    """Files of the machine beside the folder that the test works in, and what the store and the catalog keep."""
    base = house.folder.parent
    shutil.rmtree(house.folder / "scratch", ignore_errors=True)
    return {
        path.relative_to(base).as_posix()
        for path in base.rglob("*")
        if path.is_file() and not path.is_relative_to(house.folder) and not path.is_relative_to(base / "home")
    }

"""Versions appear whole or not at all, and are what they were published as."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.errors import (
    DigestMismatch,
    InvalidInput,
    ManifestInvalid,
    ModelNotFound,
    ObjectExists,
    VersionNotFound,
)
from ecluse.registry import Manifest, ManifestFile, Registry
from ecluse.settings import Settings
from ecluse.storage import Cache, ObjectStore, open_store
from tests.servers import ObjectServer


@pytest.fixture(params=["memory", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return open_store("memory://")
    if request.param == "file":
        return open_store(f"file://{tmp_path / 'store'}")
    server: ObjectServer = request.getfixturevalue("object_server")
    settings = Settings.from_environment(server.environment(uuid.uuid4().hex))
    return open_store(settings.store_url, settings.access)


@pytest.fixture
def registry(store: ObjectStore, tmp_path: Path) -> Registry:
    return Registry(store, Cache(tmp_path / "cache", 10**9))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "plots").mkdir(parents=True)
    (folder / "best_model.txt").write_text("tree\n" * 100)
    (folder / "plots" / "curve.json").write_text("{}")
    return folder


def publish(registry: Registry, model: Path, nonce: str = "n") -> Manifest:
    return registry.publish("payments", model, created_by="u", nonce=nonce, metadata={"ap": 0.7})


def test_a_published_version_is_found_and_downloads_verified(
    registry: Registry, model: Path, tmp_path: Path
) -> None:
    manifest = publish(registry, model)
    assert registry.names() == ["payments"]
    assert registry.latest("payments") == manifest.version
    registry.download("payments", manifest.version, tmp_path / "out")
    assert (tmp_path / "out" / "plots" / "curve.json").read_text() == "{}"
    assert registry.verify("payments", manifest.version).metadata == {"ap": 0.7}


def test_two_writers_never_take_the_same_version(registry: Registry) -> None:
    moment, taken = datetime(2025, 11, 21, 4, 10, tzinfo=UTC), []

    def claim() -> None:
        taken.append(registry.claim("payments", uuid.uuid4().hex, moment))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 8
    assert "v20251121_041000" in taken
    assert "v20251121_041000_8" in taken


def test_a_publisher_that_dies_before_the_manifest_leaves_no_version(registry: Registry, model: Path) -> None:
    version = registry.claim("payments", "n")
    registry.upload("payments", version, model)
    assert registry.versions("payments") == []
    with pytest.raises(ModelNotFound):
        registry.latest("payments")


def test_publishing_again_with_the_same_nonce_changes_nothing(registry: Registry, model: Path) -> None:
    version = registry.claim("payments", "job-1")
    assert registry.claim("payments", "job-1", _moment(version)) == version
    files = registry.upload("payments", version, model)
    first = registry.commit("payments", version, files, created_by="u", nonce="job-1", metadata={})
    again = registry.commit("payments", version, files, created_by="u", nonce="job-1", metadata={"other": 1})
    assert again == first
    with pytest.raises(ObjectExists):
        registry.commit("payments", version, files, created_by="u", nonce="job-2", metadata={})


def test_a_changed_file_is_named(registry: Registry, store: ObjectStore, model: Path, tmp_path: Path) -> None:
    manifest = publish(registry, model)
    store.put(f"payments/{manifest.version}/best_model.txt", b"tampered")
    with pytest.raises(DigestMismatch, match=r"best_model\.txt"):
        registry.verify("payments", manifest.version)
    with pytest.raises(DigestMismatch, match=r"best_model\.txt"):
        registry.download("payments", manifest.version, tmp_path / "out")
    assert not (tmp_path / "out" / "best_model.txt").exists()


def test_a_missing_file_is_named(registry: Registry, store: ObjectStore, model: Path) -> None:
    manifest = publish(registry, model)
    store.delete(f"payments/{manifest.version}/best_model.txt")
    with pytest.raises(DigestMismatch, match=r"best_model\.txt is missing"):
        registry.verify("payments", manifest.version)


def test_a_deleted_version_is_gone_and_its_name_is_not_used_again(
    registry: Registry, store: ObjectStore, model: Path
) -> None:
    manifest = publish(registry, model)
    registry.delete("payments", manifest.version)
    assert registry.versions("payments") == []
    assert not store.exists(f"payments/{manifest.version}/best_model.txt")
    assert registry.claim("payments", "other", _moment(manifest.version)) == f"{manifest.version}_2"


def test_a_version_that_is_half_deleted_or_damaged_can_be_deleted(
    registry: Registry, store: ObjectStore, model: Path
) -> None:
    first, second = publish(registry, model, "a"), publish(registry, model, "b")
    store.delete(f"payments/{first.version}/manifest.json")
    store.put(f"payments/{second.version}/manifest.json", b"{ not json")
    for manifest in (first, second, first):
        registry.delete("payments", manifest.version)
    assert {info.key.rsplit("/", 1)[1] for info in store.list("payments")} == {".claim"}


def test_versions_of_one_second_are_in_order_of_their_number(registry: Registry, model: Path) -> None:
    moment = datetime(2025, 11, 21, tzinfo=UTC)
    for number in range(11):
        version = registry.claim("payments", f"n{number}", moment)
        registry.commit("payments", version, (), created_by="u", nonce=f"n{number}", metadata={})
    assert registry.latest("payments") == "v20251121_000000_11"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 65, "é", "a b"])
def test_a_name_that_cannot_be_a_key_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidInput):
        registry.claim(name, "n")


def test_a_version_that_is_none_is_not_looked_for(registry: Registry) -> None:
    with pytest.raises(VersionNotFound):
        registry.manifest("payments", "../../other/v20251121_000000")


def test_a_manifest_cannot_name_a_file_outside_its_version(registry: Registry, store: ObjectStore) -> None:
    manifest = Manifest("payments", "v20251121_000000", "", "", "n", (ManifestFile("../../x", 1, "0", ""),))
    store.put("payments/v20251121_000000/manifest.json", manifest.to_json())
    with pytest.raises(ManifestInvalid):
        registry.manifest("payments", "v20251121_000000")


_FILES = st.builds(
    ManifestFile,
    path=st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.json", fullmatch=True),
    size=st.integers(0, 10**12),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    media_type=st.just("application/json"),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    max_leaves=8,
)


@given(files=st.lists(_FILES, max_size=5), metadata=st.dictionaries(st.text(), _JSON, max_size=4))
def test_a_manifest_survives_its_round_trip(files: list[ManifestFile], metadata: dict[str, object]) -> None:
    manifest = Manifest(
        "m", "v20251121_000000", "2025-11-21T00:00:00+00:00", "u", "n", tuple(files), metadata
    )
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(st.binary(max_size=200))
def test_bytes_that_are_no_manifest_are_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        Manifest.from_json(data)


def _moment(version: str) -> datetime:
    return datetime.strptime(version[1:16], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)

"""Versions appear whole or not at all, and are what they were published as."""

from __future__ import annotations

import json
import random
import re
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.errors import (
    ConditionalWritesMissing,
    DigestMismatch,
    InvalidInput,
    ManifestInvalid,
    ModelNotFound,
    ObjectExists,
    VersionNotFound,
)
from ecluse.migration.survey import manifest_digests
from ecluse.registry import LARGEST_MANIFEST, Manifest, ManifestFile, Registry, checked_metadata
from ecluse.settings import Settings
from ecluse.storage import Cache, ObjectStore, open_store
from tests import publisher
from tests.servers import ObjectServer
from tests.support.wait import seconds_of, slow_for


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


def test_sixteen_publishers_of_one_name_all_succeed_with_versions_of_their_own(
    registry: Registry, model: Path
) -> None:
    with ThreadPoolExecutor(16) as pool:
        published = list(pool.map(lambda n: publish(registry, model, f"n{n}").version, range(16)))
    assert len(set(published)) == 16
    assert registry.versions("payments") == sorted(published, key=lambda v: (v[:16], len(v), v))
    assert {registry.verify("payments", version).version for version in published} == set(published)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["file", "s3"])
def test_sixteen_processes_publish_one_name_at_once(
    kind: str, model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    environ = {"ECLUSE_STORE_URL": f"file://{tmp_path / 'store'}"}
    if kind == "s3":
        environ = request.getfixturevalue("object_server").environment(uuid.uuid4().hex)
    with ThreadPoolExecutor(16) as pool:
        started = list(
            pool.map(
                lambda n: publisher.start(tmp_path / f"home{n}", environ, "payments", model, bare=True),
                range(16),
            )
        )
    for process in started:
        publisher.go(process)
    published = [publisher.version(process) for process in started]
    settings = Settings.from_environment(environ, home=tmp_path / "home")
    registry = Registry(open_store(settings.store_url, settings.access), Cache(tmp_path / "cache", 10**8))
    assert len(set(published)) == 16
    assert set(registry.versions("payments")) == set(published)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_publisher_that_is_killed_leaves_no_version_and_what_it_left_is_cleaned_up(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Killed at random moments: what is visible then is whole, and was committed."""
    environ = {"ECLUSE_STORE_URL": f"file://{tmp_path / 'store'}"}
    if kind == "s3":
        environ = request.getfixturevalue("object_server").environment(uuid.uuid4().hex)
    settings = Settings.from_environment(environ, home=tmp_path / "home")
    store = open_store(settings.store_url, settings.access)
    registry = Registry(store, Cache(tmp_path / "cache", 10**8))
    model = tmp_path / "model"
    model.mkdir()
    for n in range(20):
        (model / f"{n}.bin").write_bytes(random.Random(n).randbytes(400_000))
    started = [publisher.start(tmp_path / "home", environ, "m", model, bare=True) for _ in range(12)]
    publisher.go(started[0])
    finished = list[str]()
    taken = seconds_of(lambda: finished.append(publisher.version(started[0])))
    draw = random.Random(kind)
    for process in started[1:]:
        publisher.go(process)
        slow_for(draw.uniform(0, taken))
        process.kill()
        finished.append(publisher.version(process))
        if finished[-1]:  # in time: the next has less
            taken /= 2
    visible = registry.versions("m")
    assert {version for version in finished if version} <= set(visible)
    assert {len(registry.verify("m", version).files) for version in visible} == {20}
    left = registry.leftovers()
    assert len(left) + len(visible) <= 12
    assert left, "no publisher was killed in time"
    assert all(registry.clear(leftover) for leftover in left)
    assert registry.leftovers() == []
    assert registry.versions("m") == visible
    assert all(registry.verify("m", version) for version in visible)
    store.remove_stale_uploads(timedelta(0))
    assert {info.key.split("/")[1] for info in store.list("m")} == set(visible)


def test_who_commits_after_a_clean_up_learns_of_it_and_leaves_nothing_visible(
    registry: Registry, model: Path
) -> None:
    version = registry.claim("payments", "n")
    files = registry.upload("payments", version, model)
    (leftover,) = registry.leftovers()
    assert (leftover.kind, leftover.nonce, len(leftover.keys)) == ("unfinished", "n", 3)
    assert registry.clear(leftover)
    with pytest.raises(ObjectExists):
        registry.commit("payments", version, files, created_by="u", nonce="n", metadata={})
    assert registry.versions("payments") == []


def test_a_clean_up_that_comes_too_late_keeps_the_version(registry: Registry, model: Path) -> None:
    version = registry.claim("payments", "n")
    files = registry.upload("payments", version, model)
    (leftover,) = registry.leftovers()
    registry.commit("payments", version, files, created_by="u", nonce="n", metadata={})
    assert not registry.clear(leftover)
    assert registry.verify("payments", version).files == files
    assert registry.leftovers() == []


def test_who_commits_between_the_two_looks_of_a_clean_up_takes_the_manifest_back(
    registry: Registry, store: ObjectStore, model: Path
) -> None:
    """The claim is gone when the publisher looks at it after its manifest."""
    version = registry.claim("payments", "n")
    files = registry.upload("payments", version, model)
    store.put(f"payments/{version}/.claim", b'{"nonce": null}')
    with pytest.raises(ObjectExists):
        registry.commit("payments", version, files, created_by="u", nonce="n", metadata={})
    assert registry.versions("payments") == []


def test_a_deleted_version_is_not_committed_again(registry: Registry, model: Path) -> None:
    version = registry.claim("payments", "n")
    files = registry.upload("payments", version, model)
    registry.commit("payments", version, files, created_by="u", nonce="n", metadata={})
    registry.delete("payments", version)
    with pytest.raises(ObjectExists):
        registry.commit("payments", version, files, created_by="u", nonce="n", metadata={})
    assert registry.leftovers() == []


def test_what_an_interrupted_deletion_left_is_found(
    registry: Registry, store: ObjectStore, model: Path
) -> None:
    manifest = publish(registry, model)
    kept = store.get(f"payments/{manifest.version}/best_model.txt")
    registry.delete("payments", manifest.version)
    store.put(f"payments/{manifest.version}/best_model.txt", kept)
    (leftover,) = registry.leftovers()
    assert (leftover.kind, leftover.size) == ("deleted", 500)
    assert registry.clear(leftover)
    assert [info.key for info in store.list("payments")] == [f"payments/{manifest.version}/.claim"]


@pytest.mark.nightly
def test_a_store_where_two_writers_win_takes_no_version(
    s3rver_server: dict[str, str], model: Path, tmp_path: Path
) -> None:
    settings = Settings.from_environment(s3rver_server)
    store = open_store(settings.store_url, settings.access)
    registry = Registry(store.scoped(uuid.uuid4().hex), Cache(tmp_path / "cache", 10**8))
    with pytest.raises(ConditionalWritesMissing):
        publish(registry, model)
    assert registry.names() == []


def test_any_names_and_sizes_of_files_come_back_as_they_were(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    files = {"vide": b"", "données/été 2025.json": b"{}", "模型.bin": b"\0" * 3_000_000, "a b+c%20=d": b"x"}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    manifest = publish(registry, folder)
    assert {file.path: file.size for file in manifest.files} == {k: len(v) for k, v in files.items()}
    registry.download("payments", manifest.version, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == files


@pytest.mark.nightly
def test_a_thousand_files_make_one_version_and_progress_counts_every_byte(
    registry: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(1000):
        (folder / f"{n:04}").write_bytes(b"%d" % n)
    told: dict[str, list[int]] = {"up": [], "read": [], "down": []}
    manifest = registry.publish(
        "payments", folder, created_by="u", nonce="n", metadata={}, progress=told["up"].append
    )
    assert len(manifest.files) == 1000
    registry.verify("payments", manifest.version, told["read"].append)
    registry.download("payments", manifest.version, tmp_path / "out", told["down"].append)
    assert {name: sum(sizes) for name, sizes in told.items()} == dict.fromkeys(told, manifest.size)


def test_objects_of_others_in_a_version_change_nothing(
    registry: Registry, store: ObjectStore, model: Path, tmp_path: Path
) -> None:
    manifest = publish(registry, model)
    store.put(f"payments/{manifest.version}/.DS_Store", b"foreign")
    store.put(f"payments/{manifest.version}/plots/late.json", b"foreign")
    store.put("payments/notes/readme.txt", b"foreign")
    assert registry.verify("payments", manifest.version) == manifest
    registry.download("payments", manifest.version, tmp_path / "out")
    assert not (tmp_path / "out" / "plots" / "late.json").exists()
    assert registry.versions("payments") == [manifest.version]
    assert registry.leftovers() == []


@pytest.mark.parametrize("name", ["manifest.json", ".claim", "model.sig"])
def test_names_of_the_registrys_own_are_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(InvalidInput, match=re.escape(name)):
        registry.upload("payments", "v20251121_000000", {name: tmp_path / name})


def test_a_folder_without_files_and_a_link_that_leads_nowhere_are_refused(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="file"):
        publish(registry, tmp_path / "empty")
    (tmp_path / "empty" / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="link"):
        publish(registry, tmp_path / "empty")
    assert registry.names() == []


def test_metadata_that_json_cannot_hold_are_refused(registry: Registry, model: Path) -> None:
    for metadata in ({"auc": float("nan")}, {"model": object()}):
        with pytest.raises(InvalidInput, match="metadata"):
            registry.publish("payments", model, created_by="u", nonce="n", metadata=metadata)
    assert registry.versions("payments") == []


def test_a_manifest_that_was_replaced_is_known_by_its_digest(
    registry: Registry, store: ObjectStore, model: Path, tmp_path: Path
) -> None:
    manifest = publish(registry, model)
    key = f"payments/{manifest.version}/manifest.json"
    other = json.loads(store.get(key)) | {"metadata": {"ap": 0.99}}
    store.put(key, json.dumps(other).encode())
    fresh = Registry(store, Cache(tmp_path / "another", 10**8))
    for read in (fresh.manifest, fresh.verify):
        with pytest.raises(ManifestInvalid):
            read("payments", manifest.version, digest=manifest.digest)


def test_the_first_failure_of_many_uploads_is_told_and_the_rest_stopped(
    registry: Registry, store: ObjectStore, tmp_path: Path
) -> None:
    files = {f"{n:03}": tmp_path / f"{n:03}" for n in range(200)}
    for n, path in enumerate(files.values()):
        if n != 3:
            path.write_bytes(b"x" * 10_000)
    version = registry.claim("payments", "n")
    with pytest.raises(InvalidInput, match="003"):
        registry.upload("payments", version, files)
    assert len(list(store.list("payments"))) < 200


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
    with pytest.raises(DigestMismatch, match=r"best_model\.txt"):
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


@given(
    files=st.lists(_FILES, max_size=5, unique_by=lambda file: file.path),
    metadata=st.dictionaries(st.text(), _JSON, max_size=4),
)
def test_a_manifest_survives_its_round_trip(files: list[ManifestFile], metadata: dict[str, object]) -> None:
    manifest = Manifest(
        "m", "v20251121_000000", "2025-11-21T00:00:00+00:00", "u", "n", tuple(files), metadata
    )
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(st.binary(max_size=200))
def test_bytes_that_are_no_manifest_are_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        Manifest.from_json(data)


_HOSTILE = {
    "deep": lambda text: "[" * 300_000,
    "deep metadata": lambda text: text.replace("{}", "[" * 300_000),
    "infinite size": lambda text: text.replace('"size": 1', '"size": 1e999'),
    "negative size": lambda text: text.replace('"size": 1', '"size": -1'),
    "one path twice": lambda text: text.replace('"b"', '"a"'),
    "a file and its folder": lambda text: text.replace('"b"', '"a/b"'),
    "metadata that are none": lambda text: text.replace("{}", "[]"),
    "half a character": lambda text: text.replace("{}", '{"a": "\\ud800"}'),
    "no number": lambda text: text.replace("{}", '{"a": 1e999}'),
    "too large": lambda text: text + " " * (LARGEST_MANIFEST + 1),
}


@pytest.mark.parametrize("change", _HOSTILE.values(), ids=_HOSTILE)
def test_a_hostile_manifest_is_refused_by_name_and_is_no_ones(
    change: Callable[[str], str], tmp_path: Path
) -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    files = tuple(ManifestFile(path, 1, "0" * 64, "text/plain") for path in ("a", "b"))
    written = Manifest("m", "v20251121_000000", "", "u", "n", files).to_json().decode()
    assert Manifest.from_json(written.encode()).files == files
    store.put("m/v20251121_000000/manifest.json", change(written).encode())
    store.put("m/v20251121_000001/.claim", b"[" * 300_000)
    registry = Registry(store, Cache(tmp_path, 10**9))
    with pytest.raises(ManifestInvalid):
        registry.manifest("m", "v20251121_000000")
    assert [one.kind for one in registry.leftovers()] == []
    assert manifest_digests(store, "m/v20251121_000000/manifest.json") is None


def _nested(levels: int) -> dict[str, Any]:
    return {"a": _nested(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    "metadata",
    [
        {"n": 10**400},
        {"a": [10**400]},
        {"a": "\ud800"},
        _nested(400),
        _nested(20),
        {"a": "x" * 65_536},
        {str(n): n for n in range(1_001)},
        {"k" * 201: 1},
        {1: 2},
        {"a": [{"b": n} for n in range(1_000)]},
    ],
    ids=str,
)
def test_metadata_that_no_page_could_show_are_refused_before_anything_is_claimed(
    metadata: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="metadata"):
        checked_metadata(metadata)
    assert checked_metadata({"a": [1.5, None, True], "b": _nested(17)}) == {
        "a": [1.5, None, True],
        "b": _nested(17),
    }


def _moment(version: str) -> datetime:
    return datetime.strptime(version[1:16], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)

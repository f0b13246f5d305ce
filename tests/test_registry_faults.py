"""Versions while the network and the server fail: each is there and verifies, or it is not there."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from ecluse.errors import DigestMismatch, EcluseError, StoreUnavailable, VersionNotFound
from ecluse.registry import Manifest, Registry
from ecluse.settings import Settings
from ecluse.storage import Cache, open_store
from tests.faults import UNSEEN, Fault, FaultProxy, Request, fault_proxy
from tests.servers import ObjectServer

NAME = "payments"
#: The waits between attempts are most of the time: many publishers wait at once.
ABREAST = 20
SEEDS = 60
#: No publication takes longer, whatever fails (s); far above what patience allows.
BOUND = 90


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return made_model(tmp_path / "model", 1)


def made_model(folder: Path, seed: int) -> Path:
    draw = random.Random(seed)
    (folder / "plots").mkdir(parents=True)
    (folder / "best_model.bin").write_bytes(draw.randbytes(300_000))
    (folder / "empty.txt").write_bytes(b"")
    (folder / "plots" / "curve.json").write_bytes(draw.randbytes(1000))
    return folder


def registry_at(environment: dict[str, str], cache: Path) -> Registry:
    settings = Settings.from_environment(environment)
    store = open_store(settings.store_url, settings.access, patience=timedelta(seconds=6))
    return Registry(store, Cache(cache, 10**8))


@contextmanager
def registries(
    server: ObjectServer, folder: Path, seed: int = 0
) -> Iterator[tuple[FaultProxy, Registry, Registry]]:
    """A proxy, a registry through it, and the same registry past it."""
    prefix = uuid.uuid4().hex
    with fault_proxy(server.endpoint, seed=seed) as proxy:
        near = registry_at(proxy.environment(prefix), folder / f"near-{prefix}")
        yield proxy, near, registry_at(server.environment(prefix), folder / f"far-{prefix}")


def publish(registry: Registry, model: Path, nonce: str = "n") -> Manifest:
    return registry.publish(NAME, model, created_by="u", nonce=nonce, metadata={"ap": 0.7})


def wanted(key: str) -> Callable[[Request], bool]:
    return lambda request: request.method == "PUT" and request.key.endswith(key)


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_a_publication_yields_a_version_that_verifies_or_none(
    rate: float, restartable: ObjectServer, tmp_path: Path
) -> None:
    def attempt(seed: int) -> str | None:
        model = made_model(tmp_path / f"model-{seed}", seed)
        with registries(restartable, tmp_path, seed) as (proxy, near, far):
            proxy.rate(rate)
            try:
                manifest = publish(near, model)
            except EcluseError as error:
                broken.append(error)
                visible = far.versions(NAME)
                return f"seed {seed}: raised {error!r}, and there is {visible}" if visible else None
            return None if whole(far, manifest, model, tmp_path / f"out-{seed}") else f"seed {seed}"

    broken: list[EcluseError] = []
    with ThreadPoolExecutor(ABREAST) as pool:
        wrong = [found for found in pool.map(attempt, range(SEEDS), timeout=BOUND) if found]
    assert wrong == []
    assert len(broken) < SEEDS


def whole(registry: Registry, manifest: Manifest, model: Path, out: Path) -> bool:
    """Whether the version is the only one, verifies, and is `model` again when downloaded."""
    assert registry.versions(NAME) == [manifest.version]
    assert registry.verify(NAME, manifest.version) == manifest
    registry.download(NAME, manifest.version, out)
    return contents(out) == contents(model)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("key", [".claim", "manifest.json"])
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.LOST_ERROR, Fault.TRUNCATE, Fault.RESET_IN_RESPONSE])
def test_a_lost_acknowledgement_of_a_create_only_write_is_known_as_ours(
    fault: Fault, key: str, restartable: ObjectServer, model: Path, tmp_path: Path
) -> None:
    with registries(restartable, tmp_path) as (proxy, near, far):
        plan = proxy.plan(fault, when=wanted(key))
        manifest = publish(near, model)
        assert plan.hits[0].status == 200
        assert whole(far, manifest, model, tmp_path / "out")
        claims = {request.key for request in proxy.requests if request.key.endswith(".claim")}
        assert len(claims) == 1, "a second version was claimed"


def test_a_store_that_fails_for_good_before_the_manifest_leaves_no_version(
    restartable: ObjectServer, model: Path, tmp_path: Path
) -> None:
    def attempt(fault: Fault) -> str | None:
        with registries(restartable, tmp_path) as (proxy, near, far):
            proxy.plan(fault, when=wanted("manifest.json"), times=10**9)
            with pytest.raises(EcluseError):
                publish(near, model)
            visible = far.versions(NAME)
            return f"{fault}: there is {visible}" if visible else None

    with ThreadPoolExecutor(ABREAST) as pool:
        assert [found for found in pool.map(attempt, UNSEEN, timeout=BOUND) if found] == []


def test_a_manifest_of_which_nothing_more_is_heard_makes_a_whole_version(
    restartable: ObjectServer, model: Path, tmp_path: Path
) -> None:
    """The one case that no publisher can know: written, unacknowledged, and the store away ever since."""
    with registries(restartable, tmp_path) as (proxy, near, far):
        proxy.plan(Fault.LOST, when=wanted("manifest.json"))
        proxy.plan(Fault.RESET, when=lambda _: written_manifest(proxy), times=10**9)
        with pytest.raises(StoreUnavailable):
            publish(near, model)
        (version,) = far.versions(NAME)
        assert far.verify(NAME, version).nonce == "n"
        proxy.clear()
        again = near.commit(NAME, version, (), created_by="u", nonce="n", metadata={})
        assert len(again.files) == 3, "repeating the commit finds the first"


def written_manifest(proxy: FaultProxy) -> bool:
    return any(request.fault is Fault.LOST for request in proxy.requests)


@pytest.mark.xfail(strict=False, reason="a read that meets a conflict says that the object exists")
def test_what_is_read_under_faults_is_right_or_an_error_that_blames_no_file(
    restartable: ObjectServer, tmp_path: Path
) -> None:
    def attempt(seed: int) -> str | None:
        model = made_model(tmp_path / f"model-{seed}", seed)
        with registries(restartable, tmp_path, seed) as (proxy, near, far):
            manifest = publish(far, model)
            proxy.rate(0.2)
            out = tmp_path / f"out-{seed}"
            for read in (
                lambda: near.verify(NAME, manifest.version) == manifest,
                lambda: near.versions(NAME) == [manifest.version],
                lambda: near.names() == [NAME],
                lambda: near.download(NAME, manifest.version, out) == manifest,
            ):
                try:
                    if not read():
                        return f"seed {seed}: a wrong answer"
                except StoreUnavailable:
                    continue
                except EcluseError as error:
                    return f"seed {seed}: misleading: {error!r}"
            expected = contents(model)
            partial = {path for path, data in contents(out).items() if expected.get(path) != data}
            return f"seed {seed}: {partial} is not what was published" if partial else None

    with ThreadPoolExecutor(ABREAST) as pool:
        assert [found for found in pool.map(attempt, range(40), timeout=BOUND) if found] == []


def test_a_byte_that_changed_on_the_way_is_never_taken_for_the_model(
    restartable: ObjectServer, model: Path, tmp_path: Path
) -> None:
    with registries(restartable, tmp_path) as (proxy, near, far):
        manifest = publish(far, model)
        changed = proxy.plan(Fault.CORRUPT, when=got("best_model.bin"), times=2)
        with pytest.raises(DigestMismatch, match=r"best_model\.bin"):
            near.verify(NAME, manifest.version)
        with pytest.raises(DigestMismatch, match=r"best_model\.bin"):
            near.download(NAME, manifest.version, tmp_path / "out")
        assert len(changed.hits) == 2
        assert not (tmp_path / "out" / "best_model.bin").exists()
        near.download(NAME, manifest.version, tmp_path / "out")
        assert contents(tmp_path / "out") == contents(model)


def got(key: str) -> Callable[[Request], bool]:
    return lambda request: request.kind == "GetObject" and request.key.endswith(key)


def test_a_version_whose_deletion_failed_is_whole_or_gone_and_can_be_deleted_again(
    restartable: ObjectServer, tmp_path: Path
) -> None:
    def attempt(seed: int) -> str | None:
        model = made_model(tmp_path / f"model-{seed}", seed)
        with registries(restartable, tmp_path, seed) as (proxy, near, far):
            manifest = publish(far, model)
            for fault in (Fault.RESET, Fault.LOST, Fault.LOST_ERROR):
                proxy.plan(fault, after=seed, times=10**9)
            try:
                near.delete(NAME, manifest.version)
            except EcluseError:
                if far.versions(NAME):
                    far.verify(NAME, manifest.version)
            else:
                if far.versions(NAME):
                    return f"after {seed} requests: said to be deleted, and is there"
            proxy.clear()
            near.delete(NAME, manifest.version)
            with pytest.raises(VersionNotFound):
                far.manifest(NAME, manifest.version)
            return None

    with ThreadPoolExecutor(ABREAST) as pool:
        assert [found for found in pool.map(attempt, range(6), timeout=BOUND) if found] == []

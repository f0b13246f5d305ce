"""Versions while the network and the server fail: each is there and verifies, or it is not there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from ecluse.errors import DigestMismatch, EcluseError, StoreUnavailable, VersionNotFound
from ecluse.registry import Manifest, Registry
from ecluse.settings import Settings
from ecluse.storage import Cache, open_store
from tests.faults import UNSEEN, Fault, FaultProxy, When, fault_proxy
from tests.servers import ObjectServer

pytestmark = pytest.mark.nightly

NAME = "payments"
#: The waits between attempts are most of the time: many publishers wait at once.
ABREAST = 20
SEEDS = 60
#: No publication takes longer, whatever fails (s); far above what patience allows.
BOUND = 90
PUBLISHER = """
import os, sys
from pathlib import Path
from tests.test_registry_faults import publish, registry_at
publish(registry_at(dict(os.environ), Path(sys.argv[2])), Path(sys.argv[1]))
"""


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


def registry_at(environment: dict[str, str], cache: Path, patience: float = 30) -> Registry:
    settings = Settings.from_environment(environment)
    store = open_store(settings.store_url, settings.access, patience=timedelta(seconds=patience))
    return Registry(store, Cache(cache, 10**8))


@contextmanager
def registries(
    server: ObjectServer, folder: Path, seed: int = 0, patience: float = 30
) -> Iterator[tuple[FaultProxy, Registry, Registry]]:
    """A proxy, a registry through it, and the same registry past it."""
    prefix = uuid.uuid4().hex
    with fault_proxy(server.endpoint, seed=seed) as proxy:
        near = registry_at(proxy.environment(prefix), folder / f"near-{prefix}", patience)
        yield proxy, near, registry_at(server.environment(prefix), folder / f"far-{prefix}")


def publish(registry: Registry, model: Path, nonce: str = "n") -> Manifest:
    return registry.publish(NAME, model, created_by="u", nonce=nonce, metadata={"ap": 0.7})


def asked(method: str, key: str) -> When:
    return lambda request: request.method == method and request.key.endswith(key)


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
        plan = proxy.plan(fault, when=asked("PUT", key))
        manifest = publish(near, model)
        assert plan.hits[0].status == 200
        assert whole(far, manifest, model, tmp_path / "out")
        claims = {request.key for request in proxy.requests if request.key.endswith(".claim")}
        assert len(claims) == 1, "a second version was claimed"


def test_a_store_that_fails_for_good_before_the_manifest_leaves_no_version(
    restartable: ObjectServer, model: Path, tmp_path: Path
) -> None:
    def attempt(fault: Fault) -> str | None:
        with registries(restartable, tmp_path, patience=1) as (proxy, near, far):
            proxy.plan(fault, when=asked("PUT", "manifest.json"), times=10**9)
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
    with registries(restartable, tmp_path, patience=1) as (proxy, near, far):
        proxy.plan(Fault.LOST, when=asked("PUT", "manifest.json"))
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


def test_a_publisher_that_is_killed_at_any_request_leaves_no_version_or_a_whole_one(
    restartable: ObjectServer, model: Path, tmp_path: Path
) -> None:
    """Killed before the manifest is stored: no version. Killed after: a whole one."""

    def attempt(fault: Fault, key: str, method: str) -> str | None:
        prefix = uuid.uuid4().hex
        far = registry_at(restartable.environment(prefix), tmp_path / prefix)
        with fault_proxy(restartable.endpoint) as proxy:
            process: list[subprocess.Popen[bytes]] = []
            plan = proxy.plan(fault, when=asked(method, key), action=lambda: process[0].kill())
            command = [sys.executable, "-c", PUBLISHER, str(model), str(tmp_path / f"cache-{prefix}")]
            process.append(subprocess.Popen(command, env=os.environ | proxy.environment(prefix)))
            code = process[0].wait(60)
            if not plan.hits or code != -signal.SIGKILL:
                return f"{fault} at {key}: it ended with {code}"
            stored = any(
                asked("PUT", "manifest.json")(request) and request.status == 200 for request in proxy.requests
            )
            visible = far.versions(NAME)
            if bool(visible) != stored:
                return f"{fault} at {key}: the manifest is stored: {stored}, and there is {visible}"
            for version in visible:
                far.verify(NAME, version)
            return None

    with ThreadPoolExecutor(2) as pool:
        ends = [
            pool.submit(attempt, fault, key, method)
            for key, method in (
                (".claim", "PUT"),
                ("best_model.bin", "PUT"),
                ("curve.json", "PUT"),
                ("manifest.json", "PUT"),
                ("manifest.json", "GET"),
            )
            for fault in (Fault.RESET, Fault.LOST)
        ]
        assert [wrong for end in ends if (wrong := end.result(BOUND))] == []


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
        assert [found for found in pool.map(attempt, range(25), timeout=BOUND) if found] == []


def test_a_byte_that_changed_on_the_way_is_never_taken_for_the_model(
    restartable: ObjectServer, model: Path, tmp_path: Path
) -> None:
    with registries(restartable, tmp_path) as (proxy, near, far):
        manifest = publish(far, model)
        changed = proxy.plan(Fault.CORRUPT, when=asked("GET", "best_model.bin"), times=2)
        with pytest.raises(DigestMismatch, match=r"best_model\.bin"):
            near.verify(NAME, manifest.version)
        with pytest.raises(DigestMismatch, match=r"best_model\.bin"):
            near.download(NAME, manifest.version, tmp_path / "out")
        assert len(changed.hits) == 2
        assert not (tmp_path / "out" / "best_model.bin").exists()
        near.download(NAME, manifest.version, tmp_path / "out")
        assert contents(tmp_path / "out") == contents(model)


def test_a_version_whose_deletion_failed_is_whole_or_gone_and_can_be_deleted_again(
    restartable: ObjectServer, tmp_path: Path
) -> None:
    def attempt(seed: int) -> str | None:
        model = made_model(tmp_path / f"model-{seed}", seed)
        with registries(restartable, tmp_path, seed, patience=1) as (proxy, near, far):
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

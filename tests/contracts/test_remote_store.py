"""What object stores keep beyond the contract of all: telling errors apart, no secret shown, uploads cleaned up."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import obstore
import pytest
from obstore.store import S3Store

from ecluse.errors import (
    BucketNotFound,
    CannotSign,
    ConditionalWritesMissing,
    ObjectChanged,
    ObjectNotFound,
    SettingsError,
    StorageError,
    StoreUnavailable,
)
from ecluse.settings import Settings
from ecluse.storage import ObjectStore, ensure_bucket, open_store
from tests.faults import Fault, FaultProxy, fault_proxy, kind
from tests.servers import (
    ACCESS_KEY,
    BUCKET,
    SECRET_KEY,
    ObjectServer,
    free_port,
    seaweedfs,
    store_environment,
)

pytestmark = pytest.mark.nightly

SHORT = timedelta(seconds=1)


@pytest.fixture
def environment(object_server: ObjectServer) -> dict[str, str]:
    return object_server.environment(uuid.uuid4().hex)


@pytest.fixture
def store(environment: dict[str, str]) -> ObjectStore:
    return opened(environment)


@pytest.fixture
def proxy(object_server: ObjectServer) -> Iterator[FaultProxy]:
    with fault_proxy(object_server.endpoint, seed=5) as running:
        yield running


def opened(environment: dict[str, str], patience: timedelta = timedelta(seconds=12)) -> ObjectStore:
    settings = Settings.from_environment(environment)
    return open_store(settings.store_url, settings.access, patience=patience)


VERBS: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put("a", b"x"),
    "put create_only": lambda store: store.put("a", b"x", create_only=True),
    "put_stream": lambda store: store.put_stream("a", iter([b"x" * 9_000_000])),
    "get": lambda store: store.get("a"),
    "stream": lambda store: list(store.stream("a")),
    "head": lambda store: store.head("a"),
    "exists": lambda store: store.exists("a"),
    "attributes": lambda store: store.attributes("a"),
    "list": lambda store: list(store.list()),
    "list_names": lambda store: store.list_names(),
    "copy": lambda store: store.copy("a", "b"),
    "delete": lambda store: store.delete("a"),
    "probe": lambda store: store.probe(),
}


def assert_tells(environment: dict[str, str], kind: type[StorageError], named: str = "") -> None:
    """Every verb raises this error, which names this and the place, and no secret in its chain."""
    for verb in VERBS.values():
        store = opened(environment, SHORT)
        with pytest.raises(kind) as caught:
            verb(store)
        assert named in str(caught.value)
        assert store.url.split("/")[2] in str(caught.value)
        assert_no_secret(caught.value, environment)


def assert_no_secret(error: BaseException, environment: dict[str, str]) -> None:
    text = str(error)
    assert environment["AWS_SECRET_ACCESS_KEY"] not in text
    assert "Signature=" not in text
    assert "X-Amz" not in text
    assert "\n" not in text


def test_a_wrong_secret_key_is_told(environment: dict[str, str]) -> None:
    bad = environment | {"AWS_SECRET_ACCESS_KEY": "a-wrong-secret"}
    assert_tells(bad, StoreUnavailable)
    with pytest.raises(StoreUnavailable, match="SignatureDoesNotMatch"):
        opened(bad).get("a")


def test_an_unknown_access_key_is_told(environment: dict[str, str]) -> None:
    with pytest.raises(StoreUnavailable, match="InvalidAccessKeyId"):
        opened(environment | {"AWS_ACCESS_KEY_ID": "nobody"}).get("a")


def test_a_missing_bucket_is_told_and_made(restricted: dict[str, str], environment: dict[str, str]) -> None:
    name = f"bucket-{uuid.uuid4().hex}"
    missing = environment | {"ECLUSE_STORE_URL": f"s3://{name}/prefix"}
    reads = {
        verb: act for verb, act in VERBS.items() if not verb.startswith(("put", "probe", "delete", "copy"))
    }
    for act in reads.values():
        with pytest.raises(BucketNotFound, match=f"s3://{name}/"):
            act(opened(missing, SHORT))
    # A key without the right to make buckets meets none when it writes: nothing is made on the way.
    for act in VERBS.values():
        with pytest.raises(StoreUnavailable):
            act(opened(restricted | {"ECLUSE_STORE_URL": f"s3://{name}/prefix"}, SHORT))
    settings = Settings.from_environment(missing)
    assert ensure_bucket(settings.store_url, settings.access) is True
    assert ensure_bucket(settings.store_url, settings.access) is False
    assert opened(missing).put("a", b"x").size == 1


@pytest.mark.nightly
def test_a_store_that_refuses_connections_is_told(environment: dict[str, str]) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    away = environment | {"S3_ENDPOINT": endpoint}
    assert_tells(away, StoreUnavailable, endpoint)


def test_a_store_whose_name_is_unknown_is_told(environment: dict[str, str]) -> None:
    with pytest.raises(StoreUnavailable, match="no-such-host"):
        opened(environment | {"S3_ENDPOINT": "http://no-such-host.invalid"}, SHORT).get("a")


def test_a_store_without_tls_is_told(environment: dict[str, str], object_server: ObjectServer) -> None:
    secured = object_server.endpoint.replace("http:", "https:")
    with pytest.raises(StoreUnavailable, match=secured):
        opened(environment | {"S3_ENDPOINT": secured}, SHORT).get("a")


def test_a_key_without_rights_is_told(restricted: dict[str, str], store: ObjectStore) -> None:
    other = restricted | {"ECLUSE_STORE_URL": f"s3://{BUCKET}-private"}
    with pytest.raises(StoreUnavailable, match="'a'"):
        opened(other).put("a", b"x")


def test_a_store_that_falls_silent_is_told(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and never answers. The line's silence is shortened, as waiting is all there is to see."""
    from ecluse.storage import client

    line = client.client_options

    def short(endpoint: str | None, *patience: timedelta) -> dict[str, dict[str, object]]:
        options = line(endpoint, *patience)
        options["client_options"]["read_timeout"] = timedelta(milliseconds=300)
        return options

    monkeypatch.setattr(client, "client_options", short)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match=address):
            opened(environment | {"S3_ENDPOINT": address}, SHORT).get("a")


def test_a_store_without_conditional_writes_is_refused_for_publishing(s3rver_server: dict[str, str]) -> None:
    store = opened(s3rver_server | {"ECLUSE_STORE_URL": f"s3://{BUCKET}/{uuid.uuid4().hex}"})
    assert store.probe().conditional_writes is False
    with pytest.raises(ConditionalWritesMissing, match="s3://models/"):
        store.scoped("user_models/1").put("manifest.json", b"{}", create_only=True)
    assert list(store.list()) == []
    store.put("uploads/a", b"x")
    assert store.get("uploads/a") == b"x"
    assert [info.key for info in store.list()] == ["uploads/a"]


def test_a_store_is_probed_once_for_all_its_scopes(proxy: FaultProxy) -> None:
    store = opened(proxy.environment(uuid.uuid4().hex))
    scopes = [store.scoped(f"user/{n}") for n in range(8)]
    threads = [threading.Thread(target=s.put, args=("a", b"x"), kwargs={"create_only": True}) for s in scopes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    probes = [
        request
        for request in proxy.requests
        if ".staging/probe-" in request.key and request.kind == "PutObject"
    ]
    assert len(probes) == 2


def test_a_probe_that_fails_is_asked_again(proxy: FaultProxy) -> None:
    store = opened(proxy.environment(uuid.uuid4().hex), SHORT)
    plan = proxy.plan(Fault.ERROR, times=10**9)
    with pytest.raises(StoreUnavailable):
        store.put("a", b"x", create_only=True)
    assert plan.hits
    proxy.clear()
    store.put("a", b"x", create_only=True)
    assert store.get("a") == b"x"


def test_an_acknowledgement_that_is_lost_loses_no_create_only_write(proxy: FaultProxy) -> None:
    store = opened(proxy.environment(uuid.uuid4().hex))
    store.probe()
    for fault in (Fault.LOST, Fault.LOST_ERROR):
        plan = proxy.plan(fault, when=kind("PutObject"))
        store.put(fault.name, b"mine", create_only=True)
        assert plan.hits
        assert store.get(fault.name) == b"mine"


def test_an_object_replaced_while_a_broken_read_goes_on_is_noticed(
    proxy: FaultProxy, object_server: ObjectServer
) -> None:
    prefix = uuid.uuid4().hex
    near, far = opened(proxy.environment(prefix)), opened(object_server.environment(prefix))
    far.put("a", b"1" * 3_000_000)
    proxy.plan(Fault.RESET_IN_RESPONSE, when=kind("GetObject"))
    chunks = near.stream("a", chunk_size=100_000)
    read = next(chunks)
    far.put("a", b"2" * 3_000_000)
    with pytest.raises(ObjectChanged):
        for chunk in chunks:
            read += chunk
    assert set(read) == {ord("1")}


def test_a_download_that_breaks_goes_on_where_it_stopped(proxy: FaultProxy, tmp_path: Path) -> None:
    store = opened(proxy.environment(uuid.uuid4().hex))
    data = hashlib.shake_128(b"water").digest(5_000_000)
    stored = store.put("a", data)
    proxy.plan(Fault.RESET_IN_RESPONSE, when=kind("GetObject"), times=3)
    passed: list[int] = []
    store.download("a", tmp_path / "a", sha256=stored.sha256, progress=passed.append)
    assert (tmp_path / "a").read_bytes() == data
    assert sum(passed) == len(data)
    asked = [request.headers.get("range") for request in proxy.requests if request.kind == "GetObject"]
    assert len(asked) > 1
    assert asked[-1] is not None


def test_progress_of_an_upload_that_begins_anew_counts_each_byte_once(
    proxy: FaultProxy, tmp_path: Path
) -> None:
    store = opened(proxy.environment(uuid.uuid4().hex))
    (tmp_path / "a").write_bytes(b"x" * 20_000_000)
    proxy.plan(Fault.CONFLICT, when=kind("CompleteMultipartUpload"), times=2)
    passed: list[int] = []
    stored = store.upload(tmp_path / "a", "a", progress=passed.append)
    assert sum(passed) == stored.size == 20_000_000
    assert store.head("a").size == 20_000_000


UPLOADING = """
import sys, json
from ecluse.settings import Settings
from ecluse.storage import open_store
settings = Settings.from_environment(json.loads(sys.argv[1]))
store = open_store(settings.store_url, settings.access)
def pieces():
    for _ in range(40):
        yield b"x" * 1_000_000
    print("writing", flush=True)
    import time; time.sleep(600)
store.put_stream("folder/big", pieces())
"""


def test_a_writer_that_is_killed_leaves_nothing_visible_and_is_cleaned_up(
    store: ObjectStore, environment: dict[str, str], object_server: ObjectServer
) -> None:
    command = [sys.executable, "-c", UPLOADING, json.dumps(environment)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(store.list()) == []
    assert not store.exists("folder/big")
    other = opened(object_server.environment(uuid.uuid4().hex))
    assert other.remove_stale_uploads(timedelta(seconds=-60)) == 0
    assert store.remove_stale_uploads(timedelta(hours=1)) == 0
    shown = store.stale_uploads(timedelta(seconds=-60))
    assert shown.objects == 1
    assert shown.size >= 5 * 1024 * 1024, "a part or more of what was written"
    assert store.stale_uploads(timedelta(seconds=-60), remove=True) == shown, "what was shown is what goes"
    assert store.remove_stale_uploads(timedelta(seconds=-60)) == 0


def test_a_key_without_the_right_to_clean_up_is_told_what_to_set(
    store: ObjectStore, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    bad = opened(environment | {"AWS_SECRET_ACCESS_KEY": "a-wrong-secret"})
    from ecluse.storage.remote import RemoteBackend

    backend = bad._backend.backend  # type: ignore[attr-defined]  # within what measures it
    assert isinstance(backend, RemoteBackend)
    with caplog.at_level(logging.WARNING):
        assert backend.stale_uploads("", timedelta(hours=1), remove=True).objects == 0
    assert "aborts incomplete multipart uploads" in caplog.text
    assert "a-wrong-secret" not in caplog.text


def test_an_anonymous_reader_reads_a_public_bucket_and_signs_nothing(
    open_server: str, tmp_path: Path
) -> None:
    keyed = opened(store_environment(open_server, "public"))
    keyed.put("a", b"water")
    settings = Settings.from_environment(
        {"ECLUSE_STORE_URL": f"s3://{BUCKET}/public", "S3_ENDPOINT": open_server, "S3_ANONYMOUS": "true"}
    )
    store = open_store(settings.store_url, settings.access)
    assert store.get("a") == b"water"
    assert [info.key for info in store.list()] == ["a"]
    with pytest.raises(CannotSign):
        store.sign("a", "GET", timedelta(minutes=1))
    with pytest.raises(StoreUnavailable):
        store.put("b", b"x")


def test_attributes_travel_with_a_signed_address(store: ObjectStore) -> None:
    store.put("a", b"water", attributes={"Content-Disposition": 'attachment; filename="model.bin"'})
    answer = httpx.get(store.sign("a", "GET", timedelta(minutes=1)), timeout=60)
    assert answer.headers["content-disposition"] == 'attachment; filename="model.bin"'


@pytest.mark.parametrize("url", ["gs://bucket/prefix", "az://container/prefix", "s3://bucket/prefix"])
def test_every_scheme_opens_without_the_network(url: str, tmp_path: Path) -> None:
    environment = {"ECLUSE_STORE_URL": url, "AZURE_STORAGE_ACCOUNT": "account"}
    settings = Settings.from_environment(environment)
    store = open_store(settings.store_url, settings.access)
    assert store.url == url
    assert store.scoped("a").url_of("b") == f"{url}/a/b"
    assert store.key_of(f"{url}/a/b") == "a/b"


def test_azure_needs_an_account() -> None:
    with pytest.raises(SettingsError, match="AZURE_STORAGE_ACCOUNT"):
        open_store("az://container")


def test_a_container_of_azure_is_made_with_the_key_and_told_of_without(
    azurite_server: dict[str, str],
) -> None:
    environment = azurite_server | {"ECLUSE_STORE_URL": f"az://c{uuid.uuid4().hex}"}
    settings = Settings.from_environment(environment)
    with pytest.raises(BucketNotFound):
        open_store(settings.store_url, settings.access).get("a")
    with pytest.raises(BucketNotFound):
        open_store(settings.store_url, settings.access).exists("a")
    assert ensure_bucket(settings.store_url, settings.access) is True
    assert ensure_bucket(settings.store_url, settings.access) is False
    with pytest.raises(ObjectNotFound):
        open_store(settings.store_url, settings.access).get("a")


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A SeaweedFS whose identities are written down: an administrator, one bucket's user, and who has no key."""
    folder = tmp_path_factory.mktemp("seaweedfs")
    every = ["Admin", "Read", "List", "Tagging", "Write"]
    identities = [
        {"name": "administrator", "credentials": keys(ACCESS_KEY, SECRET_KEY), "actions": every},
        {
            "name": "application",
            "credentials": keys("application", "another-secret-of-the-tests"),
            "actions": [f"{action}:{BUCKET}" for action in ("Read", "List", "Write")],
        },
        {"name": "anonymous", "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"]},
    ]
    (folder / "identities.json").write_text(json.dumps({"identities": identities}))
    with seaweedfs(folder / "data", identities=folder / "identities.json") as server:
        yield server


def keys(access: str, secret: str) -> list[dict[str, str]]:
    return [{"accessKey": access, "secretKey": secret}]


@pytest.fixture
def restricted(secured: ObjectServer) -> dict[str, str]:
    """Keys that may read and write in the bucket of the tests, and nowhere else."""
    return secured.environment(uuid.uuid4().hex) | {
        "AWS_ACCESS_KEY_ID": "application",
        "AWS_SECRET_ACCESS_KEY": "another-secret-of-the-tests",
    }


@pytest.fixture
def open_server(secured: ObjectServer) -> str:
    return secured.endpoint


def test_nothing_unfinished_is_left_by_a_stream_that_breaks(
    store: ObjectStore, environment: dict[str, str], object_server: ObjectServer
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * 20_000_000
        raise OSError("the sender went away")

    with pytest.raises(OSError, match="the sender went away"):
        store.put_stream("big", pieces())
    assert store.remove_stale_uploads(timedelta(seconds=-60)) == 0
    bare = S3Store(
        BUCKET,
        endpoint=object_server.endpoint,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True},
    )
    assert obstore.list(bare, prefix=store.prefix).collect() == []

"""The fault proxy itself: what passes passes unchanged, and each fault is what its name says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import httpx
import obstore
import pytest
from obstore import exceptions as obstore_errors
from obstore.store import S3Store

from ecluse.settings import Settings
from ecluse.storage.access import S3Settings
from tests.faults import UNSEEN, Fault, FaultProxy, fault_proxy, kind
from tests.servers import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectServer


@pytest.fixture
def proxy(object_server: ObjectServer) -> Iterator[FaultProxy]:
    with fault_proxy(object_server.endpoint, seed=1) as running:
        yield running


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def far(object_server: ObjectServer, prefix: str) -> S3Store:
    """The server itself, past the proxy."""
    return bare_store(object_server.endpoint, prefix)


@pytest.fixture
def near(proxy: FaultProxy, prefix: str) -> S3Store:
    """Through the proxy, by a client that never tries again."""
    return bare_store(proxy.endpoint, prefix)


def bare_store(endpoint: str, prefix: str) -> S3Store:
    return S3Store(
        BUCKET,
        prefix=prefix,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True, "timeout": "10s"},
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)},
    )


def test_signed_requests_pass_and_are_recorded(proxy: FaultProxy, near: S3Store, prefix: str) -> None:
    obstore.put(near, "a b/é.txt", b"water")
    assert bytes(obstore.get(near, "a b/é.txt").bytes()) == b"water"
    put, get = proxy.requests
    assert (put.kind, put.key, put.status, put.sent) == ("PutObject", f"{prefix}/a b/é.txt", 200, 5)
    assert (get.kind, get.key, get.status, get.received) == ("GetObject", f"{prefix}/a b/é.txt", 200, 5)
    assert put.headers["host"] == proxy.endpoint.removeprefix("http://")


def test_a_signature_for_another_host_is_refused(proxy: FaultProxy, near: S3Store) -> None:
    """So the Host that is forwarded is one the server checks."""
    obstore.put(near, "a", b"water")
    url = obstore.sign(near, "GET", "a", timedelta(minutes=1))
    assert httpx.get(url, timeout=60).content == b"water"
    assert httpx.get(url, headers={"Host": "elsewhere.example"}, timeout=60).status_code == 403


def test_every_kind_of_request_is_told(proxy: FaultProxy, near: S3Store) -> None:
    obstore.put(near, "big", b"x" * 11_000_000, chunk_size=5 * 1024 * 1024)
    obstore.head(near, "big")
    obstore.copy(near, "big", "copy")
    assert len(obstore.list(near).collect()) == 2
    obstore.delete(near, ["big", "copy"])
    with pytest.raises(FileNotFoundError):
        obstore.get(near, "big")
    obstore.put(near, "small", b"x")
    obstore.delete(near, "small")
    kinds = [request.kind for request in proxy.requests]
    assert kinds[0] == "CreateMultipartUpload"
    assert sorted(kinds[1:4]) == ["UploadPart"] * 3
    assert kinds[4:7] == ["CompleteMultipartUpload", "HeadObject", "CopyObject"]
    assert kinds[7:] == ["ListObjects", "DeleteObjects", "GetObject", "PutObject", "DeleteObjects"]


@pytest.mark.parametrize("fault", UNSEEN)
def test_what_the_server_does_not_see_is_not_stored(
    fault: Fault, proxy: FaultProxy, near: S3Store, far: S3Store
) -> None:
    plan = proxy.plan(fault, when=kind("PutObject"))
    with pytest.raises(obstore_errors.BaseError):
        obstore.put(near, "a", b"x" * 100_000)
    assert [request.fault for request in plan.hits] == [fault]
    assert obstore.list(far).collect() == []
    obstore.put(near, "a", b"whole")
    assert bytes(obstore.get(far, "a").bytes()) == b"whole"


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.LOST_ERROR, Fault.TRUNCATE, Fault.RESET_IN_RESPONSE])
def test_what_is_lost_on_the_way_back_is_stored(
    fault: Fault, proxy: FaultProxy, near: S3Store, far: S3Store
) -> None:
    plan = proxy.plan(fault, when=kind("PutObject"))
    with pytest.raises(obstore_errors.BaseError):
        obstore.put(near, "a", b"whole")
    assert plan.hits[0].status == 200
    assert bytes(obstore.get(far, "a").bytes()) == b"whole"


@pytest.mark.parametrize("fault", [Fault.TRUNCATE, Fault.RESET_IN_RESPONSE])
def test_an_answer_that_is_cut_is_not_taken_for_a_whole_one(
    fault: Fault, proxy: FaultProxy, near: S3Store
) -> None:
    obstore.put(near, "a", b"x" * 1_000_000)
    proxy.plan(fault, when=kind("GetObject"))
    with pytest.raises(obstore_errors.BaseError):
        obstore.get(near, "a").bytes()


def test_a_changed_byte_is_seen_only_by_who_looks(proxy: FaultProxy, near: S3Store) -> None:
    obstore.put(near, "a", b"water")
    proxy.plan(Fault.CORRUPT, when=kind("GetObject"))
    changed = bytes(obstore.get(near, "a").bytes())
    assert len(changed) == 5
    assert changed != b"water"


def test_a_late_request_arrives(proxy: FaultProxy, near: S3Store) -> None:
    plan = proxy.plan(Fault.LATENCY, delay=0.01)
    obstore.put(near, "a", b"water")
    assert plan.hits[0].status == 200


def test_a_plan_spares_the_first_and_ends(proxy: FaultProxy, near: S3Store) -> None:
    proxy.plan(Fault.SLOW_DOWN, when=kind("PutObject"), after=2, times=1)
    done = []
    for number in range(4):
        try:
            obstore.put(near, str(number), b"x")
        except obstore_errors.BaseError:
            continue
        done.append(number)
    assert done == [0, 1, 3]


def test_an_action_runs_in_the_middle_of_a_body(proxy: FaultProxy, near: S3Store) -> None:
    seen: list[int] = []
    plans = [
        proxy.plan(
            Fault.HOLD_REQUEST, when=kind("PutObject"), action=lambda: seen.append(proxy.requests[-1].sent)
        ),
        proxy.plan(
            Fault.HOLD_RESPONSE,
            when=kind("GetObject"),
            action=lambda: seen.append(proxy.requests[-1].received),
        ),
    ]
    obstore.put(near, "a", b"x" * 1_000_000)
    assert len(obstore.get(near, "a").bytes()) == 1_000_000
    assert [len(plan.hits) for plan in plans] == [1, 1]
    assert seen[0] == 500_000
    assert 500_000 < seen[1] < 1_000_000


def test_a_rate_breaks_the_same_requests_for_the_same_seed(object_server: ObjectServer, prefix: str) -> None:
    def broken(seed: int) -> list[tuple[int, Fault]]:
        with fault_proxy(object_server.endpoint, seed=seed) as proxy:
            proxy.rate(0.3)
            store = bare_store(proxy.endpoint, prefix)
            for number in range(30):
                try:
                    obstore.put(store, str(number), b"x")
                except obstore_errors.BaseError:
                    continue
            return [(request.number, request.fault) for request in proxy.requests if request.fault]

    first = broken(1)
    assert 0 < len(first) < 30
    assert broken(1) == first
    assert broken(2) != first


@pytest.mark.nightly
def test_a_server_that_is_away_resets_and_comes_back_with_its_data(
    restartable: ObjectServer, prefix: str
) -> None:
    with fault_proxy(restartable.endpoint) as proxy:
        store = bare_store(proxy.endpoint, prefix)
        obstore.put(store, "a", b"water")
        restartable.kill()
        with pytest.raises(obstore_errors.BaseError):
            obstore.get(store, "a")
        restartable.start()
        assert bytes(obstore.get(store, "a").bytes()) == b"water"
        assert (
            Settings.from_environment(proxy.environment("x")).access.of(S3Settings).endpoint == proxy.endpoint
        )

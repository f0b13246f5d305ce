"""Every verb of a store, while the network and the server fail: whole, or a clear error; nothing between.

Each verb runs once undisturbed, to see which requests it makes. Then it runs again, on a key of its own, for
each of these requests and each fault; a look past the proxy says what is really stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from ecluse.errors import EcluseError, ObjectChanged, ObjectExists, ObjectNotFound, StoreUnavailable
from ecluse.settings import Settings
from ecluse.storage import ObjectStore, Stored, open_store
from tests.faults import NATURAL, Fault, When, fault_proxy, kind
from tests.servers import ObjectServer

pytestmark = pytest.mark.nightly

#: The waits between attempts are most of the time: many cases wait at once.
ABREAST: Final = 24
#: No case takes longer, whatever fails (s); far above what patience allows, so that load is no failure.
BOUND: Final = 60

#: What one fault passes within, also on a busy machine.
PATIENT: Final = timedelta(seconds=30)

KEY, OTHER = "a folder/é.bin", "b.bin"
SMALL, OLD = b"new " * 25_000, b"old " * 30_000
#: Three parts of 8 MiB.
LARGE: Final = random.Random(3).randbytes(17 * 1024 * 1024)
#: The rest of the large writes share their requests; these are the faults that tell writers apart.
TELLING: Final = (Fault.RESET_IN_REQUEST, Fault.CONFLICT, Fault.LOST)


@dataclass(frozen=True)
class Verb:
    """What is stored before, what is done, and what may be true of it afterwards.

    `judge` is given the store past the proxy and what the verb returned, or the error it raised; it names
    what is wrong. One fault that passes must not be noticed: the verb ends as it does undisturbed, in success
    or in `refused`. Only a large stream that cannot be read twice, and a clean-up that comes again anyway, may end
    in `StoreUnavailable` (`once`).
    """

    name: str
    act: Callable[[ObjectStore, Path], object]
    judge: Callable[[ObjectStore, object], str | None]
    before: dict[str, bytes]
    faults: tuple[Fault, ...] = NATURAL
    refused: type[EcluseError] | None = None
    once: bool = False

    def misses(self, outcome: object) -> bool:
        """Whether an error reached the caller that one fault does not explain."""
        if not isinstance(outcome, EcluseError):
            return self.refused is not None
        if self.refused:
            return not isinstance(outcome, self.refused)
        return not (self.once and isinstance(outcome, StoreUnavailable))


def stored(store: ObjectStore, key: str = KEY) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFound:
        return None


def written(
    data: bytes, key: str = KEY, old: bytes | None = None
) -> Callable[[ObjectStore, object], str | None]:
    """The object is `data` after success; after an error that or `old`; and it is not said to be missing."""

    def judge(far: ObjectStore, outcome: object) -> str | None:
        content = stored(far, key)
        if isinstance(outcome, ObjectNotFound | ObjectExists):
            return f"misleading: {outcome!r}"
        if isinstance(outcome, EcluseError):
            return None if content in (data, old) else f"a third thing is stored: {shown(content)}"
        return None if content == data else f"success, and stored is {shown(content)}"

    return judge


def read(expected: object) -> Callable[[ObjectStore, object], str | None]:
    """What came back is right, or an error that does not say the object is missing."""

    def judge(_: ObjectStore, outcome: object) -> str | None:
        if isinstance(outcome, ObjectNotFound | ObjectExists):
            return f"misleading: {outcome!r}"
        if isinstance(outcome, EcluseError) or outcome == expected:
            return None
        return f"wrong: {shown(outcome)}"

    return judge


def shown(content: object) -> str:
    return f"{len(content)} bytes" if isinstance(content, bytes) else repr(content)[:200]


def create_only_over_another(far: ObjectStore, outcome: object) -> str | None:
    if stored(far) != OLD:
        return f"another's object was overwritten: {shown(stored(far))}"
    return None if isinstance(outcome, EcluseError) else "success over another's object"


def deleted(far: ObjectStore, outcome: object) -> str | None:
    if stored(far, OTHER) != OLD:
        return "a neighbour was deleted"
    if isinstance(outcome, EcluseError):
        return None if stored(far) in (None, OLD) else "a third thing is stored"
    return None if stored(far) is None else "success, and it is still stored"


def prefix_deleted(far: ObjectStore, outcome: object) -> str | None:
    left = sorted(info.key for info in far.list())
    if "ab" not in left:
        return "a neighbour was deleted"
    if not isinstance(outcome, EcluseError) and left != ["ab"]:
        return f"success, and these are still stored: {left}"
    return None


def missing(far: ObjectStore, outcome: object) -> str | None:
    """Nothing is stored: that is said, or that the store cannot be asked."""
    return None if isinstance(outcome, EcluseError) or outcome is False else f"wrong: {shown(outcome)}"


def upload(data: bytes) -> Callable[[ObjectStore, Path], object]:
    def act(store: ObjectStore, folder: Path) -> object:
        source = folder / "source"
        source.write_bytes(data)
        return store.upload(source, KEY)

    return act


def download(store: ObjectStore, folder: Path) -> object:
    """What lies under the final name, or the error; a file under that name after an error is told."""
    target = folder / "target"
    try:
        store.download(KEY, target)
    finally:
        left = [path.name for path in folder.iterdir() if path != target]
        assert left == [], f"left behind: {left}"
        assert not target.exists() or target.read_bytes() == SMALL, "a partial file under the final name"
    return target.read_bytes()


def pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 1_000_000):
        yield data[start : start + 1_000_000]


async def pieces_async(data: bytes) -> AsyncIterator[bytes]:
    for piece in pieces(data):
        yield piece


def upload_tree(store: ObjectStore, folder: Path) -> object:
    for name, data in TREE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return store.upload_tree(folder, "tree")


def tree_written(far: ObjectStore, outcome: object) -> str | None:
    """Every file that is there is whole; after success, all are."""
    contents = {info.key.removeprefix("tree/"): far.get(info.key) for info in far.list()}
    if not contents.items() <= TREE.items():
        return f"not what was sent: {sorted(contents)}"
    if isinstance(outcome, EcluseError) or contents == TREE:
        return None
    return f"success, and stored is only {sorted(contents)}"


def download_tree(store: ObjectStore, folder: Path) -> object:
    try:
        store.download_tree("tree", folder)
    finally:
        contents = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert contents.items() <= TREE.items(), f"partial or left behind: {sorted(contents)}"
    return contents


TREE: Final = {"a.txt": SMALL, "deep/b.txt": OLD, "deep/c.txt": b""}
MANY = {f"a/{n}": OLD[:10] for n in range(5)} | {"ab": OLD}
VERBS: Final = (
    Verb("put", lambda s, _: s.put(KEY, SMALL), written(SMALL), {}),
    Verb("put over an old one", lambda s, _: s.put(KEY, SMALL), written(SMALL, old=OLD), {KEY: OLD}),
    Verb("put create_only", lambda s, _: s.put(KEY, SMALL, create_only=True), written(SMALL), {}),
    Verb(
        "put create_only over another's",
        lambda s, _: s.put(KEY, SMALL, create_only=True),
        create_only_over_another,
        {KEY: OLD},
        refused=ObjectExists,
    ),
    Verb(
        "put_stream, small",
        lambda s, _: s.put_stream(KEY, pieces(SMALL)),
        written(SMALL, old=OLD),
        {KEY: OLD},
    ),
    Verb(
        "put_stream, large",
        lambda s, _: s.put_stream(KEY, pieces(LARGE)),
        written(LARGE, old=OLD),
        {KEY: OLD},
        once=True,
    ),
    Verb(
        "put_stream_async, large",
        lambda s, _: asyncio.run(s.put_stream_async(KEY, pieces_async(LARGE))),
        written(LARGE),
        {},
        TELLING,
        once=True,
    ),
    Verb("upload, empty", upload(b""), written(b""), {}),
    Verb("upload, small", upload(SMALL), written(SMALL, old=OLD), {KEY: OLD}),
    Verb("upload, large", upload(LARGE), written(LARGE), {}, TELLING),
    Verb("get", lambda s, _: s.get(KEY), read(SMALL), {KEY: SMALL}),
    Verb("get of nothing", lambda s, _: s.get(KEY), missing, {}, refused=ObjectNotFound),
    Verb("stream", lambda s, _: b"".join(s.stream(KEY)), read(SMALL), {KEY: SMALL}),
    Verb(
        "stream of a range",
        lambda s, _: b"".join(s.stream(KEY, start=7, end=70_000)),
        read(SMALL[7:70_000]),
        {KEY: SMALL},
    ),
    Verb("download", download, read(SMALL), {KEY: SMALL}),
    Verb("head", lambda s, _: s.head(KEY).size, read(len(SMALL)), {KEY: SMALL}),
    Verb(
        "attributes",
        lambda s, _: s.attributes(KEY),
        lambda far, outcome: read(far.attributes(KEY))(far, outcome),
        {KEY: SMALL},
    ),
    Verb("exists", lambda s, _: s.exists(KEY), read(True), {KEY: SMALL}),
    Verb("exists of nothing", lambda s, _: s.exists(KEY), missing, {}),
    Verb(
        "list",
        lambda s, _: sorted(i.key for i in s.list("a")),
        read(sorted(k for k in MANY if k != "ab")),
        MANY,
    ),
    Verb("list_names", lambda s, _: s.list_names(), read(["a"]), MANY),
    Verb("list_page", lambda s, _: len(s.list_page("a", limit=3).items), read(3), MANY),
    Verb("copy", lambda s, _: s.copy(OTHER, KEY), written(SMALL, old=OLD), {KEY: OLD, OTHER: SMALL}),
    Verb("copy of nothing", lambda s, _: s.copy(OTHER, KEY), missing, {}, refused=ObjectNotFound),
    Verb("upload_tree", upload_tree, tree_written, {}),
    Verb("download_tree", download_tree, read(TREE), {f"tree/{name}": data for name, data in TREE.items()}),
    Verb("probe", lambda s, _: s.probe().conditional_writes, read(True), {}),
    Verb("ensure_bucket", lambda s, _: s.ensure_bucket(), read(False), {}),
    Verb(
        "remove_stale_uploads",
        lambda s, _: s.remove_stale_uploads(timedelta(hours=1)),
        read(0),
        {},
        once=True,
    ),
    Verb("delete", lambda s, _: s.delete(KEY), deleted, {KEY: OLD, OTHER: OLD}),
    Verb("delete_prefix", lambda s, _: s.delete_prefix("a"), prefix_deleted, MANY),
)


@pytest.mark.nightly("put_stream, large")
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_verb_ends_whole_or_in_a_clear_error_whichever_request_fails(
    verb: Verb, restartable: ObjectServer, tmp_path: Path
) -> None:
    kinds = requests_of(verb, restartable, tmp_path)
    assert kinds
    with ThreadPoolExecutor(ABREAST) as pool:
        running = {
            (fault.name, kinds[at]): pool.submit(broken, verb, fault, at, restartable, tmp_path)
            for fault in verb.faults
            for at in first_of_each(kinds)
        }
        wrong = {case: found for case, future in running.items() if (found := future.result(BOUND))}
    assert wrong == {}


def test_a_store_that_fails_for_good_is_told_of_by_every_verb(
    restartable: ObjectServer, tmp_path: Path
) -> None:
    def attempt(verb: Verb, fault: Fault) -> str | None:
        prefix = prepared(verb, restartable)
        with fault_proxy(restartable.endpoint) as proxy:
            proxy.plan(fault, times=10**9)
            near = opened(proxy.environment(prefix), timedelta(seconds=1))
            outcome = attempted(verb, near, made(tmp_path / prefix))
        if not isinstance(outcome, StoreUnavailable):
            return f"not said to be away: {shown(outcome)}"
        return verb.judge(opened(restartable.environment(prefix)), outcome)

    with ThreadPoolExecutor(ABREAST) as pool:
        running = {
            (verb.name, fault.name): pool.submit(attempt, verb, fault)
            for verb in VERBS
            for fault in (Fault.RESET, Fault.SLOW_DOWN, Fault.LOST)
            if "large" not in verb.name
        }
        wrong = {case: found for case, future in running.items() if (found := future.result(BOUND))}
    assert wrong == {}


@pytest.mark.nightly
def test_a_server_killed_in_the_middle_of_a_write_comes_back_and_gets_the_rest(
    restartable: ObjectServer, tmp_path: Path
) -> None:
    verb = next(verb for verb in VERBS if verb.name == "put_stream, large")
    outcome = killed(restartable, tmp_path, verb, Fault.HOLD_REQUEST, kind("UploadPart"), after=1)
    assert isinstance(outcome, Stored), outcome


def test_a_server_killed_in_the_middle_of_a_download_comes_back_and_gives_the_rest(
    restartable: ObjectServer, tmp_path: Path
) -> None:
    def act(store: ObjectStore, folder: Path) -> object:
        return store.download(KEY, folder / "target", sha256=hashlib.sha256(LARGE).hexdigest())

    verb = Verb("download, large", act, lambda *_: None, {KEY: LARGE})
    outcome = killed(restartable, tmp_path, verb, Fault.HOLD_RESPONSE, kind("GetObject"))
    assert isinstance(outcome, Stored), outcome
    assert (tmp_path / "killed" / "target").read_bytes() == LARGE


def test_a_store_that_fails_for_good_in_the_middle_of_a_large_write_keeps_the_old(
    restartable: ObjectServer, tmp_path: Path
) -> None:
    def attempt(verb: Verb, name: str) -> str | None:
        prefix = prepared(verb, restartable)
        with fault_proxy(restartable.endpoint) as proxy:
            proxy.plan(Fault.RESET, when=kind(name), times=10**9)
            near = opened(proxy.environment(prefix), timedelta(seconds=1))
            outcome = attempted(verb, near, made(tmp_path / prefix))
        if not isinstance(outcome, StoreUnavailable):
            return f"not said to be away: {shown(outcome)}"
        return verb.judge(opened(restartable.environment(prefix)), outcome)

    with ThreadPoolExecutor(ABREAST) as pool:
        running = {
            (verb.name, name): pool.submit(attempt, verb, name)
            for verb in VERBS
            for name in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
            if "large" in verb.name
        }
        wrong = {case: found for case, future in running.items() if (found := future.result(BOUND))}
    assert wrong == {}


def test_an_object_replaced_while_its_reading_was_broken_off_is_never_a_mixture(
    restartable: ObjectServer, tmp_path: Path
) -> None:
    prefix = uuid.uuid4().hex
    far = opened(restartable.environment(prefix))
    old, new = LARGE[:3_000_000], LARGE[3_000_000:6_000_000]
    far.put(KEY, old)
    with fault_proxy(restartable.endpoint) as proxy:
        near = opened(proxy.environment(prefix))
        plan = proxy.plan(Fault.RESET_IN_RESPONSE, when=kind("GetObject"), action=lambda: far.put(KEY, new))
        with pytest.raises(ObjectChanged):
            near.download(KEY, tmp_path / "target")
        assert plan.hits
        assert list(tmp_path.iterdir()) == []
        near.download(KEY, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == new


def test_a_signed_address_reads_and_writes_through_the_proxy(restartable: ObjectServer) -> None:
    with fault_proxy(restartable.endpoint) as proxy:
        store = opened(proxy.environment(uuid.uuid4().hex))
        minute = timedelta(minutes=1)
        assert httpx.put(store.sign(KEY, "PUT", minute), content=SMALL, timeout=60).status_code == 200
        assert httpx.get(store.sign(KEY, "GET", minute), timeout=60).content == store.get(KEY) == SMALL


def killed(
    server: ObjectServer, folder: Path, verb: Verb, fault: Fault, when: When, *, after: int = 0
) -> object:
    """What `verb` ends in when the server is killed halfway through a body, and started again meanwhile."""
    prefix = prepared(verb, server)
    starting = threading.Thread(target=server.start)

    def kill() -> None:
        server.kill()
        starting.start()

    with fault_proxy(server.endpoint) as proxy:
        plan = proxy.plan(fault, when=when, after=after, action=kill)
        near = opened(proxy.environment(prefix), timedelta(seconds=60))
        outcome = attempted(verb, near, made(folder / "killed"))
        assert plan.hits
    starting.join()
    assert verb.judge(opened(server.environment(prefix)), outcome) is None
    return outcome


def requests_of(verb: Verb, server: ObjectServer, folder: Path) -> list[str]:
    """The kinds of request that the verb makes, in order, where nothing fails."""
    prefix = prepared(verb, server)
    with fault_proxy(server.endpoint) as proxy:
        outcome = attempted(verb, opened(proxy.environment(prefix)), made(folder / "calm"))
        assert verb.judge(opened(server.environment(prefix)), outcome) is None
        assert not isinstance(outcome, EcluseError) or isinstance(outcome, verb.refused or ())
        return [request.kind for request in proxy.requests]


def first_of_each(kinds: list[str]) -> list[int]:
    return [at for at, kind in enumerate(kinds) if kind not in kinds[:at]]


def broken(verb: Verb, fault: Fault, at: int, server: ObjectServer, folder: Path) -> str | None:
    """Run `verb` with `fault` at its request number `at`; what is wrong afterwards."""
    prefix = prepared(verb, server)
    with fault_proxy(server.endpoint) as proxy:
        plan = proxy.plan(fault, after=at)
        outcome = attempted(verb, opened(proxy.environment(prefix)), made(folder / prefix))
        assert plan.hits
    if verb.misses(outcome):
        return f"noticed: {outcome!r}"
    return verb.judge(opened(server.environment(prefix)), outcome)


def prepared(verb: Verb, server: ObjectServer) -> str:
    prefix = uuid.uuid4().hex
    store = opened(server.environment(prefix))
    for key, data in verb.before.items():
        store.put(key, data)
    return prefix


def attempted(verb: Verb, store: ObjectStore, folder: Path) -> object:
    """What the verb returns, or the error of our tree that it raises; any other error goes up."""
    try:
        return verb.act(store, folder)
    except EcluseError as error:
        return error


def opened(environment: dict[str, str], patience: timedelta = PATIENT) -> ObjectStore:
    settings = Settings.from_environment(environment)
    return open_store(settings.store_url, settings.access, patience=patience)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder

"""An import is a job: followed, cancelled, taken up after a kill; what was uploaded for it is removed when it ends."""

from __future__ import annotations

import http.server
import ipaddress
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse import migration
from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.actions import Source
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.importing import Imported, import_images
from ecluse.apps.plants.jobs import importing as work
from ecluse.apps.plants.rows import Filter
from ecluse.apps.plants.sources import folders, lists, web
from ecluse.apps.plants.sources.lists import Listed, open_list, read_list
from ecluse.apps.plants.sources.web import fetch_image, is_public
from ecluse.apps.plants.tables import Image, ImageSet, ImageSplit
from ecluse.catalog.tables import User
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from ecluse.work import cancel_job, kinds
from tests.application import KEPT
from tests.apps.plants.photos import folder_of, photo
from tests.apps.plants.test_importing import plain, rows_of, zipped
from tests.servers import ObjectServer
from tests.support.jobs import ended_job
from tests.support.wait import slow_for, wait_until


@pytest.fixture
def user(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


@pytest.fixture
def leaves(runtime: Runtime, user: User) -> ImageSet:
    return workflows.make_set(runtime, user.id, "leaves")


@contextmanager
def worker(runtime: Runtime) -> Iterator[None]:
    running = Worker(runtime, kinds())
    running.start()
    try:
        yield
    finally:
        running.stop()
        running.close()


def staged(runtime: Runtime, user: User, files: dict[str, bytes]) -> Source:
    """What a page does with uploaded files."""
    place = workflows.new_staging(runtime, user.id)
    for number, (name, data) in enumerate(files.items()):
        workflows.stage_bytes(runtime, place, name, data, number=number)
    return Source(place, next(iter(files)), staged=True)


def uploads(runtime: Runtime, user: User) -> list[str]:
    return [info.key for info in runtime.data.list(f"user_data/{user.id}/uploads")]


def test_archives_lists_and_images_that_were_uploaded_are_imported_and_removed(
    runtime: Runtime, user: User, leaves: ImageSet, tmp_path: Path
) -> None:
    archive = zipped(tmp_path / "x.zip", {"a/1.jpg": photo(1), "a/bad.jpg": b"bad"}).read_bytes()
    files = {"x.zip": archive, "one.jpg": photo(2), "list.txt": b"http://127.0.0.1/3.jpg b"}
    source = staged(runtime, user, files)
    with worker(runtime):
        job_id = workflows.start_import(runtime, user.id, leaves.id, source, label="given")
        with pytest.raises(InvalidInput, match="being imported"):
            workflows.start_import(runtime, user.id, leaves.id, source)
        with pytest.raises(InvalidInput, match="being imported"):
            workflows.remove_set(runtime, user.id, leaves.id)
        ended_job(runtime, user.id, job_id)
    assert runtime.jobs.get(user.id, job_id).error is None
    rows = rows_of(runtime, leaves)
    assert {one.origin: one.label for one in rows.values() if one.state == "valid"} == {
        "a/1.jpg": "a",
        "one.jpg": "given",
    }
    assert "private" in (rows["http://127.0.0.1/3.jpg"].reason or "")
    assert uploads(runtime, user) == []
    ended = workflows.find_set(runtime, user.id)
    assert (ended.id, ended.staged_url) == (leaves.id, None)
    assert (ended.last_import["added"], ended.last_import["rejected"]) == (2, 2)


def test_an_import_that_fails_says_why_and_removes_what_was_uploaded(
    runtime: Runtime, user: User, leaves: ImageSet
) -> None:
    with worker(runtime):
        source = staged(runtime, user, {"x.zip": b"PK\x03\x04 no archive"})
        job_id = workflows.start_import(runtime, user.id, leaves.id, source)
        ended_job(runtime, user.id, job_id)
    assert "x.zip" in str(runtime.jobs.get(user.id, job_id).error)
    assert uploads(runtime, user) == []


def test_what_was_uploaded_for_an_import_cancelled_before_its_turn_is_removed(
    runtime: Runtime, user: User, leaves: ImageSet
) -> None:
    job_id = workflows.start_import(
        runtime, user.id, leaves.id, staged(runtime, user, {"1.jpg": photo(1)}), label="a"
    )
    assert work.reconcile(runtime) == 0
    cancel_job(runtime, user.id, job_id)
    assert uploads(runtime, user) != []
    assert work.reconcile(runtime) == 1
    assert uploads(runtime, user) == []
    assert work.reconcile(runtime) == 0


def test_what_was_uploaded_is_kept_while_its_import_is_about_to_be_queued(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime, user: User, leaves: ImageSet
) -> None:
    enqueue = runtime.jobs.enqueue

    def swept_before(*args: Any, **kwargs: Any) -> str:
        assert work.reconcile(runtime) == 0
        return enqueue(*args, **kwargs)

    monkeypatch.setattr(runtime.jobs, "enqueue", swept_before)
    workflows.start_import(runtime, user.id, leaves.id, staged(runtime, user, {"1.jpg": photo(1)}), label="a")
    assert uploads(runtime, user) != []


def test_a_cancelled_import_keeps_what_came_and_removes_what_was_uploaded(
    runtime: Runtime, user: User, leaves: ImageSet, web_server: WebServer
) -> None:
    """The list names images that come slowly, so that the import is at work when it is cancelled."""
    web_server.pause = 0.3
    lines = [f"{web_server.url}/{n}.jpg a" for n in range(200)]
    with worker(runtime):
        source = staged(runtime, user, {"list.txt": "\n".join(lines).encode()})
        job_id = workflows.start_import(runtime, user.id, leaves.id, source)
        wait_until(lambda: rows_of(runtime, leaves), "an image")
        cancel_job(runtime, user.id, job_id)
        wait_until(lambda: uploads(runtime, user) == [], "an end of what was staged")
    assert runtime.jobs.get(user.id, job_id).status == "cancelled"
    assert 0 < len(rows_of(runtime, leaves)) < 200


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_an_import_whose_worker_is_killed_is_taken_up_and_leaves_what_one_that_was_not_killed_leaves(
    tmp_path: Path, object_server: ObjectServer, postgresql_url: str
) -> None:
    environment = object_server.environment("killed") | {"DATABASE_URL": postgresql_url}
    files = {f"{'ab'[n % 2]}/{n:03}.jpg": photo(n % 230) for n in range(240)} | {"a/bad.jpg": b"bad"}
    archive = zipped(tmp_path / "x.zip", files)
    settings = Settings.from_environment(environment, home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        user = runtime.accounts.local_administrator()
        row = workflows.make_set(runtime, user.id, "killed")
        job_id = workflows.start_import(
            runtime, user.id, row.id, staged(runtime, user, {"x.zip": archive.read_bytes()})
        )
        with worker_process(tmp_path / "home", environment) as first:
            wait_until(lambda: rows_of(runtime, row), "an image")
            first.send_signal(signal.SIGKILL)
            first.wait()
        assert runtime.jobs.get(user.id, job_id).active
        before = {one.id for one in rows_of(runtime, row).values()}
        with worker_process(tmp_path / "home", environment):
            ended_job(runtime, user.id, job_id)
        assert runtime.jobs.get(user.id, job_id).status == "done"
        assert uploads(runtime, user) == []
        whole = workflows.make_set(runtime, user.id, "whole")
        import_images(runtime, user.id, whole.id, folders.open_folder(folder_of(tmp_path / "in", files)))
        found = rows_of(runtime, row)
        assert plain(found) == plain(rows_of(runtime, whole))
        assert before < {one.id for one in found.values()}
        stored = runtime.stores.area("images").list(workflows.images_prefix(user.id, row.id))
        assert sorted(info.key for info in stored) == sorted(
            f"{workflows.images_prefix(user.id, row.id)}/{one.sha256}.jpg"
            for one in found.values()
            if one.url
        )


def test_a_migration_moves_images_and_splits_with_their_rows(
    runtime: Runtime, user: User, leaves: ImageSet, tmp_path: Path
) -> None:
    files = {f"a/{n}.jpg": photo(n) for n in range(3)} | {"a/bad.jpg": b"bad"}
    import_images(runtime, user.id, leaves.id, folders.open_folder(folder_of(tmp_path / "in", files)))
    store = runtime.stores.area("images")
    manifest = store.put(f"user_data/{user.id}/splits/one.json", b"{}")
    with runtime.catalog.write() as transaction:
        split = images.add_split(
            transaction,
            ImageSplit(
                set_id=leaves.id, user_id=user.id, seed=1, shares={}, counts={}, data_digest="0",
                url=store.url_of(manifest.key), sha256=manifest.sha256, size_bytes=manifest.size,
            ),
        )  # fmt: skip
    destination = f"file://{tmp_path}/elsewhere"
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source="images", destination=destination, switch_rows=True),
    )
    assert plan.id
    assert plan.rows == 4
    migration.run(runtime.catalog, runtime.stores, plan.id)
    rows = rows_of(runtime, leaves)
    with runtime.catalog.read() as transaction:
        moved = images.split_of(transaction, user.id, split.id)
    urls = [moved.url, *(one.url for one in rows.values() if one.state == "valid")]
    assert len(urls) == 4
    assert all(url.startswith(destination) for url in urls)
    assert rows["a/bad.jpg"].url == ""
    located = runtime.stores.locate(rows["a/1.jpg"].url)
    assert located.store.get(located.key) == photo(1)
    assert import_images(runtime, user.id, leaves.id, folders.open_folder(tmp_path / "in")).known == 3
    assert workflows.remove_set(runtime, user.id, leaves.id) == 4
    assert [path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()] == []


# Lists and the web


class WebServer:
    """Answers with images, and with what hostile hosts answer."""

    def __init__(self) -> None:
        self.pause = 0.0
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                slow_for(outer.pause)
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        path = request.path
        if path.startswith("/to/"):
            request.send_response(302)
            request.send_header("Location", path.removeprefix("/to/"))
            request.end_headers()
        elif path == "/busy.jpg" and self.asked.count(path) < 2:
            request.send_error(503)
        elif path == "/none.jpg":
            request.send_error(404)
        elif path == "/long.jpg":
            request.send_response(200)
            request.send_header("Content-Length", "99000000000")
            request.end_headers()
        elif path == "/endless.jpg":
            request.send_response(200)
            request.end_headers()
            while True:
                try:
                    request.wfile.write(bytes(100_000))
                except OSError:
                    return
        elif path == "/cut.jpg":
            request.send_response(200)
            request.send_header("Content-Length", "5000")
            request.end_headers()
            request.wfile.write(photo(1)[:300])
        else:
            data = photo(int("".join(filter(str.isdigit, path)) or 0))
            request.send_response(200)
            request.send_header("Content-Type", "text/plain")
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data)


@pytest.fixture
def web_server(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> Iterator[WebServer]:
    """A server on this machine, which this runtime may ask."""
    object.__setattr__(runtime.settings, "fetch_private", True)
    monkeypatch.setattr(web, "PAUSE", 0.01)
    running = WebServer()
    thread = threading.Thread(target=running.server.serve_forever, daemon=True)
    thread.start()
    yield running
    running.server.shutdown()
    running.server.server_close()


def test_a_list_is_fetched_and_what_does_not_come_is_a_row_until_it_comes(
    runtime: Runtime, user: User, leaves: ImageSet, web_server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_BYTES", 1_000_000)
    url = web_server.url
    names = (
        "1.jpg",
        "busy.jpg",
        "to//2.jpg",
        "none.jpg",
        "long.jpg",
        "endless.jpg",
        "cut.jpg",
        "to/ftp://x/1.jpg",
    )
    table = "label;URL\n" + "".join(f"a;{url}/{name}\n" for name in names) + f"a;{url}/1.jpg\n"
    done = import_images(runtime, user.id, leaves.id, open_list(table.encode(), "x.csv", allow_private=True))
    assert done == Imported(added=3, rejected=5)
    rows = rows_of(runtime, leaves)
    reasons = {origin.removeprefix(f"{url}/"): one.reason or "" for origin, one in rows.items()}
    assert "404" in reasons["none.jpg"]
    assert "bytes" in reasons["long.jpg"]
    assert "bytes" in reasons["endless.jpg"]
    assert "ended early" in reasons["cut.jpg"]
    assert "begins with https" in reasons["to/ftp://x/1.jpg"]
    monkeypatch.setattr(WebServer, "answer", lambda self, request: _whole(request))
    again = import_images(
        runtime, user.id, leaves.id, open_list(f"{url}/none.jpg a".encode(), "x.txt", allow_private=True)
    )
    assert again == Imported(added=1)
    assert len(rows_of(runtime, leaves)) == len(rows)


def _whole(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(photo(77))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/1.jpg", "http://localhost/1.jpg", "http://[::1]/1.jpg", "http://0x7f.1/1.jpg",
        "http://2130706433/1.jpg", "http://10.0.0.1/1.jpg", "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/1.jpg", "http://0.0.0.0/", "http://[fe80::1]/", "http://100.64.0.1/",
    ],
)  # fmt: skip
def test_no_private_address_is_asked(url: str) -> None:
    with pytest.raises(UnreadableImage, match="private network"):
        fetch_image(url)


@pytest.mark.parametrize(
    "url", ["ftp://example.org/1.jpg", "file:///etc/passwd", "http://", "http://a:b@example.org/1.jpg",
            "http://example.org:99999/1.jpg", "http://example.org/a b", "http://[::1/", "//example.org/1.jpg"],
)  # fmt: skip
def test_what_is_no_address_of_the_web_is_not_asked(url: str) -> None:
    with pytest.raises(UnreadableImage, match="address"):
        fetch_image(url, allow_private=True)


def test_a_redirect_to_a_private_address_is_not_followed(
    web_server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first host counts as public here, so that it can be asked at all."""
    inner = web_server.url.replace("127.0.0.1", "127.0.0.2")
    monkeypatch.setattr(web, "is_public", lambda address: str(address) == "127.0.0.1")
    assert fetch_image(f"{web_server.url}/1.jpg") == photo(1)
    with pytest.raises(UnreadableImage, match="private network"):
        fetch_image(f"{web_server.url}/to/{inner}/1.jpg")
    with pytest.raises(UnreadableImage, match="redirects"):
        fetch_image(f"{web_server.url}/to/{'/to/' * 6}x")


def test_a_host_that_never_ends_its_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MOST_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                for _ in range(100):
                    slow_for(0.1)
                    try:
                        connection.sendall(b"X-A: 1\r\n")
                    except OSError:
                        return

        threading.Thread(target=drip, daemon=True).start()
        with pytest.raises(UnreadableImage, match=r"in 0\.5 s"):
            fetch_image(f"http://127.0.0.1:{port}/1.jpg", allow_private=True)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc", "does not answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "does not answer"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n", "no address of the web"),
        (b"no HTTP at all\r\n\r\n", "does not answer"),
    ],
)
def test_what_a_host_says_against_all_rules_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, said: bytes, reason: str
) -> None:
    monkeypatch.setattr(web, "PAUSE", 0.0)

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(said)

    with socketserver.TCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(UnreadableImage, match=reason):
            fetch_image(f"http://127.0.0.1:{server.server_address[1]}/1.jpg", allow_private=True)
        server.shutdown()


@given(st.ip_addresses(v=4))
def test_an_address_of_version_6_is_public_only_where_the_one_it_stands_for_is(
    address: ipaddress.IPv4Address,
) -> None:
    forms = (f"::ffff:{address}", f"64:ff9b::{address}")
    for form in forms:
        assert is_public(ipaddress.ip_address(form)) == is_public(address)
    if address.is_private or address.is_loopback or address.is_multicast:
        assert not is_public(address)


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("# images\nhttp://a/1 big leaf\n\nhttp://a/2\nhttp://a/1 other\n", "x.txt",
         [Listed("http://a/1", "big leaf"), Listed("http://a/2", None)]),
        ("\ufeffURL,Label\nhttp://a/1,x\n,y\n", "x.csv", [Listed("http://a/1", "x")]),
        ('label\turl\nx\t"http://a/1,2"\n', "x.CSV", [Listed("http://a/1,2", "x")]),
        ("http://a/1,x\nhttp://a/2\n", "x.csv", [Listed("http://a/1", "x"), Listed("http://a/2", None)]),
    ],
)  # fmt: skip
def test_a_list_is_read_as_it_is_written(text: str, name: str, found: list[Listed]) -> None:
    assert read_list(text.encode(), name) == found


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "x.txt"),
        (b"a,b\n1,2\n", "x.csv"),
        (b"\xff\xfe\x00h", "x.txt"),
        (b"# nothing", "x.txt"),
        (b"", "x.csv"),
    ],
)
def test_what_is_no_list_is_refused(data: bytes, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"x\.(txt|csv)"):
        read_list(data, name)


def test_the_password_of_an_address_is_kept_nowhere(runtime: Runtime, user: User, leaves: ImageSet) -> None:
    listed = lists.open_list(b"http://me:secret@example.org/1.jpg a", "x.txt")
    import_images(runtime, user.id, leaves.id, listed)
    (row,) = rows_of(runtime, leaves).values()
    assert (row.state, row.origin) == ("rejected", "http://example.org/1.jpg")
    assert "secret" not in str(row.reason)


def test_the_images_of_a_page_are_counted_and_filtered(
    runtime: Runtime, user: User, leaves: ImageSet, tmp_path: Path
) -> None:
    files = {f"{label}/{n}_%.jpg": photo(10 * k + n) for k, label in enumerate("ab") for n in range(4)}
    import_images(runtime, user.id, leaves.id, folders.open_folder(folder_of(tmp_path / "in", files)))
    rows = rows_of(runtime, leaves)
    with runtime.catalog.write() as transaction:
        for origin, columns in {
            "a/0_%.jpg": {"group": "g", "suspicion": 0.9, "suggested_label": "b"},
            "b/0_%.jpg": {"group": "g"},
            "b/1_%.jpg": {"group": "alone", "suspicion": 0.4, "suggested_label": "b"},
        }.items():
            found = transaction.get(Image, rows[origin].id)
            assert found is not None
            for name, value in columns.items():
                setattr(found, name, value)
    workflows.set_state(runtime, user.id, leaves.id, [rows["a/3_%.jpg"].id], "excluded")

    def listed(wanted: Filter, **options: object) -> list[str]:
        with runtime.catalog.read() as transaction:
            assert images.count_images(transaction, user.id, leaves.id, wanted) == len(
                images.list_images(transaction, user.id, leaves.id, wanted, limit=None)
            )
            page = images.list_images(transaction, user.id, leaves.id, wanted, **options)  # type: ignore[arg-type]
        return [one.origin.removesuffix("_%.jpg") for one in page]

    assert listed(Filter(label="a")) == ["a/0", "a/1", "a/2", "a/3"]
    assert listed(Filter(states=("excluded",))) == ["a/3"]
    assert listed(Filter(duplicates=True)) == listed(Filter(contested=True)) == ["a/0", "b/0"]
    assert listed(Filter(suspects=True)) == ["a/0"]
    assert listed(Filter(text="2_%")) == ["a/2", "b/2"]
    assert listed(Filter(text=rows["b/3_%.jpg"].sha256[:10])) == ["b/3"]
    assert listed(Filter(), order="suspicion", limit=2) == ["a/0", "b/1"]
    assert listed(Filter(label="b"), limit=2, offset=1) == ["b/1", "b/2"]
    (summary,) = workflows.list_sets(runtime, user.id)
    assert summary.counts.valid == {"a": 3, "b": 4}
    assert (summary.counts.excluded, summary.counts.total, summary.counts.labels) == ({"a": 1}, 8, ["a", "b"])
    assert summary.size == sum(map(len, files.values()))


@contextmanager
def worker_process(home: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    process = subprocess.Popen(
        [sys.executable, "-m", "ecluse", "worker", "--home", str(home)],
        env=kept | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()

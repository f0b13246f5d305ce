"""One image is asked about, the newest table is found by the owner's rows, and no path of a machine is shown."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.app import Image, Table
from ecluse.app.paths import without_paths
from ecluse.apps.hosted.due import queue_due
from ecluse.catalog import users
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application, running

HERE = Path(__file__).parent
PAGE = {"accept": "text/html"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    listed = {"ECLUSE_APPS": str(HERE / "looking.py")}
    with running(tmp_path_factory.mktemp("home"), listed) as application:
        yield application


@pytest.fixture(scope="module")
def client(app: Application) -> Iterator[httpx.Client]:
    with app.client() as client:
        yield client


def picture(width: int = 20, height: int = 10, turned: bool = False) -> bytes:
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6 if turned else 1  # 6: a telephone that was held upright
    PIL.Image.new("RGB", (width, height)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of some bytes that says it has 3,600 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def test_one_image_is_asked_about_by_form_program_and_command(
    app: Application, client: httpx.Client, tmp_path: Path
) -> None:
    sent = client.post("/api/looking/predict", files={"image": ("a.jpg", picture(turned=True))})
    assert sent.raise_for_status().json()["answer"] == {"name": "a.jpg", "size": [10, 20], "other": "-"}
    stored = client.post("/api/looking/files", files={"file": ("b.jpg", picture())}).json()["id"]
    named = client.post("/api/looking/predict", json={"image": stored, "other": stored})
    assert named.raise_for_status().json()["answer"] == {"name": "b.jpg", "size": [20, 10], "other": "RGB"}
    form = client.get("/looking", headers=PAGE).text
    assert 'accept="image/*"' in form
    assert "b.jpg, " in form
    drawn = client.post("/looking/predict", files={"image": ("c.jpg", picture())}, headers=PAGE)
    assert "c.jpg" in drawn.text
    (tmp_path / "d.jpg").write_bytes(picture())
    said = app.command("looking", "predict", str(tmp_path / "d.jpg"))
    assert '"name": "d.jpg"' in said.stdout, said.stderr
    helped = " ".join(app.command("looking", "named", "--help").stdout.split())
    assert "TABLE left out: your newest table called sales-*.csv." in helped
    with app.client("stranger@example.org") as stranger:
        assert stranger.post("/api/looking/predict", json={"image": stored}).status_code == 404


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no image", "x.png is no image. Send one of these: .bmp, .gif"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "x.png is no image. Send one of these"),
        (picture()[:300], "x.png is no image that can be read: "),
        (bomb(), "x.png has more than 50,000,000 pixels. Make it smaller."),
    ],
)
def test_an_image_that_cannot_be_is_refused_by_its_name(client: httpx.Client, data: bytes, said: str) -> None:
    refused = client.post("/api/looking/predict", files={"image": ("x.png", data)})
    assert refused.status_code == 422
    assert refused.json()["error"]["message"].startswith(said)
    assert "0x" not in refused.text


def test_an_image_of_a_notebook_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture())
    assert Image(tmp_path / "a.jpg").open().size == (20, 10)
    with pytest.raises(
        InvalidInput, match=r"^b\.jpg is no image that can be read: .*No such file"
    ) as refused:
        Image(tmp_path / "b.jpg").open()
    assert str(tmp_path) not in str(refused.value)
    (tmp_path / "large.jpg").write_bytes(b"\xff" * 25_000_001)
    with pytest.raises(InvalidInput, match=r"^large\.jpg has 25000001 bytes"):
        Image(tmp_path / "large.jpg").open()


def give(client: httpx.Client, name: str, sold: int) -> str:
    table = f"sold\n{sold}\n".encode()
    return str(
        client.post("/api/looking/files", files={"file": (name, table)}).raise_for_status().json()["id"]
    )


def report_of(app: Application, client: httpx.Client, job: str) -> str:
    ended = app.wait_for_job(client, job)
    assert ended["status"] == "done", ended
    (made,) = ended["result"]["files"]  # type: ignore[index]
    return client.get(f"/looking/reports/{made['id']}", headers=PAGE).text


def test_the_newest_table_is_that_of_the_owner_when_the_job_starts(
    app: Application, client: httpx.Client
) -> None:
    """Of this application, or of a name anywhere; said on the form and on the report."""
    form = client.get("/looking", headers=PAGE).text
    assert "Left empty: your newest table here, when it begins." in form
    assert "Left empty: your newest table called sales-*.csv, when it begins." in form
    early = app.wait_for_job(client, client.post("/api/looking/weekly", json={}).json()["job"])
    assert "You gave this application no table yet. Choose one in the form" in str(early["error"])
    give(client, "other.csv", 1)
    first = give(client, "sales-1.csv", 20)
    with app.client("stranger@example.org") as stranger:
        give(stranger, "sales-9.csv", 999)
    page = report_of(app, client, client.post("/api/looking/weekly", json={}).json()["job"])
    assert "Table: sales-1.csv, Currency: EUR" in page
    assert '<div class="fig">20</div>' in page
    assert "Table: sales-1.csv, Currency: EUR" in client.get("/looking", headers=PAGE).text
    give(client, "last.csv", 3)
    assert "last.csv" in report_of(app, client, client.post("/api/looking/weekly", json={}).json()["job"])
    job = client.post("/api/looking/named", json={}).json()["job"]
    assert "sales-1.csv" in report_of(app, client, job)
    client.post("/api/tables", files={"file": ("sales-2.csv", b"sold\n4\n")}).raise_for_status()
    client.post("/api/tables", files={"file": ("salesx3.csv", b"sold\n5\n")}).raise_for_status()
    job = client.post("/api/looking/named", json={}).json()["job"]
    assert "sales-2.csv" in report_of(app, client, job)
    job = client.post("/api/looking/named", json={"table": first}).json()["job"]
    assert "sales-1.csv" in report_of(app, client, job)
    assert "last.csv" in client.get("/looking/latest", headers=PAGE).text


def test_a_report_with_a_schedule_reads_what_the_administrator_gave_last(app: Application) -> None:
    with Runtime.open(Settings.from_environment(app.environ, home=app.home)) as runtime:
        with runtime.catalog.read() as transaction:
            keeper = users.first_administrator(transaction) or runtime.accounts.local_administrator()
        with app.client(keeper.email) as client:
            give(client, "monday.csv", 7)
            before = {each["id"] for each in client.get("/api/jobs").json()}
            assert queue_due(runtime, datetime.now(UTC) + timedelta(days=7)) == 1
            (job,) = {each["id"] for each in client.get("/api/jobs").json()} - before
            assert "Table: monday.csv" in report_of(app, client, job)


def test_the_newest_table_of_a_notebook_is_one_that_it_gives() -> None:
    with pytest.raises(InvalidInput, match=r"Here, give one"):
        Table.newest("sales.csv").read()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("open", "NotADirectoryError: [Errno 20] Not a directory: &#39;notes.txt/below&#39; (looking.py"),
        ("refuse", "notes.txt is not for us"),
        ("images", "notes.txt is no archive that can be read"),
        ("raise", "no &#39;weights&#39; in "),
        ("library", "invalid continuation byte (looking.py, line "),
    ],
)
def test_no_path_of_a_machine_is_shown(client: httpx.Client, how: str, said: str) -> None:
    brought = client.post(
        "/looking/fail", files={"file": ("notes.txt", b"words")}, data={"how": how, "-": "1"}, headers=PAGE
    )
    page = client.get(brought.headers["location"], headers=PAGE).text
    alert = re.search(r'role="alert".*?</p>', page, re.DOTALL)
    assert alert is not None
    assert said in alert[0].replace("&#x27;", "&#39;")
    assert not re.search(r"/(tmp|home|root|scratch)\b", alert[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[Errno 2] No such file: '/tmp/a b/c.csv'", "[Errno 2] No such file: 'c.csv'"),
        ("at /home/ann/model.bin, line 3", "at model.bin, line 3"),
        ("file:///srv/data/x.parquet is gone", "x.parquet is gone"),
        (r"C:\Users\ann\x.csv is gone", "x.csv is gone"),
        ("see https://example.org/a/b/c", "see https://example.org/a/b/c"),
        ("1/2/3 and km/h, 4 / 5", "1/2/3 and km/h, 4 / 5"),
    ],
)
def test_a_path_becomes_a_name(text: str, said: str) -> None:
    assert without_paths(text) == said


@given(st.lists(st.from_regex(r"[a-z0-9_]{1,9}", fullmatch=True), min_size=2, max_size=6))
def test_of_any_path_the_last_name_stays(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    for text in (f"no {path} there", f"no '{path}'", f"({path})"):
        assert without_paths(text) == text.replace(path, parts[-1])

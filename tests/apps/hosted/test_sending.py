"""Tables are read as uploads to `/tables` are, refused when they come, and sent along with what starts a job."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import openpyxl
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.app import Table
from ecluse.app.reading import dated
from tests.application import Application, running

pytestmark = pytest.mark.nightly

HERE = Path(__file__).parent
PAGE = {"accept": "text/html"}
FRENCH = (
    "prénom;né;inscrit;vu;montant;code;inconnu\n"
    "Zoé;2001-03-09;31.01.2025;2025-01-31 10:05;1,5;007;2024-01-01\n"
    "Noël;1999-12-31;01.02.2025;2025-02-01 23:59;-2,25;010;bientôt\n"
)
TYPES = {
    "prénom": "String", "né": "Date", "inscrit": "Date", "montant": "Float64", "code": "String", "inconnu": "String",
}  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    listed = {"ECLUSE_APPS": f"{HERE / 'taking.py'}:{HERE / 'keeping.py'}:{HERE / 'looking.py'}"}
    with running(tmp_path_factory.mktemp("home"), listed) as application:
        yield application


@pytest.fixture(scope="module")
def client(app: Application) -> Iterator[httpx.Client]:
    with app.client() as client:
        yield client


def workbook() -> bytes:
    book = openpyxl.Workbook()
    for row in [("day", "sold"), ("2025-01-01", 3), ("2025-01-02", 4)]:
        book.worksheets[0].append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def types_of(
    app: Application, client: httpx.Client, name: str, data: bytes, **fields: str
) -> dict[str, object]:
    """What the job says of a table that comes along with the request that starts it."""
    answer = client.post("/api/taking/types", files={"table": (name, data)}, data=fields)
    assert answer.status_code == 202, answer.text
    ended = app.wait_for_job(client, answer.json()["job"])
    assert ended["status"] == "done", ended
    (report,) = ended["result"]["files"]  # type: ignore[index]
    ((part,),) = [client.get(f"/api/taking/files/{report['id']}").json()]
    return dict(part["figures"])


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_a_table_of_any_separator_and_encoding_is_read_by_its_content(
    app: Application, client: httpx.Client, encoding: str
) -> None:
    made = types_of(app, client, "clients.csv", gzip.compress(FRENCH.encode(encoding)), times="2")
    assert {name: made[name] for name in TYPES} == TYPES
    assert str(made["vu"]).startswith("Datetime")
    assert made["rows"] == 4


def test_a_workbook_and_lines_of_json_are_tables(app: Application, client: httpx.Client) -> None:
    assert types_of(app, client, "sold.ndjson", b'{"sold": 3}\n{"sold": 4}\n')["sold"] == "Int64"
    assert types_of(app, client, "sold.xlsx", workbook())["rows"] == 2


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("none.csv", b"", "none.csv is empty"),
        ("lines.csv", b"\n\n\n", "lines.csv holds no text but blanks"),
        ("names.csv", b"a,b\n", "names.csv has a header and no rows"),
        ("bytes.csv", bytes(range(256)) * 9, "bytes.csv holds binary data"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "ragged.csv: Line 3 has 3 values"),
        ("end.parquet", b"PAR1 and nothing", "end.parquet cannot be read"),
        ("list.json", b"[]", "list.json has no rows"),
        ("cut.json", b'{"a"', "cut.json cannot be read"),
    ],
)
def test_what_is_no_table_is_refused_when_it_comes_and_nothing_is_kept(
    client: httpx.Client, name: str, data: bytes, said: str
) -> None:
    kept = client.get("/api/taking/files").json()
    for address, field in (("files", "file"), ("types", "table"), ("score", "table")):
        refused = client.post(f"/api/taking/{address}", files={field: (name, data)})
        assert refused.status_code == 422, refused.text
        message = refused.json()["error"]["message"]
        assert said in message or (not data and message.startswith("none.csv: The file is empty")), address
        assert "/" not in message
    for address in ("types", "score"):
        page = client.post(f"/taking/{address}", files={"table": (name, data)}, headers=PAGE)
        assert (page.status_code, said in page.text) == (422, True), address
    assert client.get("/api/taking/files").json() == kept


def test_files_of_a_request_that_starts_no_job_are_not_kept(client: httpx.Client) -> None:
    kept = client.get("/api/taking/files").json()
    table = {"table": ("t.csv", b"a,b\n1,2\n")}
    for data in ({"times": "often"}, {"colour": "red"}):
        refused = client.post("/api/taking/types", files=table, data=data)
        assert refused.status_code == 422, refused.text
    page = client.post("/taking/types", files=table, data={"times": "often"}, headers=PAGE)
    assert page.status_code == 422, page.text
    assert client.get("/api/taking/files").json() == kept


DOORS = ("/api/taking/types", "/api/taking/score", "/taking/types", "/taking/score", "/looking/latest")


@pytest.fixture
def limited(app: Application) -> Iterator[Callable[..., httpx.Client]]:
    """Gives a person a plan of these limits, and returns their program, which has sent nothing before."""
    with ExitStack() as stack:
        admin = stack.enter_context(app.client("admin@example.org", admin=True))

        def give(email: str, **limits: int) -> httpx.Client:
            client = stack.enter_context(app.client(email))
            most = {"upload_bytes": 10**8, "storage_bytes": 10**9, "jobs": 2}
            admin.patch("/api/plans/trial", json=most | limits).raise_for_status()
            admin.put(f"/api/users/{email}/plan", json={"plan": "trial"}).raise_for_status()
            return client

        yield give


def kept_by(client: httpx.Client) -> list[object]:
    return [*client.get("/api/taking/files").json(), *client.get("/api/looking/files").json()]


@pytest.mark.parametrize("door", DOORS)
def test_each_file_of_a_form_is_bounded_by_the_plan_and_a_form_that_is_refused_leaves_none(
    limited: Callable[..., httpx.Client], door: str
) -> None:
    client = limited(f"bounded{DOORS.index(door)}@example.org", upload_bytes=500)
    small, large = ("t.csv", b"a,b\n1,2\n"), ("t.csv", b"a,b\n" + b"1,2\n" * 150)
    for sent in ({"table": large}, {"table": small, "other": large}):
        assert client.post(door, files=sent, headers=PAGE).status_code == 413, sent
        assert kept_by(client) == []


@pytest.mark.parametrize("door", DOORS[:-1])
def test_files_of_a_job_that_the_plan_refuses_are_not_kept(
    limited: Callable[..., httpx.Client], door: str
) -> None:
    client = limited(f"refused{DOORS.index(door)}@example.org", jobs=0)
    refused = client.post(door, files={"table": ("t.csv", b"a,b\n1,2\n")}, headers=PAGE)
    assert (refused.status_code, kept_by(client)) == (402, [])


def test_an_id_and_a_file_go_together_in_a_form_and_ids_of_others_are_refused(
    app: Application, client: httpx.Client
) -> None:
    stored = client.post("/api/taking/files", files={"file": ("first.csv", b"a,b\n1,2\n")}).json()["id"]
    made = types_of(app, client, "second.csv", b"a,b\n1,2\n3,4\n", other=stored)
    assert (made["other"], made["rows"]) == ("first.csv", 2)
    with app.client("stranger@example.org") as stranger:
        for body in ({"table": stored}, {"table": "../../etc/passwd"}):
            assert stranger.post("/api/taking/types", json=body).status_code == 404
        refused = stranger.post(
            "/api/taking/types", files={"table": ("t.csv", b"a,b\n1,2\n")}, data={"other": stored}
        )
        assert refused.status_code == 404
        assert stranger.get("/api/taking/files").json() == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_what_is_no_form_with_files_is_bounded_where_files_may_come(client: httpx.Client, kind: str) -> None:
    for address in ("/api/taking/types", "/api/taking/score", "/taking/types", "/taking/score"):
        for data, status in ((b"a" * 1_000_001, 413), (b"a=&" * 600, 422)):
            refused = client.post(address, content=data, headers=PAGE | {"content-type": kind})
            assert refused.status_code == status, (address, refused.text[:300])


def test_a_table_of_more_than_a_megabyte_comes_along(app: Application, client: httpx.Client) -> None:
    day = b"2025-01-31\n"
    sent = client.post("/api/taking/score", files={"table": ("days.csv", b"day\n" + day * 150_000)})
    assert sent.status_code == 202, sent.text
    ended = app.wait_for_job(client, sent.json()["job"])
    assert ended["status"] == "done", ended
    (made,) = ended["result"]["files"]  # type: ignore[index]
    assert client.get(f"/api/taking/files/{made['id']}").text.startswith("day,days\n2025-01-31,31\n")
    described = client.get("/openapi.json").json()["paths"]["/api/taking/types"]["post"]
    in_form = described["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert in_form["table"] == {"type": "string", "format": "binary"}


def test_without_a_function_that_answers_no_prediction_is_offered(
    app: Application, client: httpx.Client
) -> None:
    """Also once there is a model, which is loaded before it is published, and shown on a page."""
    ended = app.wait_for_job(client, client.post("/api/keeping/train", json={}).json()["job"])
    assert ended["status"] == "done", ended
    broken = client.post("/api/keeping/train", json={"word": "broken"}).json()["job"]
    assert app.wait_for_job(client, broken)["status"] == "failed"
    page = client.get("/keeping", headers=PAGE).text
    assert "Predict" not in page
    assert "It is kept." in client.get("/keeping/said", headers=PAGE).text
    paths = client.get("/openapi.json").json()["paths"]
    assert [path for path in paths if path.startswith("/api/keeping/")] == [
        "/api/keeping/files", "/api/keeping/files/{file}", "/api/keeping/train",
    ]  # fmt: skip
    for verb in ("predict", "score"):
        assert client.post(f"/api/keeping/{verb}", json={}).status_code in (404, 405)
        assert f"No such command '{verb}'" in app.command("keeping", verb).stderr


def test_a_command_refuses_what_is_no_table(app: Application, tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("a,b\n")
    refused = app.command("taking", "score", str(tmp_path / "names.csv"))
    assert refused.returncode == 1
    assert "names.csv has a header and no rows" in refused.stderr


@given(st.lists(st.one_of(st.none(), st.dates().map(str), st.text(max_size=12)), max_size=20))
def test_dates_are_read_where_all_are_and_no_value_is_lost(texts: list[str | None]) -> None:
    column = dated(pl.DataFrame({"at": pl.Series(texts, dtype=pl.String)}))["at"]
    assert column.null_count() == sum(text is None for text in texts)
    if column.dtype == pl.String:
        assert column.to_list() == texts
    else:
        assert [day and str(day) for day in column.to_list()] == [
            text and text.replace("/", "-") for text in texts
        ]


def test_a_notebook_reads_what_the_page_reads(tmp_path: Path) -> None:
    (tmp_path / "clients.csv").write_text(FRENCH, encoding="cp1252")
    rows = Table(tmp_path / "clients.csv").read()
    assert json.loads(rows.head(1).write_json())[0]["montant"] == 1.5
    assert rows["inscrit"].to_list()[0].isoformat() == "2025-01-31"

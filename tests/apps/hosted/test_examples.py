"""Small applications that were written from the guide alone are installed together, and do what they were written for."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import PIL.Image
import pytest

from ecluse import people
from ecluse.app import Task
from ecluse.app.images import packed
from ecluse.apps.hosted import files
from ecluse.apps.hosted.check import Trial, Untried
from ecluse.apps.hosted.child import Work, load_app
from ecluse.apps.hosted.due import queue_due
from ecluse.apps.hosted.frames import example_for
from ecluse.apps.hosted.snapshot import Snapshot
from ecluse.errors import InvalidInput, ModelRefused
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application, running
from tests.servers import ObjectServer

pytestmark = pytest.mark.nightly

HERE = Path(__file__).parent
EXAMPLES = HERE / "examples"
PAGE = {"accept": "text/html"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    listed = ":".join(str(file) for file in sorted(EXAMPLES.glob("*.py")))
    with running(tmp_path_factory.mktemp("home"), {"ECLUSE_APPS": listed}) as application:
        yield application


@pytest.fixture(scope="module")
def client(app: Application) -> Iterator[httpx.Client]:
    with app.client() as client:
        yield client


def test_a_regression_with_files_of_its_own(app: Application, client: httpx.Client) -> None:
    table = "size,district,rent\n" + "".join(
        f"{20 + n % 90},{'ns'[n % 2]},{15 * (20 + n % 90)}\n" for n in range(200)
    )
    file = client.post("/api/flats/files", files={"file": ("flats.csv", table.encode())}).json()["id"]
    job = client.post("/api/flats/train", json={"table": file, "rounds": 20}).json()["job"]
    ended = app.wait_for_job(client, job)
    assert ended["status"] == "done", ended
    run = ended["result"]["run"]  # type: ignore[index]
    assert len(client.get(f"/api/runs/{run}/metrics").json()["rmse"]) == 20
    answer = client.post(
        "/api/flats/predict", json={"rows": [{"size": 50, "district": "n"}], "currency": "CHF"}
    )
    (row,) = answer.raise_for_status().json()["rows"]
    assert row["currency"] == "CHF"
    assert row["rent"] == pytest.approx(750, rel=0.1)
    form = client.get("/flats", headers={"accept": "text/html"}).text
    assert '<select name="row.district">' in form


CARS = "km,brand,sold,price\n" + "".join(
    f"{5000 * (n + 1)},{('audi', 'vw')[n % 2]},202{n % 5}-01-{n + 1:02},{20_000 - 500 * n}\n"
    for n in range(24)
)
CAR = {"km": 10_000, "brand": "vw", "sold": "2021-01-05"}


@pytest.fixture(scope="module")
def cars(app: Application, client: httpx.Client) -> str:
    """A trained model of cars; the id of its table."""
    table = str(client.post("/api/cars/files", files={"file": ("cars.csv", CARS.encode())}).json()["id"])
    ended = app.wait_for_job(client, client.post("/api/cars/train", json={"table": table}).json()["job"])
    assert ended["status"] == "done", ended
    return table


def ask_cars(client: httpx.Client, **values: object) -> httpx.Response:
    return client.post("/api/cars/predict", json={"rows": [CAR | values]})


@pytest.mark.parametrize("km", [1000.5, 1000.9, True, "ten"])
def test_a_value_of_another_type_is_refused_as_by_any_model(
    client: httpx.Client, cars: str, km: object
) -> None:
    refused = ask_cars(client, km=km)
    assert refused.status_code == 422, refused.text
    anywhere = client.post("/api/models/cars/predict", json={"rows": [CAR | {"km": km}]})
    assert refused.json()["error"]["message"] == anywhere.json()["error"]["message"]
    assert "Row 1, column km: " in refused.json()["error"]["message"]


def sample_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an example gives to be tried with."""
    monkeypatch.chdir(folder)
    return dict(load_app({"file": str(EXAMPLES / f"{name}.py")}).verbs["sample"].function())


def test_a_forest_is_asked_about_columns_that_the_prediction_makes(
    app: Application, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a table with semicolons, dates by dots and another encoding; the form asks for a date."""
    customers = sample_of("churn", tmp_path, monkeypatch)["table"].path.read_bytes()
    sent = client.post("/api/churn/train", files={"table": ("customers.csv", customers)})
    ended = app.wait_for_job(client, sent.json()["job"])
    assert ended["status"] == "done", ended
    form = client.get("/churn", headers=PAGE).text
    assert re.search(r'name="row.since"[^>]*type="date"', form)
    assert ">Köln</option>" in form
    row = {"since": "2021-05-01", "spend": 20.5, "plan": "Basic", "city": "Lyon"}
    (answer,) = client.post("/api/churn/predict", json={"rows": [row]}).raise_for_status().json()["rows"]
    assert answer["leaves"] is True
    refused = client.post("/api/churn/predict", json={"rows": [row | {"since": "01.05.2021"}]})
    assert "Row 1, column since: " in refused.json()["error"]["message"]
    scored = client.post("/api/churn/score", files={"table": ("customers.csv", customers)}).json()["job"]
    assert app.wait_for_job(client, scored)["status"] == "done"
    other = client.post(
        "/api/churn/train", files={"table": ("customers.csv", customers)}, data={"target": "gone"}
    )
    assert "There is no column 'gone'. Known: since" in str(
        app.wait_for_job(client, other.json()["job"])["error"]
    )


def test_a_forest_that_is_asked_otherwise_says_how_to_give_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = sample_of("churn", tmp_path, monkeypatch)["table"]
    (tmp_path / "made").mkdir()
    work = Work(None, {"source": {"file": str(EXAMPLES / "churn.py")}, "folder": str(tmp_path / "made")})  # type: ignore[arg-type]
    made = work.app.verbs["train"].function(Task(), table, trees=2)
    with pytest.raises(ModelRefused, match=r"inputs=features"):
        work._packed(replace(made, inputs=None))


def test_the_images_most_like_one_are_named(
    app: Application, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = sample_of("alike", tmp_path, monkeypatch)
    archive = packed(given["images"].path, tmp_path / "set.zip").read_bytes()
    sent = client.post("/api/alike/train", files={"images": ("set.zip", archive)})
    ended = app.wait_for_job(client, sent.json()["job"])
    assert ended["status"] == "done", ended
    image = {"image": ("one.png", given["image"].read_bytes())}
    answer = client.post("/api/alike/predict", files=image, data={"count": "2"}).raise_for_status().json()
    assert [each["name"] for each in answer["answer"]] == ["red/0.png", "red/1.png"]
    page = client.post("/alike/predict", files=image, headers=PAGE).text
    assert page.index("red/0.png") < page.index("red/1.png") < page.index("red/2.png")


def test_a_check_says_that_no_newest_table_is_there_to_try_with() -> None:
    described = Snapshot(load_app({"file": str(HERE / "looking.py")}).snapshot())
    trial = Trial(cast("Any", None), described, HERE, cast("Any", None), cast("Any", None))
    with pytest.raises(Untried, match=r"@app\.sample gives no table, which weekly needs"):
        trial.given(described.verbs["weekly"])


def test_what_the_example_did_not_have_is_answered_with_a_warning(client: httpx.Client, cars: str) -> None:
    assert ask_cars(client).raise_for_status().json()["warnings"] == []
    unseen = ask_cars(client, brand="Tesla", colour="red").raise_for_status().json()
    assert len(unseen["rows"]) == 1
    assert ["Tesla" in unseen["warnings"][0], "colour" in unseen["warnings"][1]] == [True, True]
    row = {"row.km": "9000000", "row.brand": "vw", "row.sold": "2021-01-05"}
    page = client.post("/cars/predict", data=row, headers=PAGE | {"accept-language": "fr"}).text
    assert "La colonne km" in page


def test_a_missing_value_is_named_before_what_the_code_says_of_it(client: httpx.Client, cars: str) -> None:
    for address in ("/api/cars/predict", "/api/models/cars/predict"):
        failed = client.post(address, json={"rows": [CAR | {"km": None}]})
        assert failed.status_code == 422, failed.text
        message = failed.json()["error"]["message"]
        assert message.startswith(
            "A value is missing: km. The example of the model has no missing values there."
        )
        assert "NaN" in message
        assert len(message) < 600


def test_a_report_is_written_when_it_is_due_and_once(app: Application, client: httpx.Client) -> None:
    job = client.post("/api/digest/weekly", json={"region": "north"}).json()["job"]
    made = app.wait_for_job(client, job)["result"]["files"]  # type: ignore[index]
    report = next(file["id"] for file in made if file["purpose"] == "report")
    page = client.get(f"/digest/reports/{report}", headers={"accept": "text/html"}).text
    assert "<h2>Visits, north</h2>" in page
    assert ">visits.csv</a>" in page
    assert client.post("/api/digest/weekly", json={"region": "west"}).status_code == 422
    with Runtime.open(Settings.from_environment(app.environ, home=app.home)) as runtime:
        runtime.accounts.local_administrator()
        now = datetime.now(UTC)
        assert queue_due(runtime, now) == 0  # what was due before it was installed is not made up for
        assert queue_due(runtime, now + timedelta(days=7)) == 2  # of two applications
        assert queue_due(runtime, now + timedelta(days=7)) == 0


def archive_of_leaves(count: int = 6) -> bytes:
    """A .zip with a folder for each of two labels, and a file that is no image."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("leaves/about.txt", "drawn")
        for label, shade in (("healthy", 200), ("spotted", 40)):
            for number in range(count):
                archive.writestr(f"leaves/{label}/{number}.png", png(shade + number))
    return file.getvalue()


def png(shade: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (16, 16), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def test_images_are_learned_from_and_one_is_sent_to_be_named(
    app: Application, client: httpx.Client, tmp_path: Path
) -> None:
    """A file is brought by a form, or named by its id; nothing of a body of JSON is taken for a path."""
    archive = client.post("/api/leaves/files", files={"file": ("leaves.zip", archive_of_leaves())}).json()[
        "id"
    ]
    ended = app.wait_for_job(client, client.post("/api/leaves/train", json={"images": archive}).json()["job"])
    assert ended["status"] == "done", ended
    assert ended["result"]["metrics"] == {"images": 12, "labels": 2}  # type: ignore[index]
    sent = client.post(
        "/api/leaves/predict", files={"image": ("a.png", png(210))}, data={"certainty": "false"}
    )
    assert sent.raise_for_status().json()["answer"] == {"label": "healthy"}
    stored = client.post("/api/leaves/files", files={"file": ("b.png", png(30))}).json()["id"]
    named = client.post("/api/leaves/predict", json={"image": stored}).raise_for_status().json()
    assert named["answer"]["label"] == "spotted"
    (tmp_path / "c.png").write_bytes(png(30))
    path = {"file": str(tmp_path / "c.png"), "name": "c.png"}
    assert client.post("/api/leaves/predict", json={"image": path}).status_code == 422
    assert client.post("/api/leaves/predict", json={"image": str(tmp_path / "c.png")}).status_code == 404
    with app.client("stranger@example.org") as stranger:
        assert stranger.post("/api/leaves/predict", json={"image": stored}).status_code == 404
    drawn = client.post("/leaves/predict", files={"image": ("a.png", png(220))}, headers=PAGE)
    assert drawn.status_code == 200
    assert '<div class="fig">healthy</div>' in drawn.text
    assert not list((app.home / "scratch").glob("*/request_*"))


def test_a_page_takes_files_and_has_an_address_with_them(app: Application, client: httpx.Client) -> None:
    page = client.get("/leaves/look", headers=PAGE)
    assert "Choose images." in page.text
    brought = client.post(
        "/leaves/look", files={"images": ("set.zip", archive_of_leaves(2))}, data={"-": "1"}, headers=PAGE
    )
    assert brought.status_code == 303
    shown = client.get(brought.headers["location"], headers=PAGE)
    assert '<div class="fig">healthy, spotted</div>' in shown.text
    refused = client.post("/leaves/look", files={"images": ("set.zip", b"no archive")}, headers=PAGE)
    page = client.get(refused.headers["location"], headers=PAGE)
    assert (page.status_code, "set.zip is no archive that can be read" in page.text) == (422, True)


def test_a_form_takes_a_table_of_more_than_a_megabyte(app: Application, client: httpx.Client) -> None:
    table = b"size,district\n" + b"50,n\n" * 300_000
    sent = client.post("/flats/score", files={"table": ("t.csv", table)}, headers=PAGE)
    assert sent.status_code in (303, 422), (
        sent.text
    )  # 422: nothing was trained yet; 413 was the answer before
    assert "megabyte" not in sent.text


def test_a_model_answers_values_and_draws_a_page_and_a_report(app: Application, client: httpx.Client) -> None:
    assert "Train first." in client.get("/demand/weeks", headers=PAGE).text
    early = app.wait_for_job(client, client.post("/api/demand/plan", json={}).json()["job"])
    assert early["status"] == "failed"
    table = "day,value\n" + "".join(f"2025-01-{day:02},{100 + 10 * (day % 7)}\n" for day in range(1, 29))
    file = client.post("/api/demand/files", files={"file": ("d.csv", table.encode())}).json()["id"]
    ended = app.wait_for_job(client, client.post("/api/demand/train", json={"table": file}).json()["job"])
    assert ended["status"] == "done", ended
    answer = client.post("/api/demand/predict", json={"days": 2}).raise_for_status().json()["answer"]
    assert [each["day"] for each in answer] == ["2025-01-29", "2025-01-30"]
    assert answer[0]["value"] == pytest.approx(110, abs=5)
    page = client.get("/demand/weeks?count=1&-=1", headers=PAGE).text
    assert page.count("2025-0") == 7
    planned = app.wait_for_job(client, client.post("/api/demand/plan", json={}).json()["job"])
    assert planned["status"] == "done", planned


@pytest.mark.nightly
def test_it_works_over_postgresql_and_s3_and_leaves_nothing(
    object_server: ObjectServer, postgresql_url: str, tmp_path: Path
) -> None:
    """Training, answer and report lie in the object store and the catalog; with the account all of it goes."""
    variables = object_server.environment("applications") | {
        "DATABASE_URL": postgresql_url,
        "ECLUSE_APPS": f"{EXAMPLES / 'leaves.py'}:{EXAMPLES / 'digest.py'}",
    }
    with running(tmp_path / "home", variables, forked=False) as app, app.client() as client:
        archive = client.post(
            "/api/leaves/files", files={"file": ("leaves.zip", archive_of_leaves())}
        ).json()["id"]
        ended = app.wait_for_job(
            client, client.post("/api/leaves/train", json={"images": archive}).json()["job"]
        )
        assert ended["status"] == "done", ended
        sent = client.post("/api/leaves/predict", files={"image": ("a.png", png(210))})
        assert sent.raise_for_status().json()["answer"]["label"] == "healthy"
        job = client.post("/api/digest/weekly", json={"region": "north"}).json()["job"]
        assert app.wait_for_job(client, job)["status"] == "done"
        with Runtime.open(Settings.from_environment(app.environ, home=app.home)) as runtime:
            (person,) = [user for user in runtime.accounts.everyone() if user.email == "person@example.org"]

            def objects() -> list[str]:
                stores = runtime.stores.distinct()
                return [info.key for store in stores for info in store.list() if person.id in info.key]

            assert len(objects()) > 4  # archive, model, report, table of the report
            assert not list((app.home).glob("store/**/*.zip"))
            runtime.accounts.add("keeper@example.org", admin=True)
            people.remove(runtime, person.email, everything=True)
            assert objects() == []
            with runtime.catalog.read() as transaction:
                assert files.files_of(transaction, person.id, "leaves") == []


@pytest.mark.parametrize(
    ("example", "said"),
    [({}, "The example of the Model has no days"), ({"days": 2}, None)],
)
def test_an_example_of_single_values_is_theirs_by_name(example: dict[str, int], said: str | None) -> None:
    verb = load_app({"file": str(EXAMPLES / "demand.py")}).verbs["predict"]
    if said is None:
        assert example_for(verb, example).to_dicts() == [example]
        return
    with pytest.raises(InvalidInput, match=said):
        example_for(verb, example)

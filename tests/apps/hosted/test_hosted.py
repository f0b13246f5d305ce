"""An application in one file is installed, trained, asked, cancelled and killed, as a person and a program do it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.application import Application, running
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly

HERE = Path(__file__).parent
SLOW = HERE / "slow.py"
TABLE = b"a,b,y\n1,0,2\n2,1,5\n3,0,6\n4,1,9\n5,0,10\n"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    variables = {
        "ECLUSE_APPS": f"{SLOW}:{HERE / 'fragile.py'}",
        "ECLUSE_APP_SECONDS": "5",
        "ECLUSE_APP_MAX_BYTES": str(1 << 30),
        "AWS_ACCESS_KEY_ID": "a-name-of-ours",
        "AWS_SECRET_ACCESS_KEY": "a-key-of-ours",
    }
    with running(tmp_path_factory.mktemp("home"), variables) as application:
        yield application


@pytest.fixture(scope="module")
def client(app: Application) -> Iterator[httpx.Client]:
    with app.client() as client:
        yield client


@pytest.fixture(scope="module")
def table(client: httpx.Client) -> str:
    return str(upload(client, TABLE)["id"])


@pytest.fixture(scope="module")
def trained(app: Application, client: httpx.Client, table: str) -> dict[str, object]:
    job = ask(client, "train", table=table)
    ended = app.wait_for_job(client, job)
    assert ended["status"] == "done", ended
    return dict(ended["result"])  # type: ignore[call-overload]


def upload(client: httpx.Client, data: bytes, name: str = "t.csv") -> dict[str, object]:
    answer = client.post("/api/slow/files", files={"file": (name, data)})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def ask(client: httpx.Client, verb: str, **body: object) -> str:
    answer = client.post(f"/api/slow/{verb}", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job"])


def predict(client: httpx.Client, **body: object) -> httpx.Response:
    return client.post("/api/slow/predict", json={"rows": [{"a": 10, "b": 1}], **body})


def test_a_training_makes_a_run_with_curves_and_a_verified_version(
    client: httpx.Client, trained: dict[str, object]
) -> None:
    run = client.get(f"/api/runs/{trained['run']}").raise_for_status().json()
    assert (run["status"], run["application"], run["version"]) == ("done", "slow", trained["version"])
    curves = client.get(f"/api/runs/{trained['run']}/metrics").json()
    assert [point["value"] for point in curves["loss"]] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert run["parameters"] == {"target": "y", "steps": 3, "pause": 0.0}
    version = client.get(f"/api/models/slow/{trained['version']}").raise_for_status().json()
    paths = {file["path"] for file in version["files"]}
    assert "model.skops" in paths
    assert not [path for path in paths if path.endswith((".pkl", ".pickle", ".joblib"))]


def test_its_prediction_is_asked_over_http_and_by_a_form(
    client: httpx.Client, trained: dict[str, object]
) -> None:
    answer = predict(client).raise_for_status().json()
    assert answer["model"] == {"name": "slow", "version": trained["version"]}
    assert answer["rows"] == [{"y": pytest.approx(21.0)}]
    assert "y" not in answer.get("answer", {})
    missing = client.post("/api/slow/predict", json={"rows": [{"a": 10}]})
    assert (missing.status_code, "b" in missing.json()["error"]["message"]) == (422, True)
    drawn = client.post("/slow/predict", data={"row.a": "10", "row.b": "1"}, headers={"accept": "text/html"})
    assert drawn.status_code == 200
    assert "<dt>y</dt>" in drawn.text


def test_rows_are_answered_at_the_address_of_models(client: httpx.Client, trained: dict[str, object]) -> None:
    """By the version that is asked for, through the process of the application, joined and checked as any model's."""
    rows = [{"a": 10, "b": 1}, {"a": 2, "b": 0}]
    answer = client.post(f"/api/models/slow@{trained['version']}/predict", json={"rows": rows})
    made = answer.raise_for_status().json()
    assert made["version"] == trained["version"]
    assert [row["y"] for row in made["answers"]] == [pytest.approx(21.0), pytest.approx(4.0)]
    refused = client.post("/api/models/slow/predict", json={"rows": [{"a": "ten", "b": 1}]})
    assert (refused.status_code, "ten" in refused.json()["error"]["message"]) == (422, True)
    tensors = [{"name": name, "shape": [1], "datatype": "INT64", "data": [10]} for name in ("a", "b")]
    inferred = client.post("/v2/models/slow/infer", json={"inputs": tensors}, headers=bearer(client))
    assert inferred.raise_for_status().json()["outputs"][0]["name"] == "y"
    page = client.get(f"/models/slow/{trained['version']}/use", headers={"accept": "text/html"}).text
    assert f"/api/models/slow@{trained['version']}/predict" in page


def bearer(client: httpx.Client) -> dict[str, str]:
    """The token of a client, for an address that is not below /api."""
    request = next(client.auth.sync_auth_flow(httpx.Request("GET", f"{client.base_url}/api/x")))  # type: ignore[union-attr]
    return {"authorization": request.headers["authorization"]}


def test_one_signature_is_the_form_the_flags_and_the_body(app: Application, client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    bodies = described["paths"]["/api/slow/train"]["post"]["requestBody"]["content"]
    body = bodies["application/json"]["schema"]
    assert bodies["multipart/form-data"]["schema"]["properties"].keys() == body["properties"].keys()
    assert body["properties"]["steps"] == {"type": "integer", "title": "Steps", "default": 3}
    assert body["required"] == ["table"]
    form = client.get("/slow", headers={"accept": "text/html"}).text
    assert 'name="steps" value="3"' in form
    assert ">Slow sums</a>" in form
    assert "--steps INTEGER" in app.command("slow", "train", "--help").stdout
    helped = app.command("slow", "--help").stdout
    assert "Answer, or fail as asked." in helped
    assert "Answer every row of a table" in helped
    refused = client.post("/api/slow/train", json={"table": "x", "stepz": 3})
    assert refused.status_code == 422
    assert refused.json()["error"]["message"] == ("There is no stepz. Known: table, target, steps, pause.")
    assert client.post("/api/slow/train", json={}).json()["error"]["message"] == "table is missing."
    assert form.index('name="table"') < form.index('name="target"')


def test_a_table_is_scored_as_a_job(
    app: Application, client: httpx.Client, table: str, trained: object
) -> None:
    ended = app.wait_for_job(client, ask(client, "score", table=table))
    assert ended["status"] == "done", ended
    (made,) = ended["result"]["files"]  # type: ignore[index]
    lines = client.get(f"/api/slow/files/{made['id']}").text.splitlines()
    assert lines[0] == "a,b,y"
    assert len(lines) == 6


def test_a_table_for_any_model_is_one_for_an_application_too_and_the_other_way(
    app: Application, client: httpx.Client, table: str, trained: object
) -> None:
    read = client.get(f"/api/tables/{table}/file", params={"format": "csv"}).raise_for_status().text
    assert read.splitlines()[0] == "a,b,y"
    own = (
        client.post("/api/tables", files={"file": ("own.csv", read.encode())}).raise_for_status().json()["id"]
    )
    ended = app.wait_for_job(client, ask(client, "score", table=own))
    assert ended["status"] == "done", ended
    (made,) = ended["result"]["files"]  # type: ignore[index]
    assert client.get(f"/api/slow/files/{made['id']}").text.splitlines()[0] == "a,b,y"
    with app.client("other@example.org") as other:
        assert other.post("/api/slow/score", json={"table": own}).status_code == 404


def test_a_job_sees_none_of_our_keys_and_its_report_is_a_page(app: Application, client: httpx.Client) -> None:
    ended = app.wait_for_job(client, ask(client, "surroundings", word="given"))
    (made,) = ended["result"]["files"]  # type: ignore[index]
    parts = client.get(f"/api/slow/files/{made['id']}").json()
    names = {row[0] for row in parts[2]["rows"]}
    assert "PATH" in names
    assert not [name for name in names if name.startswith(("AWS", "ECLUSE", "S3", "DATABASE"))]
    page = client.get(f"/slow/reports/{made['id']}", headers={"accept": "text/html"}).text
    assert "<h2>Seen</h2>" in page
    assert "given" in page


def test_a_report_says_what_it_was_asked_for(app: Application, client: httpx.Client, table: str) -> None:
    job = ask(client, "forecast", table=table, product="milk")
    assert app.wait_for_job(client, job)["status"] == "done"
    listed = client.get("/slow", headers={"accept": "text/html"}).text
    assert '<span class="note">Table: t.csv, Product: milk, Days: 2</span>' in listed
    made = client.get(f"/api/status/{job}").json()["result"]["files"]
    (report,) = [file["id"] for file in made if file["purpose"] == "report"]
    page = client.get(f"/slow/reports/{report}", headers={"accept": "text/html"}).text
    assert "Product: milk" in page
    assert 'alt="Sales of milk"' in page


def test_a_page_of_its_own_cannot_bring_a_script(client: httpx.Client) -> None:
    page = client.get("/slow/about?times=2", headers={"accept": "text/html"}).text
    assert "<b>Bold</b> &lt;script&gt;alert(1)&lt;/script&gt; 42" in page, page[page.index("<main") :]


def test_another_person_sees_nothing_of_it(
    app: Application, client: httpx.Client, table: str, trained: dict[str, object]
) -> None:
    with app.client("stranger@example.org") as stranger:
        assert stranger.get("/api/slow/files").json() == []
        for address in (
            f"/api/slow/files/{table}",
            f"/api/runs/{trained['run']}",
            f"/api/models/slow/{trained['version']}",
        ):
            assert stranger.get(address).status_code == 404, address
        assert predict(stranger).status_code == 404
        assert stranger.post("/api/slow/train", json={"table": table}).status_code == 404
        assert stranger.delete(f"/api/slow/files/{table}").status_code == 404


@pytest.mark.parametrize("mode", ["crash", "loop", "eat"])
def test_what_fails_takes_down_itself_alone(client: httpx.Client, trained: object, mode: str) -> None:
    """It crashes, never ends or eats memory: 503 for it alone, and soon it answers again."""
    failed = predict(client, mode=mode)
    if mode == "eat" and failed.status_code == 422:  # Python raised MemoryError in time
        assert "memory" in failed.json()["error"]["message"]
    else:
        assert (failed.status_code, failed.json()["error"]["code"]) == (503, "application_away")
        assert int(failed.headers["retry-after"]) >= 1
    assert client.get("/api/models").status_code == 200
    assert client.get("/slow", headers={"accept": "text/html"}).status_code == 200
    answers_again(client)


def fragile(client: httpx.Client, **body: str) -> httpx.Response:
    """Ask the fragile application, once it is there."""
    if body.get("mode", "none") != "none":
        return client.post("/api/fragile/predict", json=body)
    return wait_until_there(lambda: client.post("/api/fragile/predict", json=body))


def wait_until_there(ask: Callable[[], httpx.Response]) -> httpx.Response:
    def look() -> list[httpx.Response]:
        answer = ask()
        return [] if answer.status_code == 503 else [answer]

    return wait_until(look, "an answer")[0]


def trained_fragile(app: Application, client: httpx.Client, **body: str) -> dict[str, object]:
    return app.wait_for_job(client, client.post("/api/fragile/train", json=body).json()["job"])


@pytest.mark.nightly("loop", "eat")
@pytest.mark.parametrize("mode", ["crash", "loop", "eat"])
def test_a_page_that_fails_takes_down_itself_alone(client: httpx.Client, trained: object, mode: str) -> None:
    failed = client.get(f"/fragile/drawn?mode={mode}", headers={"accept": "text/html"})
    assert failed.status_code in ({"eat": (422, 503)}.get(mode, (503,)))
    assert "<h1>Drawn</h1>" in failed.text
    assert predict(client).status_code == 200
    page = wait_until_there(lambda: client.get("/fragile/drawn", headers={"accept": "text/html"}))
    assert "Drawn." in page.text


@pytest.mark.nightly("eat")
@pytest.mark.parametrize("mode", ["crash", "eat"])
def test_a_training_that_fails_takes_down_itself_alone(
    app: Application, client: httpx.Client, mode: str
) -> None:
    """Its job fails and says why; the worker does the next one."""
    failed = trained_fragile(app, client, mode=mode)
    assert (failed["status"], bool(failed["error"])) == ("failed", True)
    assert trained_fragile(app, client)["status"] == "done"


def test_a_version_that_fails_when_it_is_loaded_is_asked_no_further(
    app: Application, client: httpx.Client, trained: object
) -> None:
    assert trained_fragile(app, client)["status"] == "done"
    assert fragile(client).json()["answer"] == "loaded"
    assert trained_fragile(app, client, loads="crash")["status"] == "done"
    assert client.post("/api/fragile/predict", json={}).status_code == 503
    assert predict(client).status_code == 200
    assert trained_fragile(app, client)["status"] == "done"
    assert fragile(client).json()["answer"] == "loaded"


def test_what_it_starts_ends_with_it_and_threads_have_an_end(
    app: Application, client: httpx.Client, trained: object
) -> None:
    """Threads take memory, which is bounded; processes are those of its group, which is ended as one."""
    assert trained_fragile(app, client)["status"] == "done"
    assert fragile(client).status_code == 200
    assert fragile(client, mode="threads").status_code in (422, 503)
    assert fragile(client).status_code == 200
    assert fragile(client, mode="processes").status_code == 503
    wait_until(lambda: not left_of_fragile(app), "an end of what it started")
    assert predict(client).status_code == 200


def left_of_fragile(app: Application) -> list[str]:
    """The processes that the application of this server started."""
    left = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if b"of-fragile" in (entry / "cmdline").read_bytes() and os.readlink(entry / "cwd").startswith(
                str(app.home)
            ):
                left.append(entry.name)
        except OSError:
            continue
    return left


def test_processes_of_a_user_are_bounded_beyond_those_that_are_there() -> None:
    """As a user that may not do everything; threads count as processes do."""
    code = """
import os, threading
from ecluse.confined.limits import limit_processes
if os.getuid() == 0:
    os.setuid(65_533)
limit_processes(50)
threading.stack_size(64 * 1024)
end = threading.Event()
count = 0
try:
    for count in range(500):
        threading.Thread(target=end.wait).start()
except RuntimeError:
    print(count)
end.set()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 0 < int(done.stdout) <= 50, done.stderr


def answers_again(client: httpx.Client) -> None:
    answer = wait_until_there(lambda: predict(client))
    assert answer.status_code == 200, answer.text


def test_an_error_of_its_own_is_told_and_ends_nothing(client: httpx.Client, trained: object) -> None:
    failed = predict(client, mode="raise")
    assert (failed.status_code, failed.json()["error"]["code"]) == (422, "application_failed")
    assert "ValueError: no such luck (slow.py, line " in failed.json()["error"]["message"]
    assert predict(client).status_code == 200


def test_words_for_the_person_who_asks_are_shown_as_they_are(client: httpx.Client, trained: object) -> None:
    refused = predict(client, mode="refuse")
    assert refused.status_code == 422
    assert refused.json()["error"]["message"] == "There is no product 'milk'. Known: tea, cocoa."
    form = {"row.a": "10", "row.b": "1", "mode": "refuse"}
    drawn = client.post("/slow/predict", data=form, headers={"accept": "text/html"})
    assert drawn.status_code == 422
    assert "raised an error" not in drawn.text
    assert "There is no product" in drawn.text


def test_what_is_asked_before_a_training_says_how_to_train(app: Application) -> None:
    with app.client("newcomer@example.org") as newcomer:
        refused = predict(newcomer)
    assert refused.status_code == 404
    assert (
        "Nothing is trained yet: press Train, or POST /api/slow/train." in refused.json()["error"]["message"]
    )


def test_the_list_of_jobs_says_what_each_made(client: httpx.Client, trained: dict[str, object]) -> None:
    listed = client.get("/api/jobs").raise_for_status().json()
    (job,) = [each for each in listed if (each["result"] or {}).get("run") == trained["run"]]
    assert job["result"]["version"] == trained["version"]
    assert job["result"] == client.get(f"/api/status/{job['id']}").json()["result"]


def test_a_cancelled_training_leaves_no_process(app: Application, client: httpx.Client, table: str) -> None:
    job = ask(client, "train", table=table, steps=1000, pause=0.05)
    wait_until(lambda: "step" in client.get(f"/api/status/{job}").json()["message"], "a step")
    (process,) = children_of_worker(app)
    client.post(f"/api/jobs/{job}/cancel").raise_for_status()
    wait_until(lambda: not Path(f"/proc/{process}").exists(), "an end of its process")
    assert client.get(f"/api/status/{job}").json()["status"] == "cancelled"


def children_of_worker(app: Application) -> list[int]:
    """The processes that run a function of an application for a job of this server."""
    mine = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            directory = os.readlink(entry / "cwd")
        except OSError:
            continue
        if b"ecluse.apps.hosted.child" in command and directory.startswith(f"{app.home}/scratch/"):
            mine.append((int(entry.name), directory))
    return [pid for pid, directory in mine if "/process/" not in directory]


def test_a_training_whose_worker_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    with running(tmp_path, {"ECLUSE_APPS": str(SLOW)}, role="web") as web, web.client() as client:
        table = upload(client, TABLE)["id"]
        job = ask(client, "train", table=table, steps=30, pause=0.2)
        with worker(web) as first:
            wait_until(lambda: checkpoint_of(web), "a checkpoint")
            (process,) = children_of_worker(web)
            os.kill(first.pid, signal.SIGKILL)
            wait_until(lambda: not Path(f"/proc/{process}").exists(), "an end of its process")
        with worker(web):
            ended = web.wait_for_job(client, job)
        assert ended["status"] == "done", ended
        assert ended["result"]["metrics"]["begun_at"] > 0  # type: ignore[index]


def checkpoint_of(web: Application) -> bool:
    return any((web.home / "store").glob("user_data/*/checkpoints/*/saved"))


@contextmanager
def worker(web: Application) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "ecluse", "worker", "--home", str(web.home)]
    process = subprocess.Popen(command, env=web.environ, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_commands_train_and_predict(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (tmp_path / "t.csv").write_bytes(TABLE)
    (tmp_path / "rows.json").write_text('[{"a": 10, "b": 1}]')

    def ecluse(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ecluse", *arguments, "--home", str(home)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)

    assert "slow is installed" in ecluse("apps", "install", str(SLOW)).stdout
    trained = ecluse("slow", "train", "t.csv", "--steps", "1", "--json")
    assert trained.returncode == 0, trained.stderr
    made = json.loads(trained.stdout)
    assert made["model"] == "slow"
    assert json.loads(ecluse("slow", "predict", "rows.json").stdout) == [{"y": pytest.approx(21.0)}]
    said = ecluse("slow", "forecast", "t.csv", "--product", "milk", "--out", "made")
    assert said.returncode == 0, said.stderr
    for text in (
        "# milk\n",
        "rows: 5\n",
        "day    units\nday 0    1.5\nday 1    1.5\n",
        "Report: /slow/reports/",
    ):
        assert text in said.stdout
    made_files = {file.name: file.read_bytes() for file in (tmp_path / "made").iterdir()}
    assert made_files == {
        "report.md": b"# milk\n",
        "figure_3.png": b"\x89PNG drawn",
        "table_4.csv": b"day,units\nday 0,1.5\nday 1,1.5\n",
        "made.txt": b"by the job",
    }
    assert '"train": "train"' in ecluse("apps", "list", "--json").stdout
    ecluse("apps", "remove", "slow")
    assert "No such command 'slow'" in ecluse("slow", "train", "t.csv").stderr
    assert made["version"] in ecluse("models", "list").stdout

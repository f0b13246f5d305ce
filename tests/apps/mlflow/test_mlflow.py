"""Runs go to a real MLflow server, started as a person starts it, and are read back through MLflow's own client."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ecluse import models, tracking
from ecluse.accounts import SESSION_COOKIE
from ecluse.apps.mlflow import jobs as work
from ecluse.apps.mlflow.errors import MlflowUnavailable
from ecluse.apps.mlflow.exporting import MLFLOW, export_run
from ecluse.apps.mlflow.serving import SignedInAlone, _refused_place, server_environment
from ecluse.apps.mlflow.settings import MlflowSettings
from ecluse.catalog import exports, runs
from ecluse.catalog.tables import Run, User, now
from ecluse.errors import SettingsError
from ecluse.jobs import JobKind, Task
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Secret, Settings
from ecluse.web.i18n import Words
from ecluse.work import followed
from tests.application import KEPT, run_ecluse
from tests.servers import ObjectServer, free_port
from tests.support.jobs import ended_job
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly

pytest.importorskip("mlflow")

#: What MLflow's own client says of some of our runs, as lines of JSON: `python -c READ FOLDER KEY…`.
READ = """
import json, sys
from pathlib import Path
from mlflow import MlflowClient, artifacts

folder, *keys = sys.argv[1:]
client = MlflowClient()
experiments = {one.experiment_id: one.name for one in client.search_experiments()}
for key in keys:
    found = client.search_runs(list(experiments), f"tags.`ecluse.run` = '{key}'")
    run = found[0]
    metrics = {n: [[p.step, p.value, p.timestamp] for p in client.get_metric_history(run.info.run_id, n)] for n in run.data.metrics}
    known = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    versions = [client.get_model_version(one.name, one.version) for one in known]  # a search leaves the aliases out
    files = {}
    for one in versions:
        root = Path(artifacts.download_artifacts(artifact_uri=f"models:/{one.name}/{one.version}", dst_path=folder))
        files = {str(p.relative_to(root)): p.read_bytes().hex() for p in sorted(root.rglob("*")) if p.is_file()}
    print(json.dumps({
        "runs": len(found), "experiment": experiments[run.info.experiment_id], "name": run.info.run_name,
        "status": run.info.status, "started": run.info.start_time, "ended": run.info.end_time,
        "parameters": run.data.params, "tags": run.data.tags, "metrics": metrics, "files": files,
        "versions": [{"name": v.name, "number": v.version, "tags": v.tags, "aliases": sorted(v.aliases)} for v in versions],
    }))
"""


@dataclass
class Served:
    """`ecluse mlflow serve` on a fixed port, and the runtime whose accounts it knows."""

    home: Path
    environ: dict[str, str]
    runtime: Runtime
    admin: User
    token: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it says that it answers."""
        command = [sys.executable, "-m", "ecluse", "mlflow", "serve", "--home", str(self.home)]
        command += ["--port", str(self.port)]
        self.process = subprocess.Popen(command, env=self.environ, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            said.append(line)
            if "MLflow is at" in line:
                break
        else:
            raise AssertionError("".join(said))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(30) == 0
        self.process.stderr.close()

    def read(self, run_id: str, folder: Path) -> dict[str, Any]:
        """A run of ours as MLflow's own client reads it."""
        return self.read_all([run_id], folder)[0]

    def read_all(self, run_ids: list[str], folder: Path) -> list[dict[str, Any]]:
        folder.mkdir(exist_ok=True)
        told = {"MLFLOW_TRACKING_URI": self.url, "MLFLOW_TRACKING_TOKEN": self.token}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", READ, str(folder), *run_ids],
            env=self.environ | told | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Status and body of a plain request; a header's name is written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"max_results": 1} if method == "POST" else None
        answer = httpx.request(method, self.url + path, headers=named, json=body, timeout=30)
        return answer.status_code, answer.text


@contextmanager
def serving(home: Path, environ: dict[str, str], *, token: bool = True) -> Iterator[Served]:
    with Runtime.open(Settings.from_environment(environ, home=home)) as opened:
        admin = opened.accounts.sign_up("admin@example.org", "a long password", "Ada")
        secret, _ = opened.accounts.create_token(admin.id, "tests", administers=True)
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        served = Served(home, kept | environ, opened, admin, secret)
        there = MlflowSettings(url=served.url, token=Secret(secret))
        served.runtime = replace(opened, settings=opened.settings.having(there))
        served.start()
        try:
            yield served
        finally:
            served.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The embedded default: SQLite and a folder."""
    with serving(tmp_path_factory.mktemp("mlflow") / "home", {}) as found:
        yield found


FILES = {
    "model.onnx": b"\x00\x01weights" * 1000,
    "labels.json": b'{"labels": ["a", "b"]}',
    "more/card.md": b"# Card\n",
}


def train(runtime: Runtime, user: User, folder: Path, name: str, *, published: bool = True) -> Run:
    """A run of three epochs that is done, and has published a version."""
    folder.mkdir(exist_ok=True)
    values = {"epochs": 3, "rate": 0.001, "frozen": True, "goal": {"kind": "f1"}}
    began = now() - timedelta(minutes=5)
    tags = {"note": "première", "mlflow.user": "no one", "checkpoint": "user_data/x"}
    with tracking.start(
        runtime.catalog,
        user.id,
        "plants",
        name,
        kind="features",
        parameters=values,
        context=tracking.RunContext(tags=tags, began=began),
    ) as run:
        for epoch in (1, 2, 3):
            run.log(epoch, train_loss=1 / epoch, validation_accuracy=0.5 + epoch / 10)
        version = None
        if published:
            for path, content in FILES.items():
                (folder / path).parent.mkdir(exist_ok=True)
                (folder / path).write_bytes(content)
            version = models.publish(
                runtime,
                user.id,
                name,
                [folder],
                metadata={"epochs": 3},
                origin=models.Origin(application="plants"),
            ).version
        run.done(version=version, metrics={"accuracy": 0.95})
    with runtime.catalog.read() as transaction:
        return runs.run_of(transaction, user.id, run.id)


def exports_of(runtime: Runtime, run: Run) -> dict[str, Any]:
    with runtime.catalog.read() as transaction:
        found: dict[str, Any] = exports.exports_of(transaction, run.id).get(MLFLOW, {})
        return found


def check_read(found: dict[str, Any], run: Run, user: User) -> None:
    assert (found["runs"], found["experiment"], found["status"]) == (1, "ecluse/plants", "FINISHED")
    assert run.finished_at is not None
    assert run.started_at is not None
    assert found["started"] == int(run.started_at.timestamp() * 1000)
    assert found["ended"] == int(run.finished_at.timestamp() * 1000)
    assert found["parameters"] == {"epochs": "3", "rate": "0.001", "frozen": "true", "goal.kind": "f1"}
    points = {name: [[step, value] for step, value, _ in curve] for name, curve in found["metrics"].items()}
    assert points["train_loss"] == [[1, 1.0], [2, 0.5], [3, 1 / 3]]
    assert points["accuracy"] == [[0, 0.95]]
    assert set(points) == {"train_loss", "validation_accuracy", "accuracy"}
    tags = found["tags"]
    assert tags["ecluse.run"] == run.id
    assert tags["ecluse.version"] == run.version
    assert tags["note"] == "première"
    assert tags["mlflow.user"] == "Ada"
    assert "checkpoint" not in tags
    assert user.email not in json.dumps(found)
    assert {path: bytes.fromhex(content) for path, content in found["files"].items()} == FILES


def test_a_run_is_read_back_with_its_curves_files_version_and_alias(served: Served, tmp_path: Path) -> None:
    run = train(served.runtime, served.admin, tmp_path / "model", "leaves")
    assert run.version is not None
    models.set_alias(served.runtime, served.admin.id, "leaves", "champion", run.version)
    models.set_alias(
        served.runtime, served.admin.id, "leaves", "v1", run.version
    )  # MLflow keeps it for itself

    export_run(served.runtime, served.admin.id, run.id)

    found = served.read(run.id, tmp_path / "first")
    check_read(found, run, served.admin)
    (version,) = found["versions"]
    assert (version["name"], version["aliases"]) == ("leaves", ["champion"])
    assert version["tags"]["ecluse.version"] == run.version
    with served.runtime.catalog.read() as transaction:
        curves = runs.curves_of(transaction, run.id)
    times = [at for _, _, at in found["metrics"]["train_loss"]]
    assert times == [int(point.at.timestamp() * 1000) for point in curves["train_loss"]]
    noted = exports_of(served.runtime, run)
    assert noted["state"] == "done"
    assert noted["url"].startswith(f"{served.url}/#/experiments/")

    export_run(served.runtime, served.admin.id, run.id)
    assert served.read(run.id, tmp_path / "again") == found

    second = train(served.runtime, served.admin, tmp_path / "second", "leaves")
    assert second.version is not None
    models.set_alias(served.runtime, served.admin.id, "leaves", "champion", second.version)
    models.remove_alias(served.runtime, served.admin.id, "leaves", "v1")
    due = {one.run_id for one in due_now(served)}
    assert {run.id, second.id} <= due
    export_run(served.runtime, served.admin.id, second.id)
    export_run(served.runtime, served.admin.id, run.id)
    old, new = served.read_all([run.id, second.id], tmp_path / "both")
    assert old["versions"][0]["aliases"] == []
    assert (new["versions"][0]["aliases"], new["versions"][0]["number"]) == (["champion"], "2")
    assert not {run.id, second.id} & {one.run_id for one in due_now(served)}


def due_now(served: Served) -> list[exports.Exported]:
    with served.runtime.catalog.read() as transaction:
        return [one for one in exports.done_runs(transaction, MLFLOW) if work.is_due(one, served.url, now())]


@pytest.mark.nightly
def test_an_export_that_was_killed_goes_on_where_it_was(served: Served, tmp_path: Path) -> None:
    run = train(served.runtime, served.admin, tmp_path / "model", "killed")

    class Killed(Exception):
        pass

    def kill(fraction: float) -> None:
        if fraction > 0.2:  # the first file is there, and others are not
            raise Killed

    with pytest.raises(Killed):
        export_run(served.runtime, served.admin.id, run.id, kill)
    assert exports_of(served.runtime, run) == {}

    export_run(served.runtime, served.admin.id, run.id)

    check_read(served.read(run.id, tmp_path / "read"), run, served.admin)


@pytest.mark.nightly
def test_the_model_of_another_owner_keeps_its_name(served: Served, tmp_path: Path) -> None:
    other = served.runtime.accounts.add("other@example.org", "Bob")
    first = train(served.runtime, served.admin, tmp_path / "first", "shared")
    second = train(served.runtime, other, tmp_path / "second", "shared")
    assert export_run(served.runtime, served.admin.id, first.id)["model"] == "shared"
    done = export_run(served.runtime, other.id, second.id)
    assert (done["model"], done["model_version"]) == (f"shared.{other.id}", "1")
    assert export_run(served.runtime, other.id, second.id)["model"] == f"shared.{other.id}"


def test_only_administrators_are_let_in(served: Served) -> None:
    accounts = served.runtime.accounts
    member = accounts.add("member@example.org")
    members, _ = accounts.create_token(member.id, "tests")
    runs_path = "/api/2.0/mlflow/experiments/search?max_results=1"
    for path in (runs_path, "/", "/health", "/version", "/static-files/index.html"):
        assert served.ask(path)[0] == 401
        assert served.ask(path, Authorization="Bearer ecluse_wrong")[0] == 401
        assert served.ask(path, Authorization="Basic YWRtaW46cGFzc3dvcmQ=")[0] == 401
        status, said = served.ask(path, Authorization=f"Bearer {members}")
        assert (status, json.loads(said)["error_code"]) == (403, "PERMISSION_DENIED")
    assert served.ask(runs_path, Authorization=f"Bearer {served.token}")[0] == 200
    assert served.ask("/health", Authorization=f"Bearer {served.token}") == (200, "OK")
    for closed in (
        "/gateway/any/mlflow/invocations",
        "/ajax-api/3.0/mlflow/assistant/config",
        "/ajax-api/3.0/jobs/x",
    ):
        assert served.ask(closed, Authorization=f"Bearer {served.token}")[0] == 404
    for language, said in {"": "Sign in", "fr": "Connectez-vous", "fr-CA,en;q=0.5": "Connectez-vous"}.items():
        status, page = served.ask("/", Accept="text/html", Accept_Language=language)
        assert (status, said in page, page.count("<p>")) == (401, True, 1)


def test_a_refusal_says_its_own_reason_in_the_language_of_the_pages(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    admin = runtime.accounts.add("admin@example.org")
    session = runtime.accounts.open_session(admin.id)

    def ask(method: str = "GET", **headers: str) -> tuple[int, str]:
        sent: list[Any] = []

        async def inner(scope: Any, receive: Any, send: Any) -> None:
            sent.append({"status": 200})

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError

        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "method": method,
            "path": "/",
            "headers": [(b"accept", b"text/html"), *named],
        }
        asyncio.run(SignedInAlone(inner, runtime.accounts, members=False)(scope, receive, send))
        return sent[0]["status"], sent[-1].get("body", b"").decode()

    cookie = f'broken[]=@"; lang=fr; {SESSION_COOKIE}={session}'
    assert ask(cookie=cookie)[0] == 200
    status, page = ask("POST", cookie=cookie, host="here", origin="http://elsewhere")
    assert (status, "Un autre site a envoyé cette requête." in page, 'lang="fr"' in page) == (403, True, True)
    runtime.catalog.close()
    (runtime.settings.home / "catalog.db").write_bytes(b"no database" * 1000)
    status, page = ask(cookie=cookie)
    assert status == 503
    assert "cannot be looked up" in caplog.text


@pytest.mark.parametrize("body", [None, b"{", b"[]"])
def test_what_describes_no_experiment_is_refused_with_its_reason(body: bytes | None) -> None:
    refusal = _refused_place(body)
    assert refusal is not None
    assert (refusal.status, "experiment" in refusal.message) == (400, True)
    assert Words("fr").phrase(refusal.message) != refusal.message


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"name": "kept here"}, 200),
        ({"name": "kept here too", "artifact_location": "mlflow-artifacts:/elsewhere"}, 200),
        ({"name": "a", "artifact_location": "{folder}"}, 400),
        ({"name": "a", "artifactLocation": "file://{folder}"}, 400),
        ({"name": "a", "artifact_location": "s3://another/bucket"}, 400),
        ({"name": "a", "artifact_location": "mlflow-artifacts://another.example.org/"}, 400),
        (["name"], 400),
    ],
)
def test_files_of_runs_are_kept_nowhere_but_in_the_store(
    served: Served, tmp_path: Path, told: Any, status: int
) -> None:
    body = json.dumps(told).replace("{folder}", str(tmp_path))
    for beginning in ("/api", "/ajax-api"):
        answer = httpx.post(
            f"{served.url}{beginning}/2.0/mlflow/experiments/create",
            content=body.replace('"kept', f'"{beginning} kept'),
            headers={"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"},
            timeout=30,
        )
        assert answer.status_code == status, answer.text


def test_a_session_opens_it_to_its_own_pages_alone(served: Served) -> None:
    cookie = f"lang=fr; {SESSION_COOKIE}={served.runtime.accounts.open_session(served.admin.id)}"
    search = "/ajax-api/2.0/mlflow/experiments/search"
    assert served.ask("/", Cookie=cookie)[0] == 200
    own = {"Cookie": cookie, "Origin": served.url, "Sec_Fetch_Site": "same-origin"}
    assert served.ask(search, "POST", **own)[0] == 200
    for site in ("same-site", "cross-site"):
        status, said = served.ask(search, "POST", **(own | {"Sec_Fetch_Site": site}))
        assert (status, "Another site" in said) == (403, True)
    foreign = {"Cookie": cookie, "Origin": "http://127.0.0.1:1"}
    assert served.ask(search, "POST", **foreign)[0] == 403
    # MLflow's own protection stays on: a name that leads here without being ours.
    assert served.ask(search, "POST", **own, Host="evil.example.org")[0] == 403


def test_members_are_let_in_where_the_settings_say_so(runtime: Runtime) -> None:
    runtime.accounts.add("admin@example.org")  # whoever is first administers
    member = runtime.accounts.add("member@example.org")
    token, _ = runtime.accounts.create_token(member.id, "tests")
    less, _ = runtime.accounts.create_token(member.id, "less", scopes=["read", "predict", "publish"])
    passed: list[dict[bytes, bytes]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        passed.append(dict(scope["headers"]))

    async def ask(members: bool, token: str = token) -> None:
        headers = [(b"authorization", f"Bearer {token}".encode()), (b"cookie", b"a=b"), (b"accept", b"*/*")]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        async def receive() -> Any:
            raise AssertionError

        await SignedInAlone(inner, runtime.accounts, members=members)(scope, receive, send)
        assert [one.get("status") for one in said[:1]] == ([] if passed else [403])

    asyncio.run(ask(False))
    asyncio.run(ask(True, less))
    assert not passed
    asyncio.run(ask(True))
    assert passed == [{b"accept": b"*/*"}]  # MLflow gets no secret


@contextmanager
def working(runtime: Runtime, kinds: dict[str, JobKind]) -> Iterator[None]:
    worker = Worker(runtime, kinds)
    worker.start()
    beating = threading.Thread(target=worker.run_until_stopped)
    beating.start()
    try:
        yield
    finally:
        worker.stop()
        beating.join()
        worker.close()


@pytest.mark.nightly
def test_a_training_is_done_while_mlflow_is_away_and_exported_once_it_is_back(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, admin = served.runtime, served.admin
    with runtime.catalog.write() as transaction:  # what other tests left is not this one's
        for one in exports.done_runs(transaction, MLFLOW):
            exports.set_export(transaction, one.run_id, MLFLOW, {"state": "done", "server": served.url})
    trained: list[Run] = []

    def teach(runtime: Runtime, task: Task) -> None:
        trained.append(train(runtime, admin, tmp_path / "model", "patient", published=False))

    def untold(runtime: Runtime, task: Task, message: str) -> None: ...

    kinds = {"teach": followed(JobKind(run=teach, failed=untold, queue="train"))} | work.KINDS
    served.stop()
    with working(runtime, kinds):
        job_id = runtime.jobs.enqueue("teach", "train", admin.id, "patient", {})
        assert ended_job(runtime, admin.id, job_id).status == "done"
        (run,) = trained
        wait_until(lambda: exports_of(runtime, run).get("state") == "failed", "a failure", 90)
        noted = exports_of(runtime, run)
        assert "does not answer" in noted["error"]
        assert served.token not in json.dumps(noted)
        assert work.queue_due(runtime) == 0  # not at once again

        served.start()
        later = now() + timedelta(hours=1)
        monkeypatch.setattr(work, "now", lambda: later)
        assert work.queue_due(runtime) == 1
        assert work.queue_due(runtime) == 0  # it is under way
        wait_until(lambda: exports_of(runtime, run).get("state") == "done", "an export", 90)
    found = served.read(run.id, tmp_path / "read")
    assert (found["status"], found["versions"]) == ("FINISHED", [])


@pytest.mark.nightly
def test_the_command_exports_what_failed_too(served: Served, tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        tracking.start(served.runtime.catalog, served.admin.id, "fraud", "broken", kind="search"),
    ):
        _ = 1 / 0
    with served.runtime.catalog.read() as transaction:
        run = next(row for row in runs.list_runs(transaction, served.admin.id)[0] if row.name == "broken")
    variables = {"ECLUSE_MLFLOW_URL": served.url, "ECLUSE_MLFLOW_TOKEN": served.token}
    done = run_ecluse(served.home, variables, "mlflow", "export", run.id, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["state"] == "done"
    assert served.read(run.id, tmp_path / "read")["status"] == "FAILED"
    wrong = variables | {"ECLUSE_MLFLOW_TOKEN": "ecluse_wrong"}
    refused = run_ecluse(served.home, wrong, "mlflow", "export", run.id)
    assert refused.returncode == 1
    assert "refuses the token (401)" in refused.stderr
    assert "ecluse_wrong" not in refused.stdout + refused.stderr


def test_without_a_server_nothing_is_queued(runtime: Runtime, tmp_path: Path) -> None:
    user = runtime.accounts.sign_up("admin@example.org", "a long password")
    run = train(runtime, user, tmp_path / "model", "leaves", published=False)
    assert work.queue_due(runtime) == 0
    with pytest.raises(SettingsError, match="ECLUSE_MLFLOW_URL"):
        work.start_export(runtime, user.id, [run.id])
    assert exports_of(runtime, run) == {}


def test_an_export_whose_job_is_gone_is_queued_again(runtime: Runtime, tmp_path: Path) -> None:
    server = MlflowSettings("http://127.0.0.1:1")
    with Runtime.open(runtime.settings.having(server)) as exporting:
        user = exporting.accounts.sign_up("admin@example.org", "a long password")
        run = train(exporting, user, tmp_path / "model", "leaves", published=False)
        assert [work.queue_due(exporting) for _ in range(2)] == [1, 0]
        with exporting.catalog.write() as transaction:
            exports.set_export(transaction, run.id, MLFLOW, {"state": "queued", "job_id": "gone"})
        assert [work.queue_due(exporting) for _ in range(2)] == [1, 0]


@pytest.mark.nightly
def test_a_server_that_is_away_is_told_from_one_that_refuses(served: Served, tmp_path: Path) -> None:
    run = train(served.runtime, served.admin, tmp_path, "away", published=False)
    away = MlflowSettings(url=f"http://127.0.0.1:{free_port()}")
    for there, said in ((away, "does not answer"), (MlflowSettings(url=served.url), "refuses the token")):
        runtime = replace(served.runtime, settings=served.runtime.settings.having(there))
        with pytest.raises(MlflowUnavailable, match=said):
            export_run(runtime, served.admin.id, run.id)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"ECLUSE_STORE_URL": "gs://bucket"}, "a folder or on S3"),
        ({"ECLUSE_STORE_URL": "s3://bucket", "S3_ANONYMOUS": "true"}, "S3_ANONYMOUS"),
    ],
)
def test_a_store_that_mlflow_cannot_write_to_is_refused(
    environ: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=said):
        server_environment(Settings.from_environment(environ, home=tmp_path), "sqlite://", "127.0.0.1", 5000)


def test_the_settings_of_mlflow_hide_the_token() -> None:
    environ = {"ECLUSE_MLFLOW_URL": "http://mlflow.example.org/", "ECLUSE_MLFLOW_TOKEN": "s3cret-token"}
    settings = Settings.from_environment(environ)
    mlflow = settings.of(MlflowSettings)
    assert (mlflow.url, mlflow.members) == ("http://mlflow.example.org", False)
    assert mlflow.token == "s3cret-token"
    assert "s3cret-token" not in repr(mlflow) + repr(settings)
    with pytest.raises(SettingsError, match="user name or a password"):
        Settings.from_environment({"ECLUSE_MLFLOW_URL": "http://a:b@mlflow.example.org"})
    with pytest.raises(SettingsError, match="ECLUSE_MLFLOW_TOKEN"):
        Settings.from_environment({"ECLUSE_MLFLOW_TOKEN": "two words"})


@pytest.mark.nightly
def test_postgresql_and_s3_stand_behind_it(
    object_server: ObjectServer, postgresql_url: str, tmp_path: Path
) -> None:
    environ = object_server.environment("behind-mlflow") | {"DATABASE_URL": postgresql_url}
    with serving(tmp_path / "home", environ) as served:
        run = train(served.runtime, served.admin, tmp_path / "model", "leaves")
        export_run(served.runtime, served.admin.id, run.id)
        check_read(served.read(run.id, tmp_path / "read"), run, served.admin)
        store = served.runtime.data
        kept = {hashlib.sha256(store.get(info.key)).digest() for info in store.list("mlflow")}
        assert {hashlib.sha256(content).digest() for content in FILES.values()} <= kept
        assert not (tmp_path / "home" / "mlflow.db").exists()
        command = Path(f"/proc/{served.process.pid}/cmdline") if served.process else None
        if command is not None and command.exists():
            assert "secret" not in command.read_text()

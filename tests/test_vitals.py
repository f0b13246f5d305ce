"""A process says what it did, what waits, who lives and whether it can write; of nobody's names and ids."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, update

from ecluse import telemetry
from ecluse.catalog import jobs, workers
from ecluse.catalog.clock import moment
from ecluse.catalog.tables import JobRow
from ecluse.catalog.tables import Worker as WorkerRow
from ecluse.errors import InvalidInput, SettingsError, StoreUnavailable
from ecluse.jobs import JobKind, JobRunner
from ecluse.limits import ASKED
from ecluse.processes import Process
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings, inherited
from ecluse.storage import open_store
from ecluse.vitals import Doors, Figures, Page, Question, Readiness, checks_of_worker
from ecluse.vitals.doors import LIVE_WITHIN
from ecluse.vitals.instruments import Instruments
from ecluse.web.app import make_app
from ecluse.work import cancel_job
from tests.accounts import account
from tests.servers import ObjectServer, free_port
from tests.support.jobs import ended_job
from tests.support.wait import slow_for, wait_until
from tests.test_rooms import ask
from tests.test_silence import own_postgresql, stopped  # noqa: F401 (a fixture)

pytestmark = pytest.mark.nightly

USER = "user-1"
Sample = Callable[..., float | None]


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> Sample:
    """What is counted from now on, by name and labels."""
    registry = CollectorRegistry()
    monkeypatch.setattr(telemetry, "_listener", Instruments(registry))
    return lambda name, **labels: registry.get_sample_value(name, labels)


def values_of(page: str) -> dict[str, float]:
    """Return the samples of a page, such as `ecluse_jobs{kind="work",…}`."""
    return {
        f"{each.name}{json.dumps(each.labels, sort_keys=True)}": each.value
        for family in text_string_to_metric_families(page)
        for each in family.samples
    }


def value(page: str, name: str, **labels: str) -> float | None:
    return values_of(page).get(f"{name}{json.dumps(labels, sort_keys=True)}")


def enqueue(runtime: Runtime, **subject: Any) -> str:
    return runtime.jobs.enqueue("work", "train", account(runtime.catalog, USER), "A secret title", subject)


def kinds(run: Callable[..., None]) -> dict[str, JobKind]:
    return {"work": JobKind(run=run, queue="train", stages={"work": "Work"})}


@contextmanager
def running(runtime: Runtime, run: Callable[..., None], **options: Any) -> Iterator[JobRunner]:
    runner = JobRunner(runtime.catalog, "a worker", kinds(run), runtime, **options)
    runner.start()
    try:
        yield runner
        wait_until(lambda: not runner.running(), "the end of what ran")
    finally:
        runner.close()


def end_of(runtime: Runtime, job_id: str) -> str:
    return ended_job(runtime, USER, job_id).status


# What a worker counts


def test_a_job_is_counted_with_its_wait_its_time_and_how_it_ended(opened: Runtime, sample: Sample) -> None:
    def run(context: object, task: object, how: str) -> None:
        slow_for(0.05)
        if how == "theirs":
            raise InvalidInput("The column of anna@example.org is empty.")
        if how == "ours":
            raise KeyError("an inner detail")

    ids = [enqueue(opened, how=how) for how in ("well", "theirs", "ours")]
    with running(opened, run):
        for job_id in ids:
            end_of(opened, job_id)
        wait_until(lambda: sample("ecluse_job_run_seconds_count", kind="work") == 3, "three jobs")
    for outcome, reason in (("done", ""), ("failed", "invalid_input"), ("failed", "fault")):
        labels = {"kind": "work", "outcome": outcome, "reason": reason}
        assert sample("ecluse_jobs_ended_total", **labels) == 1, labels
    assert sample("ecluse_job_wait_seconds_count", kind="work") == 3
    assert sample("ecluse_job_run_seconds_sum", kind="work") >= 0.15  # type: ignore[operator]
    with opened.catalog.read() as transaction:
        codes = [row.error_code for row, _ in jobs.by_ids(transaction, USER, ids)]
    assert sorted(code or "" for code in codes) == ["", "fault", "invalid_input"]


def test_a_cancelled_job_is_counted_once_by_who_cancelled_it(opened: Runtime, sample: Sample) -> None:
    begun = threading.Event()

    def run(context: object, task: Any) -> None:
        begun.set()
        while True:
            task.report("work", 0.5)
            slow_for(0.05)

    with running(opened, run):
        job_id = enqueue(opened)
        assert begun.wait(60)
        cancel_job(opened, USER, job_id)
        assert end_of(opened, job_id) == "cancelled"
    assert sample("ecluse_jobs_ended_total", kind="work", outcome="cancelled", reason="") == 1
    assert sample("ecluse_job_run_seconds_count", kind="work") is None


def test_what_is_not_committed_is_not_counted(opened: Runtime, sample: Sample) -> None:
    job_id = enqueue(opened)
    with pytest.raises(ZeroDivisionError), opened.catalog.write() as transaction:
        assert jobs.cancel(transaction, job_id)
        raise ZeroDivisionError
    assert sample("ecluse_jobs_ended_total", kind="work", outcome="cancelled", reason="") is None


def test_a_job_taken_from_a_dead_worker_and_one_given_up_are_counted(opened: Runtime, sample: Sample) -> None:
    job_id = enqueue(opened)
    gone = replace(Process.current(), started=1)
    for _ in range(jobs.MAX_LOSSES):
        with opened.catalog.write() as transaction:
            workers.beat(transaction, "dying", gone)
            assert jobs.claim_one(transaction, "dying", {"work": 1}, job_id)
        Worker(opened, {}).take_over()
    assert sample("ecluse_jobs_taken_over_total", kind="work") == jobs.MAX_LOSSES
    assert sample("ecluse_jobs_ended_total", kind="work", outcome="given_up", reason="given_up") == 1
    assert sample("ecluse_job_wait_seconds_count", kind="work") is None, "no worker of ours claimed it"


class Killed:
    """A process for one job that does, when it is started, what `act` does; it is over at once."""

    def __init__(self, act: Callable[[str], None], job_id: str) -> None:
        act(job_id)

    def is_over(self) -> bool:
        return True

    def stop(self) -> None:
        return


@pytest.mark.parametrize("ending", ["done", "failed", "killed", "cancelled"])
def test_a_job_of_a_process_of_its_own_is_counted_by_its_row_even_where_that_was_killed(
    opened: Runtime, sample: Sample, ending: str
) -> None:
    """The process counts where nobody asks: what it counted itself is put away here, as another process's is."""
    job_id = enqueue(opened)
    with opened.catalog.write() as transaction:
        transaction.execute(update(JobRow).where(JobRow.id == job_id).values(alone=True))

    def act(chosen: str) -> None:
        counts, telemetry._listener = telemetry._listener, telemetry._Nobody()
        with opened.catalog.write(closed=True) as transaction:
            (claim,) = jobs.claim_one(transaction, "apart", {"work": 1}, chosen)
            if ending == "killed":  # SIGKILL before the end: it waits again, and is another's
                jobs.take_from(transaction, "apart")
            elif ending == "cancelled":  # by its owner, whose process counted it
                jobs.cancel(transaction, chosen)
            else:
                code = "invalid_input" if ending == "failed" else ""
                assert jobs.finish(transaction, chosen, claim.fence, ending, code or None, code)
        telemetry._listener = counts

    runner = JobRunner(
        opened.catalog, "a worker", kinds(lambda *_: None), opened, apart=lambda chosen: Killed(act, chosen)
    )
    runner._take()
    runner._room()
    runner.settle()
    runner.settle()
    reason = "invalid_input" if ending == "failed" else ""
    counted = sample("ecluse_jobs_ended_total", kind="work", outcome=ending, reason=reason)
    assert counted == (1 if ending in ("done", "failed") else None)
    assert sample("ecluse_job_run_seconds_count", kind="work") == counted


def test_pieces_that_are_let_go_while_something_is_counted_do_not_wait_for_it(
    tmp_path: Path, sample: Sample
) -> None:
    """Garbage is collected wherever objects are made: also in the midst of counting, whose lock this thread then has."""
    store = open_store(f"file://{tmp_path}/store", Settings.from_environment({}, home=tmp_path).access)
    stored = store.put("data.csv", b"a,b\n1,2\n")
    instruments = telemetry.listener()
    assert isinstance(instruments, Instruments)

    def let_go() -> None:
        pieces = store.stream(stored.key, chunk_size=4)
        assert next(pieces) == b"a,b\n"
        with instruments._store_seconds._lock:
            del pieces

    thread = threading.Thread(target=let_go, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it waits for a lock that it holds itself"
    assert sample("ecluse_store_request_duration_seconds_count", scheme="file", verb="stream") is None
    assert store.exists(stored.key)
    assert sample("ecluse_store_request_duration_seconds_count", scheme="file", verb="stream") == 1


def test_store_and_cache_say_what_they_did_by_verb_and_code_alone(tmp_path: Path, sample: Sample) -> None:
    with Runtime.open(Settings.from_environment({}, home=tmp_path / "home")) as runtime:
        stored = runtime.data.put("user_data/anna/secret.csv", b"a,b\n")
        assert not runtime.data.exists("user_data/anna/other.csv")
        assert [info.size for info in runtime.data.list()] == [4]
        assert b"".join(runtime.data.stream(stored.key)) == b"a,b\n"
        for number in range(2):
            runtime.cache.copy(runtime.data, stored.key, stored.sha256, 4, tmp_path / f"{number}")
        assert runtime.cache.noted_bytes() == 4
    away = open_store("s3://away", Settings.from_environment({
        "S3_ENDPOINT": f"http://127.0.0.1:{free_port()}", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"
    }, home=tmp_path).access, patience=timedelta(seconds=0.2))  # fmt: skip
    with pytest.raises(StoreUnavailable):
        away.get("user_data/anna/secret.csv")
    for verb in ("put", "head", "list", "stream"):
        assert sample("ecluse_store_request_duration_seconds_count", scheme="file", verb=verb), verb
        assert (
            sample("ecluse_store_errors_total", scheme="file", verb=verb, reason="object_not_found") is None
        )
    assert sample("ecluse_store_errors_total", scheme="s3", verb="get", reason="store_unavailable") == 1
    assert sample("ecluse_cache_requests_total", result="miss") == 1
    assert sample("ecluse_cache_requests_total", result="hit") == 1
    assert sample("ecluse_cache_object_bytes_total", result="hit") == 4


def test_a_label_is_a_code_of_a_class_and_never_what_an_error_says() -> None:
    class Named(InvalidInput):
        code = "A sentence with anna@example.org"

    error = InvalidInput("x")
    error.code = "anna@example.org"  # type: ignore[misc]
    assert telemetry.reason_of(error) == "invalid_input"
    assert telemetry.reason_of(Named("x")) == telemetry.reason_of(KeyError("x")) == telemetry.FAULT


# What a scrape reads


def test_a_scrape_says_what_waits_and_runs_and_which_workers_live(opened: Runtime) -> None:
    ids = [enqueue(opened) for _ in range(6)]
    with opened.catalog.write() as transaction:
        for worker, ago in (("busy", 0), ("idle", 5), ("silent", workers.LEASE + 5)):
            workers.beat(transaction, worker, Process.current())
            transaction.flush()
            row = update(WorkerRow).where(WorkerRow.executor_id == worker)
            transaction.execute(row.values(beat_at=moment(-ago)))
        jobs.claim_one(transaction, "busy", {"work": 1}, ids[0])
        late = update(JobRow).where(JobRow.id == ids[1])
        transaction.execute(late.values(created_at=moment(-3600)))
        of_parts, waits, off = (update(JobRow).where(JobRow.id == each) for each in ids[3:])
        transaction.execute(of_parts.values(not_before=moment(60), parts=7, created_at=moment(-7200)))
        transaction.execute(waits.values(not_before=moment(60)))
        transaction.execute(off.values(not_before=moment(60), put_off=1))
    page = Page(more=[Figures(opened)]).write().decode()
    for state, count in (("running", 2), ("queued", 3), ("put_off", 1)):
        assert value(page, "ecluse_jobs", kind="work", queue="train", state=state) == count
    oldest = value(page, "ecluse_jobs_oldest_waiting_seconds", kind="work", queue="train")
    assert oldest == pytest.approx(3600, abs=60)
    for state in ("busy", "idle", "silent"):
        assert value(page, "ecluse_workers", state=state) == 1
    assert "ecluse_backup" not in page, "none was made, and none is to be"
    assert value(page, "ecluse_catalog_up") == 1
    assert value(page, "ecluse_catalog_connections_limit") == 15
    assert (value(page, "ecluse_disk_free_bytes", place="home") or 0) > 0
    assert value(page, "ecluse_disk_usable", place="home") == 1
    assert "process_cpu_seconds_total" in page
    assert re.search(r'ecluse_build_info\{release="[^"]+"\} 1.0', page)
    for secret in (USER, *ids, "title", str(opened.settings.home)):
        assert secret not in page, "labels are kinds, states and places"


def test_scrapes_one_after_another_ask_the_catalog_once(opened: Runtime) -> None:
    statements: list[str] = []
    event.listen(opened.catalog.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    page = Page(more=[Figures(opened)])
    for _ in range(5):
        page.write()
    assert sum("FROM" in statement for statement in statements) == 3


def test_a_scrape_answers_though_the_catalog_is_silent_and_says_so(
    tmp_path: Path,
    own_postgresql: str,  # noqa: F811
) -> None:
    settings = Settings.from_environment({"DATABASE_URL": own_postgresql}, home=tmp_path / "home")
    with Runtime.open(settings, limits=ASKED) as runtime:
        page = Page(more=[Figures(runtime, every=0.0, within=0.5)])
        assert value(page.write().decode(), "ecluse_catalog_up") == 1
        with stopped(own_postgresql):
            asking = set[threading.Thread]()
            for _ in range(3):
                silent = page.write().decode()
                assert value(silent, "ecluse_catalog_up") == 0
                assert "ecluse_workers" not in silent, "nothing is said that is not so now"
                assert value(silent, "ecluse_disk_usable", place="home") == 1
                # The page did not wait for the answer, and asks nobody again who owes one.
                owes = {each for each in threading.enumerate() if each.name == "figures of the catalog"}
                asking |= owes
                assert len(owes) == len(asking) == 1
        wait_until(
            lambda: value(page.write().decode(), "ecluse_catalog_up") == 1, "a catalog that answers again"
        )


def test_a_question_is_put_once_to_what_does_not_answer() -> None:
    asked, answer = [], threading.Event()

    def ask_slowly() -> int:
        asked.append(1)
        answer.wait(60)
        return 7

    question = Question("slow", ask_slowly, every=60)
    assert [question.answer(0.05).value for _ in range(3)] == [None] * 3
    answer.set()
    assert wait_until(lambda: question.answer(1).value, "the answer") == 7
    assert len(asked) == 1


# Who may read


def test_figures_are_read_from_near_and_not_through_a_proxy(runtime: Runtime) -> None:
    app = make_app(runtime)
    assert ask(app, "GET", "/metrics").status_code == 200
    for header in ("x-forwarded-for", "forwarded", "via", "x-real-ip"):
        answer = ask(app, "GET", "/metrics", headers={header: "192.0.2.7"})
        assert (answer.status_code, "ECLUSE_METRICS_TOKEN" in answer.text) == (403, True), header
    for client, status in (("192.0.2.7", 200), ("8.8.8.8", 403), ("2001:4860::8", 403), ("10.1.2.3", 200)):
        assert ask_as(app, client).status_code == status, client


def test_with_a_token_figures_are_read_by_who_sends_it_alone(home: Path) -> None:
    token = "0123456789abcdef"
    settings = Settings.from_environment({"ECLUSE_METRICS_TOKEN": token}, home=home)
    assert token not in repr(settings)
    with Runtime.open(settings) as runtime:
        app = make_app(runtime)
        for sent in (None, "Bearer wrong", f"Basic {token}", token):
            headers = {"authorization": sent} if sent else {}
            assert ask(app, "GET", "/metrics", headers=headers).status_code == 403
        headers = {"authorization": f"Bearer {token}", "x-forwarded-for": "192.0.2.7"}
        assert ask(app, "GET", "/metrics", headers=headers).status_code == 200
    for short in ("short", "with a blank in the middle"):
        with pytest.raises(SettingsError, match="openssl rand"):
            Settings.from_environment({"ECLUSE_METRICS_TOKEN": short}, home=home)


def ask_as(app: Any, client: str) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as asking:
            return await asking.get("/metrics")

    return asyncio.run(send())


# Whether it lives and can write


def doors(runtime: Runtime, silent_for: Callable[[], dict[str, float]]) -> Doors:
    return Doors(runtime, Readiness(checks_of_worker()), Page(more=[Figures(runtime)]), silent_for)


def test_a_worker_whose_threads_move_lives_and_one_that_stands_still_does_not(runtime: Runtime) -> None:
    silence = {"jobs": 1.0, "beat": 2.0}
    app = doors(runtime, lambda: silence)
    assert ask(app, "GET", "/livez").json() == {"status": "ok"}
    silence["jobs"] = LIVE_WITHIN + 1
    answer = ask(app, "GET", "/livez")
    assert (answer.status_code, answer.json()["parts"]) == (503, ["jobs"])
    assert ask(app, "GET", "/nothing").status_code == 404
    assert ask(app, "POST", "/livez").status_code == 405


def test_a_thread_that_hangs_is_silent_and_a_catalog_that_is_away_silences_none(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecluse.jobs.runner.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("ecluse.runtime.HEARTBEAT_SECONDS", 0.05)
    hangs, held = threading.Event(), threading.Event()
    take = JobRunner._take

    def take_or_hang(runner: JobRunner) -> None:
        if hangs.is_set():
            held.wait(60)
        take(runner)

    monkeypatch.setattr(JobRunner, "_take", take_or_hang)
    worker = Worker(runtime, kinds(lambda *_: None))
    worker.start()
    thread = threading.Thread(target=worker.run_until_stopped)
    thread.start()
    try:
        monkeypatch.setattr(runtime.catalog, "read", away)
        monkeypatch.setattr(runtime.catalog, "write", away)
        for thread_of in ("jobs", "beat", "jobs"):
            come_round(worker, thread_of)
        hangs.set()
        wait_until(lambda: worker.silent_for()["jobs"] > 2.5, "a thread that stands still")
        come_round(worker, "beat")
        assert worker.silent_for()["jobs"] > 2.5
    finally:
        monkeypatch.undo()
        held.set()
        worker.stop()
        thread.join()
        worker.close()
    assert worker.silent_for() == {}, "who is to stop has nothing to come round for"


def come_round(worker: Worker, thread: str) -> None:
    """Wait until this thread of a worker comes round: it is then silent for less than at the look before."""
    looks = [worker.silent_for()[thread]]

    def is_less() -> bool:
        looks.append(worker.silent_for()[thread])
        return looks[-1] < looks[-2]

    wait_until(is_less, f"a turn of {thread}")


@contextmanager
def away(*_: object, **__: object) -> Iterator[None]:
    from ecluse.errors import CatalogUnavailable

    raise CatalogUnavailable("The catalog is away.")
    yield


def test_readiness_writes_to_the_catalog_and_leaves_nothing(opened: Runtime) -> None:
    app = make_app(opened)
    assert ask(app, "GET", "/readyz").json()["parts"]["catalog"] == "ok"
    with opened.catalog.read() as transaction:
        assert workers.living(transaction) == workers.dead(transaction) == []


def test_a_catalog_that_can_only_be_read_is_not_ready_and_operators_read_why(
    tmp_path: Path, new_migrated_url: Callable[[], str]
) -> None:
    url = new_migrated_url()
    read_only = f"{url}&options=-cdefault_transaction_read_only%3Don"
    settings = Settings.from_environment({"DATABASE_URL": read_only}, home=tmp_path / "home")
    with Runtime.open(settings, migrate=False, limits=ASKED) as runtime:
        app = make_app(runtime)
        answer = ask(app, "GET", "/readyz")
        assert (answer.status_code, answer.json()["parts"]["catalog"]) == (503, "catalog_unwritable")
        assert "can only be read" in answer.json()["reasons"]["catalog"]
        stranger = ask(app, "GET", "/readyz", headers={"x-forwarded-for": "192.0.2.7"}).json()
        assert stranger["parts"]["catalog"] == "catalog_unwritable"
        assert "reasons" not in stranger


def test_readiness_puts_a_small_object_into_a_bucket_once_in_a_while(
    tmp_path: Path, object_server: ObjectServer, sample: Sample
) -> None:
    settings = Settings.from_environment(object_server.environment("ready"), home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        readiness = Readiness(checks_of_worker())
        for _ in range(3):
            assert set(asyncio.run(readiness.look(runtime)).values()) == {"ok"}
        assert sample("ecluse_store_request_duration_seconds_count", scheme="s3", verb="put") == 1
        assert list(runtime.data.list()) == [], "it lies where probes lie, which is not listed"


# The whole of it


def test_a_worker_answers_where_the_settings_say_and_nowhere_else(home: Path) -> None:
    port = free_port()
    environ = inherited(["PATH", "PYTHONPATH"]) | {"ECLUSE_WORKER_ADDRESS": f"127.0.0.1:{port}"}
    command = [sys.executable, "-m", "ecluse", "worker", "--home", str(home)]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        assert wait_until(lambda: answer_of(f"{address}/readyz"), "an answer").status_code == 200
        assert answer_of(f"{address}/livez").json() == {"status": "ok"}  # type: ignore[union-attr]
        page = answer_of(f"{address}/metrics").text  # type: ignore[union-attr]
        assert value(page, "ecluse_workers", state="idle") == 1
        second = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert "--listen HOST:PORT, or ECLUSE_WORKER_ADDRESS" in second.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    for wrong in ("9464", "127.0.0.1", "http://127.0.0.1:9464", "127.0.0.1:99999"):
        with pytest.raises(SettingsError, match="ECLUSE_WORKER_ADDRESS"):
            Settings.from_environment({"ECLUSE_WORKER_ADDRESS": wrong}, home=home)


def answer_of(address: str) -> httpx.Response | None:
    try:
        return httpx.get(address, timeout=10)
    except httpx.TransportError:
        return None

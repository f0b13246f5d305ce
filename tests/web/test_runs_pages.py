"""Runs on pages, over HTTP and on the command line: listed, shown while they go on, compared; another's are not found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecluse import tracking
from ecluse.apps.fraud.rows import training
from ecluse.catalog import exports, jobs, runs
from ecluse.catalog.runs import Point
from ecluse.catalog.tables import Run, User
from ecluse.cli import cli
from ecluse.errors import InvalidInput, StoreSilent
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.settings import Settings
from ecluse.web.i18n import Words
from ecluse.web.run_charts import (
    LINE_HEIGHT,
    MOST_POINTS,
    PLOT_HEIGHT,
    Line,
    label_shifts,
    main_meaning,
    run_charts,
    thinned,
)
from tests.web.test_pages import Browser, browser

MOMENT = datetime(2025, 11, 21, tzinfo=UTC)
JSON = {"accept": "application/json"}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home: Path = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        yield opened


@pytest.fixture(scope="module")
def owner(runtime: Runtime) -> User:
    return runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")


@pytest.fixture(scope="module")
def made(runtime: Runtime, owner: User) -> dict[str, str]:
    """A training of plants that goes on, two searches of fraud that are done, one run that failed; by name."""
    ids = {}
    with runtime.catalog.write() as transaction:
        for name, seed, figure in (("first", 0, 0.61), ("second", 1, 0.72)):
            row = Run(
                user_id=owner.id,
                application="fraud",
                kind="search",
                name=name,
                parameters={"seed": seed, "goal.kind": "f1"},
                tags={"family": "lightgbm"},
                subject={"dataset_id": "gone"},
            )
            ids[name] = runs.add_run(transaction, row).id
            runs.set_running(transaction, row.id)
            for step in range(1, 4):
                values = {"validation_average_precision": figure - 0.1 / step}
                runs.log_metrics(transaction, row.id, step, values)
            files = [{"name": "model.json", "url": "s3://b/m/model.json", "sha256": "a" * 64, "size": 12}]
            runs.set_done(
                transaction, row.id, version="v1", metrics={"average_precision": figure}, artifacts=files
            )
        row = Run(user_id=owner.id, application="plants", kind="finetune", name="leaves <b>")
        ids["leaves"] = runs.add_run(transaction, row).id
        runs.set_running(transaction, row.id)
        for step in range(2):
            epoch = {
                "train_loss": 0.7 - step / 10,
                "validation_loss": 0.72 - step / 20,
                "train_accuracy": 0.5 + step / 10,
                "validation_accuracy": 0.5 + step / 20,
                "learning_rate": 0.001,
                "made_up": 3.0,
            }
            runs.log_metrics(transaction, row.id, step, epoch)
        row = Run(user_id=owner.id, application="city", kind="forecast", name="forecast")
        ids["broken"] = runs.add_run(transaction, row).id
        runs.set_ended(transaction, row.id, "failed", "It was stopped.")
    return ids


@pytest.fixture
def client(runtime: Runtime, owner: User, made: dict[str, str]) -> Browser:
    return browser(runtime, owner)


@pytest.fixture(scope="module")
def stranger(runtime: Runtime, made: dict[str, str]) -> Browser:
    return browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize(
    "path",
    [
        "/runs",
        "/runs?application=fraud&sort=average_precision",
        "/runs?name=nobody",
        "/runs/{first}",
        "/runs/{leaves}",
        "/runs/{broken}",
        "/runs/compare?ids={first},{second}",
        "/runs/compare?ids={first}&ids={leaves}&ids={broken}",
        "/runs/compare?ids={broken}",
    ],
)
def test_every_page_of_runs_is_drawn_in_both_languages(
    client: Browser, made: dict[str, str], path: str, language: str
) -> None:
    client.cookies.set("lang", language)
    answer = client.get(path.format(**made))
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}"' in answer.text
    assert "%(" not in answer.text
    assert "<b>" not in answer.text.split("<main")[1].split("leaves")[-1][:20]
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))


def test_another_persons_run_is_not_found_anywhere(stranger: Browser, made: dict[str, str]) -> None:
    one = made["first"]
    pages = (f"/runs/{one}", f"/runs/{one}/live", f"/runs/compare?ids={one}")
    api = (f"/api/runs/{one}", f"/api/runs/{one}/metrics", f"/api/runs/compare?ids={one}")
    for path in (*pages, *api):
        assert stranger.get(path).status_code == 404, path
    assert one not in stranger.get("/runs").text
    assert stranger.get("/api/runs", JSON).json()["total"] == 0


def test_a_list_is_sorted_and_narrowed_by_its_address(client: Browser, made: dict[str, str]) -> None:
    def names(path: str) -> list[str]:
        return re.findall(r'class="what" href="/runs/(\w+)"', client.get(path).text)

    assert names("/runs?sort=average_precision")[:2] == [made["second"], made["first"]]
    assert names("/runs?sort=average_precision&direction=ascending")[:2] == [made["first"], made["second"]]
    assert names("/runs?parameter=seed%3D1") == [made["second"]]
    assert set(names("/runs?tag=family%3Dlightgbm")) == {made["first"], made["second"]}
    assert names("/runs?status=failed") == [made["broken"]]
    assert names("/runs?application=plants") == [made["leaves"]]
    refused = client.get("/runs?parameter=seed")
    assert refused.status_code == 422
    assert "is no condition" in refused.text


def test_a_run_that_goes_on_is_asked_for_again_and_one_that_ended_is_not(
    client: Browser, made: dict[str, str]
) -> None:
    goes_on = client.get(f"/runs/{made['leaves']}").text
    assert f'hx-get="/runs/{made["leaves"]}/live" hx-trigger="every' in goes_on
    assert [name for name in ("chart-run-0", "chart-run-1") if f'data-chart="{name}"' in goes_on] != []
    live = client.get(f"/runs/{made['leaves']}/live").text
    assert live.lstrip().startswith("<section id=")
    assert "0.67" in live
    assert "hx-get" not in client.get(f"/runs/{made['first']}/live").text


def test_runs_compared_show_what_differs_first_and_which_is_best(
    client: Browser, made: dict[str, str]
) -> None:
    page = client.get(f"/runs/compare?ids={made['first']},{made['second']}").text
    differing, alike = page.rpartition("Parameters that differ")[2].split("1 parameter is the same")
    assert "seed" in differing
    assert "goal.kind" not in differing
    assert "goal.kind" in alike
    assert "Best of all: B · second" in page
    assert page.count("best of these") == 2  # of both metrics
    for ids, status in (
        ("", 422),
        (",".join(f"r{n}" for n in range(6)), 422),
        (made["first"] + ",none", 404),
    ):
        assert client.get(f"/runs/compare?ids={ids}").status_code == status


def test_names_of_curves_that_end_together_stand_under_each_other() -> None:
    def line(name: str, last: float) -> Line:
        return name, "--c1", [Point(1, 0.0, MOMENT), Point(2, last, MOMENT)]

    shifts = label_shifts([line("A", 1.0), line("B", 1.0), line("C", 0.98), line("D", 0.2)])
    ends = [
        PLOT_HEIGHT * (1 - last) + shift for last, shift in zip((1.0, 1.0, 0.98, 0.2), shifts, strict=True)
    ]
    assert all(after - before >= LINE_HEIGHT - 0.2 for before, after in pairwise(sorted(ends)))
    assert (shifts[0], shifts[3]) == (0.0, 0.0)


def test_a_curve_of_many_steps_is_drawn_with_the_points_that_can_be_seen() -> None:
    values = [1e308 * (-1) ** step if step in (777, 5000) else 1 / (step + 1) for step in range(100_000)]
    points = [Point(step, value, MOMENT) for step, value in enumerate(values)]
    (chart,) = run_charts({"loss": points}, "plants", Words("en"))
    drawn = chart.option["series"][0]["data"]
    assert len(drawn) <= MOST_POINTS
    assert {tuple(drawn[0]), tuple(drawn[-1]), (777, -1e308), (5000, 1e308)} <= {tuple(one) for one in drawn}
    assert [step for step, _ in drawn] == sorted(step for step, _ in drawn)
    json.dumps(chart.option, allow_nan=False)
    assert list(thinned(points[:50])) == points[:50]


def test_a_page_beyond_the_last_one_is_the_last(client: Browser, made: dict[str, str]) -> None:
    first, beyond = (client.get(f"/runs{page}").text for page in ("", "?page=99"))
    assert all(f"/runs/{made[name]}" in page for page in (first, beyond) for name in ("first", "second"))


def test_large_figures_are_compared_in_full(client: Browser, made: dict[str, str], runtime: Runtime) -> None:
    with runtime.catalog.write() as transaction:
        for name in ("first", "second"):
            runs.log_metrics(transaction, made[name], 3, {"size_bytes": 13_440_631.0})
    page = client.get(f"/runs/compare?ids={made['first']},{made['second']}").text
    assert "13 440 631" in page.replace("\u202f", " ").replace("\u00a0", " ")


def test_programs_read_runs_their_metrics_and_comparisons(client: Browser, made: dict[str, str]) -> None:
    page = client.get("/api/runs?sort=average_precision&per_page=1", JSON).json()
    assert (page["total"], page["items"][0]["id"]) == (4, made["second"])
    assert page["items"][0]["main_metric"] == "average_precision"
    shown = client.get(f"/api/runs/{made['second']}", JSON).json()
    assert shown["metrics"]["average_precision"] == 0.72
    assert shown["artifacts"][0]["sha256"] == "a" * 64
    points = client.get(f"/api/runs/{made['leaves']}/metrics", JSON).json()["train_loss"]
    assert [(point["step"], point["value"]) for point in points] == [(0, 0.7), (1, 0.6)]
    found = client.get(f"/api/runs/compare?ids={made['first']}&ids={made['second']}", JSON).json()
    assert [one["name"] for one in found["parameters"]] == ["seed", "goal.kind"]
    assert set(found["curves"]["validation_average_precision"]) == {made["first"], made["second"]}


def test_the_command_line_lists_shows_and_compares_runs(
    runtime: Runtime, owner: User, made: dict[str, str]
) -> None:
    def told(*arguments: str) -> str:
        home = ["--home", str(runtime.settings.home), "--user", owner.email]
        done = CliRunner().invoke(cli, ["runs", *arguments, *home])
        assert done.exit_code == 0, done.output
        return done.stdout

    listed = json.loads(told("list", "--application", "fraud", "--sort", "average_precision", "--json"))
    assert [(run["name"], run["value"]) for run in listed] == [("second", 0.72), ("first", 0.61)]
    shown = told("show", made["leaves"])
    assert re.search(r"^step +learning_rate +made_up +train_accuracy +train_loss", shown, re.M)
    assert re.search(r"^1 +0.001 +3 +0.6 +0.6 ", shown, re.M)
    compared = told("compare", made["first"], made["second"])
    assert "parameters that differ" in compared
    assert re.search(r"^seed +0 +1$", compared, re.M)


# The interface for code that trains


def test_code_that_trains_is_tracked_to_its_end(runtime: Runtime, owner: User) -> None:
    catalog = runtime.catalog
    with tracking.start(
        catalog, owner.id, "plants", "kept", kind="features", parameters={"goal": {"kind": "f1"}}
    ) as run:
        run.log(0, validation_accuracy=0.5)
        run.tags(note="tried")
    with (
        pytest.raises(ZeroDivisionError),
        tracking.start(catalog, owner.id, "plants", "lost", kind="x") as lost,
    ):
        _ = 1 / 0
    with catalog.read() as transaction:
        kept = tracking.read(transaction, owner.id, run.id)
        failed = runs.run_of(transaction, owner.id, lost.id)
    assert (kept.run.status, kept.run.tags, kept.run.parameters) == (
        "done",
        {"note": "tried"},
        {"goal.kind": "f1"},
    )
    assert kept.main == tracking.Figure("validation_accuracy", 0.5, "higher")
    assert (failed.status, failed.error) == ("failed", "ZeroDivisionError")


def test_a_job_that_runs_again_after_a_crash_goes_on_with_its_run(runtime: Runtime, owner: User) -> None:
    def begun() -> str:
        with runtime.catalog.read() as transaction:
            row = runs.run_by_job(transaction, "crashed")
            return "" if row is None else row.id

    class Killed(BaseException):
        pass

    try:
        with tracking.start(
            runtime.catalog,
            owner.id,
            "city",
            "f",
            kind="forecast",
            context=tracking.RunContext(job_id="crashed"),
        ) as run:
            run.log(7, error=1.0)
            raise Killed
    except Killed:
        first = begun()
    with tracking.start(
        runtime.catalog, owner.id, "city", "f", kind="forecast", context=tracking.RunContext(job_id="crashed")
    ) as run:
        assert run.id == first
    with tracking.start(  # the worker died between the end of its run and that of its step
        runtime.catalog, owner.id, "city", "f", kind="forecast", context=tracking.RunContext(job_id="crashed")
    ) as run:
        assert run.id == first
    other_day = tracking.RunContext(job_id="crashed", subject={"day": "2025-10-14"})
    with tracking.start(
        runtime.catalog, owner.id, "city", "f", kind="forecast", context=other_day
    ) as another:
        assert another.id != first
    with runtime.catalog.read() as transaction:
        assert runs.curves_of(transaction, first) == {}
        assert runs.run_of(transaction, owner.id, first).status == "done"


def test_what_stands_in_the_way_of_a_job_does_not_fail_its_run(runtime: Runtime, owner: User) -> None:
    """The job waits, and goes on with the same run: the run ends as its job does."""
    job_id = runtime.jobs.enqueue("train", "train", owner.id, "f", {})
    context = tracking.RunContext(job_id=job_id)
    with (
        pytest.raises(StoreSilent),
        tracking.start(runtime.catalog, owner.id, "city", "g", kind="x", context=context) as run,
    ):
        raise StoreSilent("The store does not answer.")
    with runtime.catalog.write() as transaction:
        assert runs.run_of(transaction, owner.id, run.id).status == "running"
        (claim,) = jobs.claim_one(transaction, "w", {"train": 1}, job_id)
        jobs.finish(transaction, job_id, claim.fence, "failed", "It had no rows.")
    with runtime.catalog.read() as transaction:
        ended = runs.run_of(transaction, owner.id, run.id)
    assert (ended.status, ended.error) == ("failed", "It had no rows.")


def test_a_run_says_how_its_export_to_mlflow_stands(
    runtime: Runtime, client: Browser, made: dict[str, str]
) -> None:
    path, there = f"/runs/{made['second']}", {"url": "http://127.0.0.1:5000/#/experiments/1/runs/2"}
    known = there | {"state": "done", "model": "second", "model_version": "3", "aliases": []}
    away = _(
        "The MLflow server %(url)s does not answer. Start it: ecluse mlflow serve. What is due is exported once it "
        "does.",
        url="http://127.0.0.1:5000",
    )
    client.cookies.set("lang", "fr")
    for what, said in (
        (known, "modèle second, version 3"),
        (known | {"state": "queued"}, "en attente d’export"),
        ({"state": "failed", "error": away}, "Le serveur MLflow http://127.0.0.1:5000 ne répond pas."),
    ):
        with runtime.catalog.write() as transaction:
            exports.set_export(transaction, made["second"], "mlflow", what)
        page = client.get(path).text
        assert said in page
        assert (there["url"] in page) == ("url" in what)


def test_what_a_metric_is_measured_on_is_said_once() -> None:
    assert main_meaning("test_accuracy", "plants", Words("en")) == "higher is better"
    assert main_meaning("average_precision", "fraud", Words("en")) == "on the test part, higher is better"
    assert main_meaning("average_precision", "", Words("en")) == "higher is better", (
        "its author knows on what"
    )


def test_the_code_of_the_guide_runs_as_printed_and_its_run_is_listed(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "concepts" / "runs.md"
    section = guide.read_text().partition("## Track other code")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    home = str(tmp_path / "home")
    environment = os.environ | {"ECLUSE_HOME": home}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = CliRunner().invoke(cli, ["runs", "list", "--application", "churn", "--home", home, "--json"])
    assert listed.exit_code == 0, listed.output
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["kind"], row["status"], row["value"]) == ("subscribers", "boosting", "done", 0.9)
    assert row["parameters"] == {"seed": 0, "trees": 200}
    other = CliRunner().invoke(cli, ["runs", "list", "--application", "fraud", "--home", home, "--json"])
    assert json.loads(other.stdout) == []


def test_runs_of_an_application_of_ones_own_have_their_pages(runtime: Runtime, owner: User) -> None:
    with tracking.start(runtime.catalog, owner.id, "churn", "subscribers", kind="boosting") as run:
        run.log(1, train_loss=0.6)
    client = browser(runtime, owner)
    page = client.get("/runs?application=churn").text
    assert "subscribers" in page
    assert "churn" in page
    assert "subscribers" in client.get(f"/runs/{run.id}").text
    assert [one["id"] for one in client.get("/api/runs?application=churn", JSON).json()["items"]] == [run.id]
    with (
        pytest.raises(InvalidInput, match="cannot name an application"),
        tracking.start(runtime.catalog, owner.id, "a name of more than sixteen", "x", kind="y"),
    ):
        pass


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "published nothing that could"), ("fr", "rien publié que l’on puisse refaire")],
)
def test_a_run_that_published_nothing_is_not_repeated(
    language: str, said: str, client: Browser, stranger: Browser, runtime: Runtime, owner: User
) -> None:
    with runtime.catalog.write() as transaction:
        run_id = training.add_run(
            transaction, training.NewTraining(user_id=owner.id, model_name="never", plan={"seed": 0})
        ).id
        runs.set_ended(transaction, run_id, "failed", "It was stopped.")
    refused = client.post(f"/runs/{run_id}/repeat?lang={language}")
    assert refused.status_code == 422
    assert said in refused.text
    assert stranger.post(f"/runs/{run_id}/repeat").status_code == 404


def test_a_training_of_images_without_a_set_is_not_repeated(
    client: Browser, runtime: Runtime, owner: User
) -> None:
    """As a program that tracks its own work under this application leaves it."""
    with tracking.start(runtime.catalog, owner.id, "plants", "leaves", kind="own") as run:
        run.log(1, train_loss=0.6)
    assert client.get(f"/runs/{run.id}").status_code == 200
    assert "nothing to repeat" in client.post(f"/runs/{run.id}/repeat").text
    refused = client.post(f"/api/runs/{run.id}/repeat")
    assert refused.status_code in (404, 422)


def test_the_list_is_in_the_order_of_the_column_that_says_so(client: Browser) -> None:
    page = client.get("/runs").text
    assert re.findall(r'aria-sort="(\w+)"\s*>\s*<a[^>]*>([^<]*)', page) == [("descending", "Created")]
    names = re.findall(r'<a class="what" href="/runs/\w+">([^<]*)', page)
    turned = client.get("/runs?sort=created&direction=ascending").text
    assert re.findall(r'<a class="what" href="/runs/\w+">([^<]*)', turned) == names[::-1]


def test_administrators_find_the_migrations_in_the_menu(client: Browser, stranger: Browser) -> None:
    menus = [page.get("/runs").text.partition("<main")[0] for page in (client, stranger)]
    assert ['href="/migrations"' in menu for menu in menus] == [True, False]

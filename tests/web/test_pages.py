import asyncio
import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner
from fastapi import FastAPI

from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.commands.main import train as train_command
from ecluse.apps.fraud.goal import OFFERED
from ecluse.apps.fraud.pages.datasets import (
    TrainChoices,
    can_score,
    default_name,
    train_form,
    training_request,
    years,
)
from ecluse.apps.fraud.pages.model import fitted_rows, goal_text, suggested_table, suitable_first
from ecluse.apps.fraud.pages.predictions import (
    own_columns,
    percent_digits,
    risky_row,
    scored_name,
    to_the_minute,
)
from ecluse.apps.fraud.performance.reports import read_trained_report
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.rows import datasets, training
from ecluse.apps.fraud.rows.tables import Dataset, Prediction
from ecluse.apps.fraud.sample import write_sample
from ecluse.apps.fraud.training.request import TrainingRequest, choices
from ecluse.catalog import attempts, files
from ecluse.catalog import models as model_rows
from ecluse.catalog.tables import User
from ecluse.errors import InvalidInput
from ecluse.registry import ManifestFile
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from ecluse.web.i18n import Words
from ecluse.web.pages import jobs as job_pages
from ecluse.web.pages import paging
from ecluse.web.pages.jobs import progress_of
from ecluse.web.security import COOKIE
from tests.web import invented

VERSION = invented.VERSIONS[0]
PAGES = [
    "/",
    "/fraud",
    "/fraud/p",
    "/fraud/d/dlabelled",
    "/fraud/d/dunlabelled",
    "/fraud/d/dbroken",
    "/fraud/p/p1",
    "/fraud/p/p1?budget=2",
    "/models",
    "/models/transactions",
    f"/models/transactions/{VERSION}",
    "/jobs",
    "/storage",
    "/storage?all=1",
    "/storage?stored=12,5&egress=0&reads=100",
    "/account",
    "/users",
]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        yield opened


@pytest.fixture(scope="module")
def owner(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user with tables, two versions of a model and a scoring."""
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    with runtime.catalog.write() as transaction:
        transaction.add_all(invented.rows(user.id))
    publish(runtime, user, tmp_path_factory.mktemp("model"))
    return user


def publish(runtime: Runtime, user: User, folder: Path) -> None:
    (folder / "model_card.md").write_text("# transactions\n")
    (folder / "best_model.txt").write_text("tree")
    registry, digests = runtime.registry(user.id), {}
    for version in invented.VERSIONS:
        moment = datetime.strptime(version, "v%Y%m%d_%H%M%S").replace(tzinfo=UTC)
        assert registry.claim("transactions", version, moment) == version
        uploaded: tuple[ManifestFile, ...] = registry.upload("transactions", version, folder)
        manifest = registry.commit(
            "transactions", version, uploaded, created_by=user.id, nonce=version, metadata={}
        )
        digests[version] = manifest.digest
    with runtime.catalog.write() as transaction:
        for row in model_rows.list_versions(transaction, user.id, "transactions"):
            row.manifest_digest = digests[row.version]
        files.fill_addresses(transaction, lambda area, key: runtime.data.url_of(key))


class Browser:
    """Asks the application over a runtime for pages, keeps its cookies, follows no redirect."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.cookies = httpx.Cookies()

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return self._ask("GET", path, headers=headers)

    def post(self, path: str, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        return self._ask("POST", path, headers=headers, **body)

    def _ask(self, method: str, path: str, headers: dict[str, str] | None, **body: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(application_over(self._runtime))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", cookies=self.cookies
            ) as client:
                answer = await client.request(
                    method, path, headers={"accept": "text/html", **(headers or {})}, **body
                )
                self.cookies = client.cookies
                return answer

        return asyncio.run(ask())


#: What an application prepares at its first request takes longer than a test: there is one, over each in turn.
_applications: list[FastAPI] = []


def application_over(runtime: Runtime) -> FastAPI:
    if not _applications:
        _applications.append(make_app(runtime, listens_here=True))
    app = _applications[0]
    if app.state.runtime is not runtime:
        app.state.runtime = runtime
        app.middleware_stack = None  # it knows the settings
    return app


def browser(runtime: Runtime, user: User | None) -> Browser:
    opened = Browser(runtime)
    if user is not None:
        opened.cookies.set(COOKIE, runtime.accounts.open_session(user.id))
    return opened


@pytest.fixture
def client(runtime: Runtime, owner: User) -> Browser:
    return browser(runtime, owner)


@pytest.fixture(scope="module")
def stranger(runtime: Runtime, owner: User) -> Browser:
    return browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_page_is_drawn_in_both_languages(client: Browser, path: str, language: str) -> None:
    client.cookies.set("lang", language)
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}"' in answer.text
    assert len(re.findall("<h1", answer.text)) == 1
    assert "%(" not in answer.text
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", [p for p in PAGES if p != "/"])
def test_a_visitor_is_sent_to_sign_in(runtime: Runtime, owner: User, path: str) -> None:
    answer = browser(runtime, None).get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


@pytest.mark.parametrize(
    "path",
    [
        "/fraud/d/dlabelled",
        "/fraud/p/p1",
        "/fraud/p/p1/download",
        "/models/transactions",
        f"/models/transactions/{VERSION}",
        f"/models/transactions/{VERSION}/files/best_model.txt",
    ],
)
def test_what_is_another_persons_does_not_exist(stranger: Browser, path: str) -> None:
    assert stranger.get(path).status_code == 404


def test_nothing_of_another_person_shows_in_lists(stranger: Browser) -> None:
    for path in ("/", "/fraud", "/fraud/p", "/models", "/jobs"):
        assert "transactions" not in re.sub(r"Score transactions", "", stranger.get(path).text)


@pytest.mark.parametrize(
    "path",
    ["/fraud/d/dlabelled/remove", "/fraud/d/dlabelled/train", f"/models/transactions/{VERSION}/delete"],
)
def test_another_person_can_change_nothing(stranger: Browser, client: Browser, path: str) -> None:
    assert stranger.post(path, data={"target": "is_fraud", "name": "x"}).status_code == 404
    assert client.get("/fraud/d/dlabelled").status_code == 200


def test_signing_up_in_and_out(runtime: Runtime, owner: User) -> None:
    client = browser(runtime, None)
    form = {"email": "new@example.org", "password": "a long password"}
    assert client.post("/sign-up", data=form).headers["location"] == "/"
    assert "new@example.org" in client.get("/account").text
    assert client.post("/sign-out").headers["location"] == "/sign-in"
    assert client.get("/account").status_code == 303
    assert client.post("/sign-in", data=form).headers["location"] == "/account"  # where one was going
    assert client.get("/account").status_code == 200


def test_a_wrong_password_keeps_the_address_and_says_so(runtime: Runtime, owner: User) -> None:
    answer = browser(runtime, None).post("/sign-in", data={"email": "ines@example.org", "password": "no"})
    assert answer.status_code == 422
    assert 'value="ines@example.org"' in answer.text
    assert 'role="alert"' in answer.text


def test_a_guesser_is_told_when_to_come_back_and_a_known_browser_goes_on(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ACCOUNT_HERE", attempts.Limit(2, 3600))
    form = {"email": "held@example.org", "password": "a long password"}
    known = browser(runtime, None)
    known.post("/sign-up", data=form)
    known.post("/sign-out")
    stranger = browser(runtime, None)
    for _ in range(2):
        stranger.post("/sign-in", data=form | {"password": "wrong password"})
    for language, said in (("en", "Too many sign-ins have failed"), ("fr", "Trop de connexions ont échoué")):
        stranger.cookies.set("lang", language)
        answer = stranger.post("/sign-in", data=form)
        assert (answer.status_code, said in answer.text) == (429, True)
        assert int(answer.headers["retry-after"]) > 3000
    assert known.post("/sign-in", data=form).headers["location"] == "/"


def test_a_taken_address_is_refused_with_the_form(runtime: Runtime, owner: User) -> None:
    form = {"email": "ines@example.org", "password": "a long password", "name": "Ann"}
    answer = browser(runtime, None).post("/sign-up", data=form)
    assert answer.status_code == 409
    assert 'value="Ann"' in answer.text


def test_reading_a_sign_in_link_does_not_use_it_up(runtime: Runtime, owner: User) -> None:
    secret = runtime.accounts.sign_in_link(owner.id)
    client = browser(runtime, None)
    for _ in range(2):
        assert client.get(f"/sign-in/link/{secret}").status_code == 200
    assert client.post(f"/sign-in/link/{secret}").headers["location"] == "/"
    assert client.post(f"/sign-in/link/{secret}").status_code == 422


def test_a_token_is_shown_once(client: Browser) -> None:
    shown = re.search(
        r"ecluse_[\w-]{20,}",
        client.post(
            "/account/tokens", data={"name": "nightly", "current": "a long password", "scopes": "read"}
        ).text,
    )
    assert shown
    later = client.get("/account").text
    assert shown[0] not in later
    assert "nightly" in later
    token = re.search(r"/account/tokens/(\w+)/revoke", later)
    assert token
    assert client.post(token[0]).status_code == 303
    assert "nightly" not in client.get("/account").text


def test_a_theme_and_a_language_are_remembered(client: Browser) -> None:
    client.get("/account?theme=dark&lang=fr")
    page = client.get("/account").text
    assert '<html lang="fr" data-theme="dark"' in page
    assert 'data-theme="dark"' not in client.get("/account?theme=system").text


def test_the_training_form_is_filled_with_the_guesses_and_their_reasons(client: Browser) -> None:
    page = client.get("/fraud/d/dlabelled").text
    assert '<option value="is_fraud" selected>' in page
    assert '<option value="timestamp" selected>Last 20 % by timestamp' in page
    assert "the name contains &#34;fraud&#34;" in page
    assert re.search(r'value="transaction_id" checked', page)


def test_a_sent_training_form_comes_back_with_its_choices_and_the_reason(client: Browser) -> None:
    form = {"target": "is_fraud", "name": "no/good", "budget": "10", "goal": "f1"}
    answer = client.post("/fraud/d/dlabelled/train", data=form)
    assert answer.status_code == 422
    assert 'value="no/good"' in answer.text
    assert "cannot be a model name" in answer.text


@pytest.mark.parametrize(
    ("body", "form", "options", "said"),
    [
        (
            {"budget_s": 1}, {"budget": "1"}, ["--budget", "1"],
            "A budget of 1 s is out of range; use 2 s to 24 h.",
        ),
        (
            {"model_name": "no/good"}, {"name": "no/good"}, ["--name", "no/good"],
            "&#39;no/good&#39; cannot be a model name",
        ),
        ({"seed": -1}, None, ["--seed", "-1"], "A seed of -1 is out of range; use 0 to 2147483647."),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_used_is_refused_with_the_same_sentence_at_each_door(
    client: Browser,
    tmp_path: Path,
    body: dict[str, Any],
    form: dict[str, str] | None,
    options: list[str],
    said: str,
) -> None:
    plain = html.unescape(said)
    answer = client.post("/api/train", json={"dataset": "dlabelled", "model_name": "m"} | body)
    assert (answer.status_code, plain in answer.json()["error"]["message"]) == (422, True), answer.text
    if form is not None:
        page = client.post(
            "/fraud/d/dlabelled/train",
            data={"target": "is_fraud", "name": "m", "budget": "10", "goal": "f1"} | form,
        )
        assert (page.status_code, said in page.text) == (422, True)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    done = CliRunner().invoke(train_command, [str(tmp_path / "t.csv"), "--name", "m", *options])
    assert isinstance(done.exception, InvalidInput)
    assert plain in str(done.exception)


def test_options_and_body_offer_every_choice_with_its_default_and_limits(client: Browser) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["TrainRequest"]
    options = {option.name: option for option in train_command.params}
    for choice in choices():
        described = schema["properties"][choice.name]
        assert described["description"] == choice.help
        assert (described.get("minimum"), described.get("maximum")) == (choice.low, choice.high)
        assert (choice.name in schema["required"]) is choice.is_required
        if choice.flag:
            option = options[choice.name]
            assert isinstance(option, click.Option)
            assert option.help is not None
            assert option.help.startswith(choice.help)
            assert option.required is choice.is_required


def test_the_form_asks_for_the_same_choices_in_their_words(client: Browser) -> None:
    page = client.get("/fraud/d/dlabelled").text
    form = page[page.index('id="train"') :]
    asked = {choice.field: choice for choice in choices() if choice.field}
    assert asked.keys() <= TrainChoices.model_fields.keys()
    assert float(TrainChoices().budget) == asked["budget"].default
    assert TrainChoices().goal == asked["goal"].default
    for name, choice in asked.items():
        if name != "gives_away":  # asked for where a column gives the label away
            assert f'name="{name}"' in form
            assert html.escape(choice.title) in form
    for goal, title in OFFERED.items():
        assert re.search(rf'<option value="{goal}"[^>]*>{re.escape(title)}', form)


@pytest.fixture
def unclear(runtime: Runtime, owner: User) -> Iterator[Dataset]:
    """A table whose label is -1 or 1, with a column that gives it away."""
    row: Dataset = invented.rows(owner.id)[0]
    row.id, row.key, row.url = "dunclear", "other", "other"
    assert row.profile is not None
    columns = [c | {"name": "Result"} if c["name"] == "is_fraud" else c for c in row.profile["columns"]]
    columns[-1] |= {"top": [["-1", 0.56], ["1", 0.44]]}
    guesses = row.profile["guesses"] | {"target": {"column": "Result", "reason": "", "score": 0.9}}
    away = [{"column": "amount", "reason": "it is filled for fraud only"}]
    row.profile = row.profile | {"columns": columns, "guesses": guesses, "giveaways": away}
    with runtime.catalog.write() as transaction:
        transaction.add(row)
    yield row
    with runtime.catalog.write() as transaction:
        datasets.remove_dataset(transaction, owner.id, "dunclear")


def test_what_fraud_means_is_said_and_asked_where_it_is_not_clear(client: Browser, unclear: Dataset) -> None:
    clear = client.get("/fraud/d/dlabelled").text
    assert re.search(r'<span class="mono">is_fraud = 1</span>, 0\.82\s%', clear)
    assert re.search(r'<option value="1" selected>\s*is_fraud = 1', clear)
    asked = client.get("/fraud/d/dunclear").text
    assert '<option value="">Choose the value that means fraud</option>' in asked
    assert '<select id="positive" name="positive" required' in asked
    used = re.search(r'<span class="mono">amount</span></th>.*?</tr>', asked, re.DOTALL)
    assert used is not None
    assert re.search(r"<td>\s*Left out\s*</td>\s*</tr>$", used[0]), "it gives the label away"
    form = {"target": "Result", "name": "results", "budget": "10", "goal": "f1"}
    refused = client.post("/fraud/d/dunclear/train", data=form)
    assert refused.status_code == 422
    assert "Which value of Result means fraud is not clear" in refused.text
    taken = client.post("/fraud/d/dunclear/train", data=form | {"positive": "-1"})
    assert taken.headers["location"].startswith("/jobs/")


def test_another_label_is_chosen_by_one_click_and_its_values_are_asked_for(
    client: Browser, unclear: Dataset
) -> None:
    page = client.get("/fraud/d/dunlabelled").text
    assert "It may be:" not in page  # it has no column of few values
    part = client.get("/fraud/d/dunclear/meaning?target=Result").text
    assert part.lstrip().startswith('<div class="field" id="meaning">')
    assert re.search(r"Result = -1, 56(\.0)?\s% of the rows", part)
    chosen = client.get("/fraud/d/dunclear?target=merchant_country").text
    assert '<option value="merchant_country" selected>' in chosen
    assert re.search(r'href="\?target=Result#train"', chosen)


def test_a_column_that_gives_the_label_away_is_off_and_kept_by_one_click(unclear: Dataset) -> None:
    form = train_form(unclear)
    assert form is not None
    (away,) = (choice for choice in form.leave_out if choice.gives_away)
    assert (away.column, away.chosen, away.reason) == ("amount", True, "it is filled for fraud only")
    off = TrainChoices(target="Result", name="m", positive="1", leave_out=("amount",), gives_away=("amount",))
    kept = off.model_copy(update={"leave_out": ()})
    assert (training_request(unclear, off).excluded, training_request(unclear, off).keep) == (("amount",), ())
    assert (training_request(unclear, kept).excluded, training_request(unclear, kept).keep) == (
        (),
        ("amount",),
    )
    again = train_form(unclear, "Result", ("amount",))
    assert again is not None
    assert [choice.chosen for choice in again.leave_out if choice.gives_away] == [False]


def test_a_training_is_queued_and_its_progress_asks_again_until_it_ends(client: Browser) -> None:
    form = {"target": "is_fraud", "name": "transactions", "budget": "10", "goal": "f1"}
    answer = client.post("/fraud/d/dlabelled/train", data=form)
    job = answer.headers["location"]
    assert job.startswith("/jobs/")
    assert 'hx-trigger="every 1s"' in client.get(job).text
    progress = client.get(f"{job}/progress", headers={"hx-request": "true"})
    assert progress.text.lstrip().startswith("<section")
    assert client.post(f"{job}/cancel").headers["location"] == job
    ended = client.get(f"{job}/progress", headers={"hx-request": "true"})
    assert "hx-trigger" not in ended.text
    assert ended.headers["hx-refresh"] == "true"
    assert "hx-refresh" not in client.get(f"{job}/progress?detail=1").headers


def test_a_running_training_offers_to_keep_the_best_and_says_when_it_was_asked(
    client: Browser, runtime: Runtime, owner: User
) -> None:
    run = workflows.start_training(
        runtime, owner.id, "dlabelled", TrainingRequest("kept-best", target_column="is_fraud")
    )
    job = runtime.jobs.get(owner.id, run.job_id or "")
    running = replace(job, status="running")
    assert progress_of(runtime, job, Words("en")).finish is None
    assert progress_of(runtime, running, Words("en")).finish == "possible"
    repeating = replace(running, subject=running.subject | {"repeats": "arun"})
    assert progress_of(runtime, repeating, Words("en")).finish is None, "it is all the same, or nothing"
    assert client.post(f"/jobs/{job.id}/finish").headers["location"] == f"/jobs/{job.id}"
    assert progress_of(runtime, running, Words("en")).finish == "asked"
    runtime.jobs.cancel(owner.id, job.id)


def test_a_scoring_is_queued_and_its_page_shows_the_progress(client: Browser) -> None:
    form = {"dataset": "dunlabelled", "result_format": "parquet"}
    answer = client.post(f"/models/transactions/{VERSION}/score", data=form)
    assert answer.headers["location"].startswith("/fraud/p/")
    assert 'hx-trigger="every 1s"' in client.get(answer.headers["location"]).text


def test_an_uploaded_table_gets_its_page_and_a_script_is_told_where(client: Browser) -> None:
    file = {"file": ("été.csv", b"a,b\n1,2\n")}
    shown = client.post("/fraud/upload", files=file)
    assert shown.status_code == 303
    assert "été.csv" in client.get(shown.headers["location"]).text
    told = client.post("/fraud/upload", files=file, headers={"accept": "application/json"})
    assert told.status_code == 201
    assert told.json()["location"].startswith("/fraud/d/")


def test_an_empty_upload_is_refused_on_the_page_and_to_the_script(client: Browser) -> None:
    file = {"file": ("nothing.csv", b"")}
    assert "The file is empty." in client.post("/fraud/upload", files=file).text
    told = client.post("/fraud/upload", files=file, headers={"accept": "application/json"})
    assert told.status_code == 422
    assert "The file is empty." in told.json()["error"]["message"]


def test_a_table_can_be_removed(client: Browser) -> None:
    where = client.post("/fraud/upload", files={"file": ("gone.csv", b"a,b\n1,2\n")}).headers["location"]
    assert client.post(f"{where}/remove").headers["location"] == "/fraud"
    assert client.get(where).status_code == 404


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("2025-04-02 08:44:38", "2025-04-02 08:44"),
        ("2025-04-02T08:44:38.120Z", "2025-04-02 08:44"),
        ("2025-04-02T08:44:38+02:00", "2025-04-02 08:44"),
        ("2025-04-02", "2025-04-02"),
        ("C08:44:38", "C08:44:38"),
    ],
)
def test_a_moment_is_shown_without_its_seconds_and_nothing_else_is_cut(cell: str, shown: str) -> None:
    assert to_the_minute(cell) == shown


@pytest.mark.parametrize(
    ("probabilities", "digits"), [([0.95, 0.2], 1), ([0.9996], 2), ([1.0, 0.99996], 3), ([], 1), ([1.0], 1)]
)
def test_no_probability_short_of_certainty_shows_as_100_per_cent(
    probabilities: list[float], digits: int
) -> None:
    assert percent_digits(probabilities) == digits


def test_file_names_are_shown_as_text(runtime: Runtime, owner: User, client: Browser) -> None:
    file = {"file": ("<img src=x onerror=alert(1)>.csv", b"a,b\n1,2\n")}
    where = client.post("/fraud/upload", files=file).headers["location"]
    for page in (client.get(where).text, client.get("/fraud").text):
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page


def test_the_files_of_a_version_are_verified_and_downloaded(client: Browser) -> None:
    where = f"/models/transactions/{VERSION}"
    assert "Every file is what its manifest says." in client.post(f"{where}/verify").text
    assert client.get(f"{where}/files/best_model.txt").text == "tree"
    assert client.get(f"{where}/files/none.txt").status_code == 404


def test_an_unknown_page_is_a_designed_404(client: Browser) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert "Nothing here" in answer.text
    assert 'href="/account"' in answer.text


def test_an_error_of_a_fragment_is_a_notice(client: Browser) -> None:
    answer = client.get("/jobs/none/progress", headers={"hx-request": "true"})
    assert answer.status_code == 404
    assert answer.text.lstrip().startswith('<div class="notice bad" role="alert">')


def test_the_rows_a_model_was_fitted_on_are_those_of_its_parts() -> None:
    report = read_trained_report(invented.report())
    assert fitted_rows(report) == 12_000
    assert fitted_rows(replace(report, fitted_on=("train", "validation"))) == 16_000
    assert fitted_rows(TrainedReport()) is None


def test_a_scoring_that_failed_for_a_missing_column_says_how_to_map_it(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    failed = invented.prediction(owner.id)
    failed.id, failed.key, failed.job_id, failed.status, failed.summary = "placks", None, None, "failed", None
    failed.error = "march.csv lacks 1 column(s) of the model: amount. Add, rename or map them."
    with runtime.catalog.write() as transaction:
        transaction.add(failed)
    assert "--map YOUR_COLUMN=ITS_COLUMN" in client.get("/fraud/p/placks").text


def test_values_of_rows_have_the_decimal_mark_of_the_reasons() -> None:
    row = {**invented.summary()["top"][0], "amount": 28551.08, "code": "1.2.3"}
    shown = {
        say.language: risky_row(row, ["amount", "code"], say).cells for say in (Words("en"), Words("fr"))
    }
    assert shown == {"en": ("28551.08", "1.2.3"), "fr": ("28551,08", "1.2.3")}


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("transactions.csv", "transactions"),
        ("Été 2025 (v2).csv.gz", "t-2025-v2"),
        ("....csv", "model"),
        ("a" * 90 + ".csv", "a" * 64),
    ],
)
def test_a_file_name_becomes_a_usable_model_name(filename: str, name: str) -> None:
    assert default_name(filename) == name


def test_the_form_as_shown_asks_for_what_the_profile_guessed() -> None:
    row = invented.rows("u")[0]
    form = train_form(row)
    assert form is not None
    left_out = tuple(choice.column for choice in form.leave_out if choice.chosen)
    choices = TrainChoices(
        target=form.target or "", time=form.time or "", name="m", goal="recall", goal_value="80", positive="1",
        leave_out=left_out,
    )  # fmt: skip
    request = training_request(row, choices)
    assert request.target_column == "is_fraud"
    assert request.time_column == "timestamp"
    assert request.identifier_columns == ("transaction_id",)
    assert request.excluded == ()
    assert request.without == ("customer",)
    assert request.goal == "recall=0.8"


def tables() -> list[Dataset]:
    """A table with other columns, one without a label, and the labelled one that `model` was trained on."""
    labelled, unlabelled = invented.rows("u")[:2]
    other = invented.rows("u")[1]
    other.id, other.profile = "dother", {"columns": [{"name": "amount"}], "guesses": {}}
    return [other, unlabelled, labelled]


def model() -> Any:
    """A version whose features are made from columns of the invented table."""
    version = invented.versions("u")[0]
    version.report |= {
        "importances": [
            {"column": c, "feature": c, "share": 0.3} for c in ("amount", "customer_id", "amount")
        ]
    }
    return version


def test_a_table_is_suggested_by_its_columns_and_those_that_have_them_come_first() -> None:
    other, unlabelled, labelled = tables()
    assert suggested_table([other, labelled, unlabelled], model()) is unlabelled
    assert suggested_table([other, labelled], model()) is None
    assert [row.id for row in suitable_first([other, unlabelled, labelled], model())] == [
        "dunlabelled", "dlabelled", "dother",
    ]  # fmt: skip
    second = tables()[2]
    second.id = "dsecond"
    assert suggested_table([other, labelled, second], model()) is second


def test_a_model_that_names_no_columns_and_a_table_that_is_not_read_do_not_match() -> None:
    unlabelled, nameless = tables()[1], model()
    assert can_score(model(), unlabelled)
    nameless.report |= {"importances": []}
    assert not can_score(nameless, unlabelled)
    unlabelled.state = "profiling"
    assert not can_score(model(), unlabelled)


def test_a_page_says_so_when_no_table_or_model_matches(client: Browser) -> None:
    page = client.get("/fraud/d/dunlabelled").text  # the invented model was trained on device_id, too
    assert '<option value="">Choose a model</option>' in page
    assert "no model was trained on columns that are all in this table." in page
    page = client.get(f"/models/transactions/{VERSION}").text
    assert '<option value="">Choose a table</option>' in page
    assert "to_score.csv · 21 Nov 2025, 04:10" in page


@pytest.mark.parametrize(
    ("goal", "value", "said"),
    [
        ("recall", "400", "above 0 % and at most 100 %; it was 400."),
        ("recall", "nan", "at most 100 %; it was nan."),
        ("recall", "", "it was –."),
        ("alerts", "-3", "a number above 0 and at most 1,000,000; it was -3."),
        ("alerts", "many", "it was many."),
        ("precision", "0", "that are right must be above 0 % and at most 100 %; it was 0."),
        ("cost", "-5", "A cost must be a number above 0 and at most 1,000,000,000; it was -5."),
        ("cost", "500", "at most 1,000,000,000; it was –."),
    ],
)
def test_a_wrong_goal_is_said_in_the_words_of_the_form_which_keeps_it_and_stays_open(
    client: Browser, goal: str, value: str, said: str
) -> None:
    form = {"target": "is_fraud", "name": "kept", "budget": "10", "goal": goal, "goal_value": value}
    answer = client.post("/fraud/d/dlabelled/train", data=form)
    assert answer.status_code == 422
    assert said in answer.text
    assert '<details class="field" open>' in answer.text
    assert f'<option value="{goal}" selected>' in answer.text
    assert f'value="{value}" aria-invalid="true"' in answer.text


def test_a_goal_takes_a_decimal_comma_and_the_most_of_each_kind() -> None:
    row = invented.rows("u")[0]
    for goal, value, asked in (("recall", "82,5", "recall=0.825"), ("recall", "100", "recall=1")):
        choices = TrainChoices(target="is_fraud", name="m", goal=goal, goal_value=value)
        assert training_request(row, choices).goal == asked
    costs = TrainChoices(target="is_fraud", name="m", goal="cost", goal_value="500", false_alarm="12,5")
    assert training_request(row, costs).goal == "cost=500:12.5"
    with pytest.raises(InvalidInput, match="at most 1,000,000"):
        training_request(row, TrainChoices(target="is_fraud", name="m", goal="alerts", goal_value="1000001"))


@pytest.mark.parametrize(
    ("name", "low", "high", "is_year"),
    [
        ("birth_year", 1994.0, 1996.0, True),
        ("Année", 1900, 2100, True),
        ("an", 1990, 2020, True),
        ("amount", 1994, 1996, False),
        ("year", 1994.5, 1996, False),
        ("years_open", 3, 40, False),
        ("year", "1994-01-01", "1996-01-01", False),
        ("year", None, None, False),
    ],
)
def test_whole_numbers_of_our_time_in_a_column_named_like_a_year_are_years(
    name: str, low: Any, high: Any, is_year: bool
) -> None:
    assert (name in years([{"name": name, "minimum": low, "maximum": high}])) is is_year


def test_a_failed_job_and_a_failed_scoring_lead_to_what_they_were_about(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    jobs = {
        kind: runtime.jobs.enqueue(kind, kind, owner.id, "lost", {"run_id": "none"})
        for kind in ("train", "predict")
    }
    failed = invented.prediction(owner.id)
    failed.id, failed.key, failed.job_id = "pfailed", None, jobs["predict"]
    failed.status, failed.summary, failed.error = "failed", None, "Columns are missing."
    with runtime.catalog.write() as transaction:
        training.add_run(
            transaction,
            training.NewTraining(
                user_id=owner.id, job_id=jobs["train"], dataset_id="dlabelled", model_name="m", plan={}
            ),
        )
        transaction.add(failed)
    for job in jobs.values():
        runtime.jobs.cancel(owner.id, job)
    page = client.get(f"/jobs/{jobs['train']}").text
    assert 'href="/fraud/d/dlabelled#train">Train again<' in page
    for where in (f"/jobs/{jobs['predict']}", "/fraud/p/pfailed"):
        page = client.get(where).text
        assert 'href="/fraud/d/dunlabelled">Open the table<' in page
        assert f'href="/models/transactions/{VERSION}">Open the model<' in page
    assert "Columns are missing." in page


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("to_score.csv", "to_score_scored.csv"),
        ("Été 2025.v2.CSV.gz", "Été 2025.v2_scored.csv"),
        ("no ending", "no ending_scored.csv"),
    ],
)
def test_scores_are_saved_under_the_name_of_their_table(filename: str, name: str) -> None:
    assert scored_name(filename, "csv") == name


def test_a_download_of_scores_carries_the_name_of_the_table(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    content, key = b"a,fraud_probability\n1,0.5\n", f"user_data/{owner.id}/predictions/named.csv"
    runtime.data.put(key, content)
    scored = invented.prediction(owner.id)
    scored.id, scored.key, scored.job_id = "pnamed", key, None
    scored.url = runtime.data.url_of(key)
    scored.size_bytes, scored.sha256 = len(content), hashlib.sha256(content).hexdigest()
    with runtime.catalog.write() as transaction:
        transaction.add(scored)
    answer = client.get("/fraud/p/pnamed/download")
    assert answer.content == content
    assert 'filename="to_score_scored.csv"' in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        ({"kind": "f1", "value": None}, "the best F1"),
        ({"kind": "recall", "value": 0.8}, "at least 80\u00a0% of fraud found"),
        ({"kind": "alerts_per_day", "value": 1.0}, "1 alert a day"),
        ({"kind": "alerts_per_day", "value": 2.5}, "2.5 alerts a day"),
        ({"kind": "precision", "value": 0.9}, "at least 90\u00a0% of alerts right"),
        (
            {"kind": "cost", "value": None, "missed": 500.0, "false_alarm": 2.5},
            "the least cost, at 500 a missed fraud and 2.50 a false alarm",
        ),
        (None, None),
    ],
)
def test_the_goal_of_a_threshold_is_told_in_words(goal: dict[str, Any] | None, said: str | None) -> None:
    report = read_trained_report({} if goal is None else {"goal": goal})
    assert goal_text(report, Words("en")) == said


def test_models_tried_beyond_five_are_folded_and_the_chosen_one_is_marked(
    runtime: Runtime, owner: User, tmp_path: Path
) -> None:
    user = runtime.accounts.sign_up("searcher@example.org", "a long password")
    version = invented.versions(user.id)[0]
    version.id, version.dataset_id = "vmany", None
    version.report |= {"leaderboard": version.report["leaderboard"] * 4}
    with runtime.catalog.write() as transaction:
        transaction.add(version)
    publish(runtime, user, tmp_path)
    page = browser(runtime, user).get(f"/models/transactions/{VERSION}").text
    assert page.count("chosen</span>") == 1
    assert "3 more</summary>" in page
    assert re.search(r"Threshold chosen for</dt>\s*<dd>\s*the best F1", page)
    assert "12\u00a0000 / 4\u00a0000 / 4\u00a0000" in page


@pytest.fixture(scope="module")
def hoarder(runtime: Runtime, owner: User) -> Browser:
    """A person with more of everything than a page holds; `old.csv` is the oldest of 230 tables."""
    user = runtime.accounts.sign_up("hoarder@example.org", "a long password")
    with runtime.catalog.write() as transaction:
        for i in range(230):
            table = _renamed(invented.rows(user.id)[0], i, id=f"h{i}", key=f"h{i}", url=f"file:///h/h{i}")
            table.filename = "old.csv" if i == 229 else f"table{i}.csv"
            transaction.add(table)
        transaction.flush()
        for i in range(120):
            transaction.add(_renamed(invented.prediction(user.id), i, dataset_id=f"h{229 - (i == 0)}"))
            transaction.add(
                _renamed(invented.versions(user.id)[0], i, dataset_id="h229", version=f"v{i:03d}")
            )
    return browser(runtime, user)


def _renamed(row: Any, i: int, **values: Any) -> Any:
    row.id = f"{row.id}h{i}"
    row.created_at -= timedelta(minutes=i)
    for name, value in values.items():
        setattr(row, name, value)
    if isinstance(row, Prediction):
        row.key, row.job_id = f"{row.key}{i}", None
    return row


@pytest.mark.parametrize(
    ("path", "link", "total"),
    [
        ("/fraud", r'<th scope="row"><a href="(/fraud/d/\w+)"', 230),
        ("/fraud/p", r'<th scope="row"><a href="(/fraud/p/\w+)"', 120),
        ("/models/transactions", r'<th scope="row"><a href="(/models/transactions/\w+)"', 120),
    ],
)
def test_following_a_long_list_shows_every_row_once(
    hoarder: Browser, path: str, link: str, total: int
) -> None:
    seen: list[str] = []
    at: str | None = path
    while at:
        page = hoarder.get(at).text
        seen += re.findall(link, page)
        assert f"of {total}<" in page
        further = re.search(r'<a rel="next" href="([^"]+)"', page)
        at = further and further[1]
    assert len(seen) >= total
    assert len(set(seen)) == total


def test_the_oldest_of_many_tables_keeps_its_name(hoarder: Browser) -> None:
    for path in (
        "/",
        "/fraud",
        "/fraud/p",
        "/fraud/p/p1h3",
        "/models/transactions",
    ):
        page = hoarder.get(path).text
        assert "old.csv" in page, path
        assert "a removed table" not in page, path


def test_a_table_shows_its_own_scores_however_many_others_there_are(hoarder: Browser) -> None:
    page = hoarder.get("/fraud/d/h228").text
    assert 'href="/fraud/p/p1h0"' in page
    assert "The latest 10 of 119" in hoarder.get("/fraud/d/h229").text


def test_a_page_after_the_last_is_the_last(hoarder: Browser) -> None:
    assert "201 to 230 of 230" in hoarder.get("/fraud?page=99").text
    assert hoarder.get("/fraud?page=0").status_code == 422


def test_ended_jobs_are_shown_page_by_page(
    runtime: Runtime, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (paging, job_pages):
        monkeypatch.setattr(module, "PAGE_ROWS", 2)
    user = runtime.accounts.sign_up("busy@example.org", "a long password")
    started = [
        runtime.jobs.enqueue("profile", "profile", user.id, f"n{i}", {"dataset_id": "d"}) for i in range(6)
    ]
    for job in started[:5]:
        runtime.jobs.cancel(user.id, job)
    client = browser(runtime, user)
    shown = [
        re.findall(r'row">\s*<a href="/jobs/(\w+)"', client.get(f"/jobs?page={n}").text) for n in (1, 2, 3, 4)
    ]
    assert [len(page) for page in shown] == [2, 2, 1, 1]
    assert sorted(shown[0] + shown[1] + shown[2]) == sorted(started[:5])
    assert "5 to 5 of 5" in client.get("/jobs?page=3").text


def test_the_home_page_states_the_size_of_the_sample_that_is_made(client: Browser, tmp_path: Path) -> None:
    made = write_sample(tmp_path)
    rows, later = (len(path.read_text().splitlines()) - 1 for path in (made.labelled, made.unlabelled))
    said = client.get("/").text.replace("\u00a0", "")
    assert f"Sample: {rows} invented" in said
    assert f"and {later} later ones" in said


def test_a_column_of_the_table_that_is_named_like_a_reason_is_shown() -> None:
    row = dict.fromkeys(["id", "reason_code", "reason_1", "reason_3_effect", "is_anomaly", "reason_12"])
    assert own_columns([row]) == ["id", "reason_code", "reason_12"]

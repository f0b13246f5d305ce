"""The pages of administrators: what they show and do, and that nobody else reaches them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecluse.catalog import audit, quotas
from ecluse.catalog.tables import JobRow, User, now
from ecluse.formulas import harmless_text
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.settings import Settings, in_force
from tests.web.test_pages import Browser, browser

PAGES = (
    "/users",
    "/administration/jobs",
    "/administration/log",
    "/administration/log.csv",
    "/administration/settings",
    "/administration/plans",
    "/administration/organisations",
)
PASSWORD = "a long password"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home: Path = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        yield opened


@pytest.fixture(scope="module")
def administrator(runtime: Runtime) -> User:
    return runtime.accounts.sign_up("ines@example.org", PASSWORD, "Inès")


@pytest.fixture(scope="module")
def member(runtime: Runtime, administrator: User) -> User:
    return runtime.accounts.sign_up("other@example.org", PASSWORD)


@pytest.fixture
def admins(runtime: Runtime, administrator: User) -> Browser:
    return browser(runtime, administrator)


@pytest.mark.parametrize("page", PAGES)
def test_strangers_and_people_do_not_reach_it(runtime: Runtime, member: User, page: str) -> None:
    answer = browser(runtime, None).get(page)
    assert (answer.status_code, answer.headers.get("location")) == (303, "/sign-in")
    assert browser(runtime, member).get(page).status_code == 403


@pytest.mark.parametrize("path", ["/administration/plans", "/administration/organisations", "/users/change"])
def test_nobody_else_changes_anything(runtime: Runtime, member: User, path: str) -> None:
    form = {
        "name": "trial",
        "models": "99",
        "email": member.email,
        "action": "administrator",
        "current": PASSWORD,
    }
    assert browser(runtime, member).post(path, data=form).status_code == 403
    assert browser(runtime, None).post(path, data=form).status_code == 303
    assert runtime.accounts.by_email(member.email).role == "member"


@pytest.mark.parametrize("page", [page for page in PAGES if not page.endswith(".csv")])
@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_page_is_drawn_in_both_languages(admins: Browser, page: str, language: str) -> None:
    admins.cookies.set("lang", language)
    answer = admins.get(page)
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}"' in answer.text
    assert answer.text.count("<h1") == 1
    assert "%(" not in answer.text


def test_people_are_searched(admins: Browser, member: User) -> None:
    shown = admins.get("/users?search=OTHER@").text
    assert member.email in shown
    assert '<th scope="row">ines@example.org</th>' not in shown
    assert '<th scope="row">other@example.org</th>' not in admins.get("/users?search=%25").text


def test_a_plan_is_given_and_sessions_are_ended(runtime: Runtime, admins: Browser, member: User) -> None:
    signed_in = browser(runtime, member)
    assert signed_in.get("/storage").status_code == 200
    form = {"email": member.email, "current": PASSWORD}
    assert (
        admins.post("/users/change", data=form | {"action": "plan:basic", "current": "wrong"}).status_code
        == 422
    )
    assert admins.post("/users/change", data=form | {"action": "plan:gold"}).status_code in (404, 422)
    assert admins.post("/users/change", data=form | {"action": "plan:basic"}).status_code == 200
    with runtime.catalog.read() as transaction:
        allowance = quotas.allowance_of(transaction, member.id)
    assert allowance is not None
    assert allowance.plan.name == "basic"
    assert "basic" in signed_in.get("/storage").text
    assert admins.post("/users/change", data=form | {"action": "end_sessions"}).status_code == 200
    assert signed_in.get("/storage").status_code == 303
    assert admins.post("/users/change", data=form | {"action": "plan:"}).status_code == 200
    with runtime.catalog.read() as transaction:
        assert quotas.allowance_of(transaction, member.id) is None


def test_what_was_chosen_stays_after_a_wrong_password(admins: Browser, member: User) -> None:
    form = {"email": member.email, "action": "plan:premium", "current": "wrong", "search": "ines@"}
    answer = admins.post("/users/change", data=form)
    assert answer.status_code == 422
    text = re.sub(r"\s+", " ", answer.text)
    assert f"<option selected>{member.email}</option>" in text
    assert '<option value="plan:premium" selected>' in text
    assert 'name="search" type="search" maxlength="200" value="ines@"' in text
    invited = {"email": "new@example.org", "role": "administrator", "current": "wrong"}
    text = re.sub(r"\s+", " ", admins.post("/users", data=invited).text)
    assert 'value="new@example.org"' in text
    assert '<option value="administrator" selected>' in text


def test_organisations_are_listed_with_their_plans_and_given_one(
    runtime: Runtime, admins: Browser, member: User
) -> None:
    assert "There is no organisation yet" in admins.get("/administration/organisations").text
    runtime.accounts.add_organisation(member.id, "acme", "Water works")
    form = {"handle": "acme", "plan": "premium"}
    wrong = admins.post("/administration/organisations", data=form | {"current": "wrong"})
    assert wrong.status_code == 422
    assert "<option selected>premium</option>" in re.sub(r"\s+", " ", wrong.text)
    address = "/administration/organisations"
    missing = admins.post(address, data=form | {"handle": "nobody", "current": PASSWORD})
    assert missing.status_code == 404
    given = admins.post(address, data=form | {"current": PASSWORD})
    assert given.status_code == 200
    assert "@acme" in given.text
    assert member.email in given.text
    assert "premium, to" in given.text
    assert "Water works" in admins.get(f"{address}?search=WATER").text
    assert "Water works" not in admins.get(f"{address}?search=fire").text
    plans_page = re.sub(r"\s+", " ", admins.get("/administration/plans").text)
    premium = plans_page.partition("<h2>premium</h2>")[2].partition("</p>")[0]
    assert "0 people, 1 organisation" in premium
    assert admins.post(address, data={"handle": "acme", "plan": "", "current": PASSWORD}).status_code == 200
    assert "premium, to" not in admins.get(address).text


def test_limits_stand_in_their_fields_as_they_are_typed(admins: Browser) -> None:
    page = admins.get("/administration/plans").text
    field = re.compile(r'id="(enterprise-(?:upload|storage)_bytes)".*?value="([^"]*)"', re.DOTALL)
    assert dict(field.findall(page)) == {
        "enterprise-upload_bytes": "10000",
        "enterprise-storage_bytes": "2000000",
    }


def test_a_plan_is_changed_by_its_form(runtime: Runtime, admins: Browser) -> None:
    form = {"name": "premium", "days": "", "models": "60", "upload_bytes": "2500", "storage_bytes": "1e5"}
    form |= {"jobs": "3", "images": "none", "current": PASSWORD}
    assert admins.post("/administration/plans", data=form).status_code == 303
    with runtime.catalog.read() as transaction:
        from ecluse.catalog import plans

        plan = plans.plan_named(transaction, "premium")
    assert (plan.days, plan.models, plan.upload_bytes, plan.storage_bytes, plan.jobs, plan.images) == (
        None, 60, 2_500_000_000, 100_000_000_000, 3, None,
    )  # fmt: skip
    assert admins.post("/administration/plans", data=form | {"models": "many"}).status_code == 422
    assert admins.post("/administration/plans", data=form | {"models": "-1"}).status_code == 422


def test_jobs_of_everyone_and_why_they_failed(runtime: Runtime, admins: Browser, member: User) -> None:
    for number in range(3):
        job_id = runtime.jobs.enqueue("train", "train", member.id, f"cards {number}", {})
        with runtime.catalog.write() as transaction:
            row = transaction.query(JobRow).filter_by(id=job_id).one()
            row.status, row.finished_at = "failed", now()
            row.error = _("%(file)s cannot be read. Save it anew.", file=f"t{number}.csv")
    page = admins.get("/administration/jobs?state=failed").text
    assert page.count("cards") == 3
    assert member.email in page
    reasons = page[: page.index("cards 2")]
    assert reasons.count("cannot be read") == 1, "three jobs of one reason are one line"
    assert "cards" not in admins.get("/administration/jobs?state=running").text


def test_the_log_is_searched_and_exported_without_formulas(
    runtime: Runtime, admins: Browser, member: User
) -> None:
    with runtime.catalog.write() as transaction:
        audit.record(transaction, member.id, "dataset.upload", '=HYPERLINK("http://x")', note="; =1+1")
    page = admins.get("/administration/log?search=hyperlink").text
    assert "dataset.upload" in page
    assert "user.add" not in page
    answer = admins.get("/administration/log.csv?search=dataset.upload")
    assert answer.headers["content-disposition"].startswith("attachment")
    header, row = list(csv.reader(io.StringIO(answer.text)))
    assert header == ["created_at", "action", "subject", "by", "detail"]
    assert row[1:4] == ["dataset.upload", '\'=HYPERLINK("http://x")', member.email]
    assert len(list(csv.reader(io.StringIO(admins.get("/administration/log.csv").text)))) > 3


@pytest.mark.parametrize(
    ("text", "shown"), [("=1", "'=1"), ("-12.5", "-12.5"), ("a", "a"), ("@x", "'@x"), ("a\t=1", "a\t'=1")]
)
def test_text_of_a_cell_is_harmless(text: str, shown: str) -> None:
    assert harmless_text(text) == shown


def test_settings_in_force_show_no_secret(tmp_path: Path) -> None:
    secret = "hidden-word"
    environ = {
        "DATABASE_URL": f"postgresql+psycopg://u:{secret}@db/e",
        "ECLUSE_STORE_URL": "s3://bucket/x",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": secret,
        "ECLUSE_UPLOAD_MAX_BYTES": "123",
        "MONGODB_URL": f"mongodb://u:{secret}@h/",
    }
    shown = in_force(Settings.from_environment(environ, home=tmp_path), environ)
    assert secret not in str(shown)
    by_name = {each.name: (each.value, each.reason) for each in shown}
    assert by_name["ECLUSE_UPLOAD_MAX_BYTES"] == ("123", "ECLUSE_UPLOAD_MAX_BYTES")
    assert by_name["ECLUSE_CACHE_MAX_BYTES"][1] == "default"
    assert by_name["AWS_SECRET_ACCESS_KEY"] == ("set, not shown", "environment")
    assert "DATABASE_URL" not in by_name, "it is shown as the database"


def test_settings_of_mail_and_providers_are_shown_but_for_their_secrets(tmp_path: Path) -> None:
    environ = {
        "ECLUSE_HOME": str(tmp_path),
        "ECLUSE_PUBLIC_URL": "https://e.example.org",
        "ECLUSE_SMTP_URL": "smtps://mail.example.org",
        "ECLUSE_SMTP_USER": "ecluse",
        "ECLUSE_SMTP_PASSWORD": "hidden-word",
        "ECLUSE_MAIL_FROM": "ecluse@example.org",
        "ECLUSE_OIDC_PROVIDERS": "acme",
        "ECLUSE_OIDC_ACME_ISSUER": "https://sso.example.org",
        "ECLUSE_OIDC_ACME_CLIENT_ID": "e",
        "ECLUSE_OIDC_ACME_CLIENT_SECRET": "hidden-word",
        "ECLUSE_OIDC_ACME_GROUPS_CLAIM": "roles",
    }
    shown = in_force(Settings.from_environment(environ), environ)
    by_name = {each.name: each.value for each in shown}
    assert "hidden-word" not in str(shown)
    secrets = {"ECLUSE_SMTP_PASSWORD", "ECLUSE_OIDC_ACME_CLIENT_SECRET"}
    assert {name for name, value in by_name.items() if value == "set, not shown"} == secrets
    assert by_name["ECLUSE_SMTP_URL"] == "smtps://mail.example.org"
    assert by_name["ECLUSE_OIDC_ACME_GROUPS_CLAIM"] == "roles"
    assert by_name["sign-in by acme"] == "https://sso.example.org as e, with a secret"
    assert "ECLUSE_HOME" not in by_name, "it is shown as the folder"


def test_sizes_and_reasons_of_settings_are_said_in_the_language_of_the_reader(admins: Browser) -> None:
    text = admins.get("/administration/settings?lang=fr").text.replace("\u202f", "\xa0")
    assert "5,4\xa0Go" in text
    assert re.search(r"5\s368\s709\s120\soctets", text)
    assert "par défaut\xa0: aucune base n’est configurée" in text
    assert ">default<" not in re.sub(r"\s*([<>])\s*", r"\1", text)

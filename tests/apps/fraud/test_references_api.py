"""The reference library over HTTP: everyone looks and matches, administrators change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ecluse import models
from ecluse.apps.fraud.references.institutions import institution, write_unlabelled
from ecluse.apps.fraud.references.published import REFERENCES
from ecluse.apps.fraud.rows import references
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application, running
from tests.described import write_described
from tests.support.jobs import read_table

NAMES = ("harbour_bank_cards", "lumo_wallet", "oakfield_insurance")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """A running application with three references of three domains."""
    place = tmp_path_factory.mktemp("library")
    for name in NAMES:
        write_described(name, place / "folders", place)
    with Runtime.open(Settings.from_environment({}, home=place / "home")) as runtime:
        admin = runtime.accounts.local_administrator()
        models.import_folder(runtime, admin, place / "folders", prefix=REFERENCES)
        email = admin.email
    with running(place / "home") as application:
        application.environ["ADMIN"] = email
        yield application


@pytest.fixture(scope="module")
def admin(library: Application) -> Iterator[httpx.Client]:
    with library.client(library.environ["ADMIN"]) as client:
        yield client


@pytest.fixture(scope="module")
def member(library: Application) -> Iterator[httpx.Client]:
    with library.client("member@example.org") as client:
        yield client


def test_everyone_lists_the_library_by_page_and_by_domain(member: httpx.Client) -> None:
    page = member.get("/api/references", params={"per_page": 2}).raise_for_status().json()
    assert [one["name"] for one in page["items"]] == list(NAMES[:2])
    assert (page["total"], page["page"], page["per_page"]) == (3, 1, 2)
    assert page["domains"] == {"cards": 1, "insurance_claims": 1, "mobile_money": 1}
    cards = member.get("/api/references", params={"domain": "cards"}).json()
    assert [one["name"] for one in cards["items"]] == ["harbour_bank_cards"]
    assert cards["items"][0]["matchable"]
    assert member.get("/api/references", params={"domain": "nothing"}).json()["total"] == 0
    assert httpx.get(member.base_url.join("/api/references"), timeout=60).status_code == 401


def test_a_reference_is_shown_with_its_columns_and_files(member: httpx.Client) -> None:
    shown = member.get("/api/references/lumo_wallet").raise_for_status().json()
    assert shown["target"] == "is_fraud"
    assert {one["name"] for one in shown["sketches"]} >= {"amount", "balance_before"}
    assert [file["path"] for file in shown["files"]] == ["reference.json"]
    assert member.get("/api/references/nowhere").json()["error"]["code"] == "not_found"


def test_names_of_columns_are_matched(member: httpx.Client) -> None:
    columns = ["transfer_type", "amount", "balance_before", "balance_after", "fee", "days_since_sim_change",
               "receiver_account_age_days", "first_transfer_to_receiver", "failed_pin_attempts", "region",
               "transfers_last_hour", "agent_deposits_today", "customer_age", "sender_id", "receiver_id"]  # fmt: skip
    found = member.post("/api/references/match", json={"columns": columns}).raise_for_status().json()
    assert not found["abstain"]
    best = found["matches"][0]
    assert (best["reference"], best["domain"]) == ("lumo_wallet", "mobile_money")
    assert {(pair["theirs"], pair["ours"]) for pair in best["columns"]} >= {("amount", "amount")}
    assert member.post("/api/references/match", json={"columns": ["V1", "V2"]}).json()["abstain"]


def test_a_table_is_matched_by_its_owner_alone(
    library: Application, member: httpx.Client, admin: httpx.Client, tmp_path: Path
) -> None:
    path = write_unlabelled(institution("cards"), tmp_path).table
    with path.open("rb") as file:
        dataset = member.post("/api/upload", files={"file": (path.name, file)}).raise_for_status().json()
    read_table(member, dataset["id"])
    found = member.post("/api/references/match", json={"dataset": dataset["id"]}).raise_for_status().json()
    assert found["matches"][0]["reference"] == "harbour_bank_cards"
    assert found["matches"][0]["similarity"] >= 0.5
    refused = admin.post("/api/references/match", json={"dataset": dataset["id"]})
    assert refused.status_code == 404


def test_a_match_is_asked_for_by_columns_or_by_a_dataset(member: httpx.Client) -> None:
    for body in ({}, {"columns": ["a"], "dataset": "b"}, {"columns": ["a"], "limit": 0}, {"other": 1}):
        assert member.post("/api/references/match", json=body).status_code == 422, body


def test_only_administrators_change_the_library(member: httpx.Client) -> None:
    for answer in (
        member.post("/api/references/demo", json={}),
        member.post("/api/references/evaluate", json={}),
        member.delete("/api/references/lumo_wallet"),
    ):
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "forbidden"
    assert member.get("/api/references").json()["total"] == 3


def test_a_demonstration_library_is_built_by_jobs_that_can_be_cancelled(admin: httpx.Client) -> None:
    asked = {"domains": ["payroll"], "budget_s": 600}
    started = admin.post("/api/references/demo", json=asked)
    assert started.status_code == 202, started.text
    assert len(started.json()) == 5
    again = admin.post("/api/references/demo", json=asked).json()
    assert again == started.json(), "what is being built is not queued again"
    for one in started.json():
        admin.post(f"/api/jobs/{one['job']}/cancel").raise_for_status()
    statuses = {admin.get(one["status_url"]).json()["status"] for one in started.json()}
    assert statuses == {"cancelled"}
    refused = admin.post("/api/references/demo", json={"domains": ["gambling"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_input")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["amount" * 20_000], "a name has at most 200 characters"),
        ([f"amount {number}" for number in range(2_001)], "2000 items"),
    ],
)
def test_names_that_no_table_has_and_more_than_any_has_are_refused(
    member: httpx.Client, columns: list[str], said: str
) -> None:
    refused = member.post("/api/references/match", json={"columns": columns})
    assert refused.status_code == 422
    assert said in refused.json()["error"]["message"]


def test_a_reference_that_cannot_be_read_is_shown_as_that_and_the_library_with_it(
    library: Application,
) -> None:
    with Runtime.open(Settings.from_environment({}, home=library.home)) as runtime:
        with runtime.catalog.write() as transaction:
            row = references.reference_of(transaction, "oakfield_insurance")
            kept = row.sketches, row.performance
            row.sketches = [{"name": "amount", "importance": 1, "kind": "xyz"}]
            row.performance = {"intervals": "no"}
        with library.client("member@example.org") as member:
            page = member.get("/fraud/references").raise_for_status().text
            assert page.count("unreadable") == 1
            assert (
                "cannot be read" in member.get("/fraud/references/oakfield_insurance").raise_for_status().text
            )
            told = member.get("/api/references/oakfield_insurance").raise_for_status().json()
            assert (told["matchable"], told["sketches"], told["performance"]) == (False, [], {})
            member.get("/api/references").raise_for_status()
            member.post("/api/references/match", json={"columns": ["amount"]}).raise_for_status()
        with runtime.catalog.write() as transaction:
            row = references.reference_of(transaction, "oakfield_insurance")
            row.sketches, row.performance = kept


def test_a_removed_reference_is_not_matched_any_more(admin: httpx.Client) -> None:
    assert admin.delete("/api/references/oakfield_insurance").status_code == 204
    assert admin.get("/api/references/oakfield_insurance").status_code == 404
    assert admin.delete("/api/references/oakfield_insurance").status_code == 404
    columns = ["claim_amount", "injury_amount", "annual_premium", "vehicle_value", "severity", "witnesses"]
    assert admin.post("/api/references/match", json={"columns": columns}).json()["abstain"]

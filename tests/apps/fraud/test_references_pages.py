"""The library of references on pages: cards, one reference, and what administrators may do with it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.jobs import references as building
from ecluse.apps.fraud.pages.references import DOMAINS, card_of, domain_name, work_of
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.rows import references
from ecluse.apps.fraud.rows.tables import ReferenceModel
from ecluse.catalog.tables import User
from ecluse.errors import NotFound
from ecluse.runtime import Runtime
from ecluse.web import charts
from ecluse.web.i18n import Words
from tests.web import invented
from tests.web.test_pages import browser


@pytest.fixture
def admin(runtime: Runtime) -> User:
    """The first user administers."""
    return runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")


@pytest.fixture
def member(runtime: Runtime, admin: User) -> User:
    return runtime.accounts.sign_up("other@example.org", "a long password")


@pytest.fixture
def kept(runtime: Runtime, admin: User) -> list[ReferenceModel]:
    """Two references of cards, one of loans."""
    rows = invented.references()
    with runtime.catalog.write() as transaction:
        for row in rows:
            references.keep_reference(transaction, row)
    return rows


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize(
    "path",
    [
        "/fraud/references",
        "/fraud/references?domain=cards",
        "/fraud/references?domain=nothing",
        "/fraud/references/harbour_bank_cards",
        "/fraud/references/harbour_bank_cards?columns=all",
        "/fraud/references/no_sketches",
    ],
)
def test_every_page_of_the_library_is_drawn_in_both_languages(
    runtime: Runtime, admin: User, kept: list[ReferenceModel], path: str, language: str
) -> None:
    client = browser(runtime, admin)
    client.cookies.set("lang", language)
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}"' in answer.text
    assert len(re.findall("<h1", answer.text)) == 1
    assert "%(" not in answer.text
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))


def test_a_card_says_the_domain_the_rows_the_figure_with_its_interval_and_the_transfer(
    runtime: Runtime, member: User, kept: list[ReferenceModel]
) -> None:
    page = browser(runtime, member).get("/fraud/references").text
    card = page[
        page.index(">harbour_bank_cards</a>") : page.index("</li>", page.index(">harbour_bank_cards"))
    ]
    for shown in (
        "Card payments", "6\u00a0120 rows", "1.2\u00a0% fraud", "0.71", "0.65 to 0.77", "0.83", "2 tables", "amount"
    ):  # fmt: skip
        assert shown in card, shown
    assert 'href="/fraud/references?domain=cards"' in page
    assert re.search(r'domain=cards"[^>]*>Card payments <span class="tnum muted">2<', page)


def test_a_domain_shows_its_references_alone(
    runtime: Runtime, member: User, kept: list[ReferenceModel]
) -> None:
    page = browser(runtime, member).get("/fraud/references?domain=loans").text
    assert "no_sketches" in page
    assert "harbour_bank_cards" not in page


def test_a_reference_shows_its_columns_with_pictures_and_how_it_does_on_others(
    runtime: Runtime, member: User, kept: list[ReferenceModel]
) -> None:
    page = browser(runtime, member).get("/fraud/references/harbour_bank_cards").text
    assert page.count('class="mini s1"') == 2
    assert page.index('<span class="mono">amount</span>') < page.index('<span class="mono">category</span>')
    assert "groceries: 60\u00a0%" in page
    row = page[page.index('href="/fraud/references/kestrel_cards"') :]
    assert "0.91" in row[: row.index("</tr>")]
    assert "0.88" in row[: row.index("</tr>")]


def test_an_unknown_reference_does_not_exist(runtime: Runtime, member: User) -> None:
    assert browser(runtime, member).get("/fraud/references/nobody").status_code == 404


def test_a_visitor_is_sent_to_sign_in(runtime: Runtime, admin: User) -> None:
    answer = browser(runtime, None).get("/fraud/references")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


def test_only_administrators_see_and_may_use_what_changes_the_library(
    runtime: Runtime, admin: User, member: User, kept: list[ReferenceModel]
) -> None:
    client = browser(runtime, member)
    for path in ("/fraud/references", "/fraud/references/harbour_bank_cards"):
        assert 'action="/fraud/references/' not in client.get(path).text, path
        assert 'action="/fraud/references/' in browser(runtime, admin).get(path).text, path
    for path in ("/demo", "/measure", "/harbour_bank_cards/remove"):
        assert client.post(f"/fraud/references{path}", data={"budget": "5"}).status_code == 403, path
    assert runtime.jobs.list(member.id) == []
    assert library.find(runtime, "harbour_bank_cards").sketches


def test_building_a_domain_queues_a_job_for_each_institution_and_shows_them_as_one(
    runtime: Runtime, admin: User
) -> None:
    client = browser(runtime, admin)
    assert "The library is empty" in client.get("/fraud/references").text
    answer = client.post("/fraud/references/demo", data={"domain": "cards", "budget": "5"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/fraud/references")
    jobs = runtime.jobs.list(admin.id)
    assert {job.kind for job in jobs} == {building.KIND}
    assert len(jobs) == 5
    page = client.get("/fraud/references").text
    assert "The library is being built" in page
    assert "0 of 5 done" in page
    assert "5 wait" in page
    assert 'action="/fraud/references/demo"' not in page
    part = client.get("/fraud/references/progress")
    assert 'hx-get="/fraud/references/progress"' in part.text
    assert "HX-Refresh" not in part.headers


def test_stopping_ends_every_job_of_the_library_and_the_panel_loads_the_page_again(
    runtime: Runtime, admin: User
) -> None:
    client = browser(runtime, admin)
    client.post("/fraud/references/demo", data={"domain": "loans", "budget": "5"})
    assert client.post("/fraud/references/stop").status_code == 303
    assert {job.status for job in runtime.jobs.list(admin.id)} == {"cancelled"}
    assert work_of(runtime, admin.id) is None
    assert client.get("/fraud/references/progress").headers["HX-Refresh"] == "true"


def test_one_persons_work_on_the_library_is_not_shown_to_another(
    runtime: Runtime, admin: User, member: User
) -> None:
    browser(runtime, admin).post("/fraud/references/demo", data={"domain": "loans", "budget": "5"})
    assert "The library is being built" not in browser(runtime, member).get("/fraud/references").text
    assert browser(runtime, member).post("/fraud/references/stop").status_code == 303
    assert work_of(runtime, admin.id) is not None


@pytest.mark.parametrize("form", [{"domain": "gardening"}, {"domain": "cards", "budget": "1"}])
def test_what_cannot_be_built_is_said_on_the_page(
    runtime: Runtime, admin: User, form: dict[str, str]
) -> None:
    client = browser(runtime, admin)
    client.cookies.set("lang", "fr")
    answer = client.post("/fraud/references/demo", data=form)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert "out of range" not in answer.text
    assert "No simulated domain" not in answer.text


def test_measuring_an_empty_library_says_what_to_do(runtime: Runtime, admin: User) -> None:
    answer = browser(runtime, admin).post("/fraud/references/measure")
    assert answer.status_code == 422
    assert "There is no reference to measure" in answer.text


def test_a_reference_can_be_measured_again(runtime: Runtime, admin: User, kept: list[ReferenceModel]) -> None:
    answer = browser(runtime, admin).post("/fraud/references/measure", data={"name": "harbour_bank_cards"})
    assert answer.headers["location"] == "/fraud/references/harbour_bank_cards"
    assert [job.title for job in runtime.jobs.list(admin.id)] == ["harbour_bank_cards"]
    assert "The library is being measured" in browser(runtime, admin).get("/fraud/references").text


def test_removing_a_reference_takes_it_from_the_library(
    runtime: Runtime, admin: User, kept: list[ReferenceModel]
) -> None:
    assert browser(runtime, admin).post("/fraud/references/kestrel_cards/remove").status_code == 303
    with pytest.raises(NotFound):
        library.find(runtime, "kestrel_cards")


def test_names_from_a_table_are_shown_as_text(runtime: Runtime, admin: User) -> None:
    row = invented.references()[0]
    row.sketches[0]["name"] = "<script>alert(1)</script>"
    with runtime.catalog.write() as transaction:
        references.keep_reference(transaction, row)
    for path in ("/fraud/references", "/fraud/references/harbour_bank_cards"):
        page = browser(runtime, admin).get(path).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


def test_the_fraud_page_leads_to_the_library(runtime: Runtime, member: User) -> None:
    assert 'href="/fraud/references"' in browser(runtime, member).get("/fraud").text


def test_every_domain_of_the_demonstration_has_a_name_and_any_other_keeps_its_own() -> None:
    from ecluse.apps.fraud.references.domains import DOMAINS as SIMULATED

    assert DOMAINS.keys() == SIMULATED.keys()
    assert domain_name("my_claims", Words("fr")) == "my claims"
    assert domain_name("cards", Words("fr")) == "Paiements par carte"


def test_a_card_of_a_reference_that_was_never_measured_has_no_figures() -> None:
    row = ReferenceModel(name="x", domain="d", columns=["a"], performance={}, transfer={}, sketches=[])
    card = card_of(row, Words("en"))
    assert (card.precision, card.transfer, card.columns) == (None, None, ("a",))


QUANTILES = st.lists(st.floats(-1e9, 1e9).map(lambda value: round(value, 6)), min_size=21, max_size=21).map(
    sorted
)


@given(QUANTILES)
def test_a_sketch_of_numbers_is_drawn_with_all_the_values_between_its_outer_twentieths(
    quantiles: list[float],
) -> None:
    counts = charts.sketch_counts({"quantiles": quantiles})
    assert all(count >= -1e-9 for count in counts)
    inner = quantiles[1:-1] if quantiles[1] < quantiles[-2] else quantiles
    if len(counts) > 1:
        assert sum(counts) == pytest.approx(len(inner) - 1, rel=1e-3)
    assert charts.column_bars(counts)


def test_a_sketch_of_levels_is_drawn_by_their_shares_and_one_of_nothing_not_at_all() -> None:
    levels: dict[str, Any] = {"quantiles": [], "top": [["a", 0.6], ["b", 0.3]]}
    assert charts.sketch_counts(levels) == [0.6, 0.3]
    assert charts.column_bars(charts.sketch_counts({"top": []})) == []

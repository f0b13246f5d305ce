"""A table without labels beside the library, on pages: the mapping, its corrections, the ensemble, abstaining."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.actions import ensembles
from ecluse.apps.fraud.pages.matches import SURE_FIT, corrected, stated_rate
from ecluse.apps.fraud.references import institutions
from ecluse.apps.fraud.rows import mappings, references, training
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.catalog import work
from ecluse.catalog.tables import User
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from tests.web import invented
from tests.web.test_pages import Browser, browser

PAGE = "/fraud/m/dpayments"
REFERENCE = "harbour_bank_cards"


@pytest.fixture
def owner(runtime: Runtime) -> User:
    """A user with a table that means the same as a reference, one that means nothing known, one that is broken."""
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    with runtime.catalog.write() as transaction:
        transaction.add_all(invented.unlabelled_tables(user.id))
        for row in invented.references():
            references.keep_reference(transaction, row)
    return user


@pytest.fixture
def client(runtime: Runtime, owner: User) -> Browser:
    return browser(runtime, owner)


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize(
    "path",
    [PAGE, f"{PAGE}?reference=kestrel_cards", "/fraud/m/dplants", "/fraud/m/dwaiting", "/fraud/d/dpayments"],
)
def test_every_page_of_a_match_is_drawn_in_both_languages(client: Browser, path: str, language: str) -> None:
    client.cookies.set("lang", language)
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}"' in answer.text
    assert len(re.findall("<h1", answer.text)) == 1
    assert "%(" not in answer.text
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))


def test_a_table_that_means_the_same_is_recognised_column_by_column(client: Browser) -> None:
    page = client.get(PAGE).text
    assert "Recognised: harbour_bank_cards" in page
    assert sent_form(page) == [("tx_amt", "amount"), ("merch_category", "category"), ("zzz", "")]
    assert page.index('value="tx_amt"') < page.index('value="zzz"')
    assert '<div class="notice ok"' in page
    assert re.search(r">\s*Create the ensemble\s*</button>", page)


def test_a_table_that_means_nothing_known_is_not_scored_by_a_reference_and_says_what_is_left(
    client: Browser,
) -> None:
    page = client.get("/fraud/m/dplants").text
    assert "Not scored by a reference" in page
    assert '<div class="notice warn"' in page
    assert "Rank by anomaly alone" in page
    assert "Create the ensemble" not in page
    assert 'href="/datasets/dplants/label"' in page


def test_an_empty_library_abstains_and_leads_to_the_library(runtime: Runtime) -> None:
    user = runtime.accounts.sign_up("alone@example.org", "a long password")
    with runtime.catalog.write() as transaction:
        transaction.add_all(invented.unlabelled_tables(user.id))
    page = browser(runtime, user).get(PAGE).text
    assert "none is like this table" in page
    assert "The library holds no reference." in page
    assert 'href="/fraud/references"' in page


def test_what_was_changed_is_kept_and_matched_again_and_can_be_forgotten(
    runtime: Runtime, client: Browser
) -> None:
    rows = sent_form(client.get(PAGE).text)
    changed = [(theirs, was, "card" if theirs == "zzz" else was) for theirs, was in rows]
    answer = client.post(PAGE, data=form_of(changed))
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?reference={REFERENCE}#columns")
    assert kept(runtime) == {REFERENCE: {"card": "zzz"}}
    page = client.get(PAGE).text
    assert ("zzz", "card") in sent_form(page)
    assert "By you" in page
    assert "corrected by you" in page
    assert client.post(f"{PAGE}/forget", data={"reference": REFERENCE}).status_code == 303
    assert kept(runtime) == {}
    assert ("zzz", "") in sent_form(client.get(PAGE).text)


def test_a_column_that_a_person_takes_away_stays_away(runtime: Runtime, client: Browser) -> None:
    rows = sent_form(client.get(PAGE).text)
    client.post(PAGE, data=form_of([(t, was, "card" if t == "zzz" else was) for t, was in rows]))
    rows = sent_form(client.get(PAGE).text)
    client.post(PAGE, data=form_of([(t, was, "" if t == "merch_category" else was) for t, was in rows]))
    assert kept(runtime) == {REFERENCE: {"card": "zzz", "category": None}}
    page = client.get(f"{PAGE}?reference={REFERENCE}").text
    assert ("merch_category", "") in sent_form(page)
    assert "as you said" in page


def test_a_reference_that_corrections_have_pushed_away_can_be_had_back(
    runtime: Runtime, client: Browser
) -> None:
    rows = sent_form(client.get(PAGE).text)
    client.post(PAGE, data=form_of([(t, was, "") for t, was in rows]))
    page = client.get(f"{PAGE}?reference={REFERENCE}").text
    assert "harbour_bank_cards is not among the nearest any more" in page
    assert f'name="reference" value="{REFERENCE}"' in page
    client.post(f"{PAGE}/forget", data={"reference": REFERENCE})
    assert "Recognised: harbour_bank_cards" in client.get(f"{PAGE}?reference={REFERENCE}").text


def test_saving_without_a_change_keeps_nothing(runtime: Runtime, client: Browser) -> None:
    rows = sent_form(client.get(PAGE).text)
    assert client.post(PAGE, data=form_of([(t, was, was) for t, was in rows])).status_code == 303
    assert kept(runtime) == {}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ([("tx_amt", "amount", "amount"), ("zzz", "", "amount")], "cannot both stand for"),
        ([("tx_amt", "amount", "no_such_column")], "has no column"),
        ([("no_such_column", "", "card")], "has no column"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_on_the_page_and_nothing_is_kept(
    runtime: Runtime, client: Browser, changed: list[tuple[str, str, str]], said: str
) -> None:
    answer = client.post(PAGE, data=form_of(changed))
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert said in answer.text
    assert kept(runtime) == {}


def test_a_mapping_that_is_refused_comes_back_as_it_was_sent(client: Browser) -> None:
    changed = [("tx_amt", "amount", "card"), ("merch_category", "category", "category"), ("zzz", "", "card")]
    form = {**form_of(changed), "name": "spring", "fraud_rate": "3", "offered": [REFERENCE], "judges": []}
    for path in (PAGE, f"{PAGE}/ensemble"):
        answer = client.post(path, data=form)
        assert answer.status_code == 422
        assert chosen_in(answer.text)[:3] == ["card", "category", "card"]
        assert 'value="spring"' in answer.text
        assert f'name="judges" value="{REFERENCE}" form="columns">' in answer.text


def test_creating_keeps_what_was_changed_among_the_columns(runtime: Runtime, client: Browser) -> None:
    page = client.get(PAGE).text
    assert re.search(r'<button form="columns" formaction="/fraud/m/dpayments/ensemble"', page)
    changed = [(t, was, "card" if t == "zzz" else was) for t, was in sent_form(page)]
    offered = [REFERENCE, "kestrel_cards"]
    form = {**form_of(changed), "name": "march", "offered": offered, "judges": offered}
    answer = client.post(f"{PAGE}/ensemble", data=form)
    assert answer.status_code == 303, answer.text
    assert kept(runtime) == {REFERENCE: {"card": "zzz"}}


def test_saving_brings_back_the_rest_of_the_form(client: Browser) -> None:
    rows = [(t, was, was) for t, was in sent_form(client.get(PAGE).text)]
    form = {**form_of(rows), "name": "spring", "fraud_rate": "2,5", "offered": [REFERENCE], "judges": []}
    page = client.get(client.post(PAGE, data=form).headers["location"].removesuffix("#columns")).text
    assert 'value="spring"' in page
    assert 'value="2,5"' in page
    assert f'name="judges" value="{REFERENCE}" form="columns">' in page


def test_a_form_that_lost_a_field_is_refused(runtime: Runtime, client: Browser) -> None:
    form = {"reference": REFERENCE, "theirs": ["tx_amt", "zzz"], "was": ["amount"], "ours": ["amount", ""]}
    assert client.post(PAGE, data=form).status_code == 422
    assert kept(runtime) == {}


def test_an_ensemble_is_queued_with_the_stated_rate_and_leads_to_its_progress(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    offered = [REFERENCE, "kestrel_cards"]
    form = {"name": "march", "fraud_rate": "2,5", "offered": offered, "judges": offered}
    answer = client.post(f"{PAGE}/ensemble", data=form)
    assert answer.status_code == 303, answer.text
    job = answer.headers["location"].removeprefix("/jobs/")
    with runtime.catalog.read() as transaction:
        run = training.run_by_job(transaction, job)
    assert run is not None
    assert (run.model_name, run.plan["kind"], run.plan["fraud_rate"]) == ("march", "ensemble", 0.025)
    assert run.plan["reference_names"] is None
    page = client.get(f"/jobs/{job}").text
    assert "Learn what is usual" in page
    assert "Make · march (payments.csv)" in client.get("/jobs").text
    client.post(f"/jobs/{job}/cancel")
    assert f'href="{PAGE}"' in client.get(f"/jobs/{job}").text


def test_references_that_a_person_unticks_do_not_judge(runtime: Runtime, client: Browser) -> None:
    form = {"name": "march", "offered": [REFERENCE, "kestrel_cards"], "judges": ["kestrel_cards"]}
    job = client.post(f"{PAGE}/ensemble", data=form).headers["location"].removeprefix("/jobs/")
    with runtime.catalog.read() as transaction:
        run = training.run_by_job(transaction, job)
    assert run is not None
    assert run.plan["reference_names"] == ["kestrel_cards"]


def test_a_reference_that_is_named_is_found_and_with_none_rows_are_ranked_by_anomaly(
    runtime: Runtime, owner: User
) -> None:
    copies = [invented.references()[0] for _ in range(25)]
    for number, row in enumerate(copies):
        row.name = f"copy_{number:02d}"
    with runtime.catalog.write() as transaction:
        for row in copies:
            references.keep_reference(transaction, row)
        row = transaction.get(Dataset, "dpayments")
        assert row is not None
        transaction.expunge(row)
    found = ensembles.match_dataset(runtime, row, references=["kestrel_cards"])
    assert [match.reference for match in found.matches] == ["kestrel_cards"]
    none = ensembles.match_dataset(runtime, row, references=[])
    assert (none.abstain, none.reason) == (True, "No reference was chosen to judge this table.")
    assert none.matches == ()


@pytest.mark.parametrize(
    "form",
    [
        {"name": "no/good", "fraud_rate": "1"},
        {"name": "march", "fraud_rate": "0"},
        {"name": "march", "fraud_rate": "many"},
        {"name": "march", "fraud_rate": "60"},
    ],
)
def test_a_choice_that_cannot_be_used_brings_the_form_back_as_it_was_sent(
    runtime: Runtime, owner: User, client: Browser, form: dict[str, str]
) -> None:
    client.cookies.set("lang", "fr")
    answer = client.post(f"{PAGE}/ensemble", data=form)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert f'value="{form["name"]}"' in answer.text
    assert f'value="{form["fraud_rate"]}"' in answer.text
    assert "Correct it" not in answer.text
    assert runtime.jobs.list(owner.id) == []


def test_a_table_of_someone_else_is_neither_shown_nor_matched(runtime: Runtime, owner: User) -> None:
    stranger = browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))
    assert stranger.get(PAGE).status_code == 404
    for path in (PAGE, f"{PAGE}/forget", f"{PAGE}/ensemble"):
        assert stranger.post(path, data={"reference": REFERENCE, "name": "x"}).status_code == 404, path
    assert kept(runtime) == {}


def test_a_visitor_is_sent_to_sign_in(runtime: Runtime, owner: User) -> None:
    assert browser(runtime, None).get(PAGE).headers["location"] == "/sign-in"


def test_a_table_read_by_an_older_release_says_what_to_do(runtime: Runtime, owner: User) -> None:
    with runtime.catalog.write() as transaction:
        row = transaction.get(Dataset, "dpayments")
        assert row is not None
        assert row.profile is not None
        row.profile = {name: value for name, value in row.profile.items() if name != "sketches"}
    answer = browser(runtime, owner).get(PAGE)
    assert answer.status_code == 422
    assert "Delete it and upload it again." in answer.text


def test_the_page_of_a_table_without_labels_leads_to_its_match(client: Browser) -> None:
    assert f'href="{PAGE}"' in client.get("/fraud/d/dpayments").text


def test_the_tables_without_a_label_lead_to_their_match(client: Browser) -> None:
    page = client.get("/fraud").text
    assert f'href="{PAGE}"' in page
    assert 'href="/fraud/m/dwaiting"' not in page


def test_a_simulated_table_is_added_of_a_domain_that_the_library_knows_and_its_match_opens(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    where = client.post("/fraud/m").headers["location"]
    assert client.get(where).status_code == 200
    with runtime.catalog.read() as transaction:
        row = transaction.get(Dataset, where.removeprefix("/fraud/m/"))
        assert row is not None
        built = set(references.domains(transaction))
    assert institutions.institution(row.filename.removesuffix(".csv")).domain in built
    with runtime.catalog.write() as transaction:
        work.end(transaction, row.id, "done", None)
    assert client.post("/fraud/m").headers["location"] == where


@pytest.mark.parametrize(("role", "said"), [("admin", "#build"), ("member", "an administrator builds it")])
def test_who_has_no_tables_is_shown_the_way_without_labels_from_the_library_on(
    runtime: Runtime, role: str, said: str
) -> None:
    user = runtime.accounts.sign_up(f"{role}@example.org", "a long password")
    with runtime.catalog.write() as transaction:
        row = transaction.get(User, user.id)
        assert row is not None
        row.role = role
    page = browser(runtime, row).get("/fraud").text
    assert "Without labels" in page
    assert said in page
    assert ">Add a simulated table without labels</button>" in page


def test_names_from_a_table_are_shown_as_text(runtime: Runtime, owner: User) -> None:
    with runtime.catalog.write() as transaction:
        row = transaction.get(Dataset, "dpayments")
        assert row is not None
        assert row.profile is not None
        columns = [{**one, "name": "<script>alert(1)</script>"} for one in row.profile["columns"][-1:]]
        row.profile = {**row.profile, "columns": row.profile["columns"][:-1] + columns}
    page = browser(runtime, owner).get(PAGE).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_fit_from_which_a_match_is_sure_is_the_one_from_which_references_judge_alone() -> None:
    from ecluse.apps.fraud.ensembles.building import STRONG

    assert SURE_FIT == STRONG


NAMES = st.sampled_from(["a", "b", "c", "d"])
OURS = st.sampled_from(["", "x", "y", "z"])


@given(st.dictionaries(NAMES, st.tuples(OURS, OURS)))
def test_what_is_settled_gives_the_chosen_mapping_and_nothing_where_nothing_changed(
    chosen: dict[str, tuple[str, str]],
) -> None:
    sent = [(theirs, was, ours) for theirs, (was, ours) in chosen.items()]
    wanted = [ours for _, _, ours in sent if ours]
    if len(wanted) != len(set(wanted)):
        with pytest.raises(InvalidInput):
            corrected({}, sent)
        return
    columns = corrected({}, sent)
    for theirs, was, ours in sent:
        if was != ours and ours:
            assert columns[ours] == theirs
        if was != ours and was and was not in wanted:
            assert columns[was] is None
    touched = {ours for _, was, ours in sent if was != ours} | {was for _, was, ours in sent if was != ours}
    assert columns.keys() <= touched


@given(st.floats(0.01, 50))
def test_a_percentage_is_read_as_it_was_typed_with_a_point_or_a_comma(percent: float) -> None:
    text = f"{percent:.2f}"
    assert stated_rate(text) == stated_rate(text.replace(".", ",")) == pytest.approx(float(text) / 100)


class _Fields(HTMLParser):
    """The rows of the mapping form: each column of the table, and what is chosen for it."""

    def __init__(self) -> None:
        super().__init__()
        self.theirs: list[str] = []
        self.was: list[str] = []
        self.chosen: list[str] = []
        self._within = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        if tag == "input" and known.get("name") in ("theirs", "was"):
            (self.theirs if known["name"] == "theirs" else self.was).append(known["value"])
        if tag == "select":
            self._within = known.get("name") == "ours"
            if self._within:
                self.chosen.append("")
        if tag == "option" and self._within and "selected" in known:
            self.chosen[-1] = known["value"]


def sent_form(page: str) -> list[tuple[str, str]]:
    """What the mapping form would send unchanged: (theirs, ours) for each of its rows."""
    fields = _Fields()
    fields.feed(page)
    assert fields.was == fields.chosen
    return list(zip(fields.theirs, fields.chosen, strict=True))


def chosen_in(page: str) -> list[str]:
    """What the mapping form shows as chosen, row by row."""
    fields = _Fields()
    fields.feed(page)
    return fields.chosen


def form_of(rows: list[tuple[str, str, str]]) -> dict[str, Any]:
    return {
        "reference": REFERENCE,
        "theirs": [theirs for theirs, _, _ in rows],
        "was": [was for _, was, _ in rows],
        "ours": [ours for _, _, ours in rows],
    }


def kept(runtime: Runtime) -> dict[str, dict[str, str | None]]:
    with runtime.catalog.read() as transaction:
        return mappings.mappings_of(transaction, "dpayments")


def test_the_match_that_the_page_shows_is_the_one_an_ensemble_is_made_of(
    runtime: Runtime, owner: User
) -> None:
    with runtime.catalog.read() as transaction:
        row = transaction.get(Dataset, "dpayments")
        assert row is not None
        found = ensembles.match_dataset(runtime, row)
    assert not found.abstain
    page = browser(runtime, owner).get(PAGE).text
    assert sent_form(page)[: len(found.matches[0].columns)] == [
        (pair.theirs, pair.ours) for pair in found.matches[0].columns
    ]

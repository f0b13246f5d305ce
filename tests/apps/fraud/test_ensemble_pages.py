"""The model page of an ensemble: what it judges by, what is not known of it, and abstaining shown as such."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecluse import models as published
from ecluse.apps.fraud.pages.ensembles import agreement_of, members_of, warnings_of
from ecluse.apps.fraud.pages.model import suggested_table
from ecluse.apps.fraud.performance.reports import read_ensemble_report
from ecluse.apps.fraud.rows import labels, references
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.catalog.tables import ModelVersion, User
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.i18n import Words
from ecluse.work import cancel_job
from tests.web import invented
from tests.web.test_pages import Browser, browser

ENGLISH = Words("en")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home: Path = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        yield opened


@pytest.fixture(scope="module")
def owner(runtime: Runtime) -> User:
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    with runtime.catalog.write() as transaction:
        transaction.add_all(invented.unlabelled_tables(user.id))
        for row in invented.references():
            references.keep_reference(transaction, row)
    return user


@pytest.fixture(scope="module")
def made(runtime: Runtime, owner: User, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelVersion]:
    """An ensemble, one that judges by anomaly alone, and one that has learned from labels."""
    folder = tmp_path_factory.mktemp("ensemble")
    (folder / "model_card.md").write_text("# Ensemble\n")
    reports = {
        "payments": invented.ensemble_report(),
        "alone": invented.ensemble_report(abstained=True),
        "learned": invented.ensemble_report()
        | {"learned": invented.learned(), "metrics": {"precision": 0.62}, "medium_threshold": 0.1},
        "corrected": invented.ensemble_report()
        | {
            "learned": invented.learned()
            | {
                "way": "corrected",
                "figures": None,
                "report": {
                    "average_precision": {"model": 0.4, "corrected": 0.5, "sure": 0.9, "unseen": 0.47}
                },
            },
            "metrics": {},
            "medium_threshold": 0.1,
        },
    }
    return {
        name: published.publish(
            runtime,
            owner.id,
            name,
            [folder],
            metadata={},
            origin=published.Origin(application="fraud", dataset_id="dpayments", report=report),
        )
        for name, report in reports.items()
    }


@pytest.fixture
def client(runtime: Runtime, owner: User, made: dict[str, ModelVersion]) -> Browser:
    return browser(runtime, owner)


def place(version: ModelVersion) -> str:
    return f"/models/{version.name}/{version.version}"


def text(page: str) -> str:
    """What a page says: its markup taken away, its spaces plain."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("name", ["payments", "alone", "learned", "corrected"])
def test_every_page_of_an_ensemble_is_drawn_in_both_languages(
    client: Browser, made: dict[str, ModelVersion], name: str, language: str
) -> None:
    client.cookies.set("lang", language)
    answer = client.get(place(made[name]))
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}"' in answer.text
    assert len(re.findall("<h1", answer.text)) == 1
    assert "%(" not in answer.text
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))


def test_members_are_shown_with_their_share_of_the_score_and_anomaly_with_the_rest(
    client: Browser, made: dict[str, ModelVersion]
) -> None:
    page = client.get(place(made["payments"])).text
    said = text(page)
    assert 'href="/fraud/references/harbour_bank_cards"' in page
    assert 'href="/fraud/references/withdrawn_cards"' not in page
    assert "no longer in the library" in said
    shares = [float(width) for width in re.findall(r'class="on" width="([\d.]+)"', page)][:3]
    assert shares == [60.0, 20.0, 20.0]
    assert "not measured" in said


def test_the_mapping_of_each_member_says_how_every_column_is_read(
    client: Browser, made: dict[str, ModelVersion]
) -> None:
    said = text(client.get(place(made["payments"])).text)
    assert re.search(r"tx_amt amount both say km times 0\.01 0\.96", said)
    assert re.search(r"merch_category category both say km word for word", said)
    assert said.count("Nothing stands for: card .") == 2


def test_nothing_is_claimed_of_a_table_without_labels(client: Browser, made: dict[str, ModelVersion]) -> None:
    page = client.get(place(made["payments"])).text
    said = text(page)
    assert "Nothing was measured on this table" in said
    assert "not measured: the table has no labels" in said
    assert "It is no measured probability." in said
    for drawn in ("chart-pr", "chart-roc", "chart-calibration", "chart-importances"):
        assert drawn not in page
    assert 'id="chart-scores"' in page
    assert "the references suggest 2.1 %" in said


def test_an_ensemble_that_abstained_is_called_unusual_and_not_fraud(
    client: Browser, made: dict[str, ModelVersion]
) -> None:
    page = client.get(place(made["alone"])).text
    said = text(page)
    assert '<div class="notice warn"' in page
    assert "Unusual, not fraud." in said
    assert "reaches 0.30 of the 0.50" in said
    assert "anomaly_score The share of the sample that is less unusual. It says nothing of fraud." in said
    assert "fraud_probability" not in said
    assert "is_fraud" not in said
    assert "Agreement on the sample" not in said
    assert 'href="/fraud/m/dpayments"' in page


def test_it_leads_to_scoring_its_own_table_to_labelling_and_to_monitoring(
    client: Browser, made: dict[str, ModelVersion]
) -> None:
    page = client.get(place(made["payments"])).text
    assert '<option value="dpayments" selected>' in page
    assert 'href="/datasets/dpayments/label?model=payments%40' in page
    assert f'href="{place(made["payments"])}/monitor"' in page
    assert ">Label 40 rows</a>" in page


def test_labels_of_its_table_are_counted_and_linked(
    runtime: Runtime, owner: User, client: Browser, made: dict[str, ModelVersion]
) -> None:
    with runtime.catalog.write() as transaction:
        labels.put_labels(transaction, owner.id, "dpayments", {1: 1, 2: 0, 3: 0})
    page = client.get(place(made["payments"])).text
    assert "3 rows of the table have a label, 1 of them fraud." in text(page)
    assert ">Label more rows</a>" in page
    with runtime.catalog.write() as transaction:
        labels.remove_labels(transaction, "dpayments", [1, 2, 3])


def test_a_version_that_learned_from_labels_shows_what_they_measured_with_its_interval(
    client: Browser, made: dict[str, ModelVersion]
) -> None:
    said = text(client.get(place(made["learned"])).text)
    assert "Nothing was measured" not in said
    # Wider than fifty points: the interval leads, and no number is named.
    assert "Precision, by labels cannot be said yet 31 % to 85 %" in said
    assert "62 %" not in said
    assert "This version learned from 30 labels of payments.csv, 6 of them fraud." in said


def test_in_a_corrected_order_only_what_was_measured_on_unseen_labels_is_shown(
    client: Browser, made: dict[str, ModelVersion]
) -> None:
    said = text(client.get(place(made["corrected"])).text)
    assert "Precision, by labels" not in said
    assert "Average precision, by labels 0.47 on labels that it had not seen" in said


def test_after_learning_the_risk_is_said_to_follow_the_probability(
    client: Browser, made: dict[str, ModelVersion]
) -> None:
    learned, before = (text(client.get(place(made[name])).text) for name in ("learned", "payments"))
    assert "HIGH is the top" in before
    assert "HIGH is the top" not in learned
    assert "MEDIUM from 0.1" in learned


def test_an_ensemble_is_scored_with_from_its_page_and_offered_on_its_table(
    runtime: Runtime, owner: User, client: Browser, made: dict[str, ModelVersion]
) -> None:
    answer = client.post(f"{place(made['payments'])}/score", data={"dataset": "dpayments"})
    assert answer.status_code == 303, answer.text
    (job,) = [one for one in runtime.jobs.list(owner.id) if one.kind == "predict"]
    cancel_job(runtime, owner.id, job.id)
    page = client.get("/fraud/d/dpayments").text
    assert page.index('id="score"') < page.index('id="unlabelled"')


def test_the_page_opens_where_the_table_of_the_ensemble_was_removed(
    runtime: Runtime, owner: User, tmp_path: Path
) -> None:
    (tmp_path / "model_card.md").write_text("# Ensemble\n")
    row = published.publish(
        runtime,
        owner.id,
        "orphan",
        [tmp_path],
        metadata={},
        origin=published.Origin(
            application="fraud", dataset_id=None, report=invented.ensemble_report(abstained=True)
        ),
    )
    page = browser(runtime, owner).get(place(row)).text
    assert "a removed table" in page
    assert "/datasets/" not in page
    assert "/fraud/m/" not in page


def test_two_ensembles_and_their_list_are_shown_without_figures(
    client: Browser, made: dict[str, ModelVersion]
) -> None:
    assert client.get("/models").status_code == 200
    version = made["payments"].version
    assert client.get(f"/models/payments/compare?a={version}&b={version}").status_code == 200


def test_nothing_of_an_ensemble_is_shown_to_someone_else(
    runtime: Runtime, made: dict[str, ModelVersion]
) -> None:
    stranger = browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))
    assert stranger.get(place(made["payments"])).status_code == 404


def test_the_table_suggested_is_the_one_the_ensemble_was_made_for(
    owner: User, made: dict[str, ModelVersion]
) -> None:
    own, other, waiting = invented.unlabelled_tables(owner.id)
    twin = Dataset(id="dtwin", state="ready", profile=own.profile)
    assert suggested_table([twin, other, own], made["payments"]) is own
    assert suggested_table([twin, other], made["payments"]) is twin
    assert suggested_table([other, waiting], made["payments"]) is None


def test_the_shares_of_members_and_anomaly_make_a_whole() -> None:
    report = read_ensemble_report(invented.ensemble_report())
    members = members_of(report, {"harbour_bank_cards"}, ENGLISH)
    assert sum(one.weight for one in members) + report.weights.anomaly == pytest.approx(1)
    assert [one.kept for one in members] == [True, False]
    assert [one.transfer for one in members] == [0.93, None]


def test_agreement_is_put_in_words_and_one_that_cannot_be_told_says_so() -> None:
    found = agreement_of(read_ensemble_report(invented.ensemble_report()), ENGLISH)
    assert [(one.second, one.words) for one in found] == [
        ("withdrawn_cards", "much alike"),
        ("how unusual a row is", "somewhat alike"),
        ("how unusual a row is", "cannot be told"),
    ]


def test_only_a_learned_version_drops_the_warning_that_nothing_was_measured() -> None:
    report = invented.ensemble_report()
    assert len(warnings_of(read_ensemble_report(report))) == 1
    assert warnings_of(read_ensemble_report(report | {"learned": invented.learned()})) == []

"""Labelling on a page: which row is asked about, what an answer, a skip and an undo do, what the answers say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.labelling.questions import choose_questions
from ecluse.apps.fraud.pages.labelling import Step, askable, asking_of, steps_of, whys
from ecluse.apps.fraud.pages.usual import usual_values
from ecluse.apps.fraud.rows import inspections, labels
from ecluse.apps.fraud.rows.tables import Dataset, Inspection
from ecluse.catalog.tables import ModelVersion, User
from ecluse.runtime import Runtime
from ecluse.web.i18n import Words
from tests.web import invented
from tests.web.test_pages import Browser, browser

ENGLISH = Words("en")
VERSION = invented.VERSIONS[0]
MODEL = f"transactions@{VERSION}"
PAGE = "/datasets/dunlabelled/label"
QUESTIONS = 12


def questions(known: Sequence[int] = ()) -> dict[str, Any]:
    """What a choice of rows of an invented table found."""
    scores = np.round(np.random.default_rng(4).beta(0.3, 4.0, 20_000), 6)
    asked = choose_questions(scores, threshold=0.62, count=QUESTIONS, seed=1, known=known)
    rows = [question.row for question in asked.questions]
    return asked.to_dict() | {
        "shown": [{"transaction_id": f"T{row}", "amount": 4.5 * row, "note": None} for row in rows],
        "reasons": [[("amount 38 × usual", 2.91), ("hour 3", -0.41)] for _ in rows],
    }


def inspection(user: User, kind: str, result: dict[str, Any] | None, **values: Any) -> Inspection:
    wanted: dict[str, Any] = {
        "id": f"i{kind}",
        "user_id": user.id,
        "kind": kind,
        "job_id": f"j{kind}",
        "dataset_id": "dunlabelled",
        "model_name": "transactions",
        "version": VERSION,
        "status": "done",
        "request": {},
        "result": result,
    }
    return Inspection(**(wanted | values))


@pytest.fixture
def owner(runtime: Runtime) -> User:
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    with runtime.catalog.write() as transaction:
        transaction.add_all(invented.rows(user.id))
    return user


@pytest.fixture
def asked(runtime: Runtime, owner: User) -> list[int]:
    """The rows that are asked about, in their order."""
    result = questions()
    with runtime.catalog.write() as transaction:
        inspections.add_inspection(transaction, inspection(owner, "questions", result))
    return [question["row"] for question in result["questions"]]


def known(runtime: Runtime, owner: User) -> dict[int, int]:
    with runtime.catalog.read() as transaction:
        return labels.labels_of(transaction, owner.id, "dunlabelled")


def say(client: Browser, word: str, page: str) -> str:
    """Press a button of a page; the page that follows."""
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
    answer = client.post(f"{PAGE}/answer", data=form | {"answer": word})
    assert answer.status_code == 303, answer.text
    return client.get(answer.headers["location"]).text


def shown(page: str) -> int | None:
    found = re.search(r'data-row="(\d*)"', page)
    assert found
    return int(found[1]) if found[1] else None


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("with_questions", [True, False])
def test_the_page_is_drawn_in_both_languages(
    runtime: Runtime, owner: User, request: pytest.FixtureRequest, language: str, with_questions: bool
) -> None:
    if with_questions:
        request.getfixturevalue("asked")
    client = browser(runtime, owner)
    client.cookies.set("lang", language)
    answer = client.get(PAGE)
    assert answer.status_code == 200, answer.text
    assert "%(" not in answer.text
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))
    assert ('name="answer"' in answer.text) is with_questions


def test_answers_are_kept_at_once_and_can_be_skipped_and_taken_back(
    runtime: Runtime, owner: User, asked: list[int]
) -> None:
    client = browser(runtime, owner)
    page = client.get(f"{PAGE}?model={MODEL}").text
    assert shown(page) == asked[0]
    assert "disabled" in re.search(r'<button[^>]*value="undo"[^>]*>', page)[0]  # type: ignore[index]
    page = say(client, "fraud", page)
    assert (known(runtime, owner), shown(page)) == ({asked[0]: 1}, asked[1])
    page = say(client, "skip", page)
    assert (known(runtime, owner), shown(page)) == ({asked[0]: 1}, asked[2])
    page = say(client, "legitimate", page)
    assert known(runtime, owner) == {asked[0]: 1, asked[2]: 0}
    page = say(client, "undo", page)
    assert (known(runtime, owner), shown(page)) == ({asked[0]: 1}, asked[2])
    page = say(client, "undo", page)
    assert shown(page) == asked[1]
    page = say(client, "undo", page)
    assert (known(runtime, owner), shown(page)) == ({}, asked[0])


SAID_BY_THE_MODEL = ("38 × usual", "What the model says of row", "It was asked about because", ">Score<")


def test_what_the_model_says_of_a_row_is_shown_after_the_answer_and_not_before(
    runtime: Runtime, owner: User, asked: list[int]
) -> None:
    """Whoever sees a score first answers nearer to it."""
    client = browser(runtime, owner)
    page = client.get(f"{PAGE}?model={MODEL}").text
    assert not [word for word in SAID_BY_THE_MODEL if word in page]
    page = say(client, "skip", page)
    assert not [word for word in SAID_BY_THE_MODEL if word in page]
    page = say(client, "fraud", page)
    assert shown(page) == asked[2]
    assert f"What the model says of row {ENGLISH.num(asked[1])}" in page
    assert [word for word in SAID_BY_THE_MODEL if word in page] == list(SAID_BY_THE_MODEL)
    page = say(client, "undo", page)
    assert not [word for word in SAID_BY_THE_MODEL if word in page]


def test_a_row_is_shown_beside_what_is_usual_in_its_columns(
    runtime: Runtime, owner: User, asked: list[int]
) -> None:
    quantiles = [float(place) for place in range(21)]
    with runtime.catalog.write() as transaction:
        table = transaction.get(Dataset, "dunlabelled")
        assert table is not None
        assert table.profile is not None
        sketch = {"name": "amount", "kind": "number", "quantiles": quantiles}
        table.profile = {**table.profile, "sketches": [sketch]}
    page = browser(runtime, owner).get(PAGE).text
    assert "half of the rows: 5 to 15, median 10" in page
    assert usual_values({"columns": [{"name": "country", "top": [["FR", 0.78], ["BE", 0.01]]}]}, ENGLISH) == {
        "country": "often: FR in 78\u00a0%"
    }
    account = {"name": "account", "guess_role": "customer", "top": [["C1", 0.2]]}
    assert usual_values({"columns": [account]}, ENGLISH) == {}


def test_a_skipped_row_comes_again_on_a_new_visit_and_an_answer_can_be_given_anew(
    runtime: Runtime, owner: User, asked: list[int]
) -> None:
    client = browser(runtime, owner)
    page = say(client, "skip", client.get(PAGE).text)
    assert shown(page) == asked[1]
    assert shown(client.get(PAGE).text) == asked[0]
    say(client, "fraud", client.get(PAGE).text)
    again = client.get(f"{PAGE}?row={asked[0]}").text
    assert "You said: fraud." in again
    say(client, "legitimate", again)
    assert known(runtime, owner) == {asked[0]: 0}


def test_undoing_gives_back_what_was_said_before(runtime: Runtime, owner: User, asked: list[int]) -> None:
    client = browser(runtime, owner)
    say(client, "fraud", client.get(PAGE).text)
    again = say(client, "skip", client.get(f"{PAGE}?row={asked[0]}").text)
    say(client, "undo", again)
    assert known(runtime, owner) == {asked[0]: 1}
    again = say(client, "legitimate", client.get(f"{PAGE}?row={asked[0]}").text)
    assert known(runtime, owner) == {asked[0]: 0}
    page = say(client, "undo", again)
    assert (known(runtime, owner), shown(page)) == ({asked[0]: 1}, asked[0])


def test_the_page_of_a_version_does_not_offer_what_made_it(
    runtime: Runtime, owner: User, asked: list[int]
) -> None:
    with runtime.catalog.write() as transaction:
        transaction.add(
            ModelVersion(
                id="vl", user_id=owner.id, name="transactions", version="v20991125_080000", application="fraud",
                prefix="p", size_bytes=1, manifest_digest="0b" * 32, dataset_id="dlabelled",
                report={"threshold": 0.5, "metrics": {}},
            )
        )  # fmt: skip
        made = {"way": "recalibrated", "labels": 12, "frauds": 5, "report": {}, "alerts": 31, "rows": 5_000}
        made |= {"mean_before": 0.02, "mean_after": 0.01}
        learned = inspection(owner, "learning", made, other_version="v20991125_080000")
        inspections.add_inspection(transaction, learned)
        labels.put_labels(transaction, owner.id, "dunlabelled", dict.fromkeys(asked[:5], 1))
    client = browser(runtime, owner)
    assert "Open the new version" in client.get(f"{PAGE}?model={MODEL}").text
    page = client.get(f"{PAGE}?model=transactions@v20991125_080000").text
    assert "Open the new version" not in page
    assert 'name="answer"' not in page
    for model, found in ((MODEL, True), ("transactions@v20991125_080000", False)):
        body = client.get(f"/api/labels?dataset=dunlabelled&model={model}").json()
        assert bool(body["questions"]) is found


def test_other_rows_to_answer_leave_what_was_said_in_sight(
    runtime: Runtime, owner: User, asked: list[int]
) -> None:
    with runtime.catalog.write() as transaction:
        labels.put_labels(transaction, owner.id, "dunlabelled", {row: row % 2 for row in asked})
        second = inspection(owner, "questions", questions(known=asked), id="second", job_id="second")
        second.created_at = datetime(2099, 1, 1, tzinfo=UTC)
        inspections.add_inspection(transaction, second)
    page = browser(runtime, owner).get(PAGE).text
    assert shown(page) not in (None, *asked)
    assert "Nothing yet." not in page
    assert "not asked about" not in page


def test_labels_beyond_those_that_are_kept_are_refused_and_blank_rows_do_not_count(
    runtime: Runtime, owner: User, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecluse.apps.fraud.actions.labelling.MOST_LABELS", 5)
    client = browser(runtime, owner)

    def sent(content: str) -> tuple[int, str]:
        answer = client.post(
            f"{PAGE}/upload", data={"model": MODEL}, files={"file": ("l.csv", content.encode())}
        )
        return answer.status_code, answer.text

    blank = "".join(f"{row},\n" for row in range(1, 20))
    assert sent(f"row,label\n{blank}20,1\n21,0\n")[0] == 303
    assert known(runtime, owner) == {20: 1, 21: 0}
    status, page = sent(f"row,label\n{blank}" + "".join(f"{row},1\n" for row in range(30, 36)))
    assert status == 422
    assert "6 labels are more than 5" in page


def test_after_the_last_row_the_answers_say_how_good_the_model_is(
    runtime: Runtime, owner: User, asked: list[int]
) -> None:
    client = browser(runtime, owner)
    page = client.get(PAGE).text
    assert "Nothing yet." in page
    for place in range(QUESTIONS):
        page = say(client, "fraud" if place % 2 else "legitimate", page)
    assert shown(page) is None
    assert "All rows are answered" in page
    assert f"Learn from {QUESTIONS} labels" in page
    assert "Precision of its alerts" in page
    assert "Nothing yet." not in page
    # The interval leads.
    recall = page[page.index("<dt>Recall</dt>") : page.index("<dt>Average precision</dt>")]
    assert re.search(r"<dd class=\"tnum\">\s*<b>[\d.]+\s% to [\d.]+\s%</b>", recall)


def test_too_few_labels_offer_no_learning_but_say_what_lacks(
    runtime: Runtime, owner: User, asked: list[int]
) -> None:
    client = browser(runtime, owner)
    page = say(client, "fraud", client.get(PAGE).text)
    assert "so far there are 1 and 0" in page
    answer = client.post(f"{PAGE}/learn", data={"model": MODEL})
    assert answer.status_code == 422
    assert "at least 3 of each kind are needed" in answer.text


def test_labels_come_from_a_file_of_rows_and_labels(runtime: Runtime, owner: User, asked: list[int]) -> None:
    client = browser(runtime, owner)
    content = "row,label\n" + "".join(f"{row},{'fraud' if row % 2 else 0}\n" for row in range(1, 9))
    answer = client.post(
        f"{PAGE}/upload", data={"model": MODEL}, files={"file": ("été.csv", content.encode())}
    )
    assert answer.status_code == 303
    assert known(runtime, owner) == {row: row % 2 for row in range(1, 9)}
    wrong = client.post(f"{PAGE}/upload", data={"model": MODEL}, files={"file": ("w.csv", b"a,b\n1,2\n")})
    assert wrong.status_code == 422
    assert "needs the columns row and label" in wrong.text
    assert list((runtime.settings.home / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "form", "words"),
    [
        ("questions", {"model": MODEL, "count": "2"}, "2 questions are out of range"),
        ("answer", {"model": MODEL, "answer": "fraud", "row": "30000"}, "has no row 30000"),
        ("learn", {"model": MODEL, "rate": "some"}, "is no number"),
    ],
)
def test_what_cannot_be_done_is_said_on_the_page(
    runtime: Runtime, owner: User, asked: list[int], path: str, form: dict[str, str], words: str
) -> None:
    answer = browser(runtime, owner).post(f"{PAGE}/{path}", data=form)
    assert answer.status_code == 422
    assert words in answer.text
    assert 'role="alert"' in answer.text


def test_asking_queues_a_job_and_shows_it(runtime: Runtime, owner: User) -> None:
    client = browser(runtime, owner)
    answer = client.post(f"{PAGE}/questions", data={"model": "transactions", "count": "20"})
    where = answer.headers["location"]
    assert parse_qs(urlsplit(where).query) == {"model": [MODEL]}
    page = client.get(where).text
    assert 'class="card job"' in page
    assert "Choose rows" in page


def test_no_one_else_sees_or_labels_the_table(runtime: Runtime, owner: User, asked: list[int]) -> None:
    stranger = browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))
    assert stranger.get(PAGE).status_code == 404
    said = {"model": MODEL, "answer": "fraud", "row": str(asked[0])}
    assert stranger.post(f"{PAGE}/answer", data=said).status_code == 404
    assert stranger.post(f"{PAGE}/upload", files={"file": ("w.csv", b"row,label\n1,1\n")}).status_code == 404
    assert known(runtime, owner) == {}


@pytest.mark.parametrize(
    ("way", "compared", "words"),
    [
        ("recalibrated", {}, "the order of the rows is as before"),
        (
            "recalibrated",
            {"average_precision": {"model": 0.5, "corrected": 0.51, "sure": 0.6}},
            "not surely better",
        ),
        (
            "recalibrated",
            {"average_precision": {"model": 0.5, "corrected": 0.31, "sure": 0.0}},
            ", which is worse.",
        ),
        (
            "corrected",
            {"average_precision": {"model": 0.5, "corrected": 0.7, "sure": 0.99}},
            "0.700 instead of 0.500",
        ),
    ],
)
def test_what_was_learned_is_told_as_it_is(
    runtime: Runtime, owner: User, asked: list[int], way: str, compared: dict[str, Any], words: str
) -> None:
    result = {
        "way": way,
        "labels": 12,
        "frauds": 5,
        "report": compared,
        "alerts": 31,
        "rows": 5_000,
        "mean_before": 0.02,
        "mean_after": 0.01,
    }
    with runtime.catalog.write() as transaction:
        learned = inspection(owner, "learning", result, other_version="v20251125_080000")
        inspections.add_inspection(transaction, learned)
        labels.put_labels(transaction, owner.id, "dunlabelled", dict.fromkeys(asked[:5], 1))
    page = browser(runtime, owner).get(PAGE).text
    assert words in page
    assert "/models/transactions/v20251125_080000" in page


def test_versions_that_scored_the_table_are_offered_before_those_that_can(
    runtime: Runtime, owner: User
) -> None:
    with runtime.catalog.write() as transaction:
        made = invented.ensemble_report(abstained=True) | {"threshold": 0.9}
        transaction.add(
            ModelVersion(
                id="ve",
                user_id=owner.id,
                name="by-anomaly",
                version=VERSION,
                application="fraud",
                prefix="p",
                size_bytes=1,
                manifest_digest="0b" * 32,
                dataset_id="dunlabelled",
                report=made,
            )
        )
    with runtime.catalog.read() as transaction:
        from ecluse.apps.fraud.rows import datasets

        table = datasets.dataset_of(transaction, owner.id, "dunlabelled")
        labelled = datasets.dataset_of(transaction, owner.id, "dlabelled")
    assert askable(runtime, table) == [MODEL, f"by-anomaly@{VERSION}"]
    assert f"by-anomaly@{VERSION}" not in askable(runtime, labelled)


@given(st.text(max_size=30))
def test_any_trail_gives_steps(text: str) -> None:
    assert all(step.before in (0, 1, None) for step in steps_of(text))


@given(st.lists(st.builds(Step, st.integers(0, 10**12 - 1), st.sampled_from([0, 1, None]))))
def test_a_trail_comes_back_from_an_address(steps: list[Step]) -> None:
    assert steps_of(",".join(map(str, steps))) == steps


@given(st.data())
def test_the_row_asked_about_is_never_answered_or_passed(data: st.DataObject) -> None:
    result = questions()
    rows = [question["row"] for question in result["questions"]]
    told = {row: row % 2 for row in data.draw(st.sets(st.sampled_from(rows)))}
    trail = data.draw(st.lists(st.sampled_from(rows), unique=True))
    asking = asking_of(result, told, [Step(row, None) for row in trail], None, ENGLISH)
    left = [row for row in rows if row not in told and row not in trail]
    assert (asking.card.row if asking.card else None) == (left[0] if left else None)
    assert asking.answered + asking.skipped + len(left) == asking.total == len(rows)


def test_every_reason_to_ask_about_a_row_has_words() -> None:
    assert set(whys(ENGLISH)) == {"highest", "threshold", "disagreement", "diverse", "random"}

"""Tables of fraud that are shared: scored by whom they are shared with, whose the scores are, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from ecluse import people, shares, tables
from ecluse.accounts.tokens import NewToken
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.rows import datasets, labels
from ecluse.apps.fraud.rows.datasets import TABLES
from ecluse.apps.fraud.rows.tables import Dataset, Prediction
from ecluse.apps.fraud.sample import write_sample
from ecluse.apps.fraud.training.request import TrainingRequest
from ecluse.catalog.tables import Share
from ecluse.cli.session import finish
from ecluse.errors import Forbidden, JobFailed
from ecluse.shares import Reader
from ecluse.storage import read_chunks
from tests.web.test_organisations_pages import page, someone
from tests.web.test_shared_kinds import uploaded
from tests.web.within import Within


def added(web: Within, who: str, file: Path, name: str) -> Dataset:
    user = web.runtime.accounts.by_email(who)
    row = workflows.add_table(web.runtime, user.id, name, read_chunks(file))
    finish(web.runtime, user, row.job_id or "", "Read")
    return row


def test_who_may_read_a_table_scores_it_with_a_model_of_their_own(web: Within, tmp_path: Path) -> None:
    (anna, _own), (ben, reading) = someone(web, "anna@lent.org"), someone(web, "ben@lent.org")
    runtime, reader = web.runtime, web.runtime.accounts.by_email("ben@lent.org")
    paths = write_sample(tmp_path, rows=1_200, score_rows=60)
    mine = added(web, "ben@lent.org", paths.labelled, "mine.csv")
    theirs = added(web, "anna@lent.org", paths.labelled, "theirs.csv")
    handle = runtime.accounts.by_email("anna@lent.org").handle
    run = workflows.start_training(
        runtime, ben, mine.id, TrainingRequest("cards", target_column="is_fraud", budget_s=2.0)
    )
    finish(runtime, reader, run.job_id or "", "Train")
    with runtime.catalog.write() as transaction:
        labels.put_labels(transaction, anna, theirs.id, {1: 1, 2: 0})
    web.session, web.token = reading, runtime.accounts.create_token(ben, "t")[0]
    body = {"dataset": theirs.id, "model": "cards"}
    assert web.ask("POST", "/api/predict", json=body).status_code == 404
    shown, _secret = shares.share_by_id(runtime.catalog, anna, TABLES, theirs.id, Reader("ben@lent.org"))
    used = web.ask("GET", f"/api/datasets/{theirs.id}").json()
    assert (used["owner"], used["filepath"], used["job"]) == (handle, None, None)
    with runtime.catalog.read() as transaction:
        before = datasets.dataset_of(transaction, anna, theirs.id).last_used_at
    started = web.ask("POST", "/api/predict", json=body).raise_for_status().json()
    finish(runtime, reader, started["job"], "Score")
    scored = web.ask("GET", f"/api/predictions/{started['prediction']}").json()
    assert (scored["status"], scored["rows"], scored["owner"]) == ("done", 1_200, None)
    assert f"/{ben}/" in scored["filepath"]
    assert not scored["summary"].get("labelled"), "what the owner says of the rows is the owner's"
    with runtime.catalog.read() as transaction:
        row = datasets.dataset_of(transaction, anna, theirs.id)
        assert row.last_used_at == before, "the owner is not shown who scores"
        assert transaction.scalars(select(Prediction).where(Prediction.user_id == anna)).all() == []
    for language in ("en", "fr"):
        status, text = page(web, reading, "GET", f"/fraud/p/{scored['id']}", language)
        assert (status, theirs.filename in text, "/label?" in text, anna in text) == (200, True, False, False)
        status, text = page(web, reading, "GET", f"/fraud/d/{theirs.id}", language)
        assert (status, 'value="cards"' in text, f"/fraud/p/{scored['id']}" in text) == (200, True, True)
        for door in ("train", "remove", "layout", "label"):
            assert f"{theirs.id}/{door}" not in text, door
        assert ("/sharing/" in text, anna in text) == (False, False)
    assert theirs.filename in page(web, reading, "GET", "/fraud")[1]
    assert page(web, reading, "GET", f"/tables/{theirs.id}/file")[0] == 200
    # what is waiting when the share ends reads nothing, and what is there stays
    waiting = web.ask("POST", "/api/predict", json=body).raise_for_status().json()
    shares.unshare_by_id(runtime.catalog, anna, TABLES, theirs.id, shown.id)
    for address in (f"/fraud/d/{theirs.id}", f"/tables/{theirs.id}/file"):
        assert page(web, reading, "GET", address)[0] == 404
    assert web.ask("POST", "/api/predict", json=body).status_code == 404
    with pytest.raises(JobFailed, match="No dataset"):
        finish(runtime, reader, waiting["job"], "Score")
    status, text = page(web, reading, "GET", f"/fraud/p/{scored['id']}")
    assert (status, theirs.filename in text) == (200, False)
    assert web.ask("GET", f"/api/predictions/{scored['id']}/download").status_code == 200


def test_a_table_that_is_removed_is_shared_no_more_and_only_its_owner_removes_it(web: Within) -> None:
    (anna, _own), (ben, reading) = someone(web, "anna@gone.org"), someone(web, "ben@gone.org")
    row = uploaded(web.runtime, anna)
    shares.share_by_id(web.runtime.catalog, anna, TABLES, row.id, Reader("ben@gone.org"))
    with pytest.raises(Forbidden):
        workflows.remove_dataset(web.runtime, ben, row.id)
    for address in ("train", "layout", "remove"):
        sent = {"target": "is_fraud", "name": "new"} if address == "train" else {}
        assert page(web, reading, "POST", f"/fraud/d/{row.id}/{address}", **sent)[0] == 403
    web.token = web.runtime.accounts.create_token(ben, "t")[0]
    assert web.ask("DELETE", f"/api/datasets/{row.id}").status_code == 403
    assert web.ask("DELETE", f"/api/tables/{row.id}").status_code == 404
    assert web.ask("GET", f"/api/tables/{row.id}/file").status_code == 200
    workflows.remove_dataset(web.runtime, anna, row.id)
    assert web.ask("GET", f"/api/datasets/{row.id}").status_code == 404
    with web.runtime.catalog.read() as transaction:
        assert transaction.scalars(select(Share).where(Share.name == row.id)).all() == []


def test_no_id_like_that_of_a_shared_table_leads_to_it_or_to_another(web: Within) -> None:
    (anna, _own), (ben, _reading) = someone(web, "anna@like.org"), someone(web, "ben@like.org")
    shared, other = uploaded(web.runtime, anna), uploaded(web.runtime, anna)
    shares.share_by_id(web.runtime.catalog, anna, TABLES, shared.id, Reader("ben@like.org"))
    web.token = web.runtime.accounts.create_token(ben, "t")[0]
    assert web.ask("GET", f"/api/datasets/{shared.id}").status_code == 200
    for id_ in (f"{shared.id}0", shared.id[:-1], other.id, other.url, shared.url, other.key, shared.key):
        assert web.ask("POST", "/api/analyze", json={"dataset": id_}).status_code == 404, id_
    for mutated in ("{}0", "{}%00", "{}%2f..%2f{}", "%20{}", "{}%20", "%C3%A9{}"):
        answer = web.ask("GET", f"/api/datasets/{mutated.format(shared.id, other.id)}")
        assert answer.status_code == 404, mutated


def test_an_owner_reads_a_table_otherwise_though_someone_scored_it(web: Within) -> None:
    (anna, _own), (ben, _reading) = someone(web, "anna@again.org"), someone(web, "ben@again.org")
    row = uploaded(web.runtime, anna)
    with web.runtime.catalog.write() as transaction:
        for owner_id, used in ((ben, False), (anna, True)):
            transaction.add(
                Prediction(user_id=owner_id, dataset_id=row.id, model_name="m", version="v", status="done")
            )
            transaction.flush()
            assert datasets.is_used(transaction, row.id) is used


def test_with_the_account_of_its_owner_a_table_and_its_shares_go(web: Within) -> None:
    (anna, _own), (ben, _reading) = someone(web, "anna@close.org"), someone(web, "ben@close.org")
    row = uploaded(web.runtime, anna)
    shares.share_by_id(web.runtime.catalog, anna, TABLES, row.id, Reader("ben@close.org"))
    with web.runtime.catalog.write() as transaction:
        made = Prediction(user_id=ben, dataset_id=row.id, model_name="m", version="v", status="done")
        transaction.add(made)
    assert tables.find(web.runtime, ben, row.id).name == row.filename
    people.remove(web.runtime, "anna@close.org", everything=True)
    with web.runtime.catalog.read() as transaction:
        assert transaction.scalars(select(Share).where(Share.name == row.id)).all() == []
        assert transaction.get(Dataset, row.id) is None
        assert transaction.get_one(Prediction, made.id).dataset_id is None, "what was made of it stays"


def test_a_table_of_an_organisation_is_read_by_its_people_and_shared_by_those_who_make(web: Within) -> None:
    (anna, owning), (ben, reading) = someone(web, "anna@lot.org"), someone(web, "ben@lot.org")
    (_carl, outside), accounts = someone(web, "carl@lot.org"), web.runtime.accounts
    accounts.add_organisation(anna, "lot")
    accounts.accept_invitation(ben, accounts.invite(anna, "lot", "viewer")[0])
    service = accounts.add_service(anna, "lot", "bot", "member").id
    web.token = accounts.create_service_token(anna, "lot", service, NewToken("t", None, ("manage",)))[0]
    row = web.ask("POST", "/api/upload", files={"file": ("lot.csv", b"a,b\n1,2\n")}).raise_for_status().json()
    place = f"/fraud/d/{row['id']}"
    for session, expected in ((owning, (200, True)), (reading, (200, False)), (outside, (404, False))):
        status, text = page(web, session, "GET", place)
        assert (status, "/sharing/fraud_tables/" in text) == expected
        assert f"{place}/remove" not in text
    form = {"with_whom": "person", "email": "carl@lot.org"}
    assert page(web, reading, "POST", f"/sharing/fraud_tables/{row['id']}", **form)[0] == 403
    assert page(web, owning, "POST", f"/sharing/fraud_tables/{row['id']}", **form)[0] == 303
    assert page(web, outside, "GET", place)[0] == 200
    accounts.remove_member(anna, "lot", ben)
    assert page(web, reading, "GET", place)[0] == 404

"""What a reader of a shared table or run is not told: what it was made from; and links of jobs and tables lead to the model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ecluse import shares, tables, work
from ecluse.apps.fraud import links
from ecluse.catalog import runs, user_tables
from ecluse.catalog.tables import ModelAlias, Run, UserTable
from ecluse.shares import Reader
from ecluse.upkeep import KINDS
from tests.web.test_organisations_pages import page, someone
from tests.web.within import Within

MODEL = ("model", "version", "job")


@pytest.fixture
def some(web: Within, tmp_path: Path, request: pytest.FixtureRequest) -> SimpleNamespace:
    """Anna owns an organisation whose table a model of its own made; a reader reads that and a run of Anna's."""
    runtime, mark = web.runtime, str(abs(hash(request.node.name)))[:8]
    (anna, session), (reader, other) = (someone(web, f"{name}-{mark}@see.org") for name in ("anna", "reader"))
    handle = f"see-{mark}"
    organisation = runtime.accounts.add_organisation(anna, handle).id
    (tmp_path / "t.csv").write_text("town,visits\nLyon,7\n")
    table = tables.add(runtime, organisation, tmp_path / "t.csv", "t.csv")
    with runtime.catalog.write() as transaction:
        row = transaction.get_one(UserTable, table.id)
        row.model, row.version = "churn", "2"
        run = Run(
            user_id=anna,
            application="",
            kind="own",
            name="churn",
            status="running",
            nonce=mark,
            version="3",
            parent_version="2",
            tags={runs.CHECKPOINT: "user_models/key", "who": "me"},
        )
        transaction.add(run)
        transaction.add(ModelAlias(user_id=anna, name="churn", alias="production", version="3"))
        transaction.flush()
    shares.share_by_id(runtime.catalog, anna, "tables", table.id, Reader(f"reader-{mark}@see.org"))
    shares.share_by_id(runtime.catalog, anna, "runs", run.id, Reader(f"reader-{mark}@see.org"))
    return SimpleNamespace(
        anna=anna, session=session, reader=reader, other=other, handle=handle, table=table.id, run=run.id
    )


def asked(web: Within, who: str, address: str) -> dict[str, Any]:
    web.token = web.runtime.accounts.create_token(who, "t")[0]
    answer = web.ask("GET", address)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_reader_is_not_told_what_a_table_was_made_from(web: Within, some: SimpleNamespace) -> None:
    place = f"/api/tables/{some.table}"
    for body in (asked(web, some.reader, place), *asked(web, some.reader, "/api/shared/tables")["items"]):
        assert [body[name] for name in MODEL] == [None] * 3
    for body in (asked(web, some.anna, place), *asked(web, some.anna, "/api/shared/tables")["items"]):
        assert [body[name] for name in MODEL] == [f"@{some.handle}/churn", "2", None]


def test_a_reader_is_not_told_what_a_run_went_on_from_nor_where_its_checkpoint_lies(
    web: Within, some: SimpleNamespace
) -> None:
    place = f"/api/runs/{some.run}"
    body = asked(web, some.reader, place)
    assert (body["parent_version"], body["aliases"], body["tags"]) == (None, [], {"who": "me"})
    listed = asked(web, some.reader, "/api/shared/runs")["items"][0]
    assert (listed["parent_version"], listed["tags"]) == (None, {"who": "me"})
    own = asked(web, some.anna, place)
    assert (own["parent_version"], own["aliases"], len(own["tags"])) == ("2", ["production"], 2)
    assert "user_models/key" not in page(web, some.other, "GET", f"/runs/{some.run}")[1]
    assert "production" not in page(web, some.other, "GET", f"/runs/{some.run}")[1]


def test_the_table_of_an_organisation_leads_to_its_model(web: Within, some: SimpleNamespace) -> None:
    text = page(web, some.session, "GET", f"/tables/{some.table}")[1]
    assert f'href="/models/@{some.handle}~churn/2"' in text
    assert f"@{some.handle}/churn@2" in text
    assert "/models/" not in page(web, some.other, "GET", f"/tables/{some.table}")[1].split("<main")[1]


def test_a_table_that_is_handed_over_names_its_model_by_whose_it_is(
    web: Within, some: SimpleNamespace, tmp_path: Path
) -> None:
    runtime = web.runtime
    (tmp_path / "own.csv").write_text("a\n1\n")
    own = tables.add(runtime, some.anna, tmp_path / "own.csv", "own.csv")
    organisation = runtime.accounts.owned_organisation(some.anna, some.handle)
    with runtime.catalog.write() as transaction:
        transaction.get_one(UserTable, own.id).model = "churn"
        transaction.flush()
        row = user_tables.hand_over(transaction, some.anna, own.id, organisation.id)
        assert row.model is not None
        assert row.model.startswith("@")
        assert row.model.endswith("/churn")


def test_links_of_jobs_lead_to_models_of_organisations() -> None:
    job: Any = SimpleNamespace(subject={"name": "@acme/churn", "version": "2"})
    nothing: Any = None
    assert [link.href for link in work.kinds()[work.SCORING].ways(nothing, job)] == [
        "/models/@acme~churn/2/use"
    ]
    opened = KINDS["verify_model"].result(nothing, job)
    assert opened is not None
    assert opened.href == "/models/@acme~churn/2"
    assert links._model("@acme/churn", "2").href == "/models/@acme~churn/2"

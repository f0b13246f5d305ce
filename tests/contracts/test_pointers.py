"""Which rows need an object, and which objects rows know, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import pytest

from ecluse.apps.fraud.rows.tables import Dataset, Prediction, ReferenceModel
from ecluse.catalog import Catalog, files, users
from ecluse.catalog.tables import ModelVersion, Run

VERSION = "s3://b/user_models/u/cards/v20251121_041000"


@pytest.fixture(autouse=True)
def filled(catalog: Catalog) -> None:
    fill(catalog)


def fill(catalog: Catalog) -> None:
    with catalog.write() as transaction:
        user = users.add_user(transaction, email="u@example.org", name="", password_hash=None, role="member")
        table = {"user_id": user.id, "filename": "t.csv", "size_bytes": 7, "sha256": "aa"}
        transaction.add_all(
            [
                Dataset(id="d1", key="k1", url="s3://b/up/a_b.csv", **table),
                Dataset(id="d2", key="k2", url="s3://b/up/sub/c.csv", **table),
                Dataset(id="d3", key="k3", url="s3://b/UP/d.csv", **table),
                Prediction(
                    id="p1",
                    user_id=user.id,
                    model_name="cards",
                    version="v1",
                    key="p1",
                    url="s3://b/res/1.csv",
                    size_bytes=3,
                    sha256="bb",
                ),
                Prediction(id="p2", user_id=user.id, model_name="cards", version="v1"),
                ModelVersion(
                    id="m1",
                    user_id=user.id,
                    name="cards",
                    version="v20251121_041000",
                    prefix="x",
                    url=VERSION,
                    size_bytes=9,
                    manifest_digest="cc",
                ),
                ReferenceModel(
                    id="r1",
                    name="r",
                    domain="d",
                    columns=[],
                    performance={},
                    prefix="y",
                    url="s3://b/automl/r/v1",
                ),
                Run(
                    id="t1",
                    user_id=user.id,
                    application="fraud",
                    kind="search",
                    name="cards",
                    status="done",
                    url=VERSION,
                ),
            ]
        )


def rows(catalog: Catalog, url: str, limit: int = 10) -> list[str]:
    with catalog.read() as transaction:
        return [one.row for one in files.files_at(transaction, url, limit=limit)]


def test_an_object_is_needed_by_the_row_that_points_at_it_or_at_its_folder(catalog: Catalog) -> None:
    assert rows(catalog, "s3://b/up/a_b.csv") == ["datasets d1"]
    assert rows(catalog, f"{VERSION}/files/weights.bin") == ["model_versions m1", "runs t1"]
    assert rows(catalog, "s3://b/automl/r/v1/model.txt") == ["reference_models r1"]
    assert rows(catalog, "s3://b/up/other.csv") == []


def test_a_folder_is_needed_by_every_row_that_points_into_it(catalog: Catalog) -> None:
    assert rows(catalog, "s3://b/up") == ["datasets d1", "datasets d2"]
    assert rows(catalog, "s3://b/up/") == ["datasets d1", "datasets d2"]
    assert rows(catalog, "s3://b/user_models/u") == ["model_versions m1", "runs t1"]
    assert len(rows(catalog, "s3://b/")) == 7
    assert len(rows(catalog, "s3://b/", limit=3)) == 3


def test_what_looks_alike_is_not_the_same_address(catalog: Catalog) -> None:
    assert rows(catalog, "s3://b/u") == []
    assert rows(catalog, "s3://b/UP") == ["datasets d3"]
    assert rows(catalog, "s3://b/up/aXb.csv") == []
    assert rows(catalog, "s3://b/%") == []
    assert rows(catalog, "s3://other/up/a_b.csv") == []


def test_every_stored_thing_is_known_once(catalog: Catalog) -> None:
    with catalog.read() as transaction:
        known = {file.row: file for file in files.files(transaction)}
    assert {row for row in known if not row.startswith("runs")} == {
        "datasets d1",
        "datasets d2",
        "datasets d3",
        "predictions p1",
        "model_versions m1",
        "reference_models r1",
    }
    assert (known["predictions p1"].sha256, known["predictions p1"].size_bytes) == ("bb", 3)
    assert known["model_versions m1"].is_version
    assert known["reference_models r1"].sha256 is None
    assert not known["datasets d1"].is_version

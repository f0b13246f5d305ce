"""Every operation of the API answers what its description says, to requests that fit it and to requests that do not.

Schemathesis makes the requests from `/openapi.json` and judges the answers: no fault of ours, no status, type or header
that is not declared, and no body that its schema does not allow. Half of what requests point at is there.
"""

from __future__ import annotations

import copy
import io
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
import lightgbm
import numpy as np
import polars as pl
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import FailureGroup, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ecluse import models
from ecluse.apps.fraud.sample import write_sample
from ecluse.catalog.tables import ModelVersion
from ecluse.client.package import pack
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from ecluse.work import kinds
from tests.application import Application, running
from tests.apps.plants.sets import add_set
from tests.apps.plants.tiny import publish_tiny

pytestmark = pytest.mark.nightly
OWNER: Final = "owner@example.org"
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: The order in which operations are asked: what takes away comes last.
ORDER: Final = ("get", "put", "patch", "post", "delete")
#: What a request may point at that is there, by the name of the place in an address, a query or a body.
Things = Mapping[str, list[Any]]


@dataclass
class Asked:
    """A running Écluse with things of one person, who administers too, and its description of itself."""

    application: Application
    schema: Any
    things: Things
    headers: dict[str, str]
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("answers")
    # Without a worker: what requests ask for waits, and does not compete with them.
    with (
        running(folder / "home", role="web") as application,
        application.client(OWNER, admin=True) as client,
    ):
        things = fill(application, client, folder)
        headers = {"authorization": f"Bearer {application.token(OWNER)}"}
        description = client.get("/openapi.json").raise_for_status().json()
        schema = schemathesis.openapi.from_dict(description)
        schema.config.update(base_url=application.address)
        yield Asked(application, schema, things, headers)


def fill(application: Application, client: httpx.Client, folder: Path) -> Things:
    """Give a person versions of models, tables, a run, jobs, images, an organisation and a share."""

    def made(address: str, body: Any = None, **sent: Any) -> Any:
        return client.post(address, json=body, **sent).raise_for_status().json()

    rng = np.random.default_rng(0)
    rows = pl.DataFrame({"age": rng.integers(18, 90, 200), "income": rng.normal(size=200)})
    file = io.BytesIO()
    rows.write_csv(file)
    labelled = write_sample(folder, rows=600, score_rows=100).labelled.read_bytes()
    with Runtime.open(Settings.from_environment(application.environ, home=application.home)) as runtime:
        user = runtime.accounts.by_email(OWNER)
        churn = publish_forest(runtime, user.id, folder / "churn", rows)
        leaves = publish_tiny(runtime, user.id, folder / "leaves")
        images = add_set(runtime, user.id)
        with working(runtime):
            dataset = made("/api/upload", files={"file": ("a.csv", labelled)})
            table = made("/api/tables", files={"file": ("rows.csv", file.getvalue())})
            job = made("/api/models/churn/score", {"table": table["id"]})["job"]
            for each in (dataset["job"], job):
                assert application.wait_for_job(client, each)["status"] == "done"
    pictures = client.get(f"/api/plants/sets/{images.id}/images").json()["items"]
    split = made(f"/api/plants/sets/{images.id}/splits", {"seed": 4})
    run = made("/api/runs", {"name": "churn", "nonce": "1"})
    files = [{"path": "a", "size": 1, "sha256": "0" * 64}]
    upload = made("/api/models/later/uploads", {"nonce": "1", "files": files})
    organisation = made("/api/organisations", {"handle": "botanists", "name": "Botanists"})
    return {
        "name": ["churn", "leaves", "trial"],
        "model": ["churn", "leaves@production", "leaves"],
        "reference": ["churn", "churn@production", "leaves"],
        "version": [churn.version, leaves.version],
        "alias": ["production"],
        "path": ["ecluse.json"],
        "set_id": [images.id],
        "set": [images.id],
        "image_id": [pictures[0]["id"]],
        "images": [[pictures[1]["id"]]],
        "split_id": [split["id"]],
        "table": [table["id"], "bikes"],
        "dataset": [dataset["id"]],
        "dataset_id": [dataset["id"]],
        "filepath": [dataset["filepath"]],
        "job": [job],
        "run": [run["id"]],
        "runs": [[run["id"]]],
        "upload": [upload["id"]],
        "handle": [organisation["handle"]],
        "email": [OWNER],
        "member": [OWNER],
        "day": ["2025-09-01", "latest"],
        "form": ["csv", "parquet"],
        "index": [0],
        "number": [0, 1],
    }


def publish_forest(runtime: Runtime, user_id: str, folder: Path, rows: pl.DataFrame) -> ModelVersion:
    """A version that scores tables, with an alias."""
    model = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=2, verbose=-1, n_jobs=1)
    model.fit(rows.to_pandas(), (rows["age"] > 50).to_numpy().astype(int))
    folder.mkdir()
    packed = pack(model, folder, rows.to_pandas())
    files = list(packed.folder.iterdir())
    version = models.publish(runtime, user_id, "churn", files, metadata=packed.metadata)
    models.set_alias(runtime, user_id, "churn", "production", version.version)
    return version


@contextmanager
def working(runtime: Runtime) -> Iterator[None]:
    """Run jobs while the block lasts."""
    worker = Worker(runtime, kinds())
    worker.start()
    try:
        yield
    finally:
        worker.close()


def pointed(value: Any, things: Things, chance: random.Random) -> Any:
    """Put what is there in place of half the names of things, in addresses, queries and bodies."""
    if isinstance(value, list):
        return [pointed(each, things, chance) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: chance.choice(things[name])
        if name in things and chance.random() < 0.6
        else pointed(each, things, chance)
        for name, each in value.items()
    }


def faults_of(asked: Asked, session: requests.Session, case: Any) -> list[str]:
    """Send one request; what of its answer is not as the description says."""
    chance = random.Random(repr((case.path_parameters, case.query, str(case.body))))
    for part in ("path_parameters", "query", "body"):
        setattr(case, part, pointed(getattr(case, part), asked.things, chance))
    response = case.call(session=session, headers=asked.headers, timeout=60)
    asked.answered[case.operation.label, response.status_code] += 1
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as group:
        return [
            f"{case.operation.label}: {each.title}: {each.message}\n{case.as_curl_command()}"
            for each in group.exceptions
        ]
    return []


def ask_every_operation(asked: Asked, examples: int, mode: GenerationMode) -> list[str]:
    """Ask each operation so many times; what was answered otherwise than it should."""
    faults: list[str] = []
    session = requests.Session()
    session.trust_env = False
    operations = [result.ok() for result in asked.schema.get_all_operations()]
    for operation in sorted(operations, key=lambda each: ORDER.index(each.method.lower())):

        @seed(4)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            faults.extend(faults_of(asked, session, case))

        try:
            ask()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, (
                operation.label
            )  # it takes nothing, so nothing can be wrong
    return faults


def test_every_operation_answers_as_described(asked: Asked) -> None:
    assert ask_every_operation(asked, 2, GenerationMode.POSITIVE) == []
    assert len({operation for operation, _ in asked.answered}) >= 130
    # What is there is met: more than errors is looked at.
    assert len({operation for operation, status in asked.answered if status < 300}) >= 60


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "wrong"])
def test_every_operation_answers_as_described_at_length(asked: Asked, mode: GenerationMode) -> None:
    assert ask_every_operation(asked, 20, mode) == []


def test_what_an_operation_does_not_say_of_itself_is_found(asked: Asked) -> None:
    """The judge judges: a description that leaves out what is answered is refused."""
    description = copy.deepcopy(asked.schema.raw_schema)
    operation = description["paths"]["/api/models"]["get"]
    operation["responses"] = {"201": operation["responses"]["200"]}
    description["paths"] = {"/api/models": {"get": operation}}
    schema = schemathesis.openapi.from_dict(description)
    schema.config.update(base_url=asked.application.address)
    faults = ask_every_operation(replace(asked, schema=schema), 1, GenerationMode.POSITIVE)
    assert "Undocumented HTTP status code" in faults[0] or "Undocumented status" in faults[0]

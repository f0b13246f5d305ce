"""The same run on a laptop and in two clouds leaves the same documents."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import date
from typing import Any

import pytest

from ecluse.apps.city import actions as workflows
from ecluse.apps.city.demo import write_demo
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.apps.city.sample import held
from tests.servers import ObjectServer

DAYS = (date(2025, 10, 25), date(2025, 10, 26))


@pytest.fixture(scope="module")
def runtimes(
    object_server: ObjectServer,
    secantus_url: str,
    dynalite_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Runtime]]:
    """A laptop, S3 with MongoDB, and S3 with DynamoDB; each with raw data of its own, written by the same demo."""
    name = uuid.uuid4().hex
    environments = {
        "local and SQL": {},
        "S3 and MongoDB": object_server.environment(f"{name}/mongodb")
        | {"DATABASE_TYPE": "mongodb", "MONGODB_URL": secantus_url, "MONGODB_DATABASE": f"test_{name}"},
        "S3 and DynamoDB": object_server.environment(f"{name}/dynamodb")
        | {
            "DATABASE_TYPE": "dynamodb",
            "DYNAMODB_ENDPOINT": dynalite_url,
            "DYNAMODB_METRICS_TABLE": f"metrics_{name}",
            "DYNAMODB_REPORTS_TABLE": f"reports_{name}",
        },
    }
    with ExitStack() as stack:
        opened = {}
        for number, (place, environ) in enumerate(environments.items()):
            home = tmp_path_factory.mktemp("home") / str(number)
            runtime = stack.enter_context(Runtime.open(Settings.from_environment(environ, home=home)))
            runtime.documents.create()
            write_demo(runtime.stores.area("raw"), date(2025, 10, 13), 15, arcs=12)
            opened[place] = runtime
        yield opened


@pytest.mark.nightly
def test_the_same_run_leaves_identical_documents_on_every_store_and_database(
    runtimes: dict[str, Runtime],
) -> None:
    result: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}
    for place, runtime in runtimes.items():
        with workflows.open_city(runtime) as city:
            for day in DAYS:
                workflows.run_day(city, day, run="test")
            result[place] = without_places(held(runtime.documents), city.raw_url)
    local = result.pop("local and SQL")
    assert {kind for kind, _ in local} >= {
        "metrics/traffic",
        "metrics/arcs/2025-10-26",
        "metrics/bikes",
        "reports",
    }
    for place, documents in result.items():
        assert documents.keys() == local.keys(), place
        for name, body in documents.items():
            assert body == local[name], (place, name)


def without_places(value: Any, raw_url: str) -> Any:
    """The same, where the address of a raw file stands below its store."""
    if isinstance(value, Mapping):
        return {name: without_places(item, raw_url) for name, item in value.items()}
    if isinstance(value, list):
        return [without_places(item, raw_url) for item in value]
    return value.replace(raw_url.rstrip("/"), "raw:") if isinstance(value, str) else value


@pytest.mark.nightly
def test_the_page_of_a_report_is_the_same_everywhere(runtimes: dict[str, Runtime]) -> None:
    pages = set()
    for runtime in runtimes.values():
        with workflows.open_city(runtime) as city:
            workflows.run_day(city, DAYS[0], run="test")
            raw = city.raw_url.rstrip("/").encode()
        pages.add(runtime.data.get(f"city/reports/{DAYS[0]}/report.html").replace(raw, b"raw:"))
    assert len(pages) == 1

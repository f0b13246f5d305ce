"""The functions for AWS Lambda: real event shapes, S3 and DynamoDB as servers that speak them, nothing left on disk."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from ecluse.apps.city.demo import write_demo
from ecluse.apps.city.errors import NoRawData
from ecluse.apps.city.settings import CitySettings
from ecluse.documents import open_documents
from ecluse.errors import InvalidInput, SettingsError
from ecluse.runtime import Runtime
from ecluse.settings import Settings, variables
from ecluse.storage import open_store
from tests.apps.city.sample import held
from tests.servers import ObjectServer

pytestmark = pytest.mark.nightly

FOLDER = Path(__file__).parents[3] / "deploy" / "lambda"
PARIS = ZoneInfo("Europe/Paris")
CONTEXT = SimpleNamespace(aws_request_id="8476a536-e9f4-11e8-9739-2dfe598c3fcd", function_name="days")
#: As EventBridge sends it for a rule with a schedule.
SCHEDULED = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2025-10-07T04:30:00Z",
    "region": "eu-west-3",
    "resources": ["arn:aws:events:eu-west-3:123456789012:rule/daily"],
    "detail": {},
}
#: What a schedule of EventBridge Scheduler sends with the input of the template.
BY_SCHEDULER = {"id": "d32c5kddcf5bb8c3", "time": "2025-10-07T04:30:00Z"}


def request(path: str, token: str | None = None) -> dict[str, Any]:
    """As an HTTP API of API Gateway sends it, payload 2.0."""
    headers = {"accept": "application/json", "host": "a1b2.execute-api.eu-west-3.amazonaws.com"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2",
            "domainName": "a1b2.execute-api.eu-west-3.amazonaws.com",
            "domainPrefix": "a1b2",
            "http": {
                "method": "GET",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "tests",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "07/Oct/2025:04:30:00 +0000",
            "timeEpoch": 1759811400000,
        },
        "isBase64Encoded": False,
    }


def body_of(answer: dict[str, Any]) -> Any:
    text = answer["body"]
    return json.loads(base64.b64decode(text) if answer["isBase64Encoded"] else text)


def load() -> ModuleType:
    """The handlers, as a new instance of the function imports them."""
    spec = importlib.util.spec_from_file_location("ecluse_lambda_handler", FOLDER / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cloud(object_server: ObjectServer, moto_url: str) -> dict[str, str]:
    """What the template sets, and where the servers are: S3 with raw data of ten days, and DynamoDB with its tables."""
    name = uuid.uuid4().hex
    environ = object_server.environment(name) | {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
        "DYNAMODB_ENDPOINT": moto_url,
        "DYNAMODB_METRICS_TABLE": f"metrics_{name}",
        "DYNAMODB_REPORTS_TABLE": f"reports_{name}",
    }
    settings = Settings.from_environment(environ)
    documents = open_documents(settings.documents)
    documents.create()
    documents.close()
    write_demo(open_store(f"{settings.store_url}/raw", settings.access), date(2025, 10, 1), 10, arcs=12)
    return environ


@pytest.fixture
def handler(cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """A fresh instance with its /tmp, in a folder of code that it cannot write to."""
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    for variable, value in cloud.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("ECLUSE_HOME", str(tmp_path / "tmp" / "ecluse"))
    (tmp_path / "task").mkdir(mode=0o500)
    monkeypatch.chdir(tmp_path / "task")
    loop = asyncio.new_event_loop()  # the adapter takes the thread's, or makes one that nobody closes
    asyncio.set_event_loop(loop)
    module = load()
    yield module
    asyncio.set_event_loop(None)
    loop.close()
    for opened in (module.computing, module.answering):
        if opened.cache_info().currsize:
            opened().close()


# One day, one event


@pytest.mark.nightly("event1", "event2")
@pytest.mark.parametrize("event", [SCHEDULED, BY_SCHEDULER, {"date": "2025-10-06"}])
def test_an_event_computes_one_day(handler: ModuleType, event: dict[str, Any]) -> None:
    mark = handler.compute_day(event, CONTEXT)
    assert mark["date"] == "2025-10-06"
    assert mark["run"] == CONTEXT.aws_request_id
    assert mark["raw"].startswith("s3://")
    json.dumps(mark)
    documents = handler.computing().documents
    assert documents.get("metrics/bikes", "2025-10-06")["total"] > 0
    assert documents.get("reports", "2025-10-06")["date"] == "2025-10-06"


@pytest.mark.nightly
def test_the_same_event_twice_leaves_the_same_documents(handler: ModuleType) -> None:
    handler.compute_day(SCHEDULED, CONTEXT)
    before = held(handler.computing().documents)
    handler.compute_day(SCHEDULED, SimpleNamespace(aws_request_id="another"))
    assert held(handler.computing().documents) == before


def test_nothing_is_kept_on_the_disk_of_a_function(handler: ModuleType, tmp_path: Path) -> None:
    handler.compute_day({"date": "2025-10-05"}, CONTEXT)
    assert not list((tmp_path / "task").iterdir())
    left = [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]
    assert not [path for path in left if "cache" not in path.relative_to(tmp_path / "tmp" / "ecluse").parts]


def test_a_day_without_data_fails_so_that_the_event_comes_again(handler: ModuleType) -> None:
    with pytest.raises(NoRawData, match="no raw data for 2025-12-24"):
        handler.compute_day({"date": "2025-12-24"}, CONTEXT)


@pytest.mark.parametrize(
    ("event", "day"),
    [
        ({"date": "2025-10-26"}, date(2025, 10, 26)),
        ({"time": "2025-10-26T21:59:00Z"}, date(2025, 10, 25)),
        (
            {"time": "2025-10-26T23:00:00Z"},
            date(2025, 10, 26),
        ),  # midnight in Paris, an hour later since that night
        ({"time": "2025-03-30T22:00:00+00:00"}, date(2025, 3, 30)),
        ({"date": None, "time": "2025-07-01T04:30:00Z"}, date(2025, 6, 30)),
    ],
)
def test_an_event_names_its_day_or_means_the_day_before_on_the_clocks_of_the_city(
    event: dict[str, Any], day: date
) -> None:
    assert load().day_of(event, PARIS) == day


def test_an_event_without_a_time_means_yesterday() -> None:
    before = datetime.now(UTC).astimezone(PARIS).date() - timedelta(days=1)
    result = load().day_of({}, PARIS)
    assert before <= result <= datetime.now(UTC).astimezone(PARIS).date() - timedelta(days=1)


@pytest.mark.parametrize(
    "event",
    [
        {"date": "yesterday"},
        {"date": 5},
        {"time": "2025"},
        {"time": "2025-10-26T05:00"},
        {"time": "0001-01-01T00:00:00Z"},
        {"time": "9999-12-31T23:59:59-12:00"},
        None,
        [],
        "2025-10-26",
    ],
)
def test_an_event_whose_day_cannot_be_read_is_refused(event: Any) -> None:
    with pytest.raises(InvalidInput):
        load().day_of(event, PARIS)


# The API


def test_the_api_answers_from_the_documents_that_the_days_left(
    handler: ModuleType, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgresql_url)
    handler.compute_day({"date": "2025-10-06"}, CONTEXT)
    with Runtime.open(Settings.from_environment(home=tmp_path / "other")) as runtime:
        user = runtime.accounts.local_administrator()
        token, _ = runtime.accounts.create_token(user.id, "tests", administers=True)
    assert handler.answer(request("/livez"), CONTEXT)["statusCode"] == 200
    refused = handler.answer(request("/api/city/metrics/traffic/2025-10-06"), CONTEXT)
    assert refused["statusCode"] == 401
    answer = handler.answer(request("/api/city/metrics/traffic/2025-10-06", token), CONTEXT)
    assert answer["statusCode"] == 200, answer["body"]
    assert body_of(answer)["date"] == "2025-10-06"


def test_the_api_refuses_to_keep_accounts_on_the_disk_of_a_function(handler: ModuleType) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        handler.answer(request("/livez"), CONTEXT)


# What is deployed


class Template(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions as {name: argument}."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    assert isinstance(node, yaml.SequenceNode)
    return {suffix: loader.construct_sequence(node, deep=True)}


Template.add_multi_constructor("!", _function)


@pytest.fixture
def template() -> dict[str, Any]:
    result: dict[str, Any] = yaml.load((FOLDER / "template.yaml").read_text(), Template)  # noqa: S506 (a SafeLoader)
    return result


def functions(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: item["Properties"]
        for name, item in template["Resources"].items()
        if item["Type"] == "AWS::Serverless::Function"
    }


def test_every_function_of_the_template_is_a_handler(template: dict[str, Any]) -> None:
    module = load()
    for function in functions(template).values():
        (command,) = function["ImageConfig"]["Command"]
        assert callable(getattr(module, command.removeprefix("handler.")))


def test_every_variable_of_the_template_is_one_we_read(template: dict[str, Any]) -> None:
    given = dict(template["Globals"]["Function"]["Environment"]["Variables"])
    for function in functions(template).values():
        given |= function.get("Environment", {}).get("Variables", {})
    assert set(given) <= set(variables())
    assert Path(given["ECLUSE_HOME"]).parts[:2] == ("/", "tmp")


def test_settings_of_the_template_are_read_as_meant(template: dict[str, Any]) -> None:
    given = template["Globals"]["Function"]["Environment"]["Variables"]
    names = {"DataBucket": "data", "RawBucket": "raw", "CityName": "Lima", "CityZone": "America/Lima"}
    environ = {
        name: names.get(value["Ref"], value["Ref"]) if isinstance(value, dict) else value
        for name, value in given.items()
    }
    settings = Settings.from_environment(environ)
    assert (settings.area_url("data"), settings.area_url("raw")) == ("s3://data", "s3://raw")
    assert settings.documents.database == "dynamodb"
    assert (settings.of(CitySettings).name, settings.of(CitySettings).zone) == ("Lima", "America/Lima")


def test_a_function_may_do_what_it_does_and_no_more(template: dict[str, Any]) -> None:
    may = {
        name: {
            action
            for policy in function["Policies"]
            for statement in policy["Statement"]
            for action in statement["Action"]
        }
        for name, function in functions(template).items()
    }
    assert not any("*" in action for actions in may.values() for action in actions)
    assert not any(re.search("Put|Delete|Write|Create", action) for action in may["Api"])
    assert not any(re.search("Scan|DeleteTable|CreateTable|DeleteBucket", action) for action in may["Days"])
    for function in functions(template).values():
        for policy in function["Policies"]:
            assert not any(statement["Resource"] == "*" for statement in policy["Statement"])


def test_the_tables_of_the_template_are_those_that_the_command_makes(
    template: dict[str, Any], moto_url: str
) -> None:
    import boto3

    name = uuid.uuid4().hex
    environ = {
        "USE_DYNAMODB": "true",
        "DYNAMODB_ENDPOINT": moto_url,
        "DYNAMODB_METRICS_TABLE": f"metrics_{name}",
        "DYNAMODB_REPORTS_TABLE": f"reports_{name}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "hidden-word",
    }
    documents = open_documents(Settings.from_environment(environ).documents)
    documents.create()
    documents.close()
    client = boto3.client(
        "dynamodb",
        endpoint_url=moto_url,
        region_name="us-east-1",
        aws_access_key_id="tests",
        aws_secret_access_key="hidden-word",
    )
    made = client.describe_table(TableName=f"metrics_{name}")["Table"]
    for table in ("Metrics", "Reports"):
        written = template["Resources"][table]["Properties"]
        assert written["KeySchema"] == made["KeySchema"]
        assert sorted(map(str, written["AttributeDefinitions"])) == sorted(
            map(str, made["AttributeDefinitions"])
        )
        assert template["Resources"][table]["DeletionPolicy"] == "Retain"


def test_the_schedule_runs_on_the_clocks_of_the_city(template: dict[str, Any]) -> None:
    event = functions(template)["Days"]["Events"]["Daily"]["Properties"]
    assert event["ScheduleExpressionTimezone"] == {"Ref": "CityZone"}
    sent = json.loads(event["Input"].replace("<aws.scheduler.scheduled-time>", "2025-10-07T04:30:00Z"))
    assert load().day_of(sent, PARIS) == date(2025, 10, 6)


def test_the_image_copies_only_what_reaches_the_builder_and_a_linter_objects_to_nothing() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for name in line.split()[:-1]}
    ignore = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert copied == {line[1:] for line in ignore if line.startswith("!")}
    assert all((FOLDER.parents[1] / name).exists() for name in copied)
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    done = subprocess.run([hadolint, str(FOLDER / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_takes_the_adapter_from_the_lock() -> None:
    expression = re.search(r"sed -n '(.+?)' requirements-dev.lock", (FOLDER / "Dockerfile").read_text())
    assert expression is not None
    lock = (FOLDER.parents[1] / "requirements-dev.lock").read_text()
    part = subprocess.run(
        ["sed", "-n", expression[1]], input=lock, capture_output=True, text=True, check=True
    )
    assert re.findall(r"^([a-z][\w-]*)==", part.stdout, re.MULTILINE) == ["mangum"]
    assert "--hash=sha256:" in part.stdout

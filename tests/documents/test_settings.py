"""Which database keeps the documents, by the environment, and what contradicts itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ecluse.documents import open_documents
from ecluse.documents.backends import BACKENDS
from ecluse.errors import DocumentsMissing, SettingsError
from ecluse.settings import DATABASE_TYPES, Settings

MONGODB = {"MONGODB_URL": "mongodb://me:hidden-word@one:1,two:2/city?replicaSet=rs0"}
LAMBDA = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"}


def read(**environ: str) -> Settings:
    return Settings.from_environment(environ, home=Path("/somewhere"))


@pytest.mark.parametrize(
    ("environ", "place", "reason"),
    [
        ({}, "sqlite:////somewhere/catalog.db", "default: the database of the catalog"),
        (
            {"DATABASE_TYPE": "sql"} | LAMBDA | {"USE_S3": "false"},
            "sqlite:////somewhere/catalog.db",
            "DATABASE_TYPE=sql",
        ),
        (
            {"DATABASE_URL": "postgresql://me:hidden-word@host/db"},
            "postgresql+psycopg://me:…@host/db",
            "default: the database of the catalog",
        ),
        ({"DATABASE_TYPE": "mongodb"} | MONGODB, "mongodb://one:1,two:2/city", "DATABASE_TYPE=mongodb"),
        (
            {"DATABASE_TYPE": "mongodb", "MONGODB_DATABASE": "lyon"} | MONGODB,
            "mongodb://one:1,two:2/lyon",
            "DATABASE_TYPE=mongodb",
        ),
        (
            {"DATABASE_TYPE": "mongodb", "MONGODB_URL": "mongodb+srv://me:hidden-word@cluster.example"},
            "mongodb+srv://cluster.example/ecluse",
            "DATABASE_TYPE=mongodb",
        ),
        (MONGODB, "sqlite:////somewhere/catalog.db", "default: the database of the catalog"),
        ({"USE_DYNAMODB": "true"}, "dynamodb://us-east-1/ecluse_metrics,ecluse_reports", "USE_DYNAMODB=true"),
        (
            {"DATABASE_TYPE": "dynamodb", "AWS_REGION": "eu-west-3", "DYNAMODB_METRICS_TABLE": "mmm"},
            "dynamodb://eu-west-3/mmm,ecluse_reports",
            "DATABASE_TYPE=dynamodb",
        ),
        (
            LAMBDA | {"AWS_S3_BUCKET": "b"},
            "dynamodb://us-east-1/ecluse_metrics,ecluse_reports",
            "AWS_EXECUTION_ENV=AWS_Lambda_python3.12",
        ),
        (
            LAMBDA | {"AWS_S3_BUCKET": "b", "USE_DYNAMODB": "false"},
            "sqlite:////somewhere/catalog.db",
            "USE_DYNAMODB=false",
        ),
    ],
)
def test_the_environment_chooses_the_database_and_the_reason_is_said(
    environ: dict[str, str], place: str, reason: str
) -> None:
    settings = read(**environ)
    assert settings.documents.place == place
    assert next((one.value, one.reason) for one in settings.detected if one.name == "documents") == (
        place,
        reason,
    )
    assert "hidden-word" not in f"{settings!r} {settings.documents!r}"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DATABASE_TYPE": "oracle"}, "use sql, mongodb or dynamodb"),
        ({"DATABASE_TYPE": "sql", "USE_DYNAMODB": "true"}, "contradict each other"),
        ({"DATABASE_TYPE": "mongodb", "USE_DYNAMODB": "1"} | MONGODB, "contradict each other"),
        ({"DATABASE_TYPE": "dynamodb", "USE_DYNAMODB": "no"}, "contradict each other"),
        ({"USE_DYNAMODB": "perhaps"}, "USE_DYNAMODB=perhaps is neither true nor false"),
        ({"DATABASE_TYPE": "mongodb"}, "Set MONGODB_URL"),
        ({"MONGODB_URL": "http://host"}, "MONGODB_URL is no address of a MongoDB"),
        ({"MONGODB_URL": "mongodb://me:hidden-word@"}, "MONGODB_URL is no address of a MongoDB"),
        ({"MONGODB_URL": "mongodb://me:hidden@word@host/db"}, "write @ as %40"),
        ({"MONGODB_URL": "mongodb://me:hidden/word@host/db"}, "write @ as %40"),
        ({"MONGODB_DATABASE": "a.b"}, "is no name of a database in MongoDB"),
        ({"DYNAMODB_METRICS_TABLE": "a b"}, "is no name of a table in DynamoDB"),
        ({"DYNAMODB_METRICS_TABLE": "same", "DYNAMODB_REPORTS_TABLE": "same"}, "Name two"),
        ({"DYNAMODB_ENDPOINT": "localhost:8000"}, "DYNAMODB_ENDPOINT=localhost:8000 is not an address"),
        (
            LAMBDA,
            "AWS_EXECUTION_ENV=AWS_Lambda_python3.12 asks for S3, but no bucket is named. Set AWS_S3_BUCKET",
        ),
    ],
)
def test_what_contradicts_itself_or_cannot_be_read_is_told(environ: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**environ)
    assert said in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_in_aws_stores_are_on_s3_in_the_bucket_named() -> None:
    settings = read(**LAMBDA, AWS_S3_BUCKET="b")
    assert settings.store_url == "s3://b"
    store = next(one for one in settings.detected if one.name == "store")
    assert "AWS_EXECUTION_ENV" in store.reason
    assert read(**LAMBDA, ECLUSE_STORE_URL="memory://").store_url == "memory://"
    assert read(**LAMBDA, STORAGE_TYPE="local", AWS_S3_BUCKET="b").store_url == "file:///somewhere/store"


def test_dynamodb_takes_the_keys_of_aws_and_never_those_of_a_store() -> None:
    s3 = {"S3_ACCESS_KEY": "store", "S3_SECRET_KEY": "store-secret"}
    assert read(USE_DYNAMODB="true", **s3).documents.dynamodb.access_key is None
    aws = {"AWS_ACCESS_KEY_ID": "aws", "AWS_SECRET_ACCESS_KEY": "aws-secret", "AWS_SESSION_TOKEN": "token"}
    there = read(USE_DYNAMODB="true", **s3, **aws).documents.dynamodb
    assert (there.access_key, there.secret_key, there.session_token) == ("aws", "aws-secret", "token")
    assert "aws-secret" not in repr(there)


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, None),
        ({"S3_ENDPOINT": "http://s3:1"}, None),
        ({"AWS_ENDPOINT_URL": "http://all:1"}, "http://all:1"),
        ({"AWS_ENDPOINT_URL": "http://all:1", "AWS_ENDPOINT_URL_DYNAMODB": "http://one:1"}, "http://one:1"),
        (
            {"AWS_ENDPOINT_URL_DYNAMODB": "http://one:1", "DYNAMODB_ENDPOINT": "http://ours:1"},
            "http://ours:1",
        ),
    ],
)
def test_the_endpoint_that_is_named_most_closely_wins(environ: dict[str, str], endpoint: str | None) -> None:
    assert read(**environ).documents.dynamodb.endpoint == endpoint


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("sql", "sqlite:////somewhere/catalog.db"),
        ("dynamodb", "dynamodb://us-east-1/ecluse_metrics,ecluse_reports"),
        ("mongodb", "mongodb://one:1,two:2/city"),
        ("sqlite:////x.db", "sqlite:////x.db"),
        ("postgres://me:hidden-word@h/d", "postgresql+psycopg://me:…@h/d"),
        ("mongodb://me:hidden-word@h", "mongodb://h/ecluse"),
        ("dynamodb://eu-west-3", "dynamodb://eu-west-3/ecluse_metrics,ecluse_reports"),
        ("dynamodb://eu-west-3/mmm,rrr", "dynamodb://eu-west-3/mmm,rrr"),
    ],
)
def test_a_place_is_a_word_or_an_address_and_is_shown_without_its_password(place: str, shown: str) -> None:
    found = read(**MONGODB).documents.at("SOURCE", place)
    assert found.place == shown
    assert read(**MONGODB).documents.at("SOURCE", shown.replace(":…", "")).database == found.database


@pytest.mark.parametrize(
    "place", ["", "nosql", "oracle://h/d", "dynamodb://", "dynamodb://r/a", "mongodb://", "sqlite:"]
)
def test_what_is_no_place_is_told_with_who_gave_it(place: str) -> None:
    with pytest.raises(SettingsError, match="SOURCE"):
        read().documents.at("SOURCE", place)


def test_every_database_of_the_settings_can_be_opened() -> None:
    assert tuple(BACKENDS) == DATABASE_TYPES


def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    """In a process where `import pymongo` finds nothing, as where the extra is not installed."""
    code = (
        "import sys; from importlib.abc import MetaPathFinder\n"
        "sys.path_importer_cache.clear()\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'pymongo' else real(name, *a)\n"
        "from ecluse.documents import open_documents; from ecluse.settings import Settings\n"
        "open_documents(Settings.from_environment({'DATABASE_TYPE': 'mongodb', 'MONGODB_URL': 'mongodb://h'}).documents)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "need pymongo, which is not installed. Install it: pip install 'ecluse[mongodb]'" in done.stderr


def test_what_runs_without_mongodb_and_dynamodb_does_not_import_their_packages() -> None:
    code = (
        "import sys, ecluse.web.app, ecluse.work, ecluse.cli.documents; from ecluse.documents import open_documents\n"
        "from ecluse.settings import Settings; from ecluse.errors import DocumentsMissing\n"
        "mongodb = {'DATABASE_TYPE': 'mongodb', 'MONGODB_URL': 'mongodb://h'}\n"
        "for environ in ({'DATABASE_URL': 'sqlite:////none/x.db'}, {'USE_DYNAMODB': 'true'}, mongodb):\n"
        "    documents = open_documents(Settings.from_environment(environ).documents)\n"
        "    if not environ.keys() - {'DATABASE_URL'}:\n"
        "        try: documents.latest('a')\n"
        "        except DocumentsMissing: pass\n"
        "    documents.close()\n"
        "print([name for name in ('boto3', 'botocore', 'pymongo', 'bson') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_database_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    documents = open_documents(
        Settings.from_environment({"DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}"}).documents
    )
    with pytest.raises(DocumentsMissing, match="ecluse documents create"):
        documents.latest("metrics/zones")
    assert list(tmp_path.iterdir()) == []

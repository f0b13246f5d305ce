"""The environment is read under every name people use, and contradictions are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecluse.errors import SettingsError
from ecluse.settings import VARIABLES, Settings

HOME = Path("/somewhere")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "very-secret"}


def read(**environ: str) -> Settings:
    return Settings.from_environment(environ, home=HOME)


def test_without_configuration_everything_lies_in_the_home_folder() -> None:
    settings = read()
    assert settings.store_url == "file:///somewhere/store"
    assert settings.database_url == "sqlite:////somewhere/catalog.db"
    assert settings.jobs_url == "sqlite:////somewhere/jobs.db"


@pytest.mark.parametrize(
    ("environ", "store"),
    [
        ({"ECLUSE_STORE_URL": "s3://b/p", "STORAGE_TYPE": "local"}, "s3://b/p"),
        ({"STORAGE_TYPE": "s3", "AWS_S3_BUCKET": "b"}, "s3://b"),
        ({"USE_S3": "true", "S3_MODEL_BUCKET": "m"}, "s3://m"),
        ({"AWS_S3_BUCKET": "b"}, "s3://b"),
        ({"USE_S3": "false", "AWS_S3_BUCKET": "b"}, "file:///somewhere/store"),
        ({"STORAGE_TYPE": "local", "AWS_S3_BUCKET": "b"}, "file:///somewhere/store"),
        ({"ECLUSE_STORE_URL": "memory://"}, "memory://"),
    ],
)
def test_the_store_is_chosen_by_any_of_its_names(environ: dict[str, str], store: str) -> None:
    assert read(**environ).store_url == store


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"STORAGE_TYPE": "s3"}, "AWS_S3_BUCKET"),
        ({"STORAGE_TYPE": "ftp"}, "STORAGE_TYPE=ftp"),
        ({"STORAGE_TYPE": "local", "USE_S3": "true"}, "contradict"),
        ({"USE_S3": "perhaps"}, "USE_S3=perhaps"),
        ({"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY"),
        ({"S3_SECRET_KEY": "a"}, "S3_ACCESS_KEY"),
        ({"ECLUSE_STORE_URL": "s3://key:secret@b"}, "carries no keys"),
        ({"ECLUSE_STORE_URL": "s3:///x"}, "names no bucket"),
        ({"ECLUSE_STORE_URL": "http://x"}, "not known"),
        ({"ECLUSE_STORE_URL": "file://relative/x"}, "absolute"),
        ({"S3_ENDPOINT": "localhost:8333"}, "http://"),
        ({"DATABASE_URL": "mysql://x"}, "mysql"),
        ({"ECLUSE_CACHE_MAX_BYTES": "10 GB"}, "ECLUSE_CACHE_MAX_BYTES"),
        ({"ECLUSE_PUBLIC_URL": "ecluse.example.org"}, "ECLUSE_PUBLIC_URL"),
    ],
)
def test_what_cannot_be_used_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        read(**environ)


def test_keys_of_the_store_win_over_those_of_aws() -> None:
    settings = read(S3_ACCESS_KEY="mine", S3_SECRET_KEY="own", **KEYS)
    assert (settings.s3.access_key, settings.s3.secret_key) == ("mine", "own")


def test_the_newer_name_of_the_region_wins() -> None:
    assert read(AWS_DEFAULT_REGION="eu-west-3").s3.region == "eu-west-3"
    assert read(AWS_DEFAULT_REGION="eu-west-3", AWS_REGION="eu-west-1").s3.region == "eu-west-1"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_known_by_its_common_names(scheme: str) -> None:
    settings = read(DATABASE_URL=f"{scheme}://u:pw@h/d")
    assert settings.database_url == "postgresql+psycopg://u:pw@h/d"
    assert settings.jobs_url == settings.database_url


def test_no_secret_is_shown() -> None:
    settings = read(
        ECLUSE_STORE_URL="s3://b", DATABASE_URL="postgresql://u:hush@h/d", AWS_SESSION_TOKEN="token!", **KEYS
    )
    shown = repr(settings)
    for secret in ("hush", "very-secret", "token!"):
        assert secret not in shown


def test_every_choice_says_where_it_comes_from() -> None:
    reasons = {found.name: found.reason for found in read(USE_S3="yes", AWS_S3_BUCKET="b", **KEYS).detected}
    assert reasons["store"] == "USE_S3=yes and AWS_S3_BUCKET"
    assert reasons["keys"] == "AWS_ACCESS_KEY_ID"


def test_every_variable_that_is_read_is_documented() -> None:
    source = Path("src/ecluse/settings.py").read_text()
    body = source.split("class Settings:", 1)[1]
    read_names = {
        part.split('"')[0] for part in body.split('"') if part.isupper() and "_" in part and " " not in part
    }
    assert read_names - {"AWS_ENDPOINT_URL_S3"} <= VARIABLES.keys()

"""The environment is read under every name people use, and contradictions are told."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from ecluse.apps.city.settings import CitySettings
from ecluse.errors import SettingsError
from ecluse.settings import (
    AREAS,
    VARIABLES,
    Settings,
    schemes,
    shows_traces,
    store_or_folder,
    without_password,
)
from ecluse.settings.variables import sections
from ecluse.storage import open_store
from ecluse.storage.access import S3Settings

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
        ({"ECLUSE_STORE_URL": "file:///"}, "file:///"),
        ({"ECLUSE_STORE_URL": "file:///me@work/"}, "file:///me@work"),
        ({"ECLUSE_STORE_URL": "S3://b/p/"}, "s3://b/p"),
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
        ({"ECLUSE_STORE_URL": "s3://[x"}, "ECLUSE_STORE_URL"),
        ({"ECLUSE_STORE_URL": "/folder"}, "ECLUSE_STORE_URL=/folder"),
        ({"AWS_S3_BUCKET": "b?x"}, "AWS_S3_BUCKET"),
        ({"S3_ENDPOINT": "localhost:8333"}, "http://"),
        ({"AWS_ENDPOINT_URL": "http://[x"}, "AWS_ENDPOINT_URL"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL, with the scheme 'mysql'"),
        ({"DATABASE_URL": "sqlite://host/file"}, "DATABASE_URL"),
        ({"ECLUSE_CACHE_MAX_BYTES": "10 GB"}, "ECLUSE_CACHE_MAX_BYTES"),
        ({"ECLUSE_CACHE_MAX_BYTES": "²"}, "ECLUSE_CACHE_MAX_BYTES"),
        ({"ECLUSE_CACHE_MAX_BYTES": "9" * 5000}, "ECLUSE_CACHE_MAX_BYTES"),
        ({"ECLUSE_PUBLIC_URL": "ecluse.example.org"}, "ECLUSE_PUBLIC_URL"),
        ({"ECLUSE_PUBLIC_URL": "https://a:b"}, "ECLUSE_PUBLIC_URL"),
        ({"ECLUSE_TRUSTED_PROXIES": "proxy.example.org"}, "ECLUSE_TRUSTED_PROXIES=proxy.example.org"),
        ({"FORWARDED_ALLOW_IPS": "10.0.0.0/40"}, "FORWARDED_ALLOW_IPS=10.0.0.0/40"),
    ],
)
def test_what_cannot_be_used_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        read(**environ)


def test_only_named_proxies_are_believed() -> None:
    assert not read().proxies.believes("127.0.0.1")
    assert read(ECLUSE_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8").proxies.believes("10.1.2.3")
    assert read(FORWARDED_ALLOW_IPS="10.0.0.1").proxies.believes("10.0.0.1")
    assert not read(FORWARDED_ALLOW_IPS="*", ECLUSE_TRUSTED_PROXIES="::1").proxies.believes("10.0.0.1")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:hu[sh@h/d",
        "postgresql://u:hush@h:port/d",
        "postgresql://u:hush/x@h/d",
        "postgresql://u:12?hush@h/d",
        "postgresql://u:12#hush@h/d",
        "postgresql://u:a@hush@h/d",
        "u:hush@h",
        "postgresql://u@h/d?sslmode=require&password=hush",
        "postgresql://u@h/d?pass%77ord=hush",
    ],
)
@pytest.mark.parametrize("variable", ["DATABASE_URL", "ECLUSE_JOBS_URL", "ECLUSE_STORE_URL", "S3_ENDPOINT"])
def test_an_address_that_cannot_be_read_is_named_without_its_password(variable: str, address: str) -> None:
    with pytest.raises(SettingsError, match=variable) as refused:
        read(**{variable: address})
    assert "hu" not in str(refused.value)


def test_a_home_folder_of_nobody_is_told() -> None:
    with pytest.raises(SettingsError, match="ECLUSE_HOME=~nobody-of-this-name/x"):
        Settings.from_environment({"ECLUSE_HOME": "~nobody-of-this-name/x"})


def test_each_area_may_have_a_store_of_its_own() -> None:
    settings = read(
        ECLUSE_STORE_URL="s3://all",
        ECLUSE_MODELS_URL="gs://models/ours/",
        S3_BUCKET_IMAGES="plants-images",
        S3_RAW_BUCKET="raw",
        S3_RAW_PREFIX="/paris/",
    )
    assert {area: settings.area_url(area) for area in AREAS} == {
        "models": "gs://models/ours",
        "images": "s3://plants-images",
        "data": "s3://all",
        "raw": "s3://raw/paris",
    }
    assert read().area_url("raw") is None


def test_the_raw_data_may_lie_in_a_plain_folder(tmp_path: Path) -> None:
    assert read(ECLUSE_RAW_URL=str(tmp_path / "a b")).area_url("raw") == f"file://{tmp_path}/a%20b"
    assert read(ECLUSE_RAW_URL="raw").area_url("raw") == f"file://{Path('raw').absolute()}"
    with pytest.raises(SettingsError, match="ECLUSE_RAW_URL=s3:/bucket is neither"):
        read(ECLUSE_RAW_URL="s3:/bucket")


def test_local_storage_leaves_the_buckets_of_the_areas_alone() -> None:
    assert read(STORAGE_TYPE="local", S3_BUCKET_MODELS="models").areas == {}


def test_three_buckets_are_enough_for_s3() -> None:
    buckets = {f"S3_BUCKET_{area}": area.lower() for area in ("MODELS", "IMAGES", "DATA")}
    assert read(USE_S3="true", **buckets).store_url == "s3://data"
    del buckets["S3_BUCKET_IMAGES"]
    with pytest.raises(SettingsError, match="S3_BUCKET_IMAGES"):
        read(USE_S3="true", **buckets)


def test_a_second_s3_store_is_for_its_buckets_alone() -> None:
    access = read(
        **KEYS,
        ECLUSE_OTHER_S3_BUCKETS="old, older",
        ECLUSE_OTHER_S3_ENDPOINT="http://127.0.0.1:9000",
        ECLUSE_OTHER_S3_ACCESS_KEY="theirs",
        ECLUSE_OTHER_S3_SECRET_KEY="hidden",
    ).access.of(S3Settings)
    assert (access.to_bucket("older").access_key, access.to_bucket("new").access_key) == (
        "theirs",
        "AKIAEXAMPLE",
    )
    assert access.to_bucket("old").endpoint == "http://127.0.0.1:9000"
    assert "hidden" not in repr(access)
    with pytest.raises(SettingsError, match="ECLUSE_OTHER_S3"):
        read(ECLUSE_OTHER_S3_BUCKETS="old", ECLUSE_OTHER_S3_ACCESS_KEY="theirs")


def test_keys_of_the_store_win_over_those_of_aws_and_leave_their_token() -> None:
    aws = read(AWS_SESSION_TOKEN="of aws", **KEYS).access.of(S3Settings)
    assert (aws.access_key, aws.session_token) == ("AKIAEXAMPLE", "of aws")
    own = read(S3_ACCESS_KEY="mine", S3_SECRET_KEY="own", AWS_SESSION_TOKEN="of aws", **KEYS).access.of(
        S3Settings
    )
    assert (own.access_key, own.secret_key, own.session_token) == ("mine", "own", None)


def test_the_newer_name_of_the_region_wins() -> None:
    assert read(AWS_DEFAULT_REGION="eu-west-3").access.of(S3Settings).region == "eu-west-3"
    assert (
        read(AWS_DEFAULT_REGION="eu-west-3", AWS_REGION="eu-west-1").access.of(S3Settings).region
        == "eu-west-1"
    )


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


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hush@[::1]:5432/d", "postgresql://u:…@[::1]:5432/d"),
        ("postgresql://u:hush@h/d?sslmode=require", "postgresql://u:…@h/d?sslmode=require"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("sqlite:////somewhere/catalog.db", "sqlite:////somewhere/catalog.db"),
    ],
)
def test_a_database_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_every_choice_says_where_it_comes_from() -> None:
    reasons = {
        setting.name: setting.reason for setting in read(USE_S3="yes", AWS_S3_BUCKET="b", **KEYS).detected
    }
    assert reasons["store"] == "USE_S3=yes and AWS_S3_BUCKET"
    assert reasons["keys"] == "AWS_ACCESS_KEY_ID"


@pytest.mark.parametrize(
    ("environ", "endpoint", "region"),
    [
        ({}, "default", "default"),
        ({"S3_ENDPOINT": "http://a", "AWS_ENDPOINT_URL": "http://b"}, "S3_ENDPOINT", "default"),
        ({"AWS_ENDPOINT_URL_S3": "http://a", "AWS_REGION": "r"}, "AWS_ENDPOINT_URL_S3", "AWS_REGION"),
        (
            {"AWS_ENDPOINT_URL": "http://a", "AWS_DEFAULT_REGION": "r"},
            "AWS_ENDPOINT_URL",
            "AWS_DEFAULT_REGION",
        ),
    ],
)
def test_the_variable_that_was_used_is_named(environ: dict[str, str], endpoint: str, region: str) -> None:
    reasons = {setting.name: setting.reason for setting in read(AWS_S3_BUCKET="b", **environ).detected}
    assert (reasons["endpoint"], reasons["region"]) == (endpoint, region)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("1", True), ("Yes", True), ("on", True), ("0", False), ("false", False), ("", False)],
)
def test_traces_are_shown_only_when_they_are_asked_for(value: str, shown: bool) -> None:
    assert shows_traces({"ECLUSE_TRACE": value}) is shown
    assert not shows_traces({})


def test_the_documented_variables_are_those_that_are_read() -> None:
    core = sorted(Path("src/ecluse/settings").glob("*.py"))
    reading = "".join(path.read_text() for path in core if path.name not in ("variables.py", "__init__.py"))
    of_schemes = {name for scheme in schemes() if scheme.section for name in scheme.section.variables}
    in_schemes = "".join(path.read_text() for path in Path("src/ecluse/storage/schemes").glob("*.py"))
    assert _named(reading) - of_schemes <= VARIABLES.keys() <= _named(reading + in_schemes)
    assert _named(in_schemes) <= VARIABLES.keys() | of_schemes
    for section in sections():
        module = sys.modules[section.read.__module__]
        source = Path(str(module.__file__)).read_text().split("\n}\n", 1)[1]
        assert _named(source) == section.variables.keys()
    seam = Path("src/ecluse/dying.py")  # for tests alone, and no setting
    elsewhere = [path for path in Path("src/ecluse").rglob("*.py") if path not in (*core, seam)]
    assert not [path for path in elsewhere if re.search(r"os\.(environ|getenv)", path.read_text())]


def _named(source: str) -> set[str]:
    return set(re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"', source))


class _Recorder(dict[str, str]):
    """An environment that notes which variables are asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("name", ["s3", "gs", "az"])
def test_a_scheme_reads_what_it_declares(name: str) -> None:
    section = next(scheme.section for scheme in schemes() if scheme.name == name)
    assert section is not None
    env = _Recorder({"ECLUSE_OTHER_S3_BUCKETS": "older"})
    section.read(env)
    assert section.variables.keys() <= env.asked <= section.variables.keys() | VARIABLES.keys()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://x", "file://, memory://, s3://"),
        ("s3:///x", "names no bucket"),
        ("file://relative/x", "not an absolute folder"),
    ],
)
def test_a_store_is_refused_where_it_is_opened(address: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        open_store(read(ECLUSE_STORE_URL=address).store_url)


@pytest.mark.parametrize("key", ["not base64!", "c2VjcmV0c2", "AccountName=a;AccountKey=c2VjcmV0", "clé"])
def test_a_key_of_azure_that_is_none_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(SettingsError, match="written in base64") as refused:
        read(AZURE_STORAGE_ACCOUNT="a", AZURE_STORAGE_KEY=key)
    assert key not in str(refused.value)


def test_the_city_is_paris_by_its_own_clocks_unless_another_is_named() -> None:
    assert read().of(CitySettings) == CitySettings("Paris", "Europe/Paris", {}, None)
    city = read(
        ECLUSE_CITY_NAME="Lima",
        ECLUSE_CITY_ZONE="America/Lima",
        ECLUSE_CITY_THRESHOLDS="rain=4, wind = 40.5,",
        ECLUSE_RAW_FALLBACK_URL="/copies/raw data",
    ).of(CitySettings)
    assert (city.name, city.zone) == ("Lima", "America/Lima")
    assert city.thresholds == {"rain": 4.0, "wind": 40.5}
    assert city.raw_fallback_url == "file:///copies/raw%20data"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"ECLUSE_CITY_ZONE": "Europe/Nowhere"}, "Europe/Nowhere"),
        ({"ECLUSE_CITY_ZONE": "../etc/passwd"}, "no time zone"),
        ({"ECLUSE_CITY_ZONE": "Europe"}, "no time zone"),
        ({"ECLUSE_CITY_THRESHOLDS": "rain"}, "rain is not a name"),
        ({"ECLUSE_CITY_THRESHOLDS": "rain=wet"}, "rain=wet"),
        ({"ECLUSE_CITY_THRESHOLDS": "rain=nan"}, "rain=nan"),
        ({"ECLUSE_CITY_THRESHOLDS": "rain=1,rain=2"}, "rain=2"),
        ({"ECLUSE_RAW_FALLBACK_URL": "s3://k:s@b"}, "carries no keys"),
        ({"ECLUSE_MAP_TILES_URL": "https://tiles.example.org/"}, "{z}/{x}/{y}"),
        (
            {"ECLUSE_MAP_TILES_URL": "https://a;b/{z}/{x}/{y}", "ECLUSE_MAP_TILES_CREDIT": "x"},
            "no address of tiles",
        ),
        ({"ECLUSE_MAP_TILES_URL": "https://tiles.example.org/{z}/{x}/{y}.png"}, "whose tiles"),
        ({"IDFM_API_KEY": "a\nb"}, "IDFM_API_KEY holds blanks or characters that no key has"),
        ({"IDFM_API_KEY": "clé"}, "IDFM_API_KEY holds blanks or characters that no key has"),
    ],
)
def test_a_setting_of_the_city_that_cannot_be_used_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(named)):
        read(**environ)


def test_the_key_of_the_disruptions_is_read_without_the_line_end_of_a_file() -> None:
    key = read(IDFM_API_KEY="abc\n").of(CitySettings).idfm_api_key
    assert key is not None
    assert str(key) == "abc"
    assert read(IDFM_API_KEY="  ").of(CitySettings).idfm_api_key is None


@pytest.mark.parametrize("place", ["", "  "])
def test_an_empty_place_is_not_the_folder_one_stands_in(place: str) -> None:
    with pytest.raises(SettingsError, match="--raw is empty"):
        store_or_folder("--raw", place)


def test_places_to_import_from_are_stores_and_folders() -> None:
    listed = read(ECLUSE_IMPORT_FROM=" s3://photos/public/, /srv/a b,,FILE:///srv/c ").import_from
    assert listed == ("s3://photos/public", "file:///srv/a%20b", "file:///srv/c")
    assert read().import_from == ()
    with pytest.raises(SettingsError, match="ECLUSE_IMPORT_FROM"):
        read(ECLUSE_IMPORT_FROM="s3:photos")

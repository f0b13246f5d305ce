"""A new scheme of storage is one file and its line in the table; settings, doctor, prices and docs loop over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from ecluse import migration
from ecluse.cli import cli
from ecluse.cli.storage import storage
from ecluse.errors import CannotSign, InvalidInput, ObjectExists, SettingsError
from ecluse.migration.overlap import share_a_part
from ecluse.runtime import Runtime
from ecluse.settings import SCHEMES, Settings, local_folder, scheme_of, schemes, split_root, store_or_folder
from ecluse.settings.schemes import address_forms
from ecluse.storage.prices import offer_of
from tests.shelf_scheme import ShelfSettings
from tests.web.test_pages import browser
from tools import reference


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMES, "shelf", "tests.shelf_scheme:SCHEME")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"ECLUSE_STORE_URL": f"shelf://{tmp_path}/shelf", "SHELF_LABEL": "herbs"}


@pytest.fixture
def runtime(environment: dict[str, str], tmp_path: Path) -> Iterator[Runtime]:
    settings = Settings.from_environment(environment, home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        yield runtime


def test_a_store_of_a_new_scheme_keeps_objects(runtime: Runtime, tmp_path: Path) -> None:
    store = runtime.stores.area("models")
    url = store.url_of(store.put("user_models/1/a", b"mint", create_only=True).key)
    assert url == f"shelf://{tmp_path}/shelf/user_models/1/a"
    with pytest.raises(ObjectExists):
        store.put("user_models/1/a", b"sage", create_only=True)
    assert [info.key for info in runtime.data.list()] == ["user_models/1/a"]
    located = runtime.stores.locate(url)
    assert located.store.get(located.key) == b"mint"
    assert (tmp_path / "shelf/user_models/1/a").read_bytes() == b"mint"
    with pytest.raises(CannotSign, match=r"s3://, gs:// or az://"):
        store.sign("user_models/1/a", "GET", timedelta(minutes=1))


def test_settings_read_a_new_scheme(environment: dict[str, str], tmp_path: Path) -> None:
    settings = Settings.from_environment(environment, home=tmp_path / "home")
    assert settings.access.of(ShelfSettings) == ShelfSettings("herbs")
    assert [(d.value, d.reason) for d in settings.detected if d.name == "shelf"] == [("herbs", "SHELF_LABEL")]
    assert settings.local_places()["models"] == tmp_path / "shelf", (
        "its disk is watched like that of any folder"
    )
    assert offer_of(settings.store_url, settings.access) is not None
    with pytest.raises(SettingsError, match=r"carries no keys .* Put keys into SHELF_LABEL\."):
        Settings.from_environment({"ECLUSE_STORE_URL": "shelf://me@x/y"})
    with pytest.raises(SettingsError, match="neither the address of a store"):
        store_or_folder("--raw", "shelf:/slip")


def test_migrations_see_through_a_new_scheme(runtime: Runtime, tmp_path: Path) -> None:
    """A folder is one place under either name, and those of no area stay for the terminal."""
    assert share_a_part(f"shelf://{tmp_path}/shelf", f"file://{quote(str(tmp_path))}/shelf/a")
    with pytest.raises(InvalidInput, match="is no folder of an area"):
        migration.check_places(runtime.stores, "data", f"shelf://{tmp_path}/elsewhere")


def test_the_doctor_proves_a_store_of_a_new_scheme(environment: dict[str, str], tmp_path: Path) -> None:
    command = ["doctor", "--json", "--home", str(tmp_path / "home")]
    answer = json.loads(CliRunner(env=environment).invoke(cli, command).stdout)
    assert {"name": "shelf", "value": "herbs", "reason": "SHELF_LABEL"} in answer["detected"]
    assert [check["status"] for check in answer["checks"] if check["part"] == "store"] == ["ok"]


def test_forms_of_addresses_come_from_the_table(runtime: Runtime) -> None:
    form = "file:///folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix"
    assert address_forms() == f"{form}, shelf:///folder"
    assert form in " ".join((storage.help or "").split())
    client = browser(runtime, runtime.accounts.sign_up("forms@example.org", "a long password"))
    page = " ".join(client.get("/migrations/new?lang=fr").text.split())
    assert f"ou une adresse de l’une de ces formes : {form}, shelf:///folder." in page.replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_the_documentation_lists_a_new_scheme() -> None:
    page = reference.pages()["settings.md"]
    assert "| `shelf:///folder` | A shelf with a label | no |" in page
    assert "| `SHELF_LABEL` | Label of the shelf |" in page
    assert "az://container/prefix, shelf:///folder. Default: file://{home}/store" in page


@pytest.mark.parametrize(
    ("url", "split"),
    [
        ("s3://bucket/a/b", ("s3://bucket", "a/b")),
        ("s3:///bucket", ("", "bucket")),
        ("s3://bucket", ("s3://bucket", "")),
        ("memory://a/b", ("memory://a", "b")),
        ("file:///a/b/c", ("file:///a/b", "c")),
        ("shelf:///a/b/c", ("shelf:///a/b", "c")),
        ("file:///a", ("", "a")),
        ("plain", ("", "")),
    ],
)
def test_an_address_is_split_into_store_and_key(url: str, split: tuple[str, str]) -> None:
    assert split_root(url) == split


def test_every_scheme_of_the_table_is_called_as_it_is_listed() -> None:
    assert [scheme.name for scheme in schemes()] == list(SCHEMES)
    assert all(scheme.form.startswith(f"{scheme.name}://") for scheme in schemes())
    assert scheme_of("ftp://host") is None
    assert local_folder("s3://bucket/a") is None

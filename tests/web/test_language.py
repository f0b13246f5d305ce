"""A third language is one folder: pages of the shell and of each application are said in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po

from ecluse.catalog.tables import User
from ecluse.runtime import Runtime
from ecluse.web import i18n
from ecluse.web.i18n import Words
from tests.locales import languages_in
from tests.web.test_pages import Browser, browser, owner, runtime
from tools import messages as tool

__all__ = ["owner", "runtime"]  # fixtures

#: Where the invented language differs from what Babel knows of its code.
FORMATS = """
name = "Invented"
locale = "de"
brief_day = "yyyy/MM/dd"
"""


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A language in which each message is the English one between brackets."""
    folder = tmp_path_factory.mktemp("locale")
    for code in i18n.languages():
        shutil.copytree(i18n.FOLDER / code, folder / code)
    translations = folder / "qya" / "LC_MESSAGES"
    translations.mkdir(parents=True)
    (folder / "qya" / "formats.toml").write_text(FORMATS)
    for name in tool.files("fr"):
        catalogue = Catalog("de")
        for message in (message for message, of in tool.messages().items() if of == name):
            forms = [message] if isinstance(message, str) else list(message)
            said = [f"[{form}]" for form in forms]
            catalogue.add(message, said[0] if isinstance(message, str) else said)
        with (translations / f"{name}.po").open("wb") as file:
            write_po(file, catalogue)
    with languages_in(folder):
        yield


@pytest.fixture
def client(invented: None, runtime: Runtime, owner: User) -> Browser:
    return browser(runtime, owner)


def page(client: Browser, path: str) -> str:
    return client.get(f"{path}?lang=qya").raise_for_status().text


@pytest.mark.usefixtures("invented")
def test_the_language_is_offered_by_its_own_name(client: Browser) -> None:
    assert i18n.languages().items() >= {"en": "English", "fr": "Français", "qya": "Invented"}.items()
    assert re.search(r'hreflang="qya"\s*>Invented</a>', client.get("/").text)


def test_menu_numbers_and_dates_are_said_in_it(client: Browser) -> None:
    table = page(client, "/fraud/d/dlabelled")
    assert '<html lang="qya"' in table
    for entry in ("Home", "Fraud", "City", "Plants", "Models", "Runs", "Storage", "Jobs", "Account"):
        assert f"[{entry}]</a>" in table
    shown = re.findall(r"<dd>\s*([^<]*?)\s*</dd>", table)
    assert {"20.000", "3,1\u00a0MB", "2025/11/21, 04:10\u00a0UTC"} <= set(shown)


@pytest.mark.parametrize("path", ["/", "/fraud", "/city", "/plants", "/models", "/runs", "/storage", "/jobs"])
def test_each_application_and_the_shell_speak_it(client: Browser, path: str) -> None:
    main = page(client, path).partition("<main")[2].partition("</main>")[0]
    sentences = re.findall(r">\s*([^<>]*? [^<>]*?[.?:]\]?)\s*<", main)
    assert sentences
    assert [text for text in sentences if "[" not in text] == []


@pytest.mark.usefixtures("invented")
def test_an_application_without_pages_speaks_it() -> None:
    assert Words("qya")._("waiting to be exported") == "[waiting to be exported]"

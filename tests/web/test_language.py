"""No page has a sentence that is written past the translations: each is drawn in an invented language."""

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
from tests.locales import languages_in
from tests.web.test_pages import browser, owner, runtime
from tools import messages as tool

__all__ = ["owner", "runtime"]  # fixtures

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A language in which each message is the English one between brackets."""
    folder = tmp_path_factory.mktemp("locale")
    shutil.copytree(i18n.FOLDER, folder, dirs_exist_ok=True)
    translations = folder / "qya" / "LC_MESSAGES"
    translations.mkdir(parents=True)
    (folder / "qya" / "formats.toml").write_text('name = "Invented"\nlocale = "de"\n')
    catalogue = Catalog("de")
    for message in tool.messages():
        is_plural = isinstance(message, tuple)
        catalogue.add(message, [f"[{form}]" for form in message] if is_plural else f"[{message}]")
    with (translations / "ecluse.po").open("wb") as file:
        write_po(file, catalogue)
    with languages_in(folder):
        yield


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize("path", ["/", "/fraud", "/city", "/plants", "/models", "/runs", "/storage", "/jobs"])
def test_every_sentence_of_a_page_is_translated(path: str, runtime: Runtime, owner: User) -> None:
    page = browser(runtime, owner).get(f"{path}?lang=qya").raise_for_status().text
    main = page.partition("<main")[2].partition("</main>")[0]
    sentences = re.findall(r">\s*([^<>]*? [^<>]*?[.?:]\]?)\s*<", main)
    assert sentences
    assert [text for text in sentences if "[" not in text] == []

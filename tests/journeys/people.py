"""People with a browser of their own: what they click in their language, and how each page they reach is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from ecluse.web.i18n import Words
from tests.journeys.browser import DESKTOP, PHONE, barriers, new_page, overflow, picture
from tools.messages import messages

LANGUAGES: Final = ("en", "fr")
PASSWORD: Final = "correct horse battery"
#: How each page is looked at: in the light on a desktop, and in the dark on a phone.
VIEWS: Final = (("light", DESKTOP), ("dark", PHONE))
#: Words of English sentences that no French sentence holds.
ENGLISH: Final = re.compile(
    r"\b(the|of|and|with|are|this|that|who|was|has|is|not|your|you|from|made)\b", re.I
)
#: Names of plans, which are the same in every language.
PLANS: Final = ("trial", "basic", "premium", "enterprise")
#: What stands on a page to be read, but for code, names that people gave, and what says that it is in another language.
TEXTS: Final = """() => {
    const texts = [document.title], left = 'script, style, code, pre, .mono, .token, [lang]:not(html), option'
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walker.nextNode())
        if (!walker.currentNode.parentElement.closest(left)) texts.push(walker.currentNode.data)
    for (const name of ['aria-label', 'title', 'placeholder', 'data-label', 'data-l'])
        for (const element of document.querySelectorAll(`[${name}]`))
            if (!element.closest(left)) texts.push(element.getAttribute(name))
    for (const option of document.querySelectorAll('option')) texts.push(option.label)
    return texts.map(text => text.replace(/\\s+/g, ' ').trim()).filter(Boolean)
}"""
#: What a browser says of answers that a journey asks for on purpose.
REFUSED: Final = re.compile(r"the server responded with a status of (403|404|409|422)")


@cache
def english() -> frozenset[str]:
    """Return the messages of the pages that read otherwise in French, as they are written in English."""
    french = Words("fr")
    plain = {text for text in messages() if isinstance(text, str) and "%" not in text}
    said = {french._(text) for text in plain}
    return frozenset(text for text in plain if french._(text) != text and text not in said)


@dataclass
class Person:
    """Someone with a browser of their own in one language. `addresses`: the pages they looked at, by name."""

    context: BrowserContext
    page: Page
    address: str
    language: str
    email: str
    addresses: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def say(self, message: str, **values: object) -> str:
        """Return a sentence of the pages in this person's language."""
        return Words(self.language)._(message, **values)

    def go(self, path: str) -> None:
        """Open an address of the application."""
        self.page.goto(path if "://" in path else f"{self.address}{path}")

    def click(self, message: str, within: Locator | None = None, **values: object) -> None:
        """Press the button that says this in the person's language."""
        name = self.say(message, **values)
        (within or self.page.get_by_role("main")).get_by_role("button", name=name, exact=True).click()

    def fill(self, **values: str) -> None:
        """Write into the fields with these ids; an underscore stands for a hyphen."""
        for name, value in values.items():
            self.page.locator(f"#{name.replace('_', '-')}").fill(value)

    def sees(self, message: str, **values: object) -> None:
        """Assert that the page says this in the person's language."""
        expect(self.page.get_by_text(self.say(message, **values)).first).to_be_visible()

    def follow(self, message: str) -> None:
        """Open the link of the page that says this in the person's language."""
        self.page.locator("main a").get_by_text(self.say(message), exact=True).first.click()

    def sign_up(self, path: str = "/sign-up") -> None:
        """Make the account, which signs in."""
        self.go(path)
        self.fill(email=self.email, password=PASSWORD)
        self.click("Make the account")
        expect(self.page.locator(".side .who, .tabbar").first).to_be_attached()

    def look(self, name: str) -> None:
        """Look at the page: it is one that everyone can use, and that is in the person's language.

        Asserted in the light on a desktop and in the dark on a phone: axe finds no barrier with every part unfolded,
        and nothing makes the page wider than its window. Asserted once: it says its language and has one heading of
        the first level; the browser complained of nothing; in French, no text of the page is an English message or
        holds the words of English sentences.
        """
        page = self.page
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        assert page.locator("html").get_attribute("lang") == self.language, name
        left = [] if self.language == "en" else untranslated(page.evaluate(TEXTS), self.email)
        assert left == [], f"{name}: {left}"
        complaints = [text for text in self.complaints if not REFUSED.search(text)]
        assert complaints == [], f"{name}: {complaints}"
        noted = len(self.complaints)
        for theme, size in VIEWS:
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
            page.set_viewport_size(size)
            assert overflow(page) <= 0, f"{name}, {size['width']} px: {wider(page)}"
            picture(page, f"{self.email.partition('@')[0]}-{name}-{theme}")
            barred = barriers(page)
            assert barred == [], f"{name}, {theme}: {barred}"
        page.set_viewport_size(DESKTOP)
        del self.complaints[noted:]  # axe writes style attributes, which the policy of the pages refuses
        self.addresses[name] = page.url.partition("#")[0]

    def is_lost(self, path: str, *names: str) -> None:
        """Assert that an address leads this person nowhere: not found, nothing named, and a way out."""
        answer = self.page.goto(path)
        assert answer is not None
        assert answer.status == 404, path
        text = self.page.content().replace(path.removeprefix(self.address), "")
        assert [name for name in names if name in text] == [], path
        expect(self.page.locator("main a")).to_have_text(self.say("Back to the home page"))


@contextmanager
def person(browser: Browser, address: str, language: str, name: str) -> Iterator[Person]:
    """Someone who has opened no page yet; their address is the name with the language."""
    context = browser.new_context(viewport=DESKTOP, locale=language, timezone_id="Europe/Paris")
    complaints: list[str] = []
    page = new_page(context, complaints)
    yield Person(context, page, address, language, f"{name}-{language}@example.org", complaints=complaints)
    context.close()


def untranslated(texts: list[str], *given: str) -> list[str]:
    """Return the texts of a French page that are English; what a person gave is left out of them."""
    left = []
    for text in texts:
        for name in given:
            text = text.replace(name, "")
        if (text in english() and text not in PLANS) or len(ENGLISH.findall(text)) > 1:
            left.append(text)
    return left


def wider(page: Page) -> list[str]:
    """Return what reaches beyond the right edge of the window."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll('main *')]
            .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
            .map(each => each.outerHTML.slice(0, 120)).slice(0, 4)"""
    )
    return found

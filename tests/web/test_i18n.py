import math
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateSyntaxError

from ecluse.catalog.tables import AuditEntry
from ecluse.web import i18n
from ecluse.web.i18n import Words, choose_language, languages, zone_named
from ecluse.web.log_words import said_of
from tools import messages as tool

ENGLISH, FRENCH = Words("en"), Words("fr")
MOMENT = datetime(2025, 11, 21, 4, 10, tzinfo=UTC)
PLACES = re.compile(r"%\(\w+\)s|%%|\{\w+\}")


@cache
def translations(language: str) -> dict[str | tuple[str, ...], Message]:
    found: dict[str | tuple[str, ...], Message] = {}
    for path in (i18n.FOLDER / language / "LC_MESSAGES").glob("*.po"):
        with path.open("rb") as file:
            found |= {m.id if isinstance(m.id, str) else tuple(m.id): m for m in read_po(file) if m.id}
    return found


def test_a_name_that_turns_the_direction_of_writing_turns_no_sentence_around_it() -> None:
    name = "photo\u202egpj.exe"
    said = ENGLISH._("Remove %(file)s?", file=name)
    assert said == f"Remove \u2068{name}\u2069?"
    ended = FRENCH.ngettext(
        "%(count)s row of %(file)s", "%(count)s rows of %(file)s", 2, file="a\u2069\u202eb"
    )
    assert ended.endswith("\u2068a\u202eb\u2069")
    assert ENGLISH._("Remove %(file)s?", file="a.csv") == "Remove a.csv?"


@pytest.mark.parametrize("language", tool.languages())
def test_translations_keep_the_places_of_their_message(language: str) -> None:
    for message, translation in translations(language).items():
        originals = [message] if isinstance(message, str) else list(message)
        forms = [translation.string] if isinstance(message, str) else list(translation.string)
        for original, form in zip(originals, forms, strict=True):
            assert not form or sorted(PLACES.findall(form)) == sorted(PLACES.findall(original)), message


@pytest.mark.nightly
@pytest.mark.parametrize("language", tool.languages())
def test_translations_are_complete(language: str) -> None:
    known = translations(language)
    assert tool.messages().keys() == known.keys()
    incomplete = [
        m for m, t in known.items() if t.fuzzy or not (t.string if isinstance(m, str) else all(t.string))
    ]
    assert incomplete == []


def test_a_template_is_read_as_pages_read_it_or_not_at_all(tmp_path: Path) -> None:
    """One that was passed over would lose its translations with the next `just messages`."""
    template = tmp_path / "templates" / "page.html"
    template.parent.mkdir()
    template.write_text('{% do rows.append(_("Said within do")) %}{{ _("Said after it") }}')
    assert {message for _file, message in tool.extracted(tmp_path)} == {"Said within do", "Said after it"}
    template.write_text('{{ _("Said before") }}{% unknown %}')
    with pytest.raises(TemplateSyntaxError, match="unknown"):
        list(tool.extracted(tmp_path))


def test_numbers_follow_the_language() -> None:
    assert ENGLISH.num(4920.5, 2) == "4\u00a0920.50"
    assert FRENCH.num(4920.5, 2) == "4\u00a0920,50"
    assert ENGLISH.num(-3) == "\u22123"
    assert ENGLISH.num(-0.001, 2) == "0.00"
    assert FRENCH.signed(0.914) == "+0,91"
    assert (FRENCH.signed(0.3, 0), FRENCH.signed(-0.3, 0), FRENCH.signed(0.6, 0)) == ("0", "0", "+1")
    assert ENGLISH.num(None) == "–"


def test_a_day_ends_at_an_hour_that_no_clock_shows() -> None:
    assert [FRENCH.hour(label) for label in ("23:00", "24:00")] == ["23\u00a0h", "24\u00a0h"]
    assert ENGLISH.hour("24:00") == "24:00"


def test_shares_carry_no_more_digits_than_they_need() -> None:
    said = [ENGLISH.percent(share) for share in (0, 0.0014, 0.041, 0.68, 0.9985, 1)]
    assert said == ["0\u00a0%", "0.14\u00a0%", "4.1\u00a0%", "68\u00a0%", "99.85\u00a0%", "100\u00a0%"]


def test_a_threshold_has_the_digits_that_tell_it_from_certainty() -> None:
    said = [ENGLISH.threshold(score) for score in (0.111, 0.5, 0.997, 0.99958, 0.0004, 0, 1)]
    assert said == ["0.111", "0.500", "0.997", "0.9996", "0.0004", "0.000", "1.000"]
    assert FRENCH.threshold(0.997) == "0,997"


@given(st.floats(1e-6, 1 - 1e-6))
def test_no_threshold_short_of_certainty_shows_as_certain(score: float) -> None:
    assert 0 < float(ENGLISH.threshold(score)) < 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0.4\u00a0s"),
        (0, "<1\u00a0s"),
        (6, "6\u00a0s"),
        (23, "23\u00a0s"),
        (59.7, "1\u00a0min"),
        (200, "3\u00a0min 20\u00a0s"),
        (7500, "2\u00a0h 05\u00a0min"),
    ],
)
def test_durations_use_the_unit_that_fits(seconds: float, said: str) -> None:
    assert ENGLISH.duration(seconds) == said


def test_sizes_use_decimal_units_of_the_language() -> None:
    assert ENGLISH.bytes(128_700_000) == "128.7\u00a0MB"
    assert FRENCH.bytes(128_700_000) == "128,7\u00a0Mo"
    assert ENGLISH.bytes(42) == "42\u00a0B"


def test_moments_are_told_in_the_zone_of_the_reader_or_say_utc() -> None:
    assert ENGLISH.when(MOMENT) == "21 Nov 2025, 04:10\u00a0UTC"
    assert Words("fr", ZoneInfo("Europe/Paris")).when(MOMENT) == "21 nov. 2025, 5\u00a0h\u00a010"
    assert FRENCH.day(MOMENT) == "21 novembre 2025"
    first = MOMENT.replace(month=5, day=1)
    assert (FRENCH.day(first), ENGLISH.day(first)) == ("1er mai 2025", "1 May 2025")
    assert (FRENCH.when(first), FRENCH.short_day(first)) == (
        "1er mai 2025, 4\u00a0h\u00a010\u00a0UTC",
        "1er mai",
    )


@pytest.mark.parametrize("zone", [None, "Pacific/Kiritimati", "America/Adak"])
@pytest.mark.parametrize("moment", [datetime.min, datetime.max], ids=["first", "last"])
def test_a_moment_that_a_zone_cannot_tell_is_told_all_the_same(moment: datetime, zone: str | None) -> None:
    words = Words("fr", ZoneInfo(zone) if zone else None)
    for say in (words.when, words.day, words.brief_day):
        assert say(moment.replace(tzinfo=UTC))


def test_titles_that_are_dates_are_written_in_the_language() -> None:
    assert FRENCH.dated("2025-10-14 – 2025-10-21") == "14 oct. 2025 – 21 oct. 2025"
    for name in ("20251014", "2025-02-30", "leaves"):
        assert FRENCH.dated(name) == name


def test_an_entry_of_the_log_is_said_in_the_language_and_an_unknown_one_as_it_is_written() -> None:
    entries = [
        AuditEntry(action=action, subject="x", detail={}) for action in ("user.disable", "gone.before")
    ]
    assert said_of(entries, FRENCH) == {"user.disable": "compte désactivé", "gone.before": "gone.before"}


def test_french_takes_the_singular_for_zero_and_english_the_plural() -> None:
    forms = ("%(count)s row", "%(count)s rows")
    assert [ENGLISH.ngettext(*forms, n) for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert [FRENCH.ngettext(*forms, n) for n in (0, 1, 2)] == ["0 ligne", "1 ligne", "2 lignes"]


@pytest.mark.parametrize(
    ("asked", "remembered", "accept", "language"),
    [
        (None, None, "", "en"),
        (None, None, "fr-CA,fr;q=0.8,en;q=0.5", "fr"),
        (None, None, "tlh, en;q=0.5, fr;q=0.9", "fr"),
        (None, None, "fr;q=0, en", "en"),
        (None, "fr", "en", "fr"),
        ("en", "fr", "fr", "en"),
        ("tlh", None, "fr;q=x", "en"),
    ],
)
def test_the_address_wins_over_the_cookie_and_the_cookie_over_the_browser(
    asked: str | None, remembered: str | None, accept: str, language: str
) -> None:
    assert choose_language(asked, remembered, accept) == language


@given(st.text(max_size=60))
def test_any_accept_language_header_gives_a_language(header: str) -> None:
    assert choose_language(None, None, header) in languages()


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(0, 4))
def test_a_formatted_number_reads_back_as_the_rounded_one(value: float, digits: int) -> None:
    for words in (ENGLISH, FRENCH):
        text = words.num(value, digits).replace("\u00a0", "").replace("\u2212", "-").replace(",", ".")
        assert math.isclose(float(text), round(value, digits), rel_tol=1e-9, abs_tol=0.51 * 10**-digits)


@pytest.mark.parametrize("name", ["", "Nowhere/Land", "../etc/passwd", "Europe", "\0"])
def test_a_zone_that_does_not_exist_is_no_zone(name: str) -> None:
    assert zone_named(name) is None

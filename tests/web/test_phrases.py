"""What the core writes in English is said in French, its variable parts with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.fraud.dataset import open_table
from ecluse.fraud.profile import profile_table
from ecluse.fraud.sample import write_sample
from ecluse.web.i18n import Words
from ecluse.web.phrases import MESSAGES, translated

FRENCH = Words("fr")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "Line 1,204 has 13 values; the header has 14. Correct the line and try again.",
            "La ligne 1\u00a0204 a 13 valeurs, l'en-tête 14. Corrigez la ligne et recommencez.",
        ),
        (
            'two values, 0.82 % "1"; the name contains "fraud"',
            "deux valeurs, 0,82\u00a0% de «\u00a01\u00a0»\u00a0; le nom contient «\u00a0fraud\u00a0»",
        ),
        ("amount 3.8 × usual", "amount 3,8 × l'habituel"),
        ("device_id first seen for this customer", "device_id jamais vu chez ce client"),
        (
            "39 days since the last row of this customer_id",
            "39 jours depuis la dernière ligne de ce customer_id",
        ),
        (
            "XGBoost, deep, 3 of up to 29. Best so far: average precision 0.713",
            "XGBoost, deep, 3 sur 29 au plus. Meilleure précision moyenne\u00a0: 0,713",
        ),
        ("constant first seen", "constant jamais vu"),
        ("The moon is full.", "The moon is full."),
        ("", ""),
    ],
)
def test_sentences_of_the_core_are_said_in_french(written: str, said: str) -> None:
    assert translated(written, FRENCH) == said


def test_english_readers_get_the_sentence_as_it_was_written() -> None:
    assert translated("amount 3.8 × usual", Words("en")) == "amount 3.8 × usual"


@given(st.text(max_size=80))
def test_any_text_can_be_shown(text: str) -> None:
    assert isinstance(translated(text, FRENCH), str)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_sentence_made_from_a_message_is_recognised(message: str) -> None:
    parts = dict.fromkeys(re.findall(r"%\((\w+)\)s", message), "C7")
    assert translated(message % parts, FRENCH) == FRENCH._(message, **parts)


def test_no_sentence_about_a_sample_table_stays_english(tmp_path: Path) -> None:
    path = write_sample(tmp_path, rows=2_000, score_rows=100).labelled
    with open_table(path) as table:
        profile = profile_table(table)
    reasons = [column.reason for column in profile.columns] + list(profile.warnings)
    assert [reason for reason in reasons if reason and translated(reason, FRENCH) == reason] == []

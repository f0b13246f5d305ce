"""What the core writes in English is said in French, its variable parts with it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.profiling.profile import profile_table
from ecluse.apps.fraud.sample import write_sample
from ecluse.apps.fraud.scoring.scoring import _date_words, _history_words
from ecluse.apps.fraud.tables.dataset import open_table
from ecluse.web.i18n import Words
from ecluse.web.phrases import MESSAGES, translated
from tests.web.sentences import NAME, sentences, words

FRENCH = Words("fr")
FRENCH_SENTENCES = [
    FRENCH._(message, **dict.fromkeys(re.findall(r"%\((\w+)\)s", message), "")) for message in MESSAGES
]


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
        (
            "More than half of the rows are fraud: is_attack = 1 in 57%. If that value means that a row is in order, "
            "name the other one.",
            "Plus de la moitié des lignes sont des fraudes\u00a0: is_attack = 1 pour 57\u00a0%. Si cette valeur désigne "
            "une ligne en règle, indiquez l'autre.",
        ),
        (
            "device_id not seen for this customer in training",
            "device_id jamais vu chez ce client à l’entraînement",
        ),
        (
            "39 days since the last row of this customer_id in training",
            "39 jours depuis la dernière ligne de ce customer_id à l’entraînement",
        ),
        (
            "XGBoost, deep, 3 of up to 29. Best so far: average precision 0.713",
            "XGBoost, profond, 3 sur 29 au plus. Meilleure précision moyenne jusqu’ici\u00a0: 0,713",
        ),
        ("constant not seen in training", "constant jamais vu à l’entraînement"),
        ("writing disruptions", "écriture\u00a0: perturbations"),
        (
            "fetching weather: 2025-10-01 to 2025-10-07",
            "récupération\u00a0: météo, du 2025-10-01 au 2025-10-07",
        ),
        (
            "a.org did not give https://a.org/b in 6 attempts: the answer broke off. Look at your connection, or "
            "whether the portal is up, and give the same command again: what was fetched stays.",
            "a.org n'a pas donné https://a.org/b en 6 essais\u00a0: la réponse s'est interrompue. Vérifiez votre "
            "connexion, et si le portail fonctionne, puis relancez\u00a0: ce qui a été récupéré reste.",
        ),
        ("The moon is full.", "The moon is full."),
        ("", ""),
    ],
)
def test_sentences_of_the_core_are_said_in_french(written: str, said: str) -> None:
    assert translated(written, FRENCH) == said


def test_english_readers_get_the_sentence_as_it_was_written() -> None:
    assert translated("amount 3.8 × usual", Words("en")) == "amount 3.8 × usual"


def test_a_very_long_text_is_shown_as_it_was_written() -> None:
    text = f"{'C7, ' * 1_000}C7: one value only, or none; it tells nothing."
    assert translated(text, FRENCH) == text


@given(st.text(max_size=80))
def test_any_text_can_be_shown(text: str) -> None:
    assert isinstance(translated(text, FRENCH), str)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_sentence_made_from_a_message_is_recognised(message: str) -> None:
    shapes = dict.fromkeys(("count", "number", "rows", "done", "total", "days", "hours"), "7") | {
        "time": "5 h",
        "feature": "a: b",
    }
    parts = {place: shapes.get(place, "C7") for place in re.findall(r"%\((\w+)\)s", message)}
    assert translated(message % parts, FRENCH) == FRENCH._(message, **parts)


def test_no_sentence_about_a_sample_table_stays_english(tmp_path: Path) -> None:
    path = write_sample(tmp_path, rows=2_000, score_rows=100).labelled
    with open_table(path) as table:
        profile = profile_table(table)
    reasons = [column.reason for column in profile.columns] + list(profile.warnings)
    assert [reason for reason in reasons if reason and translated(reason, FRENCH) == reason] == []


#: Pieces of sentences that other tests see whole, in their table or their reasons.
PIECES = {
    " of 7 sampled", "C7 and C7 more", " and C7 more", "C7 alone ", "Exact duplicates of another row: 7C7.",
    "dates C7", "over 7 days", "over 7 hours", "nearly every", " in 7 rows", "C7 value is differentC7",
    "earlier rows", "since the customer's last row", "times the customer's usual",
    "distance from the customer's usual", "new for the customer", "digit share",
    "Frauds repeat: 7 are 7 distinct rows, one of them 7 times. Distinct frauds: C7. C7",
    "Equal frauds stay in one part, and each distinct one counts once in threshold, figures and intervals: frauds "
    "that come again are found more often than these say.",
    "The split is by time, so that equal frauds stand on both sides, as they will in use.",
    "to train", "to validate", "to test",
    "C7 Columns of few values: C7.", "C7, line 1", ", column C7", "a label", "the name of a set",
}  # fmt: skip
#: Strings that no page shows: notes on how columns are read, names within files, what a terminal is told.
NOT_SHOWN = {
    "leading zeros: a code", "too long for a number", "whole, all distinct, and named like an identifier",
    "whole, and named like an identifier", "counts the rows", "day before month", "month before day",
    "every comma stands before three digits: thousands or decimals, read as the rest of the table",
    "every point stands before three digits: thousands or decimals, read as the rest of the table",
    "day and month read both ways in every value; read as day before month",
    "C7: the other order cannot read every value", "as in the table's other dates",
    "in which the rows are in order",
    "mean C7", "deviation C7", "Logistic regression", "lightgbm native=C7", "ecluse linear 1", "ecluse blend 1",
    "Suburban train", "Train de banlieue", "Rail shuttle", "Navette ferroviaire",
    "Invented data: there is no such city.",  # each in its own language
    "sign-in link", "Round trip", "ecluse place", "Sheet C7 of C7 is read: C7. ",
    "C7The names of the columns stand in row C7.",
    "C7No row holds names: every row is read as data, and columns are called column_1, column_2 …",
    "A condition is KEY, one of = != > >= < <=, and VALUE; several are joined by and, or and parentheses. KEY is C7, "
    "or what the metadata or metrics call it. A date (2026-11-01) means that day, a time is 2026-11-01T12:30 (UTC). "
    "A value that holds 'and' or 'or' stands between quotes.",
    "ecluse models alias C7 C7 --remove",
    'C7, as served: 7 wrong, 7 answered "none of these"',
    "Job C7 was queued but reads as something else.",
    "A step returned C7, which cannot be remembered as JSON.",
    "The folder C7 cannot be made: C7.", "the account C7", "Wanted range starting at",
    "the last turn returns or raises", "pauses never end", "closed before its end",
    "bytes C7 to C7: a range counts from the start of the object",
    "no such table", "limit=C7: a page holds one document at least",
    "Identifiant arc", "identifiant arc", "identifiant noeud amont", "libelle noeud amont", "identifiant noeud aval",
    "libelle noeud aval", "date debut dispo data", "date fin dispo data", "Débit horaire", "Etat trafic", "Etat arc",
    "Identifiant du compteur", "Nom du compteur", "Comptage horaire", "Date et heure de comptage",
    "Coordonnées géographiques", "Date de début", "Date de fin", "Impact sur la circulation",
    "Niveau de perturbation", "Code postal de l'arrondissement",
    "values 7", "residuals 7", "residuals 28", "vehicles per hour", "as usual",
    "Mainly clear", "Partially cloudy", "Rime fog", "Freezing drizzle", "Freezing rain", "Rain showers",
    "Snow showers",
    "ecluse/C7 (open data, one request at a time)", "bytes C7-", "C7 >= date'C7' AND C7 < date'C7'",
    "C7 was not asked any more.", "The service has no weather for this day yet.",
    "It needs a key of the portal: set IDFM_API_KEY.", "The portal has no records for it.",
    "A sample of C7 days cannot be written; ask for 1 to C7.", "ecluse city demo",
    "A sample of C7 arcs cannot be written; ask for C7 to C7.", "C7 is no seed of a sample; ask for 0 or more.",
    "A sample cannot begin on C7; ask for a day from 1970 to 2100.",
    "ecluse/C7 (images that a person listed)", "the last attempt returns or raises", "a tar is read forwards",
    "mean and std have one value for each of three colours", "The address",
    "strengths of regularisation, from strong to weak",
    "it is not of torch's old format", "its numbers are big-endian", "it holds more than tensors",
    "a tensor has a negative size", "a tensor reaches beyond its storage",
    "its storages are not those of its tensors", "the storage C7 has not its C7 numbers", "C7.C7 is not read",
    "a storage is not one of plain numbers", "a tensor views no storage",
    "No move C7. See: ecluse move list", "Move C7 is C7 by now. See: ecluse move list",
    "Another process is at work on this move. Wait for it, or stop it first.", "C7 holds C7", "C7 characters, C7 fit",
    "a number that is none", "a null character", "JSON with a number that is none",
    "C7 is no name of an origin", "a record of Parquet has no rest", "unexpected end of data",
}  # fmt: skip


def test_no_sentence_in_the_code_of_the_core_stays_english() -> None:
    """A part that varies may be a name, a number or a time; with one of them, no English word may be left."""
    found = sentences()
    assert len(found) > 200
    french = {word for sentence in FRENCH_SENTENCES for word in words(sentence)}
    english = {
        text: where for text, where in found.items()
        if text not in PIECES | NOT_SHOWN and not any(said(filled, french) for filled in fillings(text))
    }  # fmt: skip
    assert english == {}


def test_no_exception_to_translation_outlives_its_sentence() -> None:
    assert (PIECES | NOT_SHOWN) - sentences().keys() == set()


def fillings(text: str) -> list[str]:
    """The sentence with each of its parts taken for a name, a number and a time."""
    pieces = text.split(NAME)
    choices = itertools.product((NAME, "7", "7 days"), repeat=len(pieces) - 1)
    return ["".join(map("".join, zip(pieces, (*choice, ""), strict=True))) for choice in choices]


def said(sentence: str, french: set[str]) -> bool:
    translation = translated(sentence, FRENCH)
    return translation != sentence and words(translation) <= french


@pytest.mark.parametrize(
    ("written", "french"),
    [
        ("card_age_days 1,270", "card_age_days 1\u00a0270"),
        ("amount -1.11", "amount -1,11"),
        ("signed up 3 days before paid", "signed up 3 jours avant paid"),
        ("note: digit share 0.25", "note\u00a0: part de chiffres 0,25"),
        ("duplicate of customer_id: seen", "double de customer_id\u00a0: nombre d’apparitions"),
        ("duplicate of constant", "double de constant"),
        ("timestamp: hour 2", "timestamp\u00a0: 2 h"),
        (
            "t.csv lacks 2 column(s) of the model: amount (near: Amount), day. Add, rename or map them.",
            "Il manque à t.csv 2 colonne(s) du modèle\u00a0: amount (proche\u00a0: Amount), day. "
            "Ajoutez-les, renommez-les ou associez-les à d'autres.",
        ),
    ],
)
def test_reasons_and_lists_are_said_in_french(written: str, french: str) -> None:
    assert translated(written, FRENCH) == french


def test_every_reason_of_a_score_is_said_in_french(tmp_path: Path) -> None:
    """The words themselves, from every kind of feature a reason may speak of."""
    rows = [
        _history_words(kind, "amount", "customer", "12", value)
        for kind in ("history_rows", "history_since", "history_new", "history_ratio", "history_deviation")
        for value in (0.0, 3.0, 250_000.0, -2.0, float("nan"))
    ]
    rows += [_date_words("day", part, 3.0) for part in ("hour", "weekday", "day", "month")]
    assert [row for row in rows if translated(row, FRENCH) == row] == []

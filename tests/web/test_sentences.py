"""Each sentence that the core writes is a message with values, and has its French."""

from __future__ import annotations

from pathlib import Path

from ecluse.apps.fraud.profiling.profile import profile_table
from ecluse.apps.fraud.sample import write_sample
from ecluse.apps.fraud.scoring.explaining import _date_words, _history_words
from ecluse.catalog import owned
from ecluse.sentences import Listing, Sentence
from ecluse.tabular.dataset import open_table
from ecluse.web.i18n import Words
from tests.web.sentences import sentences

FRENCH = Words("fr")

#: Strings that no page shows: notes on how columns are read, names within files, what a terminal is told.
NOT_SHOWN = {
    *owned.LEFT_OUT.values(), *owned.KEPT.values(),
    "job C7", "store C7", "C7.C7 is that of its work; use catalog.work", "typical day", "recent level", "digit share", "C7 alone ",
    "leading zeros: a code", "too long for a number", "whole, all distinct, and named like an identifier",
    "whole, and named like an identifier", "counts the rows", "day before month", "month before day",
    "every comma stands before three digits: thousands or decimals, read as the rest of the table",
    "every point stands before three digits: thousands or decimals, read as the rest of the table",
    "day and month read both ways in every value; read as day before month",
    "C7: the other order cannot read every value", "as in the table's other dates",
    "in which the rows are in order",
    "mean C7", "deviation C7", "Logistic regression", "lightgbm native=C7 half_life=C7", "catboost half_life=C7", "ecluse linear 1", "ecluse blend 1",
    "Invented data: there is no such city.",  # each in its own language
    "sign-in link", "Round trip", "ecluse place", "Sheet C7 of C7 is read: C7. ",
    "C7The names of the columns stand in row C7.",
    "C7No row holds names: every row is read as data, and columns are called column_1, column_2 …",
    "A condition is KEY, one of = != > >= < <=, and VALUE; several are joined by and, or and parentheses. KEY is C7, "
    "or what the metadata or metrics call it. A date (2026-11-01) means that day, a time is 2026-11-01T12:30 (UTC). "
    "A value that holds 'and' or 'or' stands between quotes.",
    "ecluse models alias C7 C7 --remove",
    'C7, as served: 7 wrong, 7 answered "none of these"',
    "A step returned C7, which cannot be remembered as JSON.",
    "C7 is longer than C7 characters", "C7: C7 items, and other C7 when it was called before",
    "C7: C7 parts; give each more than one item, at most C7 parts",
    "C7: no function of `parts` of C7, or within a step or a part", "map C7", "typical C7",
    "The folder C7 cannot be made: C7.", "Wanted range starting at",
    "the last turn returns or raises", "pauses never end", "closed before its end",
    "bytes C7 to C7: a range counts from the start of the object",
    "no such table", "limit=C7: a page holds one document at least",
    "Identifiant arc", "identifiant arc", "identifiant noeud amont", "libelle noeud amont", "identifiant noeud aval",
    "libelle noeud aval", "date debut dispo data", "date fin dispo data", "Débit horaire", "Etat trafic", "Etat arc",
    "Identifiant du compteur", "Nom du compteur", "Comptage horaire", "Date et heure de comptage",
    "Coordonnées géographiques", "Date de début", "Date de fin", "Impact sur la circulation",
    "Niveau de perturbation", "Code postal de l'arrondissement",
    "values 7", "residuals 3", "residuals 7", "residuals 14", "residuals 28", "residuals C7", "\nend of trees",
    "A look at the catalog changes and holds nothing; use Catalog.write().",
    "A look at the catalog keeps no row; use Catalog.write().", "vehicles per hour", "as usual",
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
    "C7 jobs at once: they would never run", "C7 is no version: they count from 1",
    # Of the log.
    "is done", "was cancelled", "is put off", "is another worker's by now, or was cancelled", "is handed back",
    "result of C7", "ways of C7",
    "versions that were committed", "versions of ended jobs", "uploads of models", "lost work", "counts that are over",
    "counts of the day", "objects without a row", "backups that are due", "jobs that ended",
    "jobs of workers that died", "jobs to hand back", "old jobs", "uploads that were left in C7",
    # Of `ecluse upgrade check`, which is English.
    "a worker on C7", "C7 connections from C7", "its own machine",
}  # fmt: skip


def test_every_sentence_of_the_core_is_a_message_with_values() -> None:
    """Whoever raises an error, reports progress or warns writes `_("…", name=value)`: no bare text, no f-string."""
    english = {text: where for text, where in sentences().items() if text not in NOT_SHOWN}
    assert english == {}


def test_no_exception_to_translation_outlives_its_sentence() -> None:
    assert NOT_SHOWN - sentences().keys() == set()


def test_no_sentence_about_a_sample_table_stays_english(tmp_path: Path) -> None:
    path = write_sample(tmp_path, rows=2_000, score_rows=100).labelled
    with open_table(path) as table:
        profile = profile_table(table)
    reasons = [column.reason for column in profile.columns] + list(profile.warnings)
    assert [reason for reason in reasons if reason and FRENCH.phrase(reason) == reason] == []
    assert all(isinstance(reason, Sentence | Listing) for reason in reasons if reason)


def test_every_reason_of_a_score_is_said_in_french() -> None:
    """The words themselves, from every kind of feature a reason may speak of."""
    rows = [
        _history_words(kind, "amount", "customer", "12", value)
        for kind in ("history_rows", "history_since", "history_new", "history_ratio", "history_deviation")
        for value in (0.0, 3.0, 250_000.0, -2.0, float("nan"))
    ]
    rows += [_date_words("day", part, 3.0) for part in ("hour", "weekday", "day", "month")]
    assert [row for row in rows if FRENCH.phrase(row) == row] == []
    assert FRENCH.phrase(_date_words("timestamp", "hour", 2.0)) == "timestamp\u00a0: 2 h"
    assert FRENCH.phrase(_history_words("history_rows", "amount", "customer", "12", 1_270.0)).count("1") == 1

"""Read what a column's name means: `montant_tx`, `TxnAmt` and "transaction amount" are the same.

A name is split into words (camelCase, separators, digits, words glued together), and each word is looked up in
`words.json`: several hundred concepts of the domains where fraud is looked for, with their English and French
words and their abbreviations. Names that say nothing (`V1`, `col_3`, `Attr5`) are known as anonymous.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Final

from ecluse.sentences import _

__all__ = [
    "Dictionary",
    "Meaning",
    "Word",
    "dictionary",
    "is_anonymous",
    "is_personal",
    "is_weak_reason",
    "meaning",
    "name_reason",
    "name_similarity",
    "normalised",
    "split_words",
    "word_similarity",
]

LIGHT: Final = 0.35
"""Weight of words that most names of a table could carry (transaction, value, number), and of digits."""
NEARLY: Final = 0.98
"""The most that two names of different words are alike, so that the same name always wins."""
PHRASE: Final = 4
LONGEST: Final = 200
MOST_WORDS: Final = 24
"""Characters and words of a name that are read: what is kept of a name, and the time for it, stay small."""
REMEMBERED: Final = 20_000
"""Names that are kept once they were read; some 6 kB for the longest."""
GENERIC: Final = frozenset(
    {"col", "column", "colonne", "champ", "field", "feature", "feat", "variable", "var", "attr", "attribute"}
    | {"attribut", "input", "dim", "dimension", "component", "pc", "unnamed", "param", "factor", "facteur"}
    | {"num", "cat", "bin", "cont"}
    | set("abcdfkmnquvwxyz")
)
"""Words that name nothing when a number, or nothing, follows."""


@dataclass(frozen=True)
class Form:
    """A word or phrase of the dictionary: its concept, and whether it is en, fr or short."""

    concept: str
    language: str


@dataclass(frozen=True)
class Word:
    """One word, or phrase, of a name. `senses`: (concept, confidence in (0, 1]), none where it is unknown."""

    text: str
    senses: tuple[tuple[str, float], ...]
    weight: float


@dataclass(frozen=True)
class Meaning:
    name: str
    words: tuple[Word, ...]
    anonymous: bool


@dataclass(frozen=True)
class Dictionary:
    """`forms`: every known word and phrase; `related`: concepts that stand near each other, both ways round."""

    forms: dict[str, tuple[Form, ...]]
    skeletons: dict[str, tuple[str, ...]]
    starts: dict[str, tuple[str, ...]]
    phrases: dict[tuple[str, str], str]
    related: dict[str, dict[str, float]]
    light: frozenset[str]
    stop: frozenset[str]
    personal: frozenset[str]


def normalised(name: str) -> str:
    """Return the name without case, accents and separators: "Montant Débité" is "montant debite"."""
    return " ".join(split_words(name))


def split_words(name: str) -> tuple[str, ...]:
    """Lower-case words and numbers, without accents: "cardTxn_AMT2" has card, txn, amt and 2.

    Of a name that no person would write, the first 200 characters and 24 words are read.
    """
    return _split_words(name[:LONGEST])


@lru_cache(maxsize=REMEMBERED)
def _split_words(name: str) -> tuple[str, ...]:
    # One character may stand for a dozen once it is taken apart.
    plain = unicodedata.normalize("NFKD", name)[:LONGEST]
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    plain = re.sub(r"([a-z\d])([A-Z])", r"\1 \2", plain)
    plain = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", plain)
    return tuple(re.findall(r"[^\W\d_]+|\d+", plain.lower())[:MOST_WORDS])


def is_anonymous(name: str) -> bool:
    """Tell whether the name says nothing: `V1`, `col_3`, `Attr5`, `feature_12`, `x7`, `17`, or no letter at all."""
    words = split_words(name)
    letters = [word for word in words if not word.isdigit()]
    if len(letters) > 2 or any(len(word) > 1 and word not in GENERIC for word in letters):
        return False
    return len(words) > len(letters) or not letters or all(word in GENERIC for word in letters)


def is_personal(name: str) -> bool:
    """Tell whether values under this name may name a person: names, emails, phones, addresses, account numbers."""
    known = dictionary().personal
    return any(sense in known for word in meaning(name).words for sense, _ in word.senses)


def meaning(name: str) -> Meaning:
    """Return the words of a name with what each may mean."""
    return _meaning(name[:LONGEST])


@lru_cache(maxsize=REMEMBERED)
def _meaning(name: str) -> Meaning:
    words = split_words(name)
    if is_anonymous(name):
        return Meaning(name, tuple(Word(word, (), 1.0) for word in words), anonymous=True)
    entries = dictionary()
    said = [word for word in _spans(words) if word not in entries.stop] or list(words)
    return Meaning(name, tuple(_joined(list(_read(said, entries)), entries)), anonymous=False)


def name_similarity(a: str, b: str) -> float:
    """Return how much two names mean the same, in [0, 1]; 1 for the same words, symmetric.

    Each word is paired with the nearest of the other name; the weights of the words say how much each counts.
    """
    if split_words(a) == split_words(b):
        return 1.0
    first, second = meaning(a), meaning(b)
    if first.anonymous or second.anonymous:
        return 0.0
    weight = sum(w.weight for w in first.words) + sum(w.weight for w in second.words)
    alike = _covered(first.words, second.words) + _covered(second.words, first.words)
    return min(NEARLY, alike / weight) if weight else 0.0


@lru_cache(maxsize=10 * REMEMBERED)
def word_similarity(a: Word, b: Word) -> float:
    """In [0, 1]: 1 for the same word or concept, less for related concepts and uncertain readings."""
    if a.text == b.text:
        return 1.0
    if a.text.isdigit() or b.text.isdigit():
        return 0.0
    related = dictionary().related
    best = 0.0
    for mine, sure in a.senses:
        near = related.get(mine, {})
        for yours, certain in b.senses:
            alike = 1.0 if mine == yours else near.get(yours, 0.0)
            best = max(best, sure * certain * alike)
    return best


def name_reason(theirs: str, ours: str) -> str:
    """Return why two names are taken for the same, in a few words; empty where they are not alike."""
    if split_words(theirs) == split_words(ours):
        return _("same name")
    mine, yours = meaning(theirs), meaning(ours)
    if mine.anonymous or yours.anonymous:
        return ""
    same: list[tuple[float, str]] = []
    near: list[tuple[float, str]] = []
    for word in mine.words:
        other = max(yours.words, key=lambda each: (word_similarity(word, each), each.text))
        if not word_similarity(word, other):
            continue
        if word.text == other.text:
            near.append((word.weight + 1, _("both say %(word)s", word=word.text)))
        elif _common(word, other):
            same.append((word.weight, _relation(word, other)))
        else:
            near.append(
                (word.weight, _("related words alone: %(word)s, %(name)s", word=word.text, name=other.text))
            )
    shared = same or near
    return max(shared, key=lambda each: each[0])[1] if shared else ""


def is_weak_reason(why: str) -> bool:
    """Tell whether a reason rests on less than equal words, synonyms or distributions."""
    return why.partition(" ")[0] == "related"


def _common(theirs: Word, ours: Word) -> set[str]:
    return {sense for sense, _ in theirs.senses} & {sense for sense, _ in ours.senses}


def _relation(theirs: Word, ours: Word) -> str:
    """One word beside the other, the shorter or the French one last."""
    common = _common(theirs, ours)
    mine, yours = _languages(theirs.text, common), _languages(ours.text, common)
    if "en" in mine and "en" not in yours and "fr" in yours:
        return _("%(word)s = %(name)s (French)", word=theirs.text, name=ours.text)
    if "en" in yours and "en" not in mine and "fr" in mine:
        return _("%(word)s = %(name)s (French)", word=ours.text, name=theirs.text)
    if mine & {"en", "fr"} and not yours & {"en", "fr"}:
        return _("%(word)s = %(name)s (abbreviation)", word=theirs.text, name=ours.text)
    if yours & {"en", "fr"} and not mine & {"en", "fr"}:
        return _("%(word)s = %(name)s (abbreviation)", word=ours.text, name=theirs.text)
    return _("%(word)s = %(name)s (same meaning)", word=ours.text, name=theirs.text)


def _languages(text: str, concepts: set[str]) -> set[str]:
    return {form.language for form in dictionary().forms.get(text, ()) if form.concept in concepts}


def _spans(words: tuple[str, ...]) -> list[str]:
    """Return the words with "24 h" and "7 j" said as the day and the week that they are."""
    said: list[str] = []
    for word in words:
        span = _SPANS.get(f"{said[-1]} {word}") if said else None
        if span:
            said[-1] = span
        else:
            said.append(word)
    return said


_SPANS: Final = {
    f"{count} {unit}": span
    for span, counts, units in (
        ("hour", (1,), ("h", "hr", "hour", "heure")),
        ("hour", (60,), ("m", "min", "mn", "minutes")),
        ("day", (24,), ("h", "hr", "hrs", "hours", "heures")),
        ("day", (1,), ("d", "j", "day", "jour")),
        ("week", (7,), ("d", "j", "days", "jours")),
        ("week", (1,), ("w", "week", "semaine")),
        ("month", (30,), ("d", "j", "days", "jours")),
        ("month", (1,), ("mo", "month", "mois")),
        ("year", (12,), ("m", "mo", "months", "mois")),
        ("year", (365,), ("d", "j", "days", "jours")),
    )
    for count in counts
    for unit in units
}


def _covered(words: Iterable[Word], others: tuple[Word, ...]) -> float:
    return sum(
        word.weight * max((word_similarity(word, other) for other in others), default=0.0) for word in words
    )


# Words to concepts


@cache
def dictionary() -> Dictionary:
    """`words.json`, read once."""
    raw = json.loads(resources.files(__package__).joinpath("words.json").read_text("utf-8"))
    stop = frozenset(raw["stop"].split())
    forms: dict[str, list[Form]] = {}
    for concept, written in raw["concepts"].items():
        for language, words in zip(("en", "fr", "short"), written, strict=True):
            for word in words.split():
                text = " ".join(part for part in word.split("_") if part and part not in stop)
                if text:
                    forms.setdefault(text, []).append(Form(concept, language))
    related: dict[str, dict[str, float]] = {}
    for first, other, nearness in raw["related"]:
        related.setdefault(first, {})[other] = nearness
        related.setdefault(other, {})[first] = nearness
    skeletons: dict[str, set[str]] = {}
    starts: dict[str, set[str]] = {}
    for text, known in forms.items():
        if " " in text or len(text) < 5 or all(form.language == "short" for form in known):
            continue
        skeletons.setdefault(_skeleton(text), set()).add(text)
        for size in range(3, len(text)):
            starts.setdefault(text[:size], set()).add(text)
    return Dictionary(
        phrases=_phrases(forms),
        forms={text: tuple(known) for text, known in forms.items()},
        skeletons={short: tuple(sorted(words)) for short, words in skeletons.items() if len(short) >= 3},
        starts={start: tuple(sorted(words)) for start, words in starts.items()},
        related=related,
        light=frozenset(raw["light"].split()),
        stop=stop,
        personal=frozenset(raw["personal"].split()),
    )


def _phrases(forms: dict[str, list[Form]]) -> dict[tuple[str, str], str]:
    """(concept, concept) → the phrase of two words that says both, so that "dt_naiss" is a date of birth."""
    phrases: dict[tuple[str, str], str] = {}
    for text in forms:
        parts = text.split(" ")
        if len(parts) == 2 and all(part in forms for part in parts):
            for form in forms[parts[0]]:
                for other in forms[parts[1]]:
                    phrases.setdefault((form.concept, other.concept), text)
    return phrases


def _skeleton(word: str) -> str:
    """Return the first letter and the consonants: "amount" is "amnt"."""
    return word[0] + re.sub(r"[aeiouy]", "", word[1:])


def _read(words: list[str], entries: Dictionary) -> Iterable[Word]:
    """Return the longest phrases of the dictionary first, then single words."""
    at = 0
    while at < len(words):
        for size in range(min(PHRASE, len(words) - at), 1, -1):
            phrase = " ".join(words[at : at + size])
            if phrase in entries.forms:
                yield _word(phrase, _senses_of(entries.forms[phrase], 1.0), entries)
                at += size
                break
        else:
            yield from _single(words[at], entries)
            at += 1


def _joined(words: list[Word], entries: Dictionary) -> Iterable[Word]:
    """Two words that together shorten or misspell a phrase become that phrase."""
    at = 0
    while at < len(words):
        phrase = None
        if at + 1 < len(words):
            pairs = ((first, other) for first, _ in words[at].senses for other, _ in words[at + 1].senses)
            phrase = next((entries.phrases[pair] for pair in pairs if pair in entries.phrases), None)
        if phrase is None:
            yield words[at]
            at += 1
        else:
            text = f"{words[at].text} {words[at + 1].text}"
            yield _word(text, _senses_of(entries.forms[phrase], 0.95), entries)
            at += 2


def _single(word: str, entries: Dictionary) -> Iterable[Word]:
    known = _meanings_of(word, entries)
    if known or word.isdigit() or len(word) < 5:
        yield _word(word, known or _guessed(word, entries), entries)
        return
    near = _misspelt(word, entries)
    pieces = _pieces(word, entries)
    if near:
        yield _word(word, near, entries)
    elif pieces:
        yield from _read([piece for piece in pieces if piece not in entries.stop] or list(pieces), entries)
    else:
        yield _word(word, _guessed(word, entries), entries)


def _word(text: str, senses: tuple[tuple[str, float], ...], entries: Dictionary) -> Word:
    light = text.isdigit() or any(concept in entries.light for concept, _ in senses)
    return Word(text, senses, LIGHT if light else 1.0)


def _meanings_of(word: str, entries: Dictionary) -> tuple[tuple[str, float], ...]:
    """Return the senses of a word of the dictionary, or of its singular."""
    for form in (word, word[:-1] if len(word) > 3 and word[-1] in "sx" else word):
        if form in entries.forms:
            return _senses_of(entries.forms[form], 1.0)
    return ()


def _guessed(word: str, entries: Dictionary) -> tuple[tuple[str, float], ...]:
    """Return the senses of the words that this one shortens."""
    if word.isdigit() or len(word) < 3:
        return ()
    if word in entries.skeletons:
        return _merged(entries.skeletons[word], 0.8, entries)
    if len(word) >= 4 and 0 < len(entries.starts.get(word, ())) <= 4:
        return _merged(entries.starts[word], 0.7, entries)
    return ()


def _misspelt(word: str, entries: Dictionary) -> tuple[tuple[str, float], ...]:
    """Return the senses of words that are one letter away."""
    if len(word) < 6:
        return ()
    return _merged([form for form in entries.starts.get(word[:3], ()) if _one_edit(word, form)], 0.9, entries)


def _merged(forms: Iterable[str], sure: float, entries: Dictionary) -> tuple[tuple[str, float], ...]:
    return _senses_of([form for text in forms for form in entries.forms[text]], sure)


def _senses_of(forms: Iterable[Form], sure: float) -> tuple[tuple[str, float], ...]:
    return tuple(sorted({(form.concept, sure) for form in forms}))


def _one_edit(a: str, b: str) -> bool:
    """Tell whether one letter was left out, put in, exchanged or swapped with the next."""
    if abs(len(a) - len(b)) > 1:
        return False
    same = 0
    while same < min(len(a), len(b)) and a[same] == b[same]:
        same += 1
    left, right = a[same:], b[same:]
    swapped = len(left) >= 2 and left[:2] == right[:2][::-1] and left[2:] == right[2:]
    return left[1:] == right[1:] or left[1:] == right or left == right[1:] or swapped


@lru_cache(maxsize=REMEMBERED)
def _split_cost(word: str) -> tuple[str, ...]:
    """Return the fewest words of the dictionary (3 letters and more, or "id", "ip", "nb", "no") that make up `word`."""
    entries = dictionary()
    best: list[tuple[str, ...] | None] = [()] + [None] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(max(0, end - 15), end):
            before = best[start]
            piece = word[start:end]
            if before is None or (len(piece) < 3 and piece not in ("id", "ip", "nb", "no", "dt")):
                continue
            if not _meanings_of(piece, entries) and piece not in entries.stop:
                continue
            whole = (*before, piece)
            now = best[end]
            if now is None or _cost(whole) < _cost(now):
                best[end] = whole
    return best[-1] or ()


def _cost(pieces: tuple[str, ...]) -> tuple[int, int]:
    return len(pieces), -sum(len(piece) ** 2 for piece in pieces)


def _pieces(word: str, entries: Dictionary) -> tuple[str, ...]:
    pieces = _split_cost(word)
    return (
        pieces if 1 < len(pieces) <= PHRASE and any(_meanings_of(piece, entries) for piece in pieces) else ()
    )

"""Find, among many reference tables, the few that a table may match.

`ReferenceIndex.of(facts)` lays the columns of all references side by side in arrays: names by the words they
hold, distributions by coarse classes. A search compares the table's names with each *word* and each class, not
with each column, then adds up importances: a hundred thousand references take tens of milliseconds. About 180
bytes a column stay in memory; nothing is written to disk. `updated` adds and removes references without
reading the others again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ecluse.fraud.references.names import Word, dictionary, meaning, split_words, word_similarity
from ecluse.fraud.references.sketches import KINDS, QUANTILES, ColumnSketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ecluse.fraud.references.matching import ReferenceFacts

    Floats = NDArray[np.float32]
    Integers = NDArray[np.int64]

__all__ = ["Candidate", "Columns", "ReferenceIndex", "Vocabulary", "columns_of"]

#: How much a like distribution counts beside a like name, when candidates are sought.
BY_SHAPE: Final = 0.5


@dataclass(frozen=True)
class Columns:
    """Many columns as arrays. `shares`: missing, zeros, whole, negative, distinct, (columns, 5).
    `quantiles`: signed logarithms, (columns, 21), NaN where there are none. `levels` and `level_shares`
    hold the frequent values of column i at `level_starts[i]` to `level_starts[i + 1]`, as CRC-32 sums."""

    names: tuple[str, ...]
    kinds: NDArray[np.int8]
    shares: Floats
    quantiles: NDArray[np.float64]
    level_starts: Integers
    levels: Integers
    level_shares: Floats

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Candidate:
    """A reference that a table may match. `rough` is the search's own score; `importance` sums to 1."""

    name: str
    domain: str
    columns: Columns
    importance: Floats
    rough: float


def columns_of(sketches: Sequence[ColumnSketch]) -> Columns:
    shares = np.array(
        [(s.missing, s.zeros, s.whole, s.negative, s.distinct) for s in sketches], np.float32
    ).reshape(-1, 5)
    quantiles = np.full((len(sketches), QUANTILES), np.nan)
    starts, levels, level_shares = [0], [], []
    for row, sketch in enumerate(sketches):
        if sketch.quantiles:
            quantiles[row] = sketch.quantiles
        for value, share in sketch.top:
            levels.append(zlib.crc32(" ".join(split_words(value)).encode() or value.encode()))
            level_shares.append(share)
        starts.append(len(levels))
    return Columns(
        names=tuple(sketch.name for sketch in sketches),
        kinds=np.array([_KIND_NUMBER[sketch.kind] for sketch in sketches], np.int8),
        shares=shares,
        quantiles=np.sign(quantiles) * np.log1p(np.abs(quantiles)),
        level_starts=np.array(starts, np.int64),
        levels=np.array(levels, np.int64),
        level_shares=np.array(level_shares, np.float32),
    )


_KIND_NUMBER: Final = {kind: number for number, kind in enumerate(KINDS)}


class Vocabulary:
    """Column names, each once, by their words, so that a name is compared with all of them at once."""

    def __init__(self, names: Sequence[str]) -> None:
        self.meanings = [meaning(name) for name in names]
        self.anonymous = np.array([one.anonymous for one in self.meanings], bool)
        numbers: dict[Word, int] = {}
        starts, words, weights = [0], [], []
        for one in self.meanings:
            for word in one.words:
                words.append(numbers.setdefault(word, len(numbers)))
                weights.append(0.0 if one.anonymous else word.weight)
            if not one.words:
                words.append(numbers.setdefault(Word("", (), 0.0), len(numbers)))
                weights.append(0.0)
            starts.append(len(words))
        self.words = list(numbers)
        self.starts = np.array(starts[:-1], np.int64)
        self.word_numbers = np.array(words, np.int64)
        self.weights = np.array(weights, np.float32)
        self.totals = np.add.reduceat(self.weights, self.starts) if names else np.zeros(0, np.float32)
        self._by_text: dict[str, list[int]] = {}
        self._by_concept: dict[str, list[int]] = {}
        for number, word in enumerate(self.words):
            self._by_text.setdefault(word.text, []).append(number)
            for concept, _ in word.senses:
                self._by_concept.setdefault(concept, []).append(number)
        self._near: dict[Word, tuple[Integers, Floats]] = {}

    def near(self, word: Word) -> tuple[Integers, Floats]:
        """The numbers of the words that mean something like `word`, and how much."""
        known = self._near.get(word)
        if known is None:
            found = set(self._by_text.get(word.text, ()))
            related = dictionary().related
            for concept, _ in word.senses:
                for near in (concept, *related.get(concept, ())):
                    found.update(self._by_concept.get(near, ()))
            numbers = sorted(found)
            alike = [word_similarity(word, self.words[number]) for number in numbers]
            known = np.array(numbers, np.int64), np.array(alike, np.float32)
            if len(self._near) < 50_000:
                self._near[word] = known
        return known

    def coverage(self, name: str) -> Floats:
        """(names,) share of each name's words that `name` covers, in [0, 1]; 0 for anonymous names."""
        best = np.zeros(len(self.words), np.float32)
        one = meaning(name)
        if not one.anonymous:
            for word in one.words:
                numbers, alike = self.near(word)
                best[numbers] = np.maximum(best[numbers], alike)
        covered = np.add.reduceat(self.weights * best[self.word_numbers], self.starts)
        return np.asarray(covered / np.maximum(self.totals, 1e-6), np.float32)


@dataclass(frozen=True)
class _Packed:
    """One reference, ready to be laid beside others."""

    name: str
    domain: str
    columns: Columns
    importance: Floats
    classes: NDArray[np.int64]


@dataclass
class ReferenceIndex:
    """All references of a library, for `search`. Made by `of`; `updated` makes another from it."""

    _packed: dict[str, _Packed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        packed = list(self._packed.values())
        names: dict[str, int] = {}
        numbers = [names.setdefault(name, len(names)) for one in packed for name in one.columns.names]
        self._name_numbers = np.array(numbers, np.int32)
        self._vocabulary = Vocabulary(tuple(names))
        sizes = np.array([len(one.columns) for one in packed], np.int64)
        self._starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        self._importance = _joined([one.importance for one in packed], np.float32)
        classes, self._class_numbers = np.unique(
            _joined([one.classes for one in packed], np.int64), return_inverse=True
        )
        self._classes = _unpacked(classes)
        self._order = packed

    @classmethod
    def of(cls, facts: Iterable[ReferenceFacts]) -> ReferenceIndex:
        """References without a column are left out. Importances that sum to nothing count all columns alike."""
        return cls({one.name: _pack(one) for one in facts if one.columns})

    def updated(self, facts: Iterable[ReferenceFacts] = (), removed: Iterable[str] = ()) -> ReferenceIndex:
        """An index with `facts` added, or put in the place of those of the same name, and `removed` left out."""
        gone = set(removed)
        kept = {name: one for name, one in self._packed.items() if name not in gone}
        return ReferenceIndex(kept | {one.name: _pack(one) for one in facts if one.columns})

    def __len__(self) -> int:
        return len(self._order)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._packed)

    def search(self, sketches: Sequence[ColumnSketch], limit: int = 20) -> tuple[Candidate, ...]:
        """The references that the table most likely matches, best first: by the importance of the columns
        whose name, or else whose class of distribution, one of the table's columns has."""
        if not self._order or not sketches or limit < 1:
            return ()
        by_name = np.zeros(len(self._vocabulary.meanings), np.float32)
        for sketch in sketches:
            by_name = np.maximum(by_name, self._vocabulary.coverage(sketch.name))
        by_shape = BY_SHAPE * _nearest(_unpacked(_classes(columns_of(sketches))), self._classes)
        column = np.maximum(by_name[self._name_numbers], by_shape[self._class_numbers])
        return self._best(column, limit)

    def search_names(self, names: Sequence[str], limit: int = 20) -> tuple[Candidate, ...]:
        """`search` by names alone."""
        if not self._order or not names or limit < 1:
            return ()
        by_name = np.zeros(len(self._vocabulary.meanings), np.float32)
        for name in names:
            by_name = np.maximum(by_name, self._vocabulary.coverage(name))
        return self._best(by_name[self._name_numbers], limit)

    def candidates(self, names: Iterable[str]) -> tuple[Candidate, ...]:
        """The references of these names; those that are not here are left out."""
        found = [self._packed[name] for name in names if name in self._packed]
        return tuple(Candidate(one.name, one.domain, one.columns, one.importance, 0.0) for one in found)

    def _best(self, column: Floats, limit: int) -> tuple[Candidate, ...]:
        scores = np.add.reduceat(column * self._importance, self._starts)
        limit = min(limit, len(scores))
        at_least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        # All of those that tie for the last place come in the order of the library, not of the partition.
        places = np.flatnonzero(scores >= at_least)
        places = places[np.argsort(-scores[places], kind="stable")][:limit]
        found = [(self._order[place], float(scores[place])) for place in places]
        return tuple(
            Candidate(one.name, one.domain, one.columns, one.importance, rough) for one, rough in found
        )


def _pack(facts: ReferenceFacts) -> _Packed:
    columns = columns_of(facts.columns)
    raw = np.array([max(0.0, facts.importance.get(name, 0.0)) for name in columns.names], np.float64)
    total = raw.sum()
    share = raw / total if total > 0 else np.full(len(raw), 1.0 / len(raw))
    return _Packed(facts.name, facts.domain, columns, share.astype(np.float32), _classes(columns))


# Coarse classes of distributions: kind, then for numbers the place and spread of the signed logarithm and
# whether there are zeros, fractions, negatives; for categories a frequent value.

_PLACE: Final = 0.5
_SPREAD: Final = 0.4


def _classes(columns: Columns) -> NDArray[np.int64]:
    """(columns,) one number each, of which `_unpacked` makes (columns, 6) coordinates."""
    middle, spread = _middle_and_spread(columns.quantiles)
    place = np.clip(np.rint(middle / _PLACE) + 64, 0, 127).astype(np.int64)
    wide = np.clip(np.rint(np.sqrt(spread) / _SPREAD), 0, 15).astype(np.int64)
    zeros = np.rint(columns.shares[:, 1] * 7).astype(np.int64)
    whole = np.rint(columns.shares[:, 2] * 3).astype(np.int64)
    negative = np.rint(columns.shares[:, 3] * 3).astype(np.int64)
    few = np.diff(columns.level_starts).clip(0, 31)
    kind = columns.kinds.astype(np.int64)
    packed = kind
    for part, bits in ((place, 7), (wide, 4), (zeros, 3), (whole, 2), (negative, 2), (few, 5)):
        packed = packed << bits | part
    return packed


def _middle_and_spread(quantiles: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = np.nan_to_num(quantiles)
    middle = known[:, QUANTILES // 2]
    return middle, np.abs(known - middle[:, None]).mean(axis=1)


def _unpacked(classes: NDArray[np.int64]) -> Floats:
    parts = []
    for bits, scale in ((5, 0.12), (2, 0.5), (2, 0.25), (3, 0.3), (4, 0.35), (7, 0.3)):
        parts.append((classes & ((1 << bits) - 1)) * scale)
        classes = classes >> bits
    return np.stack([classes * 100.0, *parts], axis=1).astype(np.float32)


def _nearest(mine: Floats, theirs: Floats) -> Floats:
    """(theirs,) how like the nearest of mine each is, in [0, 1]."""
    best = np.zeros(len(theirs), np.float32)
    for one in np.unique(mine, axis=0):
        best = np.maximum(best, 1 - np.abs(theirs - one).sum(axis=1))
    return best


def _joined(arrays: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0, kind)

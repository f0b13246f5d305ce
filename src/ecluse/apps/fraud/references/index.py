"""Find, among many reference tables, the few that a table may match.

`ReferenceIndex.of(facts)` lays the columns of all references side by side in arrays: names by the words they
hold, distributions by coarse classes. A search compares the table's names with each *word* and each class, not
with each column, then adds up importances: a hundred thousand references take tens of milliseconds. About 180
bytes a column stay in memory; nothing is written to disk. `updated` adds and removes references without
reading the others again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import numpy as np

from ecluse.apps.fraud.tables.names import (
    Word,
    dictionary,
    is_anonymous,
    meaning,
    split_words,
    word_similarity,
)
from ecluse.apps.fraud.tables.sketches import KINDS, QUANTILES, ColumnSketch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ecluse.apps.fraud.references.facts import ReferenceFacts

    Floats = NDArray[np.float32]
    Integers = NDArray[np.int64]

__all__ = ["Candidate", "Columns", "ReferenceIndex", "Vocabulary", "columns_of"]

#: How much a like distribution counts beside a like name, when candidates are sought.
BY_SHAPE: Final = 0.5
MOST: Final = 0.4
"""About the most that one column of a reference counts (a half, where two alone have any importance)."""


@dataclass(frozen=True)
class Columns:
    """Many columns as arrays. `shares`: missing, zeros, whole, negative, distinct, (columns, 5).
    `quantiles`: signed logarithms, (columns, 21), NaN where there are none. `levels` and `level_shares`
    hold the frequent values of column i at `level_starts[i]` to `level_starts[i + 1]`, as CRC-32 sums."""

    names: tuple[str, ...]
    kinds: NDArray[np.int8]
    shares: Floats
    quantiles: Floats
    level_starts: Integers
    levels: NDArray[np.uint32]
    level_shares: Floats

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        sizes = np.concatenate([np.diff(part.level_starts) for part in parts])
        return cls(
            names=tuple(chain.from_iterable(part.names for part in parts)),
            kinds=np.concatenate([part.kinds for part in parts]),
            shares=np.concatenate([part.shares for part in parts]),
            quantiles=np.concatenate([part.quantiles for part in parts]),
            level_starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            levels=np.concatenate([part.levels for part in parts]),
            level_shares=np.concatenate([part.level_shares for part in parts]),
        )

    def part(self, start: int, stop: int, names: tuple[str, ...]) -> Columns:
        """Columns `start` to `stop`, without a copy."""
        levels = slice(int(self.level_starts[start]), int(self.level_starts[stop]))
        return Columns(
            names,
            self.kinds[start:stop],
            self.shares[start:stop],
            self.quantiles[start:stop],
            self.level_starts[start : stop + 1] - self.level_starts[start],
            self.levels[levels],
            self.level_shares[levels],
        )

    @property
    def nbytes(self) -> int:
        arrays = (self.kinds, self.shares, self.quantiles, self.level_starts, self.levels, self.level_shares)
        return sum(array.nbytes for array in arrays)


@dataclass(frozen=True)
class Candidate:
    """A reference that a table may match. `rough` is the search's own score; `importance` sums to 1."""

    name: str
    domain: str
    columns: Columns
    importance: Floats
    rough: float


def columns_of(sketches: Sequence[ColumnSketch]) -> Columns:
    """Return the sketches as arrays, in their order."""
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
        quantiles=(np.sign(quantiles) * np.log1p(np.abs(quantiles))).astype(np.float32),
        level_starts=np.array(starts, np.int64),
        levels=np.array(levels, np.uint32),
        level_shares=np.array(level_shares, np.float32),
    )


_KIND_NUMBER: Final = {kind: number for number, kind in enumerate(KINDS)}


class Vocabulary:
    """Column names, each once, by their words, so that a name is compared with all of them at once."""

    def __init__(self, names: Sequence[str]) -> None:
        self.meanings = [meaning(name) for name in names]
        self.anonymous = np.array([word_meaning.anonymous for word_meaning in self.meanings], bool)
        numbers: dict[Word, int] = {}
        starts, words, weights = [0], [], []
        for word_meaning in self.meanings:
            for word in word_meaning.words:
                words.append(numbers.setdefault(word, len(numbers)))
                weights.append(0.0 if word_meaning.anonymous else word.weight)
            if not word_meaning.words:
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
        self.by_words: dict[tuple[str, ...], list[int]] = {}
        for number, name in enumerate(names):
            self.by_words.setdefault(split_words(name), []).append(number)
        self._near: dict[Word, tuple[Integers, Floats]] = {}

    def near(self, word: Word) -> tuple[Integers, Floats]:
        """Find the numbers of the words that mean something like `word`, and how much."""
        known = self._near.get(word)
        if known is None:
            indices = set(self._by_text.get(word.text, ()))
            related = dictionary().related
            for concept, _ in word.senses:
                for near in (concept, *related.get(concept, ())):
                    indices.update(self._by_concept.get(near, ()))
            numbers = sorted(indices)
            alike = [word_similarity(word, self.words[number]) for number in numbers]
            known = np.array(numbers, np.int64), np.array(alike, np.float32)
            if len(self._near) < 10_000:
                self._near[word] = known
        return known

    def coverage(self, name: str) -> Floats:
        """(names,) share of each name's words that `name` covers, in [0, 1]; 0 for anonymous names."""
        best = np.zeros(len(self.words), np.float32)
        name_meaning = meaning(name)
        if not name_meaning.anonymous:
            for word in name_meaning.words:
                numbers, alike = self.near(word)
                best[numbers] = np.maximum(best[numbers], alike)
        covered = np.add.reduceat(self.weights * best[self.word_numbers], self.starts)
        return np.asarray(covered / np.maximum(self.totals, 1e-6), np.float32)


class ReferenceIndex:
    """All references of a library, for `search`. Made by `of`; `updated` makes another from it."""

    def __init__(self, laid: _Laid) -> None:
        self._laid = laid
        self._starts = laid.starts[:-1]
        self._vocabulary = Vocabulary(laid.names)
        classes, numbers = np.unique(laid.classes, return_inverse=True)
        self._classes = _unpacked(classes)
        self._class_numbers = numbers.astype(np.int32)
        self._places = {name: place for place, name in enumerate(laid.references)}
        anonymous = self._vocabulary.anonymous[laid.name_numbers] if len(laid.names) else np.zeros(0, bool)
        #: Classes of columns whose names say nothing: any column may be like those.
        self._nameless = np.unique(self._class_numbers[anonymous])

    @classmethod
    def of(cls, facts: Iterable[ReferenceFacts]) -> ReferenceIndex:
        """Build an index; of two references with one name the later counts, those without a column are left out.

        Importances that sum to nothing count all columns alike.
        """
        return cls(_lay(facts))

    def updated(self, facts: Iterable[ReferenceFacts] = (), removed: Iterable[str] = ()) -> ReferenceIndex:
        """Return an index with `facts` added, or put in the place of those of the same name, and `removed` left out."""
        added = _lay(facts)
        return ReferenceIndex(_beside([self._laid.without({*removed, *added.references}), added]))

    def __len__(self) -> int:
        return len(self._laid.references)

    @property
    def names(self) -> tuple[str, ...]:
        return self._laid.references

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays; names and their words, each kept once, come on top."""
        laid = self._laid
        arrays = (laid.name_numbers, laid.starts, laid.importance, laid.classes, self._class_numbers)
        return laid.columns.nbytes + sum(array.nbytes for array in arrays)

    def search(self, sketches: Sequence[ColumnSketch], limit: int = 20) -> tuple[Candidate, ...]:
        """Find the references that the table most likely matches, best first: by the importance of the columns whose
        name one of the table's columns has or, where a name says nothing, whose class of distribution.
        """
        if not len(self) or not sketches or limit < 1:
            return ()
        by_name = self._by_name([sketch.name for sketch in sketches])
        by_shape = BY_SHAPE * self._by_shape(sketches)
        column = np.maximum(by_name[self._laid.name_numbers], by_shape[self._class_numbers])
        return self._best(column, limit)

    def search_names(self, names: Sequence[str], limit: int = 20) -> tuple[Candidate, ...]:
        """`search` by names alone."""
        if not len(self) or not names or limit < 1:
            return ()
        return self._best(self._by_name(names)[self._laid.name_numbers], limit)

    def candidates(self, names: Iterable[str]) -> tuple[Candidate, ...]:
        """Find the references of these names; those that are not here are left out."""
        return tuple(self._candidate(self._places[name], 0.0) for name in names if name in self._places)

    def _by_name(self, names: Sequence[str]) -> Floats:
        best = np.zeros(len(self._vocabulary.meanings), np.float32)
        for name in dict.fromkeys(names):
            np.maximum(best, self._vocabulary.coverage(name), out=best)
        return best

    def _by_shape(self, sketches: Sequence[ColumnSketch]) -> Floats:
        mine = _unpacked(_classes(columns_of(sketches)))
        nameless = np.array([is_anonymous(sketch.name) for sketch in sketches], bool)
        best = np.zeros(len(self._classes), np.float32)
        if nameless.any():
            best = _nearest(mine[nameless], self._classes)
        if len(self._nameless) and not nameless.all():
            like = _nearest(mine[~nameless], self._classes[self._nameless])
            best[self._nameless] = np.maximum(best[self._nameless], like)
        return best

    def _best(self, column: Floats, limit: int) -> tuple[Candidate, ...]:
        scores = np.add.reduceat(column * self._laid.importance, self._starts)
        limit = min(limit, len(scores))
        at_least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        # All of those that tie for the last place come in the order of the library, not of the partition.
        places = np.flatnonzero(scores >= at_least)
        places = places[np.argsort(-scores[places], kind="stable")][:limit]
        return tuple(self._candidate(int(place), float(scores[place])) for place in places)

    def _candidate(self, place: int, rough: float) -> Candidate:
        laid = self._laid
        start, stop = int(laid.starts[place]), int(laid.starts[place + 1])
        names = tuple(laid.names[number] for number in laid.name_numbers[start:stop])
        columns = laid.columns.part(start, stop, names)
        return Candidate(
            laid.references[place], laid.domains[place], columns, laid.importance[start:stop], rough
        )


# References laid side by side


@dataclass(frozen=True)
class _Laid:
    """All references: reference i has columns `starts[i]` to `starts[i + 1]`. `names` holds each name of a
    column once; `columns.names` is empty."""

    references: tuple[str, ...]
    domains: tuple[str, ...]
    starts: Integers
    names: tuple[str, ...]
    name_numbers: NDArray[np.int32]
    columns: Columns
    importance: Floats
    classes: Integers

    def without(self, gone: set[str]) -> _Laid:
        kept = np.array([name not in gone for name in self.references], bool)
        if kept.all():
            return self
        sizes = np.diff(self.starts)
        rows = np.repeat(kept, sizes)
        level_sizes = np.diff(self.columns.level_starts)
        held = np.repeat(rows, level_sizes)
        numbers, places = np.unique(self.name_numbers[rows], return_inverse=True)
        return _Laid(
            tuple(name for name, keep in zip(self.references, kept, strict=True) if keep),
            tuple(domain for domain, keep in zip(self.domains, kept, strict=True) if keep),
            _starts(sizes[kept]),
            tuple(self.names[number] for number in numbers),
            places.astype(np.int32),
            Columns(
                (),
                self.columns.kinds[rows],
                self.columns.shares[rows],
                self.columns.quantiles[rows],
                _starts(level_sizes[rows]),
                self.columns.levels[held],
                self.columns.level_shares[held],
            ),
            self.importance[rows],
            self.classes[rows],
        )


def _lay(facts: Iterable[ReferenceFacts]) -> _Laid:
    """Lay out a thousand references at a time, so that not all sketches need be there at once."""
    parts, several = [_NOTHING], iter(facts)
    while some := list(islice(several, 1_000)):
        parts.append(_lay_some([each for each in some if each.columns]))
    laid = _beside(parts)
    last = {name: place for place, name in enumerate(laid.references)}
    if len(last) == len(laid.references):
        return laid
    return _lay_last(laid, last)


def _lay_last(laid: _Laid, last: Mapping[str, int]) -> _Laid:
    """Lay out the last of several references of one name."""
    marked = tuple(
        name if last[name] == place else f"\0{place}" for place, name in enumerate(laid.references)
    )
    return replace(laid, references=marked).without({name for name in marked if name not in last})


def _lay_some(facts: Sequence[ReferenceFacts]) -> _Laid:
    if not facts:
        return _NOTHING
    columns = columns_of([column for each in facts for column in each.columns])
    names: dict[str, int] = {}
    numbers = [names.setdefault(name, len(names)) for name in columns.names]
    return _Laid(
        tuple(each.name for each in facts),
        tuple(each.domain for each in facts),
        _starts([len(each.columns) for each in facts]),
        tuple(names),
        np.array(numbers, np.int32),
        replace(columns, names=()),
        np.concatenate([_shares_of_importance(each) for each in facts]),
        _classes(columns),
    )


def _beside(parts: Sequence[_Laid]) -> _Laid:
    names: dict[str, int] = {}
    numbers = []
    for part in parts:
        places = np.array([names.setdefault(name, len(names)) for name in part.names], np.int32)
        numbers.append(places[part.name_numbers] if len(places) else part.name_numbers)
    return _Laid(
        tuple(chain.from_iterable(part.references for part in parts)),
        tuple(chain.from_iterable(part.domains for part in parts)),
        _starts(np.concatenate([np.diff(part.starts) for part in parts])),
        tuple(names),
        np.concatenate(numbers),
        Columns.joined([part.columns for part in parts]),
        np.concatenate([part.importance for part in parts]),
        np.concatenate([part.classes for part in parts]),
    )


def _starts(sizes: Sequence[int] | Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _shares_of_importance(facts: ReferenceFacts) -> Floats:
    """(columns,) shares that sum to 1, none much above `MOST`: one column in common makes no match."""
    raw = np.array([max(0.0, facts.importance.get(column.name, 0.0)) for column in facts.columns])
    shares = raw / raw.sum() if raw.sum() > 0 else np.full(len(raw), 1.0 / len(raw))
    most = max(MOST, 1.0 / len(raw))
    high = shares > most
    if high.any():
        rest = np.where(high, 0.0, shares)
        if rest.sum() == 0:
            rest = np.where(high, 0.0, 1.0)
        # At most two columns lie above two fifths, so that what they lose lifts no other above it twice over.
        shares = np.where(high, most, rest / rest.sum() * (1.0 - most * high.sum()))
        shares = np.minimum(shares, most) / np.minimum(shares, most).sum()
    return shares.astype(np.float32)


# Coarse classes of distributions: kind, then for numbers the place and spread of the signed logarithm and
# whether there are zeros, fractions, negatives; for categories a frequent value.

_PLACE: Final = 0.5
_SPREAD: Final = 0.4


def _classes(columns: Columns) -> Integers:
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


def _middle_and_spread(quantiles: Floats) -> tuple[Floats, Floats]:
    known = np.nan_to_num(quantiles)
    middle = known[:, QUANTILES // 2]
    return middle, np.abs(known - middle[:, None]).mean(axis=1)


def _unpacked(classes: Integers) -> Floats:
    parts = []
    for bits, scale in ((5, 0.12), (2, 0.5), (2, 0.25), (3, 0.3), (4, 0.35), (7, 0.3)):
        parts.append((classes & ((1 << bits) - 1)) * scale)
        classes = classes >> bits
    return np.stack([classes * 100.0, *parts], axis=1).astype(np.float32)


def _nearest(mine: Floats, theirs: Floats) -> Floats:
    """(theirs,) how like the nearest of mine each is, in [0, 1]."""
    best = np.zeros(len(theirs), np.float32)
    for row in np.unique(mine, axis=0):
        best = np.maximum(best, 1 - np.abs(theirs - row).sum(axis=1))
    return best


_NOTHING: Final = _Laid(
    (),
    (),
    _starts([]),
    (),
    np.zeros(0, np.int32),
    columns_of(()),
    np.zeros(0, np.float32),
    np.zeros(0, np.int64),
)

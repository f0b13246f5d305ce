"""Measure how like the columns of two tables are, by their names, their types and the distributions of their values."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ecluse.apps.fraud.references.index import Columns, Vocabulary
from ecluse.apps.fraud.tables.names import is_anonymous, meaning, split_words
from ecluse.apps.fraud.tables.sketches import KINDS, OUTER, QUANTILES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.floating[Any]]

NAME: Final = 0.55
DISTRIBUTION: Final = 0.25
TYPE: Final = 0.20
PAIR_GATE: Final = 0.55
"""Least score of a pair of columns."""
NAME_GATE: Final = 0.3
"""Least name similarity of a pair that rests on its names."""
STRONG: Final = 0.8
"""Least strength of a distribution on which a pair may rest alone, its names saying nothing."""
FILL: Final = 0.8
NAME_HINT: Final = 0.15
HINTED: Final = 0.6
"""Least likeness of distributions, and of names, of a pair that follows once the table is known."""
DATES: Final = 0.6
"""Score of two dates, each the only one left on its side once the table is known."""
AGE: Final = 10 * 365.25 * 86_400
LENGTH: Final = 30.0
"""Seconds by which the middles of two such dates may lie apart, and how many times the longer period may be
the shorter one: a date of birth is no date of payment."""
ALL_ROWS: Final = 0.999
COMMON: Final = 0.03
"""Mean gap of distribution functions below which a column is one of those that any table may hold."""
MANY: Final = 6
LEVELS: Final = 4
SAME: Final = 0.99
"""Distinct quantiles, and levels, from which a column takes many values (yes, no and unknown are three); likeness of
names from which they are the same, whatever part of its values a table happens to hold."""
FEW_ROWS: Final = 0.04
"""Share of distinct values above which a column has too few rows to be called one of two values."""
CENTRED: Final = 0.3
"""Standard deviations from zero within which a bell is one around zero."""


@dataclass(frozen=True)
class Likeness:
    """How like each of the table's columns is to each of a reference's, (mine, theirs) each. `scores`: 0 where
    a pair is not admitted. `shapes`: of the distributions. `nameless`: a name of the two says nothing.
    `fills`: scores of pairs that may follow once the table is known by others, `dates` among them. `strengths`: how
    sure two distributions are one, where a name says nothing; `mine_tell` and `theirs_tell`: columns that have any."""

    scores: Matrix
    names: Matrix
    shapes: Matrix
    nameless: NDArray[np.bool_]
    fills: Matrix
    dates: NDArray[np.bool_]
    strengths: Matrix
    mine_tell: NDArray[np.bool_]
    theirs_tell: NDArray[np.bool_]

    def part(self, columns: slice) -> Likeness:
        return Likeness(
            self.scores[:, columns],
            self.names[:, columns],
            self.shapes[:, columns],
            self.nameless[:, columns],
            self.fills[:, columns],
            self.dates[:, columns],
            self.strengths[:, columns],
            self.mine_tell,
            self.theirs_tell[columns],
        )


def likeness_by_name(mine: Columns, theirs: Columns, names: Matrix) -> Likeness:
    nameless = _nameless(mine, theirs)
    scores = np.where((names >= NAME_GATE) & ~nameless, names, 0.0)
    none = np.zeros_like(names)
    no_mine, no_theirs = (np.zeros(size, bool) for size in names.shape)
    return Likeness(
        scores, names, np.ones_like(names), nameless, none, none.astype(bool), none, no_mine, no_theirs
    )


def likeness_of(mine: Columns, theirs: Columns, names: Matrix) -> Likeness:
    shapes = _shape_similarities(mine, theirs)
    types = _TYPES[np.ix_(mine.kinds, theirs.kinds)]
    scores = NAME * names + DISTRIBUTION * shapes + TYPE * types
    nameless = _nameless(mine, theirs)
    mine_tell, theirs_tell = _tells_apart(mine), _tells_apart(theirs)
    strength = _strengths(mine, theirs, nameless & (shapes > 0.5) & mine_tell[:, None] & theirs_tell[None, :])
    admitted = np.where(nameless, strength >= STRONG, (names >= NAME_GATE) & (scores >= PAIR_GATE))
    fills = np.where(nameless, 0.9 * shapes + 0.1 * names, scores)
    # Names that say nothing settle only which of two like distributions is taken.
    scores = np.where(nameless, 0.9 * strength + 0.1 * names, scores)
    follows = np.where(nameless, shapes >= FILL, (names >= NAME_HINT) & (shapes >= HINTED))
    fills = np.where(follows & (types >= 0.6), fills, 0.0)
    dates = _of_one_age(mine, theirs) & (fills < DATES)
    fills = np.where(dates, DATES, fills)
    never = _never_alike(mine, theirs) & (names < SAME)
    admitted, fills, dates = admitted & ~never, np.where(never, 0.0, fills), dates & ~never
    return Likeness(
        np.where(admitted, scores, 0.0),
        names,
        np.where(admitted & nameless, strength, shapes),
        nameless,
        fills,
        dates,
        strength,
        mine_tell,
        theirs_tell,
    )


def _never_alike(mine: Columns, theirs: Columns) -> NDArray[np.bool_]:
    """(mine, theirs) whether one takes two values and the other many: an amount is no yes or no, nor a country
    whether it is abroad. A category of two levels may still be one of many, in a table of few countries."""
    vetoed = np.zeros((len(mine), len(theirs)), bool)
    for first, other, turned in ((mine, theirs, False), (theirs, mine, True)):
        two, flags = _two_valued(first)
        numbers, others = _many_valued(other)
        apart = (two[:, None] & numbers[None, :]) | (flags[:, None] & others[None, :])
        vetoed |= apart.T if turned else apart
    return vetoed


def _two_valued(columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(columns,) whether a column takes two values, and whether these are yes and no."""
    plain = np.rint(np.sign(columns.quantiles) * np.expm1(np.abs(columns.quantiles.astype(np.float64))))
    numbers = columns.kinds == KINDS.index("number")
    whole = columns.shares[:, 2] >= 1.0
    sizes = _distinct(plain)
    flags = numbers & whole & (sizes == 2) & (plain[:, -1] - plain[:, 0] == 1)
    flags &= columns.shares[:, 4] <= FEW_ROWS
    two, held = flags.copy(), np.diff(columns.level_starts)
    for place in np.flatnonzero(held == 2):
        levels = slice(int(columns.level_starts[place]), int(columns.level_starts[place + 1]))
        if columns.level_shares[levels].sum() >= ALL_ROWS:
            two[place] = True
            flags[place] = bool(np.isin(columns.levels[levels], _YES_NO).all())
    return two, flags


def _many_valued(columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(columns,) whether a column is a number or moment of many values, and whether it is anything else of many."""
    ordered = np.isin(columns.kinds, [KINDS.index("number"), KINDS.index("datetime")])
    named = np.isin(columns.kinds, [KINDS.index("identifier"), KINDS.index("text")])
    return ordered & (_distinct(columns.quantiles) >= MANY), named | (np.diff(columns.level_starts) >= LEVELS)


def _distinct(quantiles: Matrix) -> NDArray[np.intp]:
    """(columns,) how many of the quantiles differ; 0 where there are none."""
    steps = (np.diff(quantiles, axis=1) != 0).sum(axis=1) + 1
    return np.where(np.isfinite(quantiles[:, 0]), steps, 0)


def _of_one_age(mine: Columns, theirs: Columns) -> NDArray[np.bool_]:
    """(mine, theirs) whether both are dates of about the same years, over periods of about the same length."""
    (middles, lengths), (their_middles, their_lengths) = (_periods(columns) for columns in (mine, theirs))
    apart = np.abs(middles[:, None] - their_middles[None, :])
    longer = np.maximum(lengths[:, None], their_lengths[None, :])
    shorter = np.minimum(lengths[:, None], their_lengths[None, :])
    return np.asarray((apart <= AGE) & (longer <= LENGTH * shorter))


def _periods(columns: Columns) -> tuple[Matrix, Matrix]:
    """(columns,) middle and length in seconds; NaN where a column holds no dates."""
    seconds = np.sign(columns.quantiles) * np.expm1(np.abs(columns.quantiles.astype(np.float64)))
    seconds = np.where((columns.kinds == KINDS.index("datetime"))[:, None], seconds, np.nan)
    return seconds[:, QUANTILES // 2], seconds[:, -1] - seconds[:, 0]


def _nameless(mine: Columns, theirs: Columns) -> NDArray[np.bool_]:
    a, b = (np.array([is_anonymous(name) for name in columns.names], bool) for columns in (mine, theirs))
    return np.asarray(a[:, None] | b[None, :])


def name_similarities(mine: Sequence[str], theirs: Sequence[str]) -> Matrix:
    """(mine, theirs) as `names.name_similarity` says of each pair; exact names a little above all others."""
    unique = list(dict.fromkeys(theirs))
    vocabulary = Vocabulary(unique)
    alike = np.stack([_to_all(name, vocabulary, unique) for name in mine])
    place = {name: number for number, name in enumerate(unique)}
    return alike[:, [place[name] for name in theirs]]


def _to_all(name: str, vocabulary: Vocabulary, unique: Sequence[str]) -> Matrix:
    name_meaning = meaning(name)
    if name_meaning.anonymous:
        same = np.zeros(len(unique))
        same[vocabulary.by_words.get(split_words(name), [])] = 1.0
        return same
    best = np.zeros(len(vocabulary.words), np.float64)
    covered = np.zeros(len(unique), np.float64)
    weight = 0.0
    for word in name_meaning.words:
        alike = np.zeros(len(vocabulary.words), np.float64)
        numbers, near = vocabulary.near(word)
        alike[numbers] = near
        best = np.maximum(best, alike)
        covered += word.weight * np.maximum.reduceat(alike[vocabulary.word_numbers], vocabulary.starts)
        weight += word.weight
    covered += np.add.reduceat(vocabulary.weights * best[vocabulary.word_numbers], vocabulary.starts)
    similarities = np.minimum(0.98, covered / np.maximum(vocabulary.totals + weight, 1e-6))
    similarities[vocabulary.anonymous] = 0.0
    for number in vocabulary.by_words.get(split_words(name), ()):
        similarities[number] = 1.0 if unique[number] == name else 0.995
    return similarities


def _types() -> Matrix:
    """Return how well one kind of column stands for another; symmetric, 1 for the same kind."""
    table = np.eye(len(KINDS))
    for first, other, alike in (
        ("number", "category", 0.4),
        ("number", "identifier", 0.3),
        ("number", "datetime", 0.3),
        ("category", "identifier", 0.6),
        ("category", "text", 0.6),
        ("category", "datetime", 0.2),
        ("identifier", "text", 0.6),
        ("constant", "number", 0.4),
        ("constant", "category", 0.4),
        ("constant", "datetime", 0.3),
        ("constant", "identifier", 0.2),
        ("constant", "text", 0.3),
    ):
        table[KINDS.index(first), KINDS.index(other)] = table[KINDS.index(other), KINDS.index(first)] = alike
    return table


_TYPES: Final = _types()


def _shape_similarities(mine: Columns, theirs: Columns) -> Matrix:
    """(mine, theirs) in [0, 1]: quantiles of numbers as they are or in other units, levels of categories,
    and shares of missing, zero, whole and negative values."""
    gaps = np.abs(mine.shares[:, None, :4] - theirs.shares[None, :, :4])
    shares = 1.0 - gaps @ np.array([0.2, 0.3, 0.2, 0.3])
    values = np.zeros(shares.shape)
    both = np.isfinite(mine.quantiles[:, 0])[:, None] & np.isfinite(theirs.quantiles[:, 0])[None, :]
    if both.any():
        near = np.maximum(_quantiles_alike(mine, theirs), 0.9 * _forms_alike(mine, theirs))
        values = np.where(both, near, values)
    else:
        both = np.zeros(shares.shape, bool)
    levels = _levels_alike(mine, theirs)
    neither = np.isnan(mine.quantiles[:, 0])[:, None] & np.isnan(theirs.quantiles[:, 0])[None, :]
    spans = 1.0 - np.abs(mine.shares[:, 4][:, None] - theirs.shares[None, :, 4])
    values = np.where(neither, np.where(np.isnan(levels), 0.6 * spans, levels), values)
    return np.asarray(values * (0.4 + 0.6 * shares), np.float64)


def _quantiles_alike(mine: Columns, theirs: Columns) -> Matrix:
    """By the mean gap of signed logarithms beside how far they spread."""
    a, b = np.nan_to_num(mine.quantiles), np.nan_to_num(theirs.quantiles)
    gap = np.abs(a[:, None, :] - b[None, :, :]).mean(axis=2)
    spread = _spread(a)[:, None] + _spread(b)[None, :]
    return np.asarray(np.exp(-1.5 * gap / (spread + 0.05)))


def _forms_alike(mine: Columns, theirs: Columns) -> Matrix:
    """Compare the same after each column is divided by its own scale: units may differ."""
    a, b = _scaled(mine.quantiles), _scaled(theirs.quantiles)
    gap = np.abs(a[:, None, :] - b[None, :, :]).mean(axis=2)
    spread = _spread(a)[:, None] + _spread(b)[None, :]
    return np.asarray(np.exp(-1.5 * gap / (spread + 0.05)))


def _spread(quantiles: Matrix) -> Matrix:
    return np.asarray(np.abs(quantiles - quantiles[:, [QUANTILES // 2]]).mean(axis=1))


def _scaled(logarithms: Matrix) -> Matrix:
    plain = np.sign(logarithms) * np.expm1(np.abs(np.nan_to_num(logarithms)))
    scale = np.abs(plain).mean(axis=1, keepdims=True)
    plain = plain / np.where(scale > 0, scale, 1.0) * 10.0
    return np.asarray(np.sign(plain) * np.log1p(np.abs(plain)))


def _levels_alike(mine: Columns, theirs: Columns) -> Matrix:
    """Share of rows whose level both columns hold alike; NaN where a column keeps no levels."""
    known = np.unique(mine.levels)
    a, b = _level_shares(mine, known), _level_shares(theirs, known)
    alike = np.stack([np.minimum(row[None, :], b).sum(axis=1) for row in a])
    has = (np.diff(mine.level_starts) > 0)[:, None] & (np.diff(theirs.level_starts) > 0)[None, :]
    return np.where(has, alike, np.nan)


def _level_shares(columns: Columns, known: NDArray[np.uint32]) -> Matrix:
    shares = np.zeros((len(columns), len(known)))
    rows = np.repeat(np.arange(len(columns)), np.diff(columns.level_starts))
    held = np.isin(columns.levels, known)
    np.add.at(shares, (rows[held], np.searchsorted(known, columns.levels[held])), columns.level_shares[held])
    return shares


def _strengths(mine: Columns, theirs: Columns, nameless: NDArray[np.bool_]) -> Matrix:
    """(mine, theirs) in [0, 1], where `wanted`: how sure two columns have one distribution, their names aside.

    Numbers: the mean gap of the two distribution functions at each other's quantiles; a fifth is none.
    Categories: the levels that they share.
    """
    strength = np.nan_to_num(np.where(nameless, _levels_alike(mine, theirs), 0.0))
    numbers = np.isfinite(mine.quantiles[:, 0])[:, None] & np.isfinite(theirs.quantiles[:, 0])[None, :]
    rows, columns = np.nonzero(nameless & numbers)
    if len(rows):
        gaps = _function_gaps(
            mine.quantiles[rows].astype(np.float64), theirs.quantiles[columns].astype(np.float64)
        )
        shares = np.abs(mine.shares[rows, :4] - theirs.shares[columns, :4]).max(axis=1)
        strength[rows, columns] = np.clip(1.0 - 5.0 * gaps - np.maximum(0.0, shares - 0.03) * 5.0, 0.0, 1.0)
    return strength


def _tells_apart(columns: Columns) -> NDArray[np.bool_]:
    """(columns,) whether a distribution has three levels, or several values and none of the distributions that any
    table may hold: bells around zero of any width, as principal components and standardised columns are, of which
    width alone says one from another; and even spreads over [0, 1] and [-1, 1]."""
    quantiles = columns.quantiles.astype(np.float64)
    several = np.array([bool(np.isfinite(row[0])) and len(np.unique(row)) >= 4 for row in quantiles], bool)
    plain = np.sign(quantiles) * np.expm1(np.abs(np.nan_to_num(quantiles)))
    quarter, middle, three = (
        plain[:, place] for place in (QUANTILES // 4, QUANTILES // 2, 3 * QUANTILES // 4)
    )
    width = np.maximum((three - quarter) / (_BELL[3 * QUANTILES // 4] - _BELL[QUANTILES // 4]), 1e-12)
    centred = np.abs(middle) < CENTRED * width
    bell = _function_gaps(plain, width[:, None] * _BELL[None, :]) <= COMMON
    even = [_function_gaps(plain, np.broadcast_to(spread, plain.shape)) <= COMMON for spread in _EVEN]
    numbers = several & ~(centred & bell) & ~even[0] & ~even[1]
    return np.asarray(numbers | (np.diff(columns.level_starts) >= 3))


_SAID: Final = ("0", "1", "y", "n", "t", "f", "o", "yes", "no", "true", "false", "oui", "non", "vrai", "faux")
_LEVELS: Final = np.linspace(0.0, 1.0, QUANTILES).clip(OUTER, 1 - OUTER)
_YES_NO: Final = np.array([zlib.crc32(word.encode()) for word in _SAID], np.uint32)
_BELL: Final = np.array([NormalDist().inv_cdf(level) for level in _LEVELS])
_EVEN: Final = (_LEVELS, 2 * _LEVELS - 1)


def _function_gaps(a: Matrix, b: Matrix) -> Matrix:
    """(pairs,) mean distance of each level to where the other's distribution function stands at that quantile;
    0 where it stands anywhere on a step, as columns of few values have."""
    return np.maximum(_one_way(a, b), _one_way(b, a))


def _one_way(a: Matrix, b: Matrix) -> Matrix:
    below = (b[:, None, :] < a[:, :, None]).sum(axis=2)
    upto = (b[:, None, :] <= a[:, :, None]).sum(axis=2)
    last = QUANTILES - 1
    left = np.take_along_axis(b, np.clip(below - 1, 0, last), axis=1)
    right = np.take_along_axis(b, np.clip(upto, 0, last), axis=1)
    between = (below == upto) & (below > 0) & (upto <= last)
    width = np.where(right > left, right - left, 1.0)
    part = np.where(between, (a - left) / width, 0.0)
    low = np.where(between, below - 1 + part, below - 1.0)
    high = np.where(between, low, upto.astype(float))
    low, high = np.clip(low, 0, last) / last, np.clip(high, 0, last) / last
    levels = np.linspace(0, 1, QUANTILES)[None, :]
    gap = np.maximum(0.0, np.maximum(low - levels, levels - high))
    return np.asarray(gap.mean(axis=1))

"""Say which reference tables a person's table means the same as, column by column, or that none does.

`match_table` compares names, types and distributions; `match_names` has names only. What does not reach the gate
is refused, with the reason: a table is then scored by anomaly alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ecluse.apps.fraud.references.facts import Match, MatchResult, Pair
from ecluse.apps.fraud.references.index import Candidate, Columns, Vocabulary, columns_of
from ecluse.apps.fraud.tables.names import is_anonymous, meaning, name_reason, split_words
from ecluse.apps.fraud.tables.sketches import KINDS, OUTER, QUANTILES, ColumnSketch
from ecluse.sentences import _, num

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ecluse.apps.fraud.references.index import ReferenceIndex

    Matrix = NDArray[np.floating[Any]]

GATE: Final = 0.5
"""Below this similarity a match is refused: over 18 unrelated tables none reached it, the highest was .43
(shared/design/fraud.md, "Without labels"; measured again by benchmarks/matching.py)."""
NAME: Final = 0.55
DISTRIBUTION: Final = 0.25
TYPE: Final = 0.20
PAIR_GATE: Final = 0.55
"""Least score of a pair of columns."""
NAME_GATE: Final = 0.3
"""Least name similarity of a pair that rests on its names."""
UNSURE: Final = 0.4
CERTAIN: Final = 0.75
"""Scores from which a pair counts at all, and in full."""
FAR: Final = 0.3
"""What a pair loses whose distributions have nothing in common: units and habits differ, meanings stay."""
STRONG: Final = 0.8
"""Least strength of a distribution on which a pair may rest alone, its names saying nothing."""
SURE: Final = 0.92
"""Least median strength of the pairs that rest on distributions alone: the median of two halves of one table
of 1,000 rows and more is above, that of the nearest columns of other tables below."""
APART: Final = 0.2
FEWEST_APART: Final = 4
MOST_OF: Final = 0.5
SOME_OF: Final = 0.3
"""Of fewer rows the medians lie lower, and then so many pairs of distinct columns do: each stronger by `APART` than
any other pair of its two columns, and together `MOST_OF` the columns whose distribution tells anything, in the table
that has fewer of them. `SOME_OF` them let columns of like distribution follow. Unrelated tables have three such
pairs at most, of a quarter of these columns."""
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
KNOWN: Final = 0.4
"""Share of importance by which a table is known, so that columns of like distribution may follow."""
MARGIN: Final = 0.02
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
FEWEST: Final = 2
"""Least number of columns in a match."""
BELOW: Final = 5
"""References told that are not used, beside those that are."""
CANDIDATES: Final = 20
MOST_COLUMNS: Final = 1_000
"""Columns of a table that are compared; of a wider one, those that tell most."""
ROUGH: Final = 0.2


def match_table(
    sketches: Sequence[ColumnSketch],
    index: ReferenceIndex,
    *,
    corrections: Mapping[str, Mapping[str, str | None]] = {},
    refused: Mapping[str, Collection[str]] = {},
    only: Collection[str] | None = None,
    limit: int = 3,
) -> MatchResult:
    """The references that a table means the same as, at most `limit`, best first.

    `corrections` by reference: {theirs: ours or None}, which a person has settled; they count in full. `refused`
    by reference: columns of it that nothing stands for, as a person said. `only` these references are compared,
    however far down a search would put them.
    """
    named = frozenset(name for one in corrections.values() for name in one)
    sketches = _telling(sketches, named)
    settled = {
        name: _Settled(corrections.get(name, {}), frozenset(refused.get(name, ())))
        for name in (*corrections, *refused)
    }
    if only is not None:
        found = index.candidates(dict.fromkeys(only))
    else:
        found = index.search(sketches, CANDIDATES)
        near = {one.name for one in found}
        found = (*found, *index.candidates(name for name in settled if name not in near))
    certain = settled.keys() if only is None else set(only)
    matches = _compare(columns_of(sketches), found, settled, certain, by_name_alone=False)
    return _result(matches, limit, len(index))


def match_names(columns: Sequence[str], index: ReferenceIndex, limit: int = 3) -> MatchResult:
    """`match_table` where nothing but the names is known. Anonymous names match nothing."""
    sketches = _telling([_named(name) for name in columns], frozenset())
    found = index.search_names([sketch.name for sketch in sketches], CANDIDATES)
    matches = _compare(columns_of(sketches), found, {}, (), by_name_alone=True)
    return _result(matches, limit, len(index))


def _named(name: str) -> ColumnSketch:
    return ColumnSketch(name, "constant", 0.0, 0.0, 0.0, 0.0, 0.0)


def _telling(sketches: Sequence[ColumnSketch], settled: Collection[str]) -> Sequence[ColumnSketch]:
    """The columns that are compared, in their order: of very many those that a person has settled, then those whose
    names mean something, then those whose names say nothing."""
    if len(sketches) <= MOST_COLUMNS:
        return sketches

    def rank(place: int) -> tuple[bool, bool, bool, float, int]:
        said = meaning(sketches[place].name)
        known = [word.weight for word in said.words if word.senses]
        settles = sketches[place].name in settled
        return (not settles, not known, said.anonymous, -max(known, default=0.0), place)

    chosen = sorted(range(len(sketches)), key=rank)[:MOST_COLUMNS]
    return [sketches[place] for place in sorted(chosen)]


def _result(matches: list[Match], limit: int, references: int) -> MatchResult:
    matches.sort(key=lambda match: (-match.similarity, match.reference))
    # A column in common is none too many: amounts and ages stand in every table.
    near = [match for match in matches if match.columns]
    reached = [m for m in near if m.similarity >= GATE and len(m.columns) >= FEWEST]
    if reached:
        passed = tuple(reached[:limit])
        below = tuple(match for match in near if match not in passed)[:BELOW]
        return MatchResult(False, _("%(name)s means the same", name=passed[0].reference), passed, below)
    nearest, below = tuple(near[:limit]), tuple(near[limit : limit + BELOW])
    if not references:
        return MatchResult(True, _("The library holds no reference."), ())
    if not nearest:
        return MatchResult(True, _("No column of this table is like one of a reference."), ())
    best = nearest[0]
    if best.similarity >= GATE:
        return MatchResult(
            True,
            _("%(name)s has one column in common, which is too little.", name=best.reference),
            nearest,
            below,
        )
    return MatchResult(
        True,
        _(
            "No reference is near enough: the nearest, %(name)s, reaches %(share)s of the "
            "%(number)s that a match needs.",
            name=best.reference,
            share=num(best.similarity, ".2f"),
            number=num(GATE, ".2f"),
        ),
        nearest,
        below,
    )


# Pairs of columns


@dataclass(frozen=True)
class _Settled:
    """What a person said of one reference: {theirs: ours or None}, and which of its columns nothing stands for."""

    pairs: Mapping[str, str | None]
    refused: frozenset[str]


_NOTHING_SETTLED: Final = _Settled({}, frozenset())


@dataclass(frozen=True)
class _Likeness:
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

    def part(self, columns: slice) -> _Likeness:
        return _Likeness(
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


def _compare(
    mine: Columns,
    found: Sequence[Candidate],
    settled: Mapping[str, _Settled],
    certain: Collection[str],
    *,
    by_name_alone: bool,
) -> list[Match]:
    # What lies so far below the gate that the full comparison cannot lift it there is left out, but for `certain`.
    some = [one for at, one in enumerate(found) if at < 3 or one.rough >= ROUGH or one.name in certain]
    if not some or not len(mine):
        return []
    theirs = Columns.joined([one.columns for one in some])
    names = _name_similarities(mine.names, theirs.names)
    like = _by_name(mine, theirs, names) if by_name_alone else _likeness(mine, theirs, names)
    matches, at = [], 0
    for one in some:
        part = slice(at, at + len(one.columns))
        at = part.stop
        matches.append(_match(mine.names, one, like.part(part), settled.get(one.name, _NOTHING_SETTLED)))
    return matches


def _by_name(mine: Columns, theirs: Columns, names: Matrix) -> _Likeness:
    nameless = _nameless(mine, theirs)
    scores = np.where((names >= NAME_GATE) & ~nameless, names, 0.0)
    none = np.zeros_like(names)
    no_mine, no_theirs = (np.zeros(size, bool) for size in names.shape)
    return _Likeness(
        scores, names, np.ones_like(names), nameless, none, none.astype(bool), none, no_mine, no_theirs
    )


def _likeness(mine: Columns, theirs: Columns, names: Matrix) -> _Likeness:
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
    return _Likeness(
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
    for one, other, turned in ((mine, theirs, False), (theirs, mine, True)):
        two, flags = _two_valued(one)
        numbers, others = _many_valued(other)
        found = (two[:, None] & numbers[None, :]) | (flags[:, None] & others[None, :])
        vetoed |= found.T if turned else found
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
    (middles, lengths), (their_middles, their_lengths) = (_periods(one) for one in (mine, theirs))
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
    a, b = (np.array([is_anonymous(name) for name in one.names], bool) for one in (mine, theirs))
    return np.asarray(a[:, None] | b[None, :])


def _match(theirs: Sequence[str], candidate: Candidate, like: _Likeness, said: _Settled) -> Match:
    ours, importance = candidate.columns.names, candidate.importance
    settled, scores, fills = _settled(theirs, ours, like, said)
    chosen = _assigned(scores)
    chosen = _without_chance(chosen, like, settled)
    known = sum(importance[other] for _, other in chosen) >= KNOWN
    if known or _apart([pair for pair in chosen if like.nameless[pair]], like, SOME_OF):
        chosen += _filling(chosen, fills)
    pairs: list[tuple[int, int, Pair]] = []
    quality = np.zeros(len(ours))
    for mine, other in chosen:
        if (mine, other) in settled:
            pair, quality[other] = Pair(theirs[mine], ours[other], _("corrected by you"), 1.0), 1.0
        else:
            why = name_reason(theirs[mine], ours[other]) if not like.nameless[mine, other] else ""
            if like.dates[mine, other] and not scores[mine, other]:
                why = _("the only date left")
            score = max(scores[mine, other], fills[mine, other])
            pair = Pair(theirs[mine], ours[other], why or _("same distribution"), round(float(score), 4))
            quality[other] = _quality(score, like.shapes[mine, other])
        # A pair that is worth nothing is none: its column is missing.
        if quality[other] > 0:
            pairs.append((other, mine, pair))
    similarity = float((importance * quality).sum())
    pairs.sort(key=lambda found: (-importance[found[0]], found[0]))
    missing = sorted(np.flatnonzero(quality == 0), key=lambda place: (-importance[place], place))
    return Match(
        candidate.name,
        round(min(1.0, similarity), 4),
        tuple(pair for _, _, pair in pairs),
        tuple(ours[place] for place in missing),
        candidate.domain,
    )


def _assigned(scores: Matrix) -> list[tuple[int, int]]:
    """The pairs of the highest total (Hungarian method), of those that are admitted."""
    from scipy.optimize import linear_sum_assignment

    pairs = zip(*linear_sum_assignment(scores, maximize=True), strict=True)
    return [(int(mine), int(other)) for mine, other in pairs if scores[mine, other] > 0]


def _without_chance(
    chosen: list[tuple[int, int]], like: _Likeness, settled: set[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Without the pairs that rest on distributions, unless most are as like as two halves of one table, or most
    columns that tell anything are near one another and no other.

    Among many columns some of any table are near some of any other; that half of them are as near as a
    sample's own error is no chance.
    """
    alike = [pair for pair in chosen if like.nameless[pair] and pair not in settled]
    sure = not alike or float(np.median([like.strengths[pair] for pair in alike])) >= SURE
    if sure or _apart(alike, like, MOST_OF):
        return chosen
    return [pair for pair in chosen if pair not in alike]


def _apart(pairs: Sequence[tuple[int, int]], like: _Likeness, share: float) -> bool:
    """Whether pairs of columns near one another and no other are this share of the columns that tell anything."""
    apart = sum(_alone(like.strengths, *pair, APART) for pair in pairs)
    telling = min(
        (like.mine_tell & like.nameless.any(axis=1)).sum(),
        (like.theirs_tell & like.nameless.any(axis=0)).sum(),
    )
    return bool(apart >= max(FEWEST_APART, share * telling))


def _filling(chosen: Sequence[tuple[int, int]], fills: Matrix) -> list[tuple[int, int]]:
    """Further pairs of like distribution, where no other column is nearly as like."""
    free = fills.copy()
    for mine, other in chosen:
        free[mine, :] = 0.0
        free[:, other] = 0.0
    return [pair for pair in _assigned(free) if _alone(free, *pair, MARGIN)]


def _alone(scores: Matrix, mine: int, other: int, margin: float) -> bool:
    rivals = np.concatenate([np.delete(scores[mine], other), np.delete(scores[:, other], mine)])
    return bool(scores[mine, other] >= rivals.max(initial=0.0) + margin)


def _quality(score: float, shape: float) -> float:
    """How much of a column's importance a pair is worth: less where it is unsure, or its values lie far away."""
    sure = min(1.0, max(0.0, (score - UNSURE) / (CERTAIN - UNSURE)))
    return float(sure * (1.0 - FAR * (1.0 - shape)))


def _settled(
    theirs: Sequence[str], ours: Sequence[str], like: _Likeness, said: _Settled
) -> tuple[set[tuple[int, int]], Matrix, Matrix]:
    """The pairs that a person has settled, and the scores with nothing else beside them."""
    scores, fills = like.scores.copy(), like.fills.copy()
    pairs = set()
    for mine, name in enumerate(theirs):
        if name not in said.pairs:
            continue
        scores[mine] = fills[mine] = 0.0
        wanted = said.pairs[name]
        if wanted in ours:
            pairs.add((mine, ours.index(str(wanted))))
    refused = [other for other, name in enumerate(ours) if name in said.refused]
    for other in (*refused, *(pair[1] for pair in pairs)):
        scores[:, other] = fills[:, other] = 0.0
    for mine, other in pairs:
        scores[mine, other] = 1_000.0
    return pairs, scores, fills


# Names, types and distributions


def _name_similarities(mine: Sequence[str], theirs: Sequence[str]) -> Matrix:
    """(mine, theirs) as `names.name_similarity` says of each pair; exact names a little above all others."""
    unique = list(dict.fromkeys(theirs))
    vocabulary = Vocabulary(unique)
    alike = np.stack([_to_all(name, vocabulary, unique) for name in mine])
    place = {name: number for number, name in enumerate(unique)}
    return alike[:, [place[name] for name in theirs]]


def _to_all(name: str, vocabulary: Vocabulary, unique: Sequence[str]) -> Matrix:
    one = meaning(name)
    if one.anonymous:
        same = np.zeros(len(unique))
        same[vocabulary.by_words.get(split_words(name), [])] = 1.0
        return same
    best = np.zeros(len(vocabulary.words), np.float64)
    covered = np.zeros(len(unique), np.float64)
    weight = 0.0
    for word in one.words:
        alike = np.zeros(len(vocabulary.words), np.float64)
        numbers, near = vocabulary.near(word)
        alike[numbers] = near
        best = np.maximum(best, alike)
        covered += word.weight * np.maximum.reduceat(alike[vocabulary.word_numbers], vocabulary.starts)
        weight += word.weight
    covered += np.add.reduceat(vocabulary.weights * best[vocabulary.word_numbers], vocabulary.starts)
    found = np.minimum(0.98, covered / np.maximum(vocabulary.totals + weight, 1e-6))
    found[vocabulary.anonymous] = 0.0
    for number in vocabulary.by_words.get(split_words(name), ()):
        found[number] = 1.0 if unique[number] == name else 0.995
    return found


def _types() -> Matrix:
    """How well one kind of column stands for another; symmetric, 1 for the same kind."""
    table = np.eye(len(KINDS))
    for one, other, alike in (
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
        table[KINDS.index(one), KINDS.index(other)] = table[KINDS.index(other), KINDS.index(one)] = alike
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
    """The same after each column is divided by its own scale: units may differ."""
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


def _strengths(mine: Columns, theirs: Columns, wanted: NDArray[np.bool_]) -> Matrix:
    """(mine, theirs) in [0, 1], where `wanted`: how sure two columns have one distribution, their names aside.

    Numbers: the mean gap of the two distribution functions at each other's quantiles; a fifth is none.
    Categories: the levels that they share.
    """
    strength = np.nan_to_num(np.where(wanted, _levels_alike(mine, theirs), 0.0))
    numbers = np.isfinite(mine.quantiles[:, 0])[:, None] & np.isfinite(theirs.quantiles[:, 0])[None, :]
    rows, columns = np.nonzero(wanted & numbers)
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
    even = [_function_gaps(plain, np.broadcast_to(one, plain.shape)) <= COMMON for one in _EVEN]
    numbers = several & ~(centred & bell) & ~even[0] & ~even[1]
    return np.asarray(numbers | (np.diff(columns.level_starts) >= 3))


_SAID: Final = ("0", "1", "y", "n", "t", "f", "o", "yes", "no", "true", "false", "oui", "non", "vrai", "faux")
_YES_NO: Final = np.array([zlib.crc32(word.encode()) for word in _SAID], np.uint32)
_LEVELS: Final = np.linspace(0.0, 1.0, QUANTILES).clip(OUTER, 1 - OUTER)
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

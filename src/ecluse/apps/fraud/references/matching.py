"""Say which reference tables a person's table means the same as, column by column, or that none does.

`match_table` compares names, types and distributions; `match_names` has names only. What does not reach the gate
is refused, with the reason: a table is then scored by anomaly alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ecluse.apps.fraud.references.facts import Match, MatchResult, Pair
from ecluse.apps.fraud.references.index import Candidate, Columns, columns_of
from ecluse.apps.fraud.references.likeness import Likeness, likeness_by_name, likeness_of, name_similarities
from ecluse.apps.fraud.tables.names import meaning, name_reason
from ecluse.apps.fraud.tables.sketches import ColumnSketch
from ecluse.sentences import _, num

if TYPE_CHECKING:
    from ecluse.apps.fraud.references.index import ReferenceIndex
    from ecluse.apps.fraud.references.likeness import Matrix

GATE: Final = 0.5
"""Below this similarity a match is refused: over 18 unrelated tables none reached it, the highest was .43
(shared/design/fraud.md, "Without labels"; measured again by benchmarks/matching.py)."""
UNSURE: Final = 0.4
CERTAIN: Final = 0.75
"""Scores from which a pair counts at all, and in full."""
FAR: Final = 0.3
"""What a pair loses whose distributions have nothing in common: units and habits differ, meanings stay."""
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
KNOWN: Final = 0.4
"""Share of importance by which a table is known, so that columns of like distribution may follow."""
MARGIN: Final = 0.02
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
    """Find the references that a table means the same as, at most `limit`, best first.

    `corrections` by reference: {theirs: ours or None}, which a person has settled; they count in full. `refused`
    by reference: columns of it that nothing stands for, as a person said. `only` these references are compared,
    however far down a search would put them.
    """
    named = frozenset(name for each in corrections.values() for name in each)
    sketches = _telling(sketches, named)
    settled = {
        name: _Corrections(corrections.get(name, {}), frozenset(refused.get(name, ())))
        for name in (*corrections, *refused)
    }
    if only is not None:
        candidates = index.candidates(dict.fromkeys(only))
    else:
        candidates = index.search(sketches, CANDIDATES)
        near = {each.name for each in candidates}
        candidates = (*candidates, *index.candidates(name for name in settled if name not in near))
    certain = settled.keys() if only is None else set(only)
    matches = _compare(columns_of(sketches), candidates, settled, certain, by_name_alone=False)
    return _result(matches, limit, len(index))


def match_names(columns: Sequence[str], index: ReferenceIndex, limit: int = 3) -> MatchResult:
    """`match_table` where nothing but the names is known. Anonymous names match nothing."""
    sketches = _telling([_named(name) for name in columns], frozenset())
    candidates = index.search_names([sketch.name for sketch in sketches], CANDIDATES)
    matches = _compare(columns_of(sketches), candidates, {}, (), by_name_alone=True)
    return _result(matches, limit, len(index))


def _named(name: str) -> ColumnSketch:
    return ColumnSketch(name, "constant", 0.0, 0.0, 0.0, 0.0, 0.0)


def _telling(sketches: Sequence[ColumnSketch], settled: Collection[str]) -> Sequence[ColumnSketch]:
    """Return the columns that are compared, in their order: of very many those that a person has settled, then those
    whose names mean something, then those whose names say nothing.
    """
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


@dataclass(frozen=True)
class _Corrections:
    """What a person settled of one reference: {theirs: ours or None}, and which of its columns nothing stands for."""

    pairs: Mapping[str, str | None]
    refused: frozenset[str]


_NO_CORRECTIONS: Final = _Corrections({}, frozenset())


def _compare(
    mine: Columns,
    candidates: Sequence[Candidate],
    settled: Mapping[str, _Corrections],
    certain: Collection[str],
    *,
    by_name_alone: bool,
) -> list[Match]:
    # What lies so far below the gate that the full comparison cannot lift it there is left out, but for `certain`.
    some = [
        candidate
        for at, candidate in enumerate(candidates)
        if at < 3 or candidate.rough >= ROUGH or candidate.name in certain
    ]
    if not some or not len(mine):
        return []
    theirs = Columns.joined([candidate.columns for candidate in some])
    names = name_similarities(mine.names, theirs.names)
    like = likeness_by_name(mine, theirs, names) if by_name_alone else likeness_of(mine, theirs, names)
    matches, at = [], 0
    for candidate in some:
        part = slice(at, at + len(candidate.columns))
        at = part.stop
        matches.append(
            _match(mine.names, candidate, like.part(part), settled.get(candidate.name, _NO_CORRECTIONS))
        )
    return matches


def _match(theirs: Sequence[str], candidate: Candidate, like: Likeness, corrections: _Corrections) -> Match:
    ours, importance = candidate.columns.names, candidate.importance
    settled, scores, fills = _settled(theirs, ours, like, corrections)
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
    pairs.sort(key=lambda entry: (-importance[entry[0]], entry[0]))
    missing = sorted(np.flatnonzero(quality == 0), key=lambda place: (-importance[place], place))
    return Match(
        candidate.name,
        round(min(1.0, similarity), 4),
        tuple(pair for _, _, pair in pairs),
        tuple(ours[place] for place in missing),
        candidate.domain,
    )


def _assigned(scores: Matrix) -> list[tuple[int, int]]:
    """Return the pairs of the highest total (Hungarian method), of those that are admitted."""
    from scipy.optimize import linear_sum_assignment

    pairs = zip(*linear_sum_assignment(scores, maximize=True), strict=True)
    return [(int(mine), int(other)) for mine, other in pairs if scores[mine, other] > 0]


def _without_chance(
    chosen: list[tuple[int, int]], like: Likeness, settled: set[tuple[int, int]]
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


def _apart(pairs: Sequence[tuple[int, int]], like: Likeness, share: float) -> bool:
    """Tell whether pairs of columns near one another and no other are this share of the columns that tell anything."""
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
    """Return how much of a column's importance a pair is worth: less where it is unsure, or its values lie far away."""
    sure = min(1.0, max(0.0, (score - UNSURE) / (CERTAIN - UNSURE)))
    return float(sure * (1.0 - FAR * (1.0 - shape)))


def _settled(
    theirs: Sequence[str], ours: Sequence[str], like: Likeness, corrections: _Corrections
) -> tuple[set[tuple[int, int]], Matrix, Matrix]:
    """Return the pairs that a person has settled, and the scores with nothing else beside them."""
    scores, fills = like.scores.copy(), like.fills.copy()
    pairs = set()
    for mine, name in enumerate(theirs):
        if name not in corrections.pairs:
            continue
        scores[mine] = fills[mine] = 0.0
        chosen = corrections.pairs[name]
        if chosen in ours:
            pairs.add((mine, ours.index(str(chosen))))
    refused = [other for other, name in enumerate(ours) if name in corrections.refused]
    for other in (*refused, *(pair[1] for pair in pairs)):
        scores[:, other] = fills[:, other] = 0.0
    for mine, other in pairs:
        scores[mine, other] = 1_000.0
    return pairs, scores, fills

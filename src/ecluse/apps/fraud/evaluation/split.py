"""Divide rows into training, validation and test parts, and into folds, that do not leak into each other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.errors import UnusableTarget
from ecluse.errors import InvalidInput
from ecluse.sentences import _, ngettext, num

Rows = NDArray[np.int64]

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.25
"""Of what is left without the test part."""
MOST_TEST_SHARE = 0.5
LARGEST_GROUP = 0.05
#: A group of equal rows, or a customer, with more of the frauds than this is learned from and never held out: it
#: would be all that is measured. Below so many frauds no group is that large.
LARGEST_FRAUD = 0.2
LEAST_LARGEST = 20
_ON_BOTH_SIDES = _("Many rows are identical; equal rows stand on both sides of the split.")
PARTS = 3
FOLDS = 4
"""Folds of one draw: the validation part is a quarter of what is learned from."""
EARLIER_SHARE = 2 / 3
LEAST_FRAUDS = 5


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, and how they were chosen.

    `cuts` are the first times of the validation and of the test part (float64, the unit of the times
    given), None for a random split. `times` (rows,) orders the rows of a split by time; `member` (rows,) tells
    which rows stay together in another split, and `never_held` (rows,) which are learned from in each.
    """

    train: Rows
    validation: Rows
    test: Rows
    kind: Literal["time", "group", "random"]
    description: str
    cuts: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()
    times: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    member: Rows | None = field(default=None, repr=False, compare=False)
    never_held: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)

    @property
    def learning(self) -> Rows:
        """Return the training and validation rows together, in their order."""
        return np.sort(np.concatenate([self.train, self.validation]))

    def parts(self) -> dict[str, Rows]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "description": self.description, "cuts": list(self.cuts or ()) or None}


@dataclass(frozen=True)
class Fold:
    """Row numbers to fit on and to measure on. Scores are compared among the held rows of one `panel`."""

    fit: Rows
    held: Rows
    panel: int = 0


def split_rows(
    labels: NDArray[np.int8],
    *,
    times: NDArray[np.float64] | None = None,
    groups: NDArray[np.uint64] | None = None,
    grouped_by: str | None = None,
    seed: int = 0,
    test_share: float = TEST_SHARE,
    by_distinct: bool = True,
) -> Split:
    """`test_share` of the rows test; of the others a quarter validates: 60 %, 20 % and 20 % as a rule.

    With a `test_share` of 0 the test part is empty.

    With `times` (rows,) float64, NaN where unknown: the earliest rows train and the latest test; equal
    times never fall on both sides of a cut, and rows without a time train. Otherwise rows that share a
    value of `groups` (rows,) stay together, and fraud is spread evenly over the parts: by customers as many frauds,
    by equal rows as many distinct ones. What holds a fifth of the frauds is learned from. Not `by_distinct`, the
    parts are those of before that was so.
    Raises UnusableTarget when a class is missing or fewer than three rows are positive.
    """
    check_labels(labels)
    if not 0 <= test_share <= MOST_TEST_SHARE:
        raise InvalidInput(
            _(
                "A test share of %(value)s is not between 0 and %(number)s.",
                value=num(test_share, "g"),
                number=num(MOST_TEST_SHARE, "g"),
            )
        )
    shares = _Shares.of(test_share)
    if times is None:
        return _split_by_group(labels, groups, grouped_by, seed, shares, by_distinct)
    split = _split_by_time(times, shares)
    trouble = _("the time column has fewer than three distinct values") if split is None else None
    needed = [] if split is None else list(split.parts().values())[: shares.parts]
    if not all(0 < labels[part].sum() < len(part) for part in needed):
        trouble = _("a part by time would hold one class only")
    if split is not None and trouble is None:
        return split
    drawn = _split_by_group(labels, groups, grouped_by, seed, shares, by_distinct)
    warning = _(
        "Rows are split at random, not by time: %(trouble)s. Expect lower figures on later rows.",
        trouble=trouble,
    )
    return replace(drawn, warnings=(warning, *drawn.warnings))


def draw_folds(split: Split, labels: NDArray[np.int8], *, count: int, seed: int) -> tuple[Fold, ...]:
    """Up to `count` folds of the training and validation parts; the first is the split itself.

    By time: a second fold ends where the first is measured, so that both look forward; each is a panel. Else
    four folds hold every row once, and further draws of four are panels of their own. The test part is in none.
    """
    first = Fold(split.train, split.validation)
    if split.times is not None:
        earlier = _earlier_fold(split, labels, split.times) if count > 1 else None
        return (first,) if earlier is None else (first, earlier)
    folds = [first]
    rng = np.random.default_rng([seed, FOLDS])
    while len(folds) < count:
        panel = len(folds) // FOLDS
        whole, parts = (split.learning, FOLDS) if panel else (split.train, FOLDS - 1)
        if split.never_held is not None:
            whole = whole[~split.never_held[whole]]
        drawn = _draw_parts(whole, labels, split.member, parts, rng, distinct=split.kind == "random")
        folds += [Fold(np.setdiff1d(split.learning, held), held, panel) for held in drawn]
    usable = [
        f for f in folds if 0 < labels[f.held].sum() < len(f.held) and 0 < labels[f.fit].sum() < len(f.fit)
    ]
    return tuple(usable[:count])


def shares_later(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the rows that are later than each, (rows,) in [0, 1); one odd date moves no other row's."""
    after = len(times) - np.searchsorted(np.sort(times), times, side="right")
    return np.asarray(after / max(len(times), 1), dtype=np.float64)


def check_labels(labels: NDArray[np.int8]) -> None:
    """Raise UnusableTarget when the labels (rows,) of 0 and 1 leave nothing to learn or to measure."""
    positives, rows = int(labels.sum()), len(labels)
    if positives == rows:
        raise UnusableTarget(
            _(
                "All %(rows)s labelled rows are fraud. Add rows that are not, or choose another column.",
                rows=rows,
            )
        )
    if positives < PARTS:
        raise UnusableTarget(
            ngettext(
                "%(count)s of %(rows)s rows is fraud; at least %(least)s are needed: one each to "
                "train, validate and test. Label more rows, or choose another target column.",
                "%(count)s of %(rows)s rows are fraud; at least %(least)s are needed: one each to "
                "train, validate and test. Label more rows, or choose another target column.",
                positives,
                rows=rows,
                least=PARTS,
            )
        )
    if rows - positives < PARTS:
        raise UnusableTarget(
            _(
                "Only %(others)s of %(rows)s rows are not fraud; at least %(least)s are needed.",
                others=rows - positives,
                rows=rows,
                least=PARTS,
            )
        )


@dataclass(frozen=True)
class _Shares:
    """Where the training and the validation part end, in [0, 1], and how many parts there are."""

    train: float
    learning: float
    parts: int

    @classmethod
    def of(cls, test_share: float) -> _Shares:
        learning = 1 - test_share
        return cls((1 - VALIDATION_SHARE) * learning, learning, PARTS if test_share else PARTS - 1)


def _split_by_time(times: NDArray[np.float64], shares: _Shares) -> Split | None:
    # Rows without a time sort before all others: they train and never test.
    known = np.where(np.isnan(times), -np.inf, times)
    order = np.argsort(known, kind="stable")
    ranked = known[order]
    bounds = np.flatnonzero(ranked[1:] > ranked[:-1]) + 1
    # One cut alone tells how one period foretells one other: too little to choose by.
    if len(bounds) < PARTS - 1:
        return None
    if shares.parts < PARTS:
        at = int(bounds[np.argmin(np.abs(bounds - shares.train * len(times)))])
        description = _("By time: the earliest rows train, the latest validate; all are learned from.")
        return Split(np.sort(order[:at]), np.sort(order[at:]), order[:0], "time", description, times=known)
    first, second = _nearest_bounds(bounds, len(times), shares)
    cuts = (float(ranked[first]), float(ranked[second]))
    description = _("By time: the earliest rows train, the next validate, the latest test.")
    parts = (np.sort(order[:first]), np.sort(order[first:second]), np.sort(order[second:]))
    return Split(*parts, "time", description, cuts, times=known)


def _earlier_fold(split: Split, labels: NDArray[np.int8], times: NDArray[np.float64]) -> Fold | None:
    """Return the training part cut by time once more; None where a side would be left with too little fraud."""
    rows = split.train[np.argsort(times[split.train], kind="stable")]
    ranked = times[rows]
    bounds = np.flatnonzero(ranked[1:] > ranked[:-1]) + 1
    if not len(bounds):
        return None
    at = int(bounds[np.argmin(np.abs(bounds - EARLIER_SHARE * len(rows)))])
    fit, held = np.sort(rows[:at]), np.sort(rows[at:])
    enough = all(LEAST_FRAUDS <= labels[part].sum() < len(part) for part in (fit, held))
    return Fold(fit, held, panel=1) if enough and at >= len(rows) / 3 else None


def _draw_parts(
    rows: Rows,
    labels: NDArray[np.int8],
    member: Rows | None,
    parts: int,
    rng: np.random.Generator,
    *,
    distinct: bool = False,
) -> list[Rows]:
    """Draw the rows in so many parts of about the same size and fraud, or `distinct` frauds; rows of one member stay
    together.
    """
    own = np.arange(len(rows)) if member is None else np.unique(member[rows], return_inverse=True)[1]
    sizes = np.bincount(own).astype(np.float64)
    frauds = np.bincount(own, weights=labels[rows]).astype(np.float64)
    part = np.zeros(len(sizes), dtype=np.int64)
    shares = np.arange(1, parts) / parts
    for with_fraud in (True, False):
        chosen = rng.permutation(np.flatnonzero((frauds > 0) == with_fraud))
        weight = _weight(sizes, frauds, distinct)[chosen] if with_fraud else sizes[chosen]
        middle = (np.cumsum(weight) - weight / 2) / max(weight.sum(), 1.0)
        part[chosen] = np.digitize(middle, shares)
    of_row = part[own]
    return [rows[of_row == number] for number in range(parts)]


def _nearest_bounds(bounds: NDArray[np.int64], rows: int, shares: _Shares) -> tuple[int, int]:
    """Two different bounds, each as near to its share as the ties allow."""
    aims = (shares.train * rows, shares.learning * rows)
    first = int(np.argmin(np.abs(bounds - aims[0])))
    second = int(np.argmin(np.abs(bounds - aims[1])))
    if first == second:
        later_is_cheaper = second + 1 < len(bounds) and (
            first == 0
            or abs(bounds[second + 1] - aims[1]) + abs(bounds[first] - aims[0])
            <= abs(bounds[second] - aims[1]) + abs(bounds[first - 1] - aims[0])
        )
        first, second = (first, second + 1) if later_is_cheaper else (first - 1, second)
    return int(bounds[first]), int(bounds[second])


def _split_by_group(
    labels: NDArray[np.int8],
    groups: NDArray[np.uint64] | None,
    grouped_by: str | None,
    seed: int,
    shares: _Shares,
    by_distinct: bool,
) -> Split:
    each_row = np.arange(len(labels))
    member = each_row if groups is None else np.unique(groups, return_inverse=True)[1]
    warnings: tuple[str, ...] = ()
    if grouped_by is None and by_distinct:
        member, warnings = _loosened(member, labels)
    elif grouped_by is None and _is_lumpy(member, labels):
        member, warnings = each_row, (_ON_BOTH_SIDES,)
    sizes = np.bincount(member).astype(np.float64)
    frauds = np.bincount(member, weights=labels).astype(np.float64)
    largest = _largest(frauds) & by_distinct
    part_of_group = _assign(
        sizes,
        frauds,
        largest,
        shares,
        np.random.default_rng(seed),
        distinct=by_distinct and grouped_by is None,
    )
    if not all(frauds[part_of_group == part].sum() > 0 for part in range(shares.parts)):
        raise UnusableTarget(
            _(
                "All fraud belongs to %(owner)s; three parts cannot each hold some. Leave the "
                "customer column out, or label more rows.",
                owner=_("%(count)s value(s) of %(column)s", count=int(np.sum(frauds > 0)), column=grouped_by),
            )
        )
    part = part_of_group[member]
    train, validation, test = (np.flatnonzero(part == index).astype(np.int64) for index in range(PARTS))
    kind: Literal["group", "random"] = "group" if grouped_by else "random"
    never_held = largest[member] if largest.any() else None
    if largest.any() and grouped_by:
        share = float(frauds[largest].sum() / frauds.sum())
        warnings = (
            *warnings,
            _(
                "%(count)s value(s) of %(column)s with %(share)s of the frauds are learned from only: "
                "the figures are of all others.",
                count=int(largest.sum()),
                column=grouped_by,
                share=num(share, ".0%"),
            ),
        )
    return Split(
        train,
        validation,
        test,
        kind,
        _describe(grouped_by),
        warnings=warnings,
        member=member,
        never_held=never_held,
    )


def _loosened(member: Rows, labels: NDArray[np.int8]) -> tuple[Rows, tuple[str, ...]]:
    """Return the groups of equal rows, without those that are the norm of a table of few distinct rows.

    Legitimate rows of which one in twenty is equal are no accident to keep together, and would make uneven parts;
    equal frauds always stay together, as one of them learned makes the others easy to find. Where fewer than three
    frauds are distinct, each row is by itself: else a part would have none.
    """
    sizes, frauds = np.bincount(member), np.bincount(member, weights=labels)
    loose = (sizes > max(LARGEST_GROUP * len(labels), 1)) & (frauds < sizes)
    distinct = int(np.sum(frauds[~loose] > 0) + frauds[loose].sum())
    if distinct < PARTS:
        return np.arange(len(labels)), (
            _(
                "Only %(count)s frauds are distinct: equal rows stand on both sides of the split, so "
                "that the figures are of rows that come again, not of new ones.",
                count=distinct,
            ),
        )
    if not loose.any():
        return member, ()
    alone = np.where(loose[member], len(sizes) + np.arange(len(labels)), member)
    return np.unique(alone, return_inverse=True)[1], (_ON_BOTH_SIDES,)


def _is_lumpy(member: Rows, labels: NDArray[np.int8]) -> bool:
    """Tell whether equal rows were each by themselves in the splits of before: one group had 5 % of the rows, or few
    had fraud.
    """
    largest = int(np.bincount(member).max())
    return largest > max(LARGEST_GROUP * len(labels), 1) or len(np.unique(member[labels == 1])) < PARTS


def _largest(frauds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the groups with so much of the fraud that they are only learned from; none where few others have some."""
    largest = frauds > max(LARGEST_FRAUD * float(frauds.sum()), LEAST_LARGEST)
    return largest & (np.sum((frauds > 0) & ~largest) >= PARTS)


def _weight(sizes: NDArray[np.float64], frauds: NDArray[np.float64], distinct: bool) -> NDArray[np.float64]:
    """Return what a group with fraud counts when fraud is spread: one, or as many as it has."""
    return np.ones(len(sizes)) if distinct else frauds


def _describe(grouped_by: str | None) -> str:
    if grouped_by:
        return _(
            "At random: all rows of one %(column)s stay in one part, fraud spread evenly.", column=grouped_by
        )
    return _("At random: identical rows stay in one part, fraud spread evenly.")


def _assign(
    sizes: NDArray[np.float64],
    frauds: NDArray[np.float64],
    largest: NDArray[np.bool_],
    shares: _Shares,
    rng: np.random.Generator,
    *,
    distinct: bool,
) -> NDArray[np.int64]:
    """Return the part (0 train, 1 validation, 2 test) of each group, in seeded random order within each class.

    The `largest` train, beside their share of the others.
    """
    part = np.zeros(len(sizes), dtype=np.int64)
    for with_fraud in (True, False):
        chosen = rng.permutation(np.flatnonzero(((frauds > 0) == with_fraud) & ~largest))
        weight = _weight(sizes, frauds, distinct)[chosen] if with_fraud else sizes[chosen]
        part[chosen] = _cut_by_weight(weight, shares)
    return part


def _cut_by_weight(weight: NDArray[np.float64], shares: _Shares) -> NDArray[np.int64]:
    last = shares.parts - 1
    if len(weight) <= last:
        return np.arange(len(weight), dtype=np.int64)
    middle = (np.cumsum(weight) - weight / 2) / weight.sum()
    part: NDArray[np.int64] = np.digitize(middle, [shares.train, shares.learning][:last]).astype(np.int64)
    # Few or uneven groups can leave a part empty: the last groups in line then fill it.
    part[-1] = last
    if last == PARTS - 1 and not np.any(part == 1):
        part[-2] = 1
    if not np.any(part == 0):
        part[0] = 0
    return part

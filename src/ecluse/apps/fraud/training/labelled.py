"""Read a table into labelled rows, and split them into training, validation and test parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import Clock, with_heartbeat
from ecluse.apps.fraud.errors import UnusableTarget
from ecluse.apps.fraud.evaluation.split import Split, check_labels, split_rows
from ecluse.apps.fraud.features.giveaways import Giveaway, find_giveaways, say_kept, say_left_out
from ecluse.apps.fraud.features.history import times_of
from ecluse.apps.fraud.features.selection import Dropped
from ecluse.apps.fraud.profiling.checks import FEW_POSITIVES, MOST_COLUMNS, numbers_rows
from ecluse.apps.fraud.tables.columns import LEVELS, SAMPLE_ROWS, ColumnSpec, infer_columns, parse_columns
from ecluse.apps.fraud.tables.meaning import MOST_FRAUD, Meaning, meaning_of, require_meaning, spelled_alike
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.errors import InvalidInput
from ecluse.sentences import N_, _, listing, ngettext, num
from ecluse.tabular.dataset import Table

BATCH_ROWS = 50_000
REPEATING = 0.8
"""Frauds repeat where distinct ones are less than this share of them."""
COARSE_SHARE = 0.5
"""A time column whose cut leaves less than this share to train on is warned of."""
# Of wide tables fewer rows are taken at a time: text takes some tens of bytes a value.
BATCH_VALUES = 20_000_000
WIDE = 1_000
_DONE_WITH = {
    "train": N_("%(count)s to train"),
    "validation": N_("%(count)s to validate"),
    "test": N_("%(count)s to test"),
}


@dataclass(frozen=True)
class LabelledRows:
    """The labelled rows of a table, parsed. `columns` are the specs that may become features: without the
    `giveaways`, but for those that the plan keeps.
    """

    frame: pl.DataFrame
    labels: NDArray[np.int8]
    columns: tuple[ColumnSpec, ...]
    specs: tuple[ColumnSpec, ...]
    meaning: Meaning
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]
    giveaways: tuple[Giveaway, ...] = ()
    #: (rows,) the same number for rows that are equal but for time, identifiers and columns that number the rows.
    same: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64), repr=False)

    @cached_property
    def frauds_repeat(self) -> bool:
        """Tell whether so many frauds equal another that figures by rows are those of a few."""
        frauds = int(self.labels.sum())
        return self.distinct_frauds(np.arange(len(self.labels))) < REPEATING * frauds

    def distinct_frauds(self, at: NDArray[np.int64]) -> int:
        """Return how many of these rows are frauds that differ from each other."""
        return len(np.unique(self.same[at][self.labels[at] == 1]))

    def told_apart(self, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell, where frauds repeat, which of these rows are legitimate or the first of equal frauds; else all of
        them.
        """
        if not self.frauds_repeat:
            return np.ones(len(at), dtype=np.bool_)
        fraud = np.flatnonzero(self.labels[at] == 1)
        _rest, first = np.unique(self.same[at][fraud], return_index=True)
        kept: NDArray[np.bool_] = self.labels[at] == 0
        kept[fraud[first]] = True
        return kept


def read_labelled(table: Table, plan: TrainingPlan, clock: Clock) -> LabelledRows:
    """Read the rows that have a label. Raises UnusableTarget, and InvalidInput for a column without its role."""
    clock.say("read", 0.0, _("Reading the table"))
    _check_columns(table, plan)
    tick = clock.tick("read", 0.01, _("Reading the table"))
    specs = with_heartbeat(lambda: _infer(table), tick)
    as_text = (plan.target, plan.customer_column)
    specs = tuple(ColumnSpec(s.name, "category") if s.name in as_text else s for s in specs)
    unused = set(plan.identifier_columns) | set(plan.excluded)
    needed = {plan.target, plan.time_column, plan.customer_column}
    read_specs = [s for s in specs if s.name not in unused or s.name in needed]
    parts = []
    done = 0
    for batch in table.batches(max(1, min(BATCH_ROWS, BATCH_VALUES // len(table.columns)))):
        parts.append(parse_columns(batch, read_specs))
        done += batch.height
        clock.say("read", 0.02, ngettext("%(count)s row read", "%(count)s rows read", done), always=False)
    frame = pl.concat(parts)
    del parts
    frame, labels, meaning, warnings = _labelled(frame, plan)
    roles = {plan.target, *unused}
    columns = tuple(s for s in read_specs if s.name not in roles)
    dropped = tuple(Dropped(name, _why_unused(name, plan)) for name in table.columns if name in unused)
    same = with_heartbeat(lambda: _same(frame, columns, plan), tick)
    return LabelledRows(frame, labels, columns, specs, meaning, dropped, warnings, same=same)


def split_labelled(rows: LabelledRows, plan: TrainingPlan) -> tuple[Split, list[str]]:
    """Return the three parts of the rows, and what there is to warn of in them."""
    times = _times(rows, plan)
    groups, grouped_by = _groups(rows, plan)
    by_distinct = plan.split_rule > 1
    everywhere = np.arange(len(rows.labels))
    few = (rows.distinct_frauds(everywhere) if by_distinct else rows.labels.sum()) < FEW_POSITIVES
    split = split_rows(
        rows.labels,
        times=times,
        groups=groups,
        grouped_by=grouped_by,
        seed=plan.seed,
        # Of a handful of frauds a test part would hold three or four: folds measure on each of them once.
        test_share=0.0 if few and times is None else plan.test_share,
        by_distinct=by_distinct,
    )
    warnings = [*split.warnings, *_say_repeats(rows, split)]
    if few and not len(split.test):
        warnings.append(
            _(
                "The figures come from folds, not from a test part: each row is scored by models that "
                "have not seen it. The threshold is chosen on the same rows, so expect a little less."
            )
        )
    untimed = 0 if times is None else int(np.isnan(times).sum())
    if untimed:
        warnings.append(
            ngettext(
                '%(count)s row has no readable "%(column)s" and counts as the earliest.',
                '%(count)s rows have no readable "%(column)s" and count as the earliest.',
                untimed,
                column=plan.time_column,
            )
        )
    share = len(split.train) / max(len(rows.labels), 1)
    if split.kind == "time" and share < COARSE_SHARE:
        warnings.append(
            _(
                'Only %(share)s of the rows are early enough to train on: "%(column)s" is too coarse '
                "to cut at 60 %%. Choose a finer time column, or none.",
                share=num(share, ".0%"),
                column=plan.time_column,
            )
        )
    return split, warnings


def without_giveaways(rows: LabelledRows, split: Split, plan: TrainingPlan) -> LabelledRows:
    """Return the rows without the columns that give the label away, but for those that the plan keeps.

    Only rows that are learned from are looked at. Raises UnusableTarget where no other column is left.
    """
    learned = split.learning
    giveaways = _giveaways(rows.frame[learned], rows.columns, rows.labels[learned], plan)
    kept = tuple(giveaway for giveaway in giveaways if giveaway.column in plan.keep)
    away = tuple(giveaway for giveaway in giveaways if giveaway.column not in plan.keep)
    return replace(
        rows,
        columns=_without(rows.columns, [giveaway.column for giveaway in away], plan),
        dropped=(
            *rows.dropped,
            *(
                Dropped(giveaway.column, _("gives the label away: %(why)s", why=giveaway.reason))
                for giveaway in away
            ),
        ),
        giveaways=giveaways,
        warnings=(*say_left_out(away), *say_kept(kept), *rows.warnings),
    )


def days_between(rows: LabelledRows, part: NDArray[np.int64], plan: TrainingPlan) -> float | None:
    """Days from the first to the last row of a part; None without dates."""
    if plan.time_column is None or rows.frame[plan.time_column].dtype != pl.Datetime("us"):
        return None
    times = times_of(rows.frame[plan.time_column])[part]
    return max(float(np.nanmax(times) - np.nanmin(times)) / 86_400, 1 / 24)


def kind_of(rows: LabelledRows, name: str) -> str:
    """Return how the column is read: number, datetime, category, identifier or text."""
    return next(spec.kind for spec in rows.specs if spec.name == name)


def _check_columns(table: Table, plan: TrainingPlan) -> None:
    known = ", ".join(table.columns[:20]) + (", …" if len(table.columns) > 20 else "")
    if plan.target not in table.columns:
        raise UnusableTarget(
            _(
                '%(file)s has no column "%(column)s". Its columns: %(columns)s.',
                file=table.filename,
                column=plan.target,
                columns=known,
            )
        )
    named = (plan.time_column, plan.customer_column, *plan.identifier_columns, *plan.excluded, *plan.keep)
    for name in named:
        if name is not None and name not in table.columns:
            raise InvalidInput(
                _(
                    '%(file)s has no column "%(column)s". Its columns: %(columns)s.',
                    file=table.filename,
                    column=name,
                    columns=known,
                )
            )
        if name == plan.target:
            raise InvalidInput(
                _(
                    '"%(column)s" is the target and cannot have another role. Choose another column.',
                    column=name,
                )
            )


def _same(frame: pl.DataFrame, columns: Sequence[ColumnSpec], plan: TrainingPlan) -> NDArray[np.uint64]:
    names = [
        spec.name
        for spec in columns
        if spec.name != plan.time_column and spec.kind != "identifier" and not numbers_rows(frame[spec.name])
    ]
    return frame.select(names or [spec.name for spec in columns]).hash_rows(seed=1).to_numpy()


def _say_repeats(rows: LabelledRows, split: Split) -> list[str]:
    """Return what can be measured where frauds repeat."""
    if not rows.frauds_repeat:
        return []
    _rest, counts = np.unique(rows.same[rows.labels == 1], return_counts=True)
    parts = [
        _(_DONE_WITH[name], count=num(rows.distinct_frauds(part)))
        for name, part in split.parts().items()
        if len(part)
    ]
    figures = {
        "total": num(int(rows.labels.sum())),
        "count": num(len(counts)),
        "number": num(int(counts.max())),
        "findings": listing(parts, "; "),
    }
    if split.kind == "time":
        return [
            _(
                "Frauds repeat: %(total)s are %(count)s distinct rows, one of them %(number)s times. Distinct frauds: "
                "%(findings)s. The split is by time, so that equal frauds stand on both sides, as they will in use.",
                **figures,
            )
        ]
    return [
        _(
            "Frauds repeat: %(total)s are %(count)s distinct rows, one of them %(number)s times. Distinct frauds: "
            "%(findings)s. Equal frauds stay in one part, and each distinct one counts once in threshold, figures "
            "and intervals: frauds that come again are found more often than these say.",
            **figures,
        )
    ]


def _giveaways(
    frame: pl.DataFrame, columns: Sequence[ColumnSpec], labels: NDArray[np.int8], plan: TrainingPlan
) -> tuple[Giveaway, ...]:
    kinds = {
        spec.name: spec.kind for spec in columns if spec.name not in (plan.time_column, plan.customer_column)
    }
    return find_giveaways(frame, kinds, labels) if len(kinds) <= MOST_COLUMNS else ()


def _without(
    columns: tuple[ColumnSpec, ...], left_out: Sequence[str], plan: TrainingPlan
) -> tuple[ColumnSpec, ...]:
    """Return the columns without those left out. Raises UnusableTarget where those were all."""
    kept = tuple(spec for spec in columns if spec.name not in left_out)
    if left_out and not [spec for spec in kept if spec.kind not in ("constant", "identifier")]:
        raise UnusableTarget(
            _(
                "Every column gives the label %(column)s away: %(columns)s. Keep those that are known "
                "before the outcome: in the form, with --keep COLUMN, or as keep in the API.",
                column=plan.target,
                columns=", ".join(left_out[:10]),
            )
        )
    return kept


def _infer(table: Table) -> tuple[ColumnSpec, ...]:
    sample = table.sample(SAMPLE_ROWS if len(table.columns) <= WIDE else LEVELS)
    return infer_columns(sample, decimal_comma=table.format.decimal_comma)


def _why_unused(name: str, plan: TrainingPlan) -> str:
    return _("an identifier") if name in plan.identifier_columns else _("left out on request")


def _labelled(
    frame: pl.DataFrame, plan: TrainingPlan
) -> tuple[pl.DataFrame, NDArray[np.int8], Meaning, tuple[str, ...]]:
    known = frame.filter(pl.col(plan.target).is_not_null())
    unlabelled = frame.height - known.height
    target = known[plan.target]
    levels = {str(value): int(count) for value, count in target.value_counts(sort=True).iter_rows()}
    meaning = _meaning(plan, levels)
    labels = target.is_in(list(meaning.fraud)).cast(pl.Int8).to_numpy()
    check_labels(labels)
    warnings = []
    if unlabelled:
        warnings.append(
            ngettext(
                "%(count)s row without a value of %(column)s was left out.",
                "%(count)s rows without a value of %(column)s were left out.",
                unlabelled,
                column=plan.target,
            )
        )
    if len(levels) > 2 and not spelled_alike(levels):
        warnings.append(
            _(
                '%(column)s has %(count)s values; "%(value)s" was learned against all others.',
                column=plan.target,
                count=len(levels),
                value=meaning.value,
            )
        )
    if labels.mean() > MOST_FRAUD:
        warnings.append(
            _(
                "More than half of the rows are fraud: %(column)s = %(value)s in %(share)s. If that "
                "value means that a row is in order, name the other one.",
                column=plan.target,
                value=meaning.value,
                share=num(labels.mean(), ".0%"),
            )
        )
    if labels.sum() < FEW_POSITIVES:
        warnings.append(
            ngettext(
                "Only %(count)s row is fraud: every figure is uncertain, see the intervals.",
                "Only %(count)s rows are fraud: every figure is uncertain, see the intervals.",
                int(labels.sum()),
            )
        )
    return known.drop(plan.target), labels, meaning, tuple(warnings)


def _meaning(plan: TrainingPlan, levels: Mapping[str, int]) -> Meaning:
    """Return which of the values is learned as fraud. Raises UnusableTarget where that is not clear."""
    if len(levels) < 2:
        shown = ", ".join(f'"{value}"' for value in levels) or _("no value")
        raise UnusableTarget(
            _(
                "%(column)s holds %(values)s only; two values are needed to learn.",
                column=plan.target,
                values=shown,
            )
        )
    try:
        meaning = meaning_of(levels, plan.target, plan.positive_value)
        require_meaning(meaning)
    except InvalidInput as error:
        raise UnusableTarget(str(error)) from None
    return meaning


def _times(rows: LabelledRows, plan: TrainingPlan) -> NDArray[np.float64] | None:
    if plan.time_column is None:
        return None
    kind = kind_of(rows, plan.time_column)
    if kind not in ("number", "datetime", "identifier"):
        raise InvalidInput(
            _(
                '"%(column)s" reads as %(kind)s, not as a date or a number. Choose another column.',
                column=plan.time_column,
                kind=kind,
            )
        )
    column = rows.frame[plan.time_column]
    times = times_of(column.cast(pl.Float64, strict=False) if column.dtype == pl.String else column)
    if np.isnan(times).all():
        raise InvalidInput(
            _(
                'No value of "%(column)s" reads as a date or a number. Choose another column.',
                column=plan.time_column,
            )
        )
    return times


def _groups(rows: LabelledRows, plan: TrainingPlan) -> tuple[NDArray[np.uint64], str | None]:
    """Return what must stay together: rows of one customer, or rows that are identical but for identifiers."""
    if not rows.columns:
        raise UnusableTarget(
            _("No column is left to learn from: the table holds the target and identifiers only.")
        )
    identical = rows.same
    if plan.split_rule == 1:
        identical = rows.frame.select([spec.name for spec in rows.columns]).hash_rows(seed=1).to_numpy()
    if plan.customer_column is None:
        return identical, None
    customer = rows.frame[plan.customer_column]
    if customer.drop_nulls().n_unique() >= customer.len() - customer.null_count():
        return identical, None
    by_customer = customer.hash(seed=2).to_numpy()
    return np.where(customer.is_null().to_numpy(), identical, by_customer), plan.customer_column

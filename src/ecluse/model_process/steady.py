"""Ask a model so that a row is answered the same alone as beside others, to the last bit.

Trees answer so by themselves. Of a product of matrices a library adds up in another order when there are more rows, so
that the last bits of an answer change: such a model is always asked about `BLOCK` rows, filled up with the last one.
Which of the two a version needs is tried on the rows of its example when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from ecluse.errors import ModelRefused
from ecluse.later import Later
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

#: Rows that a model is asked about at once, where their number changes its answers.
BLOCK: Final = 32
#: Rows of its sample that a version is tried on.
TRIED: Final = 16
Answer: TypeAlias = "Callable[[pl.DataFrame], pl.DataFrame]"


class Asked(Protocol):
    """What is asked about rows, and has some to be tried on."""

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame: ...

    def sample(self) -> pl.DataFrame | None: ...


def steady_answer(model: Asked) -> Answer | None:
    """Return a way of asking by which the rows of the sample have one answer, however they are split; None without.

    Raises:
        ModelRefused: it does not give one answer for each row.
    """
    sample = model.sample()
    if sample is None or sample.is_empty():
        return None
    rows = sample.head(TRIED)
    return next((answer for answer in _ways(model) if _is_steady(answer, rows)), None)


def _ways(model: Asked) -> Iterator[Answer]:
    def at_once(rows: pl.DataFrame) -> pl.DataFrame:
        return checked_answers(rows, model.answer(rows))

    def in_blocks(rows: pl.DataFrame) -> pl.DataFrame:
        filled = pl.concat([rows, *[rows.tail(1)] * (-rows.height % BLOCK)])
        blocks = [at_once(filled.slice(at, BLOCK)) for at in range(0, filled.height, BLOCK)]
        return pl.concat(blocks).head(rows.height)

    yield at_once
    yield in_blocks


def _is_steady(answer: Answer, rows: pl.DataFrame) -> bool:
    """Compare the rows together with the rows alone, in threes, and in the opposite order."""
    together = answer(rows)
    splits = [[answer(rows.slice(at, size)) for at in range(0, rows.height, size)] for size in (1, 3)]
    turned = answer(rows.reverse()).reverse()
    return all(together.equals(each) for each in (*map(_joined, splits), turned))


def _joined(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts, how="vertical_relaxed")


def checked_answers(rows: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Return the answers, of which there must be one for each row. Raises ModelRefused where there is not."""
    if answers.height != rows.height:
        raise ModelRefused(
            _(
                "The model gives %(count)s answers to %(number)s rows. Publish one that gives an answer for each row.",
                count=answers.height,
                number=rows.height,
            )
        )
    return answers

"""Keep the sentences of reasons beside the columns of a frame, which hold their English alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.fraud.scoring.columns import REASONS
from ecluse.later import Later
from ecluse.sentences import num

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray
else:
    np = Later("numpy")
    pl = Later("polars")

_WANTED: Final[ContextVar[dict[str, str] | None]] = ContextVar("wanted_sentences", default=None)
_DECIMAL: Final = re.compile(r"-?\d{1,12}\.(\d{1,6})")


@contextmanager
def kept_sentences() -> Iterator[dict[str, str]]:
    """Collect the sentence of each reason that this thread gives within, by its English."""
    sentences: dict[str, str] = {}
    token = _WANTED.set(sentences)
    try:
        yield sentences
    finally:
        _WANTED.reset(token)


def reason_columns(words: NDArray[np.object_], effects: Sequence[pl.Series]) -> pl.DataFrame:
    """Return the columns of the reasons (rows, REASONS), each beside its effect."""
    keep = _WANTED.get()
    if keep is not None:
        keep.update({str(text): text for text in words.ravel().tolist() if text is not None})
    columns: list[pl.Series] = []
    for rank in range(REASONS):
        columns.append(pl.Series(f"reason_{rank + 1}", words[:, rank].tolist(), dtype=pl.String))
        columns.append(effects[rank].alias(f"reason_{rank + 1}_effect"))
    return pl.DataFrame(columns)


def with_sentences(row: Mapping[str, Any], sentences: Mapping[str, str]) -> dict[str, Any]:
    """Return a scored row whose reasons are the sentences that were collected."""
    said = {
        name: sentences.get(text, text)
        for name in (f"reason_{rank + 1}" for rank in range(REASONS))
        if (text := row.get(name)) is not None
    }
    return {**row, **said}


def as_written(text: str) -> str:
    """Return a decimal number of a table with its own digits, in the marks of the reader; other text as it is."""
    decimal = _DECIMAL.fullmatch(text)
    if decimal is None:
        return text
    number = num(float(text), f".{len(decimal[1])}f")
    return number if number == text else text

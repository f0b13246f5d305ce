"""Say what answers rows, whatever it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ecluse.later import Later

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")


class Loaded(Protocol):
    """A version that is ready to answer.

    `kind` names what it is, in few values: it is a label of `/metrics`. `schema` is what `client.schema.schema_of`
    writes. The rows that it is asked about have the columns of `dtypes`, in their order and of their types.
    """

    @property
    def kind(self) -> str: ...

    @property
    def schema(self) -> Mapping[str, Any]: ...

    @property
    def dtypes(self) -> Mapping[str, pl.DataType]: ...

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return a row for each row. It is called from a thread, one call at a time.

        Raises:
            InvalidInput, ModelRefused: it does not answer these rows.
            ModelStopped: the process that answers was ended.
        """
        ...

    def sample(self) -> pl.DataFrame | None:
        """Return rows to try it on, of the columns of `dtypes`; None where there are none."""
        ...

    def close(self) -> None:
        """Give back what it holds; no call is under way, and none follows."""
        ...


@dataclass(frozen=True)
class Answered:
    """What a version answers to the rows of one request, and what was noted of them."""

    name: str
    version: str
    answers: pl.DataFrame
    warnings: tuple[str, ...]
    seconds: float

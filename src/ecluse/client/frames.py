"""Take rows as a person has them, keep them as a table, and give them back in the same form.

A form is `polars`, `pandas`, `numpy` (a matrix) or `texts` (a list of texts, as a vectoriser takes it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.later import Later
from ecluse.sentences import _

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
else:
    np = Later("numpy")
    pl = Later("polars")

#: The column of a list of texts.
TEXT: Final = "text"
#: What a column of pandas may be given back as; a name in a file leads nowhere else.
_DTYPES: Final = re.compile(
    r"(?:u?int|float)(?:8|16|32|64)|U?Int(?:8|16|32|64)|Float(?:32|64)|bool|boolean|str|string|object|category"
    r"|datetime64\[(?:s|ms|us|ns)\]"
)


@dataclass(frozen=True)
class Table:
    """Rows as a table, and the form they came in; `details` is plain JSON that `given_back` needs besides."""

    rows: pl.DataFrame
    form: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def head(self, count: int) -> Table:
        return Table(self.rows.head(count), self.form, self.details)


def table_of(rows: Any) -> Table:
    """Return rows of Polars, pandas or numpy, or a list of texts, as a table.

    Raises:
        InvalidInput: they are something else, there are none, or a column holds objects.
    """
    table = _table_of(rows)
    if table.rows.is_empty():
        raise InvalidInput(_("The example has no rows. Give some, such as X.head()."))
    objects = [name for name, dtype in table.rows.schema.items() if dtype == pl.Object]
    if objects:
        raise _objects(objects[0])
    return table


def _table_of(rows: Any) -> Table:
    package = type(rows).__module__.partition(".")[0]
    if isinstance(rows, pl.DataFrame):
        return Table(rows, "polars")
    if isinstance(rows, pl.LazyFrame):
        return Table(rows.collect(), "polars")
    if package == "pandas" and hasattr(rows, "columns"):
        return _from_pandas(rows)
    if package == "torch" and hasattr(rows, "detach"):
        rows = rows.detach().cpu().numpy()
    if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.dtype.kind in "iufb":
        names = [str(number) for number in range(rows.shape[1])]
        return Table(pl.from_numpy(rows, schema=names, orient="row"), "numpy", {"dtype": str(rows.dtype)})
    texts = rows.tolist() if hasattr(rows, "tolist") else rows.to_list() if hasattr(rows, "to_list") else rows
    if isinstance(texts, Sequence) and not isinstance(texts, str) and all(isinstance(t, str) for t in texts):
        return Table(pl.DataFrame({TEXT: list(texts)}, schema={TEXT: pl.String}), "texts")
    raise InvalidInput(
        _(
            "A %(what)s cannot be an example. Give a table of Polars or pandas, a matrix of numbers, or a list of "
            "texts.",
            what=type(rows).__name__,
        )
    )


def given_back(table: Table) -> Any:
    """Return the rows in the form they came in."""
    if table.form == "numpy":
        return table.rows.to_numpy().astype(_dtype(table.details.get("dtype")), copy=False)
    if table.form == "texts":
        return table.rows[TEXT].to_list()
    return _to_pandas(table) if table.form == "pandas" else table.rows


def _from_pandas(rows: Any) -> Table:
    names = [str(name) for name in rows.columns]
    if len(set(names)) < len(names):
        raise InvalidInput(_("Two columns of the example have one name. Rename one of them."))
    columns, details = {}, {}
    for position, name in enumerate(names):
        series = rows.iloc[:, position]
        columns[name], details[name] = _column_of_pandas(series, name)
    whole = all(isinstance(name, int) for name in rows.columns) and bool(names)
    return Table(pl.DataFrame(columns), "pandas", {"columns": details, "whole_names": whole})


def _column_of_pandas(series: Any, name: str) -> tuple[pl.Series, dict[str, Any]]:
    dtype = str(series.dtype)
    if _DTYPES.fullmatch(dtype) is None:
        raise InvalidInput(
            _(
                "The column %(column)s has the type %(what)s, which is not kept. Turn it into numbers, texts or dates "
                "without a zone.",
                column=name,
                what=dtype,
            )
        )
    if dtype == "category":
        levels = series.cat.categories.tolist()
        codes = [None if code < 0 else levels[code] for code in series.cat.codes.tolist()]
        details = {"dtype": dtype, "categories": levels, "ordered": bool(series.cat.ordered)}
        return _series(name, codes), details
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufbM":
        return pl.Series(name, series.to_numpy()), {"dtype": dtype}
    missing = series.isna().tolist()
    values = [None if gone else value for value, gone in zip(series.tolist(), missing, strict=True)]
    return _series(name, values), {"dtype": dtype}


def _series(name: str, values: list[Any]) -> pl.Series:
    if not all(value is None or isinstance(value, str | int | float) for value in values):
        raise _objects(name)
    try:
        return pl.Series(name, values, strict=True)
    except TypeError as error:  # texts and numbers in one column
        raise _objects(name) from error


def _objects(name: str) -> InvalidInput:
    return InvalidInput(
        _(
            "The column %(column)s holds objects, or values of several types. Turn it into numbers or texts.",
            column=name,
        )
    )


def _to_pandas(table: Table) -> Any:
    import pandas as pd

    described = table.details.get("columns", {})
    columns = {
        name: _pandas_column(pd, table.rows[name], described.get(name, {})) for name in table.rows.columns
    }
    frame = pd.DataFrame(columns)
    if table.details.get("whole_names"):
        frame.columns = [int(name) for name in frame.columns]
    return frame


def _pandas_column(pd: Any, series: pl.Series, described: Mapping[str, Any]) -> Any:
    dtype = _dtype(described.get("dtype"))
    if dtype == "category":
        levels = described.get("categories") or []
        return pd.Categorical(series.to_list(), categories=levels, ordered=bool(described.get("ordered")))
    if re.fullmatch(r"(?:u?int|float)\d+|bool|datetime64.*", dtype):
        return pd.Series(series.to_numpy()).astype(dtype)
    return pd.Series(series.to_list(), dtype=dtype)


def _dtype(text: object) -> str:
    if not isinstance(text, str) or _DTYPES.fullmatch(text) is None:
        raise ModelUnreadable(_("The example of the version is damaged. Fetch the version again."))
    return text

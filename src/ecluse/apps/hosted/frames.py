"""Turn what functions of an application take and answer into tables and JSON."""

from __future__ import annotations

import contextlib
import io
import json
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ecluse.app.application import Verb
from ecluse.app.signature import FILES, FILLED, Parameter
from ecluse.errors import InvalidInput
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl

#: Rows of an example that a version must answer before it is published.
EXAMPLE_ROWS: Final = 100
#: And where single values are asked for, so many of them.
SINGLE_EXAMPLES: Final = 5


def takes_rows(verb: Verb) -> bool:
    return any(each.kind == "rows" for each in verb.parameters)


def example_for(verb: Verb, example: Any) -> pl.DataFrame:
    """Return the example of a version as a table: rows, or the values of `@app.predict` by their names.

    Raises:
        InvalidInput: it holds no value for a parameter that has to be given one.
    """
    import polars as pl

    if takes_rows(verb):
        rows = as_polars(example).head(EXAMPLE_ROWS)
        return _days_of(rows) if any(takes_pandas(verb, each.name) for each in verb.parameters) else rows
    table = pl.DataFrame([dict(example)]) if isinstance(example, Mapping) else as_polars(example)
    plain = [each for each in verb.parameters if each.kind in FILLED and each.kind not in FILES]
    files = [each.name for each in verb.parameters if each.kind in FILES and each.required]
    if files:
        raise InvalidInput(
            _(
                "@app.predict takes %(values)s, and an example of a Model holds no files. Return the Model without an "
                "example.",
                values=", ".join(files),
            )
        )
    missing = [each.name for each in plain if each.required and each.name not in table.columns]
    if missing:
        raise InvalidInput(
            _(
                "The example of the Model has no %(values)s, which @app.predict takes. Give the values by their names, "
                'such as example={"%(name)s": …}, or no example.',
                values=", ".join(missing),
                name=missing[0],
            )
        )
    return table.select([each.name for each in plain if each.name in table.columns]).head(SINGLE_EXAMPLES)


def _days_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with moments that are all a day's first as dates: pandas knows no dates, and a form asks for them."""
    import polars as pl

    moments = [column for column in rows.iter_columns() if column.dtype == pl.Datetime]
    days = [column.cast(pl.Date) for column in moments if column.null_count() < len(column)]
    return rows.with_columns(day for day in days if (day.cast(rows[day.name].dtype) == rows[day.name]).all())


def takes_pandas(verb: Verb, name: str) -> bool:
    hint = typing.get_type_hints(verb.function).get(name)
    return str(getattr(hint, "__module__", "")).startswith("pandas")


def as_polars(value: Any) -> pl.DataFrame:
    """Return as a table what a function answers rows with: a data frame, a series, a list, an array."""
    import polars as pl

    if isinstance(value, pl.DataFrame):
        return value
    if isinstance(value, pl.Series):
        return pl.DataFrame({value.name or "prediction": value})
    package = type(value).__module__.partition(".")[0]
    if package == "pandas":
        frame = value.to_frame() if hasattr(value, "to_frame") else value
        return pl.DataFrame({str(name): frame[name].tolist() for name in frame.columns})
    if isinstance(value, Mapping):
        return pl.DataFrame({str(name): list(values) for name, values in value.items()})
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return pl.DataFrame(value)
    if isinstance(value, list):
        return pl.DataFrame({"prediction": value})
    raise InvalidInput(
        _(
            "A %(what)s is no answer to rows. Return a data frame with one row for each.",
            what=type(value).__name__,
        )
    )


def cell_of(parameter: Parameter, value: Any) -> Any:
    """Return the value of a cell for a parameter; a number in a column of words is given as text."""
    is_text = parameter.kind in ("text", "choice")
    return str(value) if is_text and value is not None and not isinstance(value, str) else value


def as_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def beside(rows: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    return rows.drop([name for name in answers.columns if name in rows.columns]).hstack(answers)


def ipc_of(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_ipc(file)
    return file.getvalue()


def plain_answer(value: Any) -> Any:
    """Return a single answer as JSON."""
    with contextlib.suppress(AttributeError):
        value = value.tolist()
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            _("The answer cannot be written as JSON: %(reason)s. Return texts, numbers, lists and dicts.",
              reason=str(error))
        ) from error  # fmt: skip

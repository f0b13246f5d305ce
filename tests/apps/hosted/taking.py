"""An application that takes tables, and says of what types their columns are."""

import polars as pl

from ecluse.app import App, Table, Task

app = App("taking", title="Taking", api=1)


@app.job
def types(task: Task, table: Table, other: Table | None = None, column: str = "", times: int = 1) -> list:
    """Say what the columns are."""
    rows = table.read()
    said = {name: str(dtype) for name, dtype in rows.schema.items()}
    return [said | {"other": other.name if other else "-", "rows": rows.height * times}]


@app.predict
def predict(rows: pl.DataFrame) -> pl.DataFrame:
    """Count the days since the first of the year."""
    return rows.select(days=pl.col("day").dt.ordinal_day())

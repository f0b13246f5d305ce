"""What used cars cost: a whole number, a category and a date in one table. Written from the guide."""

from datetime import date

import numpy as np
import polars as pl
from sklearn.linear_model import LinearRegression

from ecluse.app import App, Model, Table, Task

app = App("cars", title="Cars", description="What a used car should cost.", api=1)
COLUMNS = ["km", "brand", "sold"]


@app.train
def train(task: Task, table: Table, target: str = "price") -> Model:
    """Learn prices from cars that were sold."""
    rows = table.read()
    model = LinearRegression().fit(features(rows.select(COLUMNS)), rows[target].to_numpy())
    return Model(model, example=rows.select(COLUMNS))


def features(rows: pl.DataFrame) -> np.ndarray:
    """Give distance, brand and year."""
    return rows.select(
        pl.col("km").cast(pl.Float64), (pl.col("brand") == "audi").cast(pl.Float64), pl.col("sold").dt.year()
    ).to_numpy()


@app.predict
def predict(model, rows: pl.DataFrame) -> pl.DataFrame:
    """Say what each car should cost."""
    return pl.DataFrame({"price": model.predict(features(rows))})


@app.job
def count(task: Task, table: Table, column: str = "brand") -> list:
    """Count the cars of each kind."""
    return [table.read()[column].value_counts()]


@app.sample
def sample() -> dict:
    """Give some cars."""
    days = [date(2020 + number % 5, 1 + number % 12, 1) for number in range(24)]
    brands = ["audi", "vw"] * 12
    prices = [20_000 - 500 * number for number in range(24)]
    kilometres = [5_000 * (number + 1) for number in range(24)]
    return {"table": pl.DataFrame({"km": kilometres, "brand": brands, "sold": days, "price": prices})}

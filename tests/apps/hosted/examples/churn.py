"""Who will leave: dates and categories, of which the prediction makes other columns. Written from the guide."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from ecluse.app import App, Model, Refused, Table, Task

app = App("churn", title="Churn", description="Who will leave.", api=1)
CATEGORIES = ["plan", "city"]
COLUMNS = ["since", "spend", *CATEGORIES]


def features_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Count the months since a customer came."""
    months = (pd.Timestamp("2026-01-01") - pd.to_datetime(rows["since"])).dt.days / 30
    return rows.assign(months=months.astype(float))[["months", "spend", *CATEGORIES]]


@app.train
def train(task: Task, table: Table, target: str = "left", trees: int = 50) -> Model:
    """Learn from customers who left, and who stayed."""
    rows = table.read().to_pandas()
    if target not in rows:
        raise Refused(f"There is no column {target!r}. Known: {', '.join(rows.columns)}.")
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), CATEGORIES), remainder="passthrough"
    )
    model = make_pipeline(columns, RandomForestClassifier(trees, random_state=0)).fit(
        features_of(rows), rows[target]
    )
    return Model(model, example=rows[COLUMNS].head(20), inputs=features_of(rows))


@app.predict
def predict(model, rows: pd.DataFrame, threshold: float = 0.5) -> pd.DataFrame:
    """Say who will leave."""
    chance = model.predict_proba(features_of(rows))[:, 1]
    return pd.DataFrame({"chance": chance, "leaves": chance > threshold})


@app.sample
def sample() -> dict:
    """Write customers as a program of an office does."""
    random = np.random.default_rng(0)
    lines = ["since;spend;plan;city;left"]
    for number in range(200):
        plan, city = ("Basic", "Élite")[number % 2], ("Köln", "Liège", "Lyon")[number % 3]
        spend = f"{random.uniform(5, 90):.2f}".replace(".", ",")
        lines.append(
            f"{1 + number % 28:02}.0{1 + number % 9}.20{10 + number % 15};{spend};{plan};{city};{plan == 'Basic'}"
        )
    Path("customers.csv").write_bytes("\n".join(lines).encode("cp1252"))
    return {"table": Table("customers.csv")}

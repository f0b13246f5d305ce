"""Tables of sketches for tests, drawn by Hypothesis or written out."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import strategies as st

from ecluse.apps.fraud.references.facts import ReferenceFacts
from ecluse.apps.fraud.tables.columns import infer_columns, parse_columns
from ecluse.apps.fraud.tables.names import dictionary
from ecluse.apps.fraud.tables.sketches import QUANTILES, ColumnSketch, sketch_columns

WORDS = sorted(form for form in dictionary().forms if " " not in form)
SHARES = st.integers(0, 20).map(lambda twentieths: twentieths / 20)
NAMES = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("_".join),
    st.integers(0, 40).map(lambda number: f"V{number}"),
    st.text("abcdefgXY_ -9é", min_size=1, max_size=8),
)


@st.composite
def sketches(draw: st.DrawFn, name: st.SearchStrategy[str] = NAMES) -> ColumnSketch:
    kind = draw(st.sampled_from(["number", "datetime", "category", "identifier", "text", "constant"]))
    quantiles: tuple[float, ...] = ()
    top: tuple[tuple[str, float], ...] = ()
    if kind in ("number", "datetime"):
        drawn = st.lists(st.floats(-1e9, 1e9), min_size=QUANTILES, max_size=QUANTILES)
        quantiles = tuple(sorted(draw(drawn)))
    elif kind == "category":
        levels = draw(st.lists(st.sampled_from(WORDS), max_size=5, unique=True))
        top = tuple((level, 1 / len(levels)) for level in levels)
    shares = [draw(SHARES) for _ in range(5)]
    return ColumnSketch(draw(name), kind, *shares, quantiles=quantiles, top=top)


TABLES = st.lists(sketches(), min_size=2, max_size=8, unique_by=lambda sketch: sketch.name)


def reference(name: str, columns: list[ColumnSketch], domain: str = "cards") -> ReferenceFacts:
    return ReferenceFacts(name, domain, tuple(columns), {column.name: 1.0 for column in columns})


def payments(
    seed: int, names: dict[str, str] | None = None, scale: float = 1.0, rows: int = 4_000
) -> list[ColumnSketch]:
    """Payments of one bank; another seed gives others of the same habits."""
    draw = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "amount": np.exp(draw.normal(3, 1, rows)) * scale,
            "customer_age": draw.integers(18, 90, rows),
            "country": draw.choice(["FR", "DE", "ES", "IT"], rows, p=[0.7, 0.1, 0.1, 0.1]),
            "merchant_category": draw.choice([f"shop {i}" for i in range(9)], rows),
            "balance_before": np.exp(draw.normal(7, 2, rows)) * scale,
            "calls_per_day": draw.poisson(3, rows),
        }
    ).rename(names or {})
    specs = infer_columns(frame)
    return list(sketch_columns(parse_columns(frame, specs), specs))

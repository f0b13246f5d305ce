"""The rows of one table are found in another, however either was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecluse.apps.fraud.profiling.alike import rows_of
from ecluse.apps.fraud.sample import generate
from ecluse.tabular.dataset import Table, open_table

ROWS = 600


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alike") / "text.csv"
    generate(rows=2 * ROWS, seed=3, fraud_share=0.05).head(ROWS).write_csv(path)
    return path


def typed(rows: pl.DataFrame, path: Path) -> None:
    numbers = pl.col("amount").cast(pl.Float32), pl.col("is_fraud").cast(pl.Int64)
    rows.with_columns(*numbers, pl.col("timestamp").str.to_datetime()).write_parquet(path)


def zeros(rows: pl.DataFrame, path: Path) -> None:
    rows.with_columns(pl.col("amount") + pl.lit("0")).write_csv(path)


def commas(rows: pl.DataFrame, path: Path) -> None:
    rows.with_columns(pl.col("amount").str.replace(".", ",", literal=True)).write_csv(path, separator=";")


def shuffled(rows: pl.DataFrame, path: Path) -> None:
    more = rows.select(reversed(rows.columns)).with_columns(note=pl.lit("checked"))
    more.sample(fraction=1.0, shuffle=True, seed=1).write_csv(path)


@pytest.mark.parametrize("write", [typed, zeros, commas, shuffled])
def test_rows_are_the_same_however_they_were_saved_again(
    write: Callable[[pl.DataFrame, Path], None], text: Path, tmp_path: Path
) -> None:
    later = generate(rows=2 * ROWS, seed=3, fraud_share=0.05).tail(ROWS).write_csv()
    rows = pl.read_csv(text, infer_schema=False)
    mixed = pl.concat([rows.head(200), pl.read_csv(later.encode(), infer_schema=False).head(100)])
    write(mixed, tmp_path / "again")
    with open_table(text) as older, open_table(tmp_path / "again") as table:
        found = rows_of(table, older, but=("is_fraud",))
        back = rows_of(older, table, but=("is_fraud",))
        assert found is not None
        assert back is not None
        assert (int(found.sum()), int(back.sum())) == (200, 200)
        assert not back[200:].any()
        some = np.zeros(ROWS, dtype=np.bool_)
        some[:50] = True
        among = rows_of(table, older, some)
        assert among is not None
        assert int(among.sum()) == 50


def test_columns_that_most_rows_share_do_not_tell_rows_apart(tmp_path: Path) -> None:
    table = opened(pl.DataFrame({"kind": ["a", "b"] * 50, "n": [1, 2] * 50}), tmp_path / "a.csv")
    with table, opened(pl.DataFrame({"other": [1.5, 2.5]}), tmp_path / "b.csv") as other:
        assert rows_of(table, table) is None
        assert rows_of(table, other) is None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cents=st.lists(st.integers(-(10**7), 10**7), min_size=2, max_size=40, unique=True),
    cut=st.integers(0, 40),
)
def test_exactly_the_rows_of_the_older_table_are_found(cents: list[int], cut: int, tmp_path: Path) -> None:
    """Amounts as text with two decimals, and as floats."""
    old, new = cents[: max(1, cut)], cents
    with (
        opened(pl.DataFrame({"amount": [f"{one / 100:.2f}" for one in old]}), tmp_path / "old.csv") as older,
        typed_table(pl.DataFrame({"amount": [one / 100 for one in new]}), tmp_path / "new") as table,
    ):
        found = rows_of(table, older)
    assert found is not None
    assert found.tolist() == [one in set(old) for one in new]


def opened(rows: pl.DataFrame, path: Path) -> Table:
    rows.write_csv(path)
    return open_table(path)


def typed_table(rows: pl.DataFrame, path: Path) -> Table:
    rows.write_parquet(path)
    return open_table(path)

"""The sample of payments is reproducible, plausible and not given away by one column."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from ecluse.apps.fraud.sample import generate, score_truth, write_sample
from ecluse.errors import InvalidInput


def test_the_same_seed_gives_the_same_table_and_another_seed_another() -> None:
    assert generate(2_000, 3).equals(generate(2_000, 3))
    assert not generate(2_000, 3).equals(generate(2_000, 4))


@pytest.mark.parametrize("rows", [500, 5_000, 20_000])
def test_one_payment_in_a_hundred_is_fraud_and_rows_are_in_order_of_time(rows: int) -> None:
    frame = generate(rows)
    assert frame.height == rows
    assert frame["timestamp"].is_sorted()
    assert frame["transaction_id"].n_unique() == rows
    assert frame["is_fraud"].sum() == max(8, round(rows * 0.01))


def test_no_column_tells_alone() -> None:
    frame = generate(25_000)
    label = frame["is_fraud"].to_numpy()
    for name in frame.columns[:-1]:
        if name.endswith("_id"):
            continue
        values = frame[name].to_physical().rank("dense").fill_null(0).to_numpy()
        assert 0.05 < roc_auc_score(label, values) < 0.95, name


def test_frauds_and_honest_payments_share_devices_countries_and_amounts() -> None:
    frame = generate(25_000)
    fraud, honest = frame.filter(is_fraud=1), frame.filter(is_fraud=0)
    assert fraud["amount"].median() < honest["amount"].quantile(0.95)
    assert set(fraud["ip_country"].drop_nulls()) <= set(honest["ip_country"].drop_nulls())
    assert set(fraud["device_id"].drop_nulls()) & set(honest["device_id"].drop_nulls())


def test_the_table_to_score_follows_in_time_and_its_truth_is_kept_apart(tmp_path: Path) -> None:
    paths = write_sample(tmp_path / "sample", rows=1_500, score_rows=500)
    labelled, later, truth = (pl.read_csv(p) for p in (paths.labelled, paths.unlabelled, paths.truth))
    assert (labelled.height, later.height, truth.height) == (1_500, 500, 500)
    assert "is_fraud" not in later.columns
    assert labelled["timestamp"].max() <= later["timestamp"].min()
    assert truth["transaction_id"].equals(later["transaction_id"])
    assert truth["is_fraud"].equals(score_truth(generate(2_000)).slice(1_500)["is_fraud"])


def test_a_sample_too_small_to_hold_fraud_is_refused() -> None:
    with pytest.raises(InvalidInput, match="499 rows"):
        generate(499)

"""Features come from the row and the frozen state alone, and never from the row's own label."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.apps.fraud.features.features import FeatureEngineer, FeaturePlan, Matrix, Roles, fit_features
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.errors import ModelUnreadable

ROWS = 600
SPECS = (
    ColumnSpec("amount", "number"),
    ColumnSpec("channel", "category"),
    ColumnSpec("device", "category"),
    ColumnSpec("note", "text"),
    ColumnSpec("opened", "datetime"),
    ColumnSpec("paid", "datetime"),
    ColumnSpec("customer", "category"),
)
ROLES = Roles(customer="customer", time="paid")


def table(rows: int = ROWS, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    start = datetime(2025, 1, 1)
    minutes = np.sort(rng.integers(0, 100_000, rows)).tolist()
    frame = pl.DataFrame(
        {
            "amount": pl.Series(rng.lognormal(3, 1, rows)),
            "channel": rng.choice(["web", "app", "shop"], rows),
            "device": [f"d{number}" for number in rng.integers(0, 150, rows)],
            "note": [f"order {number} of shop" for number in rng.integers(0, 400, rows)],
            "opened": pl.Series([start - timedelta(days=int(d)) for d in rng.integers(1, 90, rows)]),
            "paid": pl.Series([start + timedelta(minutes=int(minute)) for minute in minutes]),
            "customer": [f"c{number}" for number in rng.integers(0, 60, rows)],
        }
    ).with_columns(
        pl.when(pl.int_range(pl.len()) % 11 == 0).then(None).otherwise(pl.col("channel")).alias("channel"),
        pl.when(pl.int_range(pl.len()) % 13 == 0).then(None).otherwise(pl.col("amount")).alias("amount"),
    )
    return frame, (rng.random(rows) < 0.2).astype(np.int8)


def column(engineer: FeatureEngineer, matrix: Matrix, name: str) -> np.ndarray:
    names = [feature.name for feature in engineer.features]
    return matrix[:, names.index(name)]


@pytest.fixture(scope="module")
def fitted() -> tuple[FeatureEngineer, Matrix]:
    frame, labels = table()
    return fit_features(frame, SPECS, ROLES, labels, seed=1)


@settings(max_examples=25)
@given(data=st.data())
def test_a_row_has_the_same_features_in_any_company(
    data: st.DataObject, fitted: tuple[FeatureEngineer, Matrix]
) -> None:
    engineer, _ = fitted
    frame, _ = table(60, seed=5)
    together = engineer.transform(frame)
    chosen = data.draw(st.lists(st.integers(0, 59), min_size=1, max_size=60))
    assert np.array_equal(engineer.transform(frame[chosen]), together[chosen], equal_nan=True)


def test_names_fit_the_matrix_and_are_distinct(fitted: tuple[FeatureEngineer, Matrix]) -> None:
    engineer, matrix = fitted
    names = [feature.name for feature in engineer.features]
    assert matrix.shape == (ROWS, len(names))
    assert len(set(names)) == len(names)
    assert "paid − opened" in names
    assert "device: new for the customer" in names


def test_a_saved_engineer_makes_the_same_features(
    fitted: tuple[FeatureEngineer, Matrix], tmp_path: Path
) -> None:
    engineer, _ = fitted
    files = engineer.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    again = FeatureEngineer.load(tmp_path)
    frame, _ = table(100, seed=9)
    assert np.array_equal(again.transform(frame), engineer.transform(frame), equal_nan=True)
    assert again.features == engineer.features


def test_two_fits_of_one_seed_make_the_same_features_under_hashes_of_their_own(
    fitted: tuple[FeatureEngineer, Matrix], tmp_path: Path
) -> None:
    engineer, matrix = fitted
    frame, labels = table()
    again, same = fit_features(frame, SPECS, ROLES, labels, seed=1)
    assert np.array_equal(matrix, same, equal_nan=True)
    rows, _ = table(100, seed=9)
    assert np.array_equal(engineer.transform(rows), again.transform(rows), equal_nan=True)
    keys = []
    for name, one in (("first", engineer), ("second", again)):
        (tmp_path / name).mkdir()
        one.save(tmp_path / name)
        keys.append(
            {
                *pl.read_parquet(tmp_path / name / "entities.parquet")["key"],
                *pl.read_parquet(tmp_path / name / "history_customers.parquet")["key"],
            }
        )
    assert keys[0]
    assert not keys[0] & keys[1]


def test_an_engineer_that_forgets_knows_no_customer_and_makes_the_same_features_of_strangers(
    fitted: tuple[FeatureEngineer, Matrix], tmp_path: Path
) -> None:
    engineer = fitted[0].forgetting()
    engineer.save(tmp_path)
    assert [pl.read_parquet(path).height for path in tmp_path.glob("*.parquet")] == [0, 0, 0]
    again = FeatureEngineer.load(tmp_path)
    frame, _ = table(100, seed=9)
    strange = frame.with_columns(pl.format("other {}", "customer").alias("customer"), device=pl.lit("new"))
    strange = strange.with_columns(pl.format("other {}", "note").alias("note"))
    assert np.array_equal(again.transform(strange), fitted[0].transform(strange), equal_nan=True)
    known = again.transform(frame)
    assert np.array_equal(known, engineer.transform(frame), equal_nan=True)
    assert set(column(again, known, "device: seen")) == {0.0}


def test_damaged_state_is_refused(fitted: tuple[FeatureEngineer, Matrix], tmp_path: Path) -> None:
    for name in fitted[0].save(tmp_path):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ModelUnreadable):
            FeatureEngineer.load(tmp_path)
        (tmp_path / name).write_bytes(content)


@pytest.mark.parametrize("roles", [Roles(), ROLES])
def test_no_training_row_sees_its_own_label(roles: Roles) -> None:
    frame, labels = table()
    for row in (3, 300, 590):
        turned = labels.copy()
        turned[row] = 1 - turned[row]
        engineer, before = fit_features(frame, SPECS, roles, labels, seed=1)
        _, after = fit_features(frame, SPECS, roles, turned, seed=1)
        # The prior and the order of levels move with any label, by a hair: the row's own rate must not.
        rate = "device: fraud rate"
        own = abs(column(engineer, before, rate)[row] - column(engineer, after, rate)[row])
        assert np.isnan(own) or own < 2 / ROWS


def test_values_beyond_the_training_range_count_as_the_nearest_seen() -> None:
    frame, labels = table()
    engineer, matrix = fit_features(frame, SPECS, Roles(), labels, seed=1)
    far = frame.head(2).with_columns(amount=pl.Series([1e9, -1e9]))
    seen = column(engineer, matrix, "amount")
    found = column(engineer, engineer.transform(far), "amount")
    assert found.tolist() == [np.nanmax(seen), np.nanmin(seen)]


def test_unseen_and_missing_levels_have_places_of_their_own() -> None:
    frame, labels = table()
    engineer, matrix = fit_features(frame, SPECS, Roles(), labels, seed=1)
    odd = frame.head(2).with_columns(channel=pl.Series(["fax", None], dtype=pl.String))
    unseen, missing = column(engineer, engineer.transform(odd), "channel").tolist()
    known = column(engineer, matrix, "channel")
    assert unseen not in set(known[~np.isnan(known)].tolist())
    assert np.isnan(missing)


def test_levels_are_told_the_fraud_rate_of_other_rows() -> None:
    rng = np.random.default_rng(2)
    trade = rng.integers(0, 6, ROWS)
    frame = pl.DataFrame({"trade": [f"trade {number}" for number in trade]})
    labels = (rng.random(ROWS) < np.where(trade == 3, 0.7, 0.1)).astype(np.int8)
    turned = labels.copy()
    turned[7] = 1 - turned[7]
    specs, plan = (ColumnSpec("trade", "category"),), FeaturePlan()
    engineer, before = fit_features(frame, specs, Roles(), labels, seed=1, plan=plan)
    _, after = fit_features(frame, specs, Roles(), turned, seed=1, plan=plan)
    own = [column(engineer, matrix, "trade: fraud rate")[7] for matrix in (before, after)]
    assert abs(own[0] - own[1]) < 2 / ROWS
    scored = engineer.transform(pl.DataFrame({"trade": ["trade 3", "trade 1", "unheard of", None]}))
    rates = column(engineer, scored, "trade: fraud rate")
    assert rates[0] > 0.5 > 0.3 > rates[1]
    assert rates[2] == pytest.approx(labels.mean())
    assert np.isnan(rates[3])


def test_counts_leave_the_row_itself_out() -> None:
    frame = pl.DataFrame({"device": [f"d{number}" for number in range(50)] * 3})
    labels = np.array([1, 0, 0] * 50, dtype=np.int8)
    engineer, matrix = fit_features(frame, (ColumnSpec("device", "category"),), Roles(), labels, seed=0)
    assert set(column(engineer, matrix, "device: seen").tolist()) == {2.0}
    fresh = engineer.transform(pl.DataFrame({"device": ["d1", "unheard of"]}))
    assert column(engineer, fresh, "device: seen").tolist() == [3.0, 0.0]


def test_with_a_time_rates_come_from_earlier_rows_only() -> None:
    frame, labels = table()
    turned = labels.copy()
    turned[400:] = 1 - turned[400:]
    engineer, before = fit_features(frame, SPECS, ROLES, labels, seed=1)
    _, after = fit_features(frame, SPECS, ROLES, turned, seed=1)
    counts = (column(engineer, before, "device: seen"), column(engineer, after, "device: seen"))
    assert np.array_equal(*counts, equal_nan=True)
    early = slice(0, 300)
    moved = column(engineer, before, "device: fraud rate") - column(engineer, after, "device: fraud rate")
    prior = abs(float(labels.mean()) - float(turned.mean()))
    assert np.nanmax(np.abs(moved[early])) <= prior + 1e-6


def test_the_same_seed_gives_the_same_matrix() -> None:
    frame, labels = table()
    first, again = (fit_features(frame, SPECS, ROLES, labels, seed=4)[1] for _ in range(2))
    assert np.array_equal(first, again, equal_nan=True)


def test_an_engineer_without_a_column_s_features_no_longer_needs_the_column(
    fitted: tuple[FeatureEngineer, Matrix],
) -> None:
    smaller = fitted[0].keeping(frozenset({"amount", "device: seen"}))
    assert smaller.columns == ("amount", "device")


def ledger(rows: int = 1_500) -> tuple[pl.DataFrame, np.ndarray]:
    """Fraud is where an account is emptied by a payment that its balance does not show in any one column."""
    rng = np.random.default_rng(0)
    before = np.round(rng.lognormal(6, 1, rows), 2)
    amount = np.round(rng.uniform(0.1, 1, rows) * before, 2)
    labels = (rng.random(rows) < 0.2).astype(np.int8)
    after = np.round(np.where(labels == 1, before, before - amount), 2)
    return pl.DataFrame({"before": before, "amount": amount, "after": after}), labels


LEDGER_SPECS = tuple(ColumnSpec(name, "number") for name in ("before", "amount", "after"))


def test_what_only_columns_together_tell_is_found_and_kept(tmp_path: Path) -> None:
    frame, labels = ledger()
    engineer, matrix = fit_features(frame, LEDGER_SPECS, Roles(), labels, seed=0)
    names = {feature.name for feature in engineer.features if feature.kind == "sum"}
    even = next(name for name in names if name.count("−") == 2)
    assert np.array_equal(column(engineer, matrix, even) == 0, labels == 0)
    engineer.save(tmp_path)
    again = FeatureEngineer.load(tmp_path)
    assert np.array_equal(again.transform(frame), matrix, equal_nan=True)
    assert again.plan == engineer.plan


def test_a_plan_found_once_is_followed_without_a_new_search() -> None:
    frame, labels = ledger()
    plan = FeaturePlan(sums=((("before", 1), ("gone", -1)),), ratios=(("amount", "before"),), values=False)
    engineer, _ = fit_features(frame, LEDGER_SPECS, Roles(), labels, seed=0, plan=plan)
    # There are no levels whose rates could be told.
    assert engineer.plan == FeaturePlan(ratios=(("amount", "before"),), values=False, levels=False)


def test_columns_that_tell_nothing_together_are_left_apart() -> None:
    rng = np.random.default_rng(3)
    frame = pl.DataFrame({name: rng.normal(size=1_000) for name in ("a", "b", "c")})
    labels = (rng.random(1_000) < 0.2).astype(np.int8)
    specs = tuple(ColumnSpec(name, "number") for name in frame.columns)
    engineer, _ = fit_features(frame, specs, Roles(), labels, seed=0)
    assert {feature.kind for feature in engineer.features} == {"number"}


def test_a_third_value_of_a_two_valued_column_counts_as_the_more_usual() -> None:
    frame = pl.DataFrame({"year": [1994.0, 1994.0, 1995.0, None] * 10})
    labels = np.array([1, 0, 0, 0] * 10, dtype=np.int8)
    engineer, _ = fit_features(frame, (ColumnSpec("year", "number"),), Roles(), labels, seed=0)
    later = engineer.transform(pl.DataFrame({"year": [1996.0, 1995.0, 1994.0, None]}))
    assert np.array_equal(later[:, 0], [1994.0, 1995.0, 1994.0, np.nan], equal_nan=True)


def test_a_pair_of_columns_is_counted_as_one() -> None:
    frame = pl.DataFrame({"card": ["c1", "c1", "c2", None], "shop": ["s1", "s2", "s1", "s1"]})
    specs = (ColumnSpec("card", "category"), ColumnSpec("shop", "category"))
    labels = np.array([1, 0, 0, 0], dtype=np.int8)
    plan = FeaturePlan(pairs=(("card", "shop"),))
    engineer, _ = fit_features(frame, specs, Roles(), labels, seed=0, plan=plan)
    seen = column(engineer, engineer.transform(frame), "card × shop: seen")
    assert np.array_equal(seen, [1.0, 1.0, 1.0, np.nan], equal_nan=True)
    other = pl.DataFrame({"card": ["c2"], "shop": ["s2"]})
    assert column(engineer, engineer.transform(other), "card × shop: seen").tolist() == [0.0]

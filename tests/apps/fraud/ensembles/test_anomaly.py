"""How unusual a row is depends on that row and the sample, and on nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.apps.fraud.ensembles.anomaly import ARRAYS_FILE, STATE_FILE, AnomalyModel, fit_anomaly
from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns, parse_columns
from ecluse.errors import InvalidInput, ModelUnreadable


def payments(rows: int = 1_200, seed: int = 5) -> pl.DataFrame:
    """Payments of two shops, of which the last 20 are of an odd amount, at night, to a rare shop."""
    rng = np.random.default_rng(seed)
    amount = np.exp(rng.normal(3, 0.5, rows))
    hour = rng.integers(8, 20, rows)
    shop = rng.choice(["north", "south"], rows)
    amount[-20:], hour[-20:], shop[-20:] = 4_000 + np.arange(20), 3, "far"
    minutes = rng.integers(0, 60 * 24 * 60, rows) // (24 * 60) * 24 * 60
    day = np.datetime64("2025-03-03T00:00", "m") + minutes
    return pl.DataFrame(
        {
            "id": [f"p{number:06d}" for number in range(rows)],
            "amount": amount.round(2),
            "at": (day + hour * 60).astype("datetime64[us]"),
            "shop": shop,
            "fee": np.where(rng.random(rows) < 0.1, np.nan, amount / 50),
        }
    ).with_columns(pl.col("fee").fill_nan(None))


@pytest.fixture(scope="module")
def parsed() -> pl.DataFrame:
    raw = payments()
    return parse_columns(raw, infer_columns(raw))


@pytest.fixture(scope="module")
def model(parsed: pl.DataFrame) -> AnomalyModel:
    return fit_anomaly(parsed, infer_columns(payments()), seed=1)


def test_odd_rows_are_the_most_unusual(model: AnomalyModel, parsed: pl.DataFrame) -> None:
    scores = model.scores(parsed)
    assert set(np.argsort(-scores)[:20]) == set(range(1_180, 1_200))


def test_a_score_is_the_share_of_the_sample_that_is_less_unusual(
    model: AnomalyModel, parsed: pl.DataFrame
) -> None:
    scores = model.scores(parsed)
    assert scores.min() >= 0
    assert scores.max() <= 1
    for share in (0.5, 0.9, 0.99):
        assert np.mean(scores < share) == pytest.approx(share, abs=0.003)


def test_identifiers_and_columns_left_out_are_not_looked_at(parsed: pl.DataFrame) -> None:
    model = fit_anomaly(parsed, infer_columns(payments()), left_out=["fee"])
    assert set(model.columns) == {"amount", "at", "shop"}


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_row_scores_the_same_in_any_company_and_order(
    data: st.DataObject, model: AnomalyModel, parsed: pl.DataFrame
) -> None:
    whole = model.scores(parsed)
    chosen = data.draw(st.lists(st.integers(0, parsed.height - 1), min_size=1, max_size=60))
    assert np.array_equal(model.scores(parsed[chosen]), whole[chosen])


def test_the_same_seed_fits_the_same_model(model: AnomalyModel, parsed: pl.DataFrame, tmp_path: Path) -> None:
    again = fit_anomaly(parsed, infer_columns(payments()), seed=1)
    for name, one in (("first", model), ("second", again)):
        (tmp_path / name).mkdir()
        one.save(tmp_path / name)
    for file in (STATE_FILE, ARRAYS_FILE):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_a_saved_model_scores_as_before(model: AnomalyModel, parsed: pl.DataFrame, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = AnomalyModel.load(tmp_path)
    assert np.array_equal(loaded.scores(parsed), model.scores(parsed))
    ours, theirs = model.description.read(parsed), loaded.description.read(parsed)
    assert loaded.reasons(parsed, theirs)[0].tolist() == model.reasons(parsed, ours)[0].tolist()


def test_a_file_with_python_objects_is_refused(model: AnomalyModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    with np.load(tmp_path / ARRAYS_FILE) as stored:
        arrays = dict(stored)
    arrays["neighbours"] = np.array([{"run": "me"}], dtype=object)
    np.savez(tmp_path / ARRAYS_FILE, **arrays)
    with pytest.raises(ModelUnreadable, match="damaged"):
        AnomalyModel.load(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut", "format"])
def test_a_damaged_model_is_refused(model: AnomalyModel, tmp_path: Path, damage: str) -> None:
    model.save(tmp_path)
    if damage == "missing":
        (tmp_path / ARRAYS_FILE).unlink()
    elif damage == "cut":
        whole = (tmp_path / ARRAYS_FILE).read_bytes()
        (tmp_path / ARRAYS_FILE).write_bytes(whole[: len(whole) // 2])
    else:
        state = json.loads((tmp_path / STATE_FILE).read_text(encoding="utf-8"))
        (tmp_path / STATE_FILE).write_text(json.dumps({**state, "format": 9}), encoding="utf-8")
    with pytest.raises(ModelUnreadable):
        AnomalyModel.load(tmp_path)


def test_reasons_name_the_unusual_columns_of_a_row(model: AnomalyModel, parsed: pl.DataFrame) -> None:
    odd = parsed.tail(3).with_columns(shop=pl.lit("never seen"))
    words, effects = model.reasons(odd, model.description.read(odd))
    assert "amount 4,017, higher than all but 0.25% of the rows" in words[0]
    assert 'shop "never seen" is rare' in words[0]
    assert (np.diff(effects[0]) <= 0).all()


def test_hours_and_weekdays_are_unusual_by_how_rare_they_are_and_not_at_their_ends() -> None:
    rows = 4_200
    hour = np.where(np.arange(rows) % 84 == 0, 12, np.array([0, 1, 22, 23])[np.arange(rows) % 4])
    at = np.datetime64("2025-03-03T00", "h") + (np.arange(rows) % 350) * 24 + hour
    frame = pl.DataFrame({"at": at.astype("datetime64[us]"), "amount": np.arange(rows) % 97})
    model = fit_anomaly(frame, [ColumnSpec("at", "datetime"), ColumnSpec("amount", "number")])
    words, effects = model.reasons(frame, model.description.read(frame))
    noon = hour == 12
    said = [{str(word) for word in row if word and str(word).startswith("at")} for row in words]
    assert {word for row, at_noon in zip(said, noon, strict=True) if at_noon for word in row} == {
        "at: hour 12, as in 1% of the rows"
    }
    assert not any(row for row, at_noon in zip(said, noon, strict=True) if not at_noon)
    assert np.nanmax(effects[noon]) >= -np.log(1 / 84) - 0.01


def test_a_value_beyond_the_sample_is_more_unusual_still(model: AnomalyModel, parsed: pl.DataFrame) -> None:
    row = parsed.tail(1)
    further = row.with_columns(pl.col("amount") * 100, pl.col("fee") * 100)
    assert model.scores(further)[0] >= model.scores(row)[0]


def test_a_table_of_constants_and_identifiers_is_refused() -> None:
    raw = pl.DataFrame({"id": [f"x{number:05d}" for number in range(100)], "same": ["a"] * 100})
    with pytest.raises(InvalidInput, match="No column is left to compare rows by"):
        fit_anomaly(raw, infer_columns(raw))

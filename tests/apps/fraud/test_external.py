"""XGBoost is fitted on rows that are read in batches: the same trees as in memory, and nothing left on disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from ecluse.apps.fraud.errors import UnusableTarget
from ecluse.apps.fraud.families import xgboost_external
from ecluse.apps.fraud.families.xgboost_external import Batch, fit_batches, most_bytes
from ecluse.apps.fraud.training import external
from ecluse.apps.fraud.training.external import ExternalFit, ExternalPlan, train_external
from ecluse.client.package import pack
from ecluse.client.selftest import problem_of
from ecluse.errors import DiskUnusable, InvalidInput, UnreadableTable

ROWS = 6_000
PARAMS = {"max_depth": 4, "eta": 0.1, "subsample": 0.8, "colsample_bytree": 0.7, "fixed_rounds": 12}
SETTINGS = {**PARAMS, "seed": 1, "nthread": 1, "base_score": 0.1}


def invented(rows: int = ROWS) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(rows, 4))
    odds = 2 * matrix[:, 0] + matrix[:, 1] * matrix[:, 2] - 3
    return pl.DataFrame(matrix, schema=["amount", "hour", "age", "noise"]).with_columns(
        known=pl.Series(rng.random(rows) < 0.5),
        fraud=pl.Series((rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)),
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "payments.parquet"
    invented().write_parquet(path, row_group_size=700)
    return path


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "BATCH_ROWS", 500)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "bins"
    made.mkdir()
    return made


def bytes_of(fit: ExternalFit) -> bytes:
    return bytes(fit.booster.save_raw("ubj"))


def on_disk(**chosen: object) -> ExternalPlan:
    return ExternalPlan(**{"target": "fraud", "memory_bytes": 0, "params": PARAMS, **chosen})  # type: ignore[arg-type]


def test_bins_on_disk_give_the_same_trees_as_bins_in_memory(table: Path, folder: Path) -> None:
    paged = train_external(table, on_disk(), folder=folder)
    held = train_external(table, on_disk(memory_bytes=1 << 30), folder=folder)
    assert (paged.on_disk, held.on_disk) == (True, False)
    assert bytes_of(paged) == bytes_of(held)
    assert list(folder.iterdir()) == []


def test_frauds_among_rows_kept_back_are_ranked_far_above_chance(table: Path, folder: Path) -> None:
    fit = train_external(table, on_disk(), folder=folder)
    assert fit.rows + fit.tested == ROWS
    assert fit.rounds == fit.booster.num_boosted_rounds() == PARAMS["fixed_rounds"]
    assert fit.average_precision > 3 * invented()["fraud"].to_numpy().mean()


def test_rows_that_are_kept_back_are_not_fitted(table: Path, folder: Path) -> None:
    drawn = np.random.default_rng(5).random(ROWS) < 0.2
    invented().with_columns(fraud=pl.Series(drawn.astype(np.int8))).write_parquet(table)
    by_heart = {"max_depth": 12, "eta": 0.5, "min_child_weight": 0.0, "fixed_rounds": 40}
    fit = train_external(table, on_disk(params=by_heart), folder=folder)
    assert fit.average_precision < 0.35  # nothing tells these frauds; learned by heart they would rank first


def test_another_seed_keeps_other_rows_back(table: Path, folder: Path) -> None:
    first, second = (train_external(table, on_disk(seed=seed), folder=folder) for seed in (1, 2))
    assert first.tested != second.tested


def test_files_of_a_folder_are_one_table(table: Path, folder: Path) -> None:
    several = table.parent / "several"
    several.mkdir()
    invented()[:2_500].write_parquet(several / "1.parquet", row_group_size=300)
    invented()[2_500:].write_parquet(several / "2.parquet")
    whole, parts = (train_external(path, on_disk(), folder=folder) for path in (table, several))
    assert bytes_of(parts) == bytes_of(whole)


def test_without_settings_those_of_the_family_that_rank_best_are_fitted(
    table: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "SEARCHED", {"rounds": 30, "patience": 10})
    fit = train_external(table, on_disk(params=None, columns=("amount", "hour", "age")), folder=folder)
    assert fit.columns == ("amount", "hour", "age")
    assert fit.booster.feature_names == list(fit.columns)
    assert 1 <= fit.rounds <= 30
    assert fit.params["max_depth"] in (5, 8)


def test_rows_without_a_label_are_left_out_and_infinite_values_are_missing(folder: Path) -> None:
    frame = invented().with_columns(
        fraud=pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise("fraud"),
        amount=pl.when(pl.int_range(pl.len()) % 50 == 0).then(float("inf")).otherwise("amount"),
    )
    path = folder.parent / "gaps.parquet"
    frame.write_parquet(path)
    fit = train_external(path, on_disk(), folder=folder)
    assert fit.rows + fit.tested == ROWS - ROWS // 3


@pytest.mark.parametrize("rounds", [0, 3])
def test_a_fit_that_is_cancelled_leaves_no_file(
    folder: Path, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first look comes while the rows are read.
    monkeypatch.setattr(xgboost_external, "WAITED_S", 0.0)

    def batches() -> Iterator[Batch]:
        for number in range(5):
            rng = np.random.default_rng(number)
            matrix = rng.normal(size=(400, 3)).astype(np.float32)
            yield matrix, (matrix[:, 0] > 1).astype(np.int8)

    seen: list[bool] = []

    def tick(fitted: int) -> None:
        seen.append(any(folder.rglob("*.page")))
        if fitted == rounds:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_batches(batches, SETTINGS, rounds=9, folder=folder, tick=tick)
    assert list(folder.iterdir()) == []
    assert seen[-1] or not rounds


def test_a_fit_that_is_cancelled_while_rows_are_read_reads_no_more_of_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xgboost_external, "WAITED_S", 0.0)
    cancelled = threading.Event()
    read: list[int] = []

    def batches() -> Iterator[Batch]:
        for number in range(300):
            read.append(number)
            yield np.full((50, 2), number, np.float32), np.arange(50, dtype=np.int8) % 2
            assert cancelled.wait(60)

    def tick(fitted: int) -> None:
        cancelled.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_batches(batches, SETTINGS, rounds=9, folder=folder, tick=tick)
    assert len(read) < 300


@pytest.mark.parametrize("missing", [0.0, 0.02, 0.5])
def test_bins_take_no_more_than_is_asked_of_the_disk(folder: Path, missing: float) -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(20_000, 5)).astype(np.float32)
    matrix[rng.random(matrix.shape) < missing] = np.nan
    sizes = []

    def tick(fitted: int) -> None:
        sizes.append(sum(file.stat().st_size for file in folder.rglob("*.page")))

    labels = (matrix[:, 0] > 1).astype(np.int8)
    fit_batches(lambda: [(matrix.copy(), labels)], SETTINGS, rounds=1, folder=folder, tick=tick)
    assert 0 < max(sizes) <= most_bytes(*matrix.shape)


def test_a_batch_that_cannot_be_read_ends_the_fit_with_its_own_error(folder: Path) -> None:
    def batches() -> Iterator[Batch]:
        yield np.zeros((5, 2), np.float32), np.array([0, 1, 0, 1, 0], np.int8)
        raise UnreadableTable("the second row group is damaged")

    with pytest.raises(UnreadableTable, match="second row group"):
        fit_batches(batches, SETTINGS, rounds=3, folder=folder, tick=lambda fitted: None)
    assert list(folder.iterdir()) == []


def test_the_booster_is_published_like_any_other(table: Path, folder: Path, tmp_path: Path) -> None:
    fit = train_external(table, on_disk(), folder=folder)
    package = tmp_path / "package"
    package.mkdir()
    pack(fit.booster, package, pl.read_parquet(table).select(fit.columns)[:50])
    assert problem_of(package) is None


def test_what_it_says_of_its_progress_ends_with_the_test_rows(table: Path, folder: Path) -> None:
    heard: list[tuple[str, float]] = []
    train_external(
        table, on_disk(), folder=folder, progress=lambda stage, share, message: heard.append((stage, share))
    )
    assert heard == sorted(heard, key=lambda each: each[1])
    assert heard[-1][0] == "test"


def test_a_table_that_is_cut_short_is_said_to_be_damaged(table: Path, folder: Path) -> None:
    table.write_bytes(table.read_bytes()[:-200])
    with pytest.raises(UnreadableTable, match=r"payments\.parquet"):
        train_external(table, on_disk(), folder=folder)


def test_a_table_that_is_not_there_is_not_said_to_be_damaged(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"There is no .*away\.parquet\. Name a Parquet file"):
        train_external(folder / "away.parquet", ExternalPlan("fraud"), folder=folder)


def test_a_table_of_labels_alone_is_refused(folder: Path) -> None:
    invented().select("fraud").write_parquet(folder / "labels.parquet")
    with pytest.raises(InvalidInput, match='has no column besides "fraud"'):
        train_external(folder / "labels.parquet", ExternalPlan("fraud"), folder=folder)


@pytest.mark.parametrize("rows", [0, 20])
def test_a_table_without_a_labelled_row_is_refused(rows: int, folder: Path) -> None:
    frame = invented(rows).with_columns(fraud=pl.lit(None, pl.Int8))
    frame.write_parquet(folder / "unlabelled.parquet")
    with pytest.raises(UnusableTarget, match=r'No row of unlabelled\.parquet has a value in "fraud"'):
        train_external(folder / "unlabelled.parquet", ExternalPlan("fraud"), folder=folder)


@pytest.mark.parametrize("target", ["missing", "amount", "shop"])
def test_a_target_that_is_not_nought_and_one_is_refused(table: Path, folder: Path, target: str) -> None:
    invented().with_columns(shop=pl.lit("a")).write_parquet(table)
    with pytest.raises(UnusableTarget, match=target):
        train_external(table, on_disk(target=target, columns=("hour", "age")), folder=folder)


def test_a_table_with_next_to_no_fraud_is_refused(table: Path, folder: Path) -> None:
    invented().with_columns(fraud=(pl.int_range(pl.len()) == 7)).write_parquet(table)
    with pytest.raises(UnusableTarget, match="fraud"):
        train_external(table, on_disk(), folder=folder)


def test_a_column_of_words_is_refused_by_name(table: Path, folder: Path) -> None:
    invented().with_columns(shop=pl.lit("a")).write_parquet(table)
    with pytest.raises(InvalidInput, match="shop"):
        train_external(table, on_disk(), folder=folder)
    assert train_external(table, on_disk(columns=("amount", "hour")), folder=folder).rows


def test_the_target_is_not_learned_from(table: Path, folder: Path) -> None:
    with pytest.raises(InvalidInput, match="fraud"):
        train_external(table, on_disk(columns=("amount", "fraud")), folder=folder)


def test_bins_that_the_disk_has_no_room_for_are_refused_before_any_work(
    table: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000))
    with pytest.raises(DiskUnusable, match="Make room"):
        train_external(table, on_disk(), folder=folder)

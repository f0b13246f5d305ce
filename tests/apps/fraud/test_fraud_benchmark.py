"""The benchmark of training holds out what it says, and sums up what it measured."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.fraud import (
    Case,
    NoSplit,
    Results,
    Row,
    WorkOf,
    hold_out,
    latest,
    read_results,
    stratified,
    summary,
    tables_in,
    targets,
)


def row(table: str, contender: str, precision: float, **figures: float) -> Row:
    known = {
        "train_s": 10.0,
        "peak_mb": 100.0,
        "model_mb": 1.0,
        "rows_per_s": 1000.0,
        "frame_rows_per_s": 1000.0,
    }
    return Row(
        table,
        "stratified",
        30.0,
        0,
        contender,
        "ok",
        precision,
        **(known | figures),  # type: ignore[arg-type]
    )


def test_the_summary_counts_wins_ties_and_losses_and_gives_ratios() -> None:
    rows = [
        row("cards", "ecluse", 0.50),
        row("cards", "flaml", 0.40, train_s=40.0, model_mb=10.0),
        row("claims", "ecluse", 0.30),
        row("claims", "flaml", 0.31, train_s=40.0, model_mb=10.0),
        row("loans", "ecluse", 0.20),
        row("loans", "flaml", 0.60, train_s=5.0, model_mb=0.1),
        Row("phones", "stratified", 30.0, 0, "ecluse", "ok", 0.9),
        Row("phones", "stratified", 30.0, 0, "flaml", "train: killed after 90 s"),
    ]
    lines = [line.split() for line in summary(rows)]
    assert ["cards,", "stratified", "0.500*", "0.400"] in lines
    assert ["phones,", "stratified", "0.900*", "–"] in lines
    assert ["average", "precision", "0.333", "0.437"] in lines  # of the three that both finished
    time, model = f"{(0.25 * 0.25 * 2) ** (1 / 3):.3f}", f"{(0.1 * 0.1 * 10) ** (1 / 3):.3f}"
    assert ["flaml", "1", "1", "1", "-0.103", time, "1", model, "1", "1"] in lines
    assert any("killed" in line for line in lines)


def test_results_come_back_from_their_file_and_are_not_measured_twice(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.csv")
    first, failed = (
        row("cards", "ecluse", 0.5),
        Row("cards", "time", 30.0, 0, "flaml", 'train: said "no", twice'),
    )
    results.add(first)
    results.add(failed)
    again = Results(tmp_path / "results.csv")
    assert again.has(first.key)
    assert again.has(failed.key)
    assert not again.has((*first.case, "flaml"))
    assert again.rows[0].average_precision == 0.5
    assert again.rows[1].status == failed.status
    assert math.isnan(again.rows[1].average_precision)
    assert [one.contender for one in Results(tmp_path / "results.csv", ["ecluse"]).rows] == ["flaml"]
    assert len(read_results(tmp_path / "results.csv")) == 2


def test_held_out_rows_are_never_among_the_training_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 400
    frame = pl.DataFrame(
        {
            "ref": [f"R{number:05d}x" for number in range(rows)],
            "paid_at": [f"2025-{1 + n // 40:02d}-{1 + n // 2 % 20:02d} 10:00:00" for n in range(rows)],
            "amount": rng.normal(100, 10, rows).round(2),
            "odd": np.where(rng.random(rows) < 0.3, "yes", "no"),
        }
    )
    data = tmp_path / "data"
    data.mkdir()
    frame.write_csv(data / "pay.ments.csv")
    (data / "INDEX.md").write_text("# Tables\n\n|name|rows|target|\n|---|---|---|\n|pay.ments|400|odd|\n")
    assert targets(data) == {"pay.ments": "odd"}
    for kind in ("stratified", "time"):
        folder = tmp_path / kind
        folder.mkdir()
        case = Case(tables_in(data, None)[0], kind, 30.0, 0, 8.0)
        parts = hold_out(case, folder)
        train, test = (pl.read_csv(folder / f"{name}.csv") for name in ("train", "test"))
        assert "odd" not in test.columns
        assert parts.task["target"] == "odd"
        assert parts.task["identifiers"] == ["ref"]
        assert set(train["ref"]) | set(test["ref"]) == set(frame["ref"])
        assert not set(train["ref"]) & set(test["ref"])
        wanted = test.join(frame, on="ref", maintain_order="left")["odd"] == "yes"
        assert parts.labels.tolist() == wanted.cast(pl.Int8).to_list()
        assert parts.task["time"] == ("paid_at" if kind == "time" else None)
        if kind == "time":
            assert train["paid_at"].max() < test["paid_at"].min()  # type: ignore[operator]


def test_a_split_by_time_divides_no_moment_and_trains_on_rows_without_one() -> None:
    moments = np.array([1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, np.nan])
    assert latest(moments).nonzero()[0].tolist() == [7, 8]
    with pytest.raises(NoSplit, match="one value"):
        latest(np.ones(5))


def test_a_stratified_split_keeps_the_share_of_each_class_and_depends_on_the_seed() -> None:
    labels = np.repeat(np.array([0, 1], dtype=np.int8), [900, 100])
    test = stratified(labels, 0)
    assert labels[test].sum() == 30
    assert test.sum() == 300
    assert (stratified(labels, 0) == test).all()
    assert (stratified(labels, 1) != test).any()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody counts who waits for a processor")
def test_a_contender_is_ended_by_what_it_worked_and_not_by_what_others_took_from_it() -> None:
    spin = [
        sys.executable,
        "-c",
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile 1: 0",
    ]
    processes = [subprocess.Popen(spin) for _ in range(4)]  # all on one processor: a quarter each, or less
    try:
        while (
            any(len(os.sched_getaffinity(process.pid)) > 1 for process in processes) and os.cpu_count() != 1
        ):
            time.sleep(0.01)
        clock, began = WorkOf(processes[0].pid), time.monotonic()
        worked = 0.0
        while time.monotonic() - began < 3:
            time.sleep(0.1)
            worked = clock.seconds()
        passed = time.monotonic() - began
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert 0 < worked < passed / 2
    hanging = subprocess.Popen(["sleep", "60"])
    try:
        clock, began = WorkOf(hanging.pid), time.monotonic()
        time.sleep(1)
        assert clock.seconds() >= (time.monotonic() - began) / 2, "one that does nothing is ended too"
    finally:
        hanging.kill()
        hanging.wait()

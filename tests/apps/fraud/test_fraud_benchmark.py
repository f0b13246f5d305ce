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

from benchmarks.environments import installer
from benchmarks.fraud import CONTENDERS, WorkOf, tables_in
from benchmarks.fraud_results import Results, Row, read_results, summary
from benchmarks.fraud_rows import (
    NoSplit,
    Target,
    hold_out,
    labels_of,
    latest,
    stratified,
    targets,
    validating,
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
    lines = [line.split() for line in summary(rows, CONTENDERS)]
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
    assert targets(data) == {"pay.ments": Target("odd")}
    for kind in ("stratified", "time"):
        folder = tmp_path / kind
        folder.mkdir()
        parts = hold_out(tables_in(data, None)[0], kind, 0, folder)
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
            assert train["paid_at"].is_sorted(), "peers are told the time by the order of rows"
            told = parts.task["latest"]
            assert 0.1 < told / train.height < 0.3
            assert train["paid_at"][-told - 1] < train["paid_at"][-told], "no moment is divided"
        else:
            assert parts.task["latest"] == 0


def test_a_target_is_read_also_where_the_last_cell_of_its_row_is_empty(tmp_path: Path) -> None:
    (tmp_path / "INDEX.md").write_text(
        "|name|target|positive|note|\n|---|---|---|---|\n|claims|fraud||twice|\n|cards|bad|||\n| loans | a\\|b | no | |\n"
        "|nothing||||\n"
    )
    assert targets(tmp_path) == {
        "claims": Target("fraud"),
        "cards": Target("bad"),
        "loans": Target("a|b", "no"),
    }


def test_what_counts_as_fraud_is_what_a_training_takes_for_it_and_not_the_rarer_value() -> None:
    attacks = pl.Series("outcome", ["attack"] * 7 + ["normal"] * 3)
    labels, meaning = labels_of(attacks)
    assert labels.sum() == 7
    assert meaning.sure
    named, _rest = labels_of(attacks, "normal")
    assert named.sum() == 3
    three = pl.Series("grade", ["a", "b", "c"])
    assert labels_of(three, "b")[0].tolist() == [0, 1, 0]
    with pytest.raises(NoSplit, match="positive"):
        labels_of(three)
    with pytest.raises(NoSplit, match="never holds"):
        labels_of(three, "d")


def test_the_latest_rows_to_choose_by_hold_both_classes_or_are_not_named() -> None:
    moments = np.arange(100.0)
    fraud = np.zeros(100, dtype=np.int8)
    fraud[::4] = 1
    assert validating(moments, fraud) == 20
    fraud[80:] = 0
    assert validating(moments, fraud) == 0
    assert validating(np.ones(100), fraud) == 0


def test_the_summary_names_the_processor_seconds_and_a_busy_machine_and_leaves_perfect_ranks_out() -> None:
    rows = [
        row("cards", "ecluse", 0.5, cpu_s=58.2, processor_share=0.95, brier=0.1),
        row("cards", "flaml", 0.4, cpu_s=21.0, processor_share=0.40, brier=0.3),
        row("claims", "ecluse", 1.0, cpu_s=50.0, processor_share=0.9, brier=0.01),
        row("claims", "flaml", 1.0, cpu_s=5.0, processor_share=0.9, brier=0.2, stopped_perfect=1),
    ]
    lines = [*summary(rows, CONTENDERS)]
    assert ["cards,", "stratified", "0.500*", "(58)", "0.400", "(21!)"] in [line.split() for line in lines]
    assert any(line.startswith("! A busy machine: 1 of 4") and "40% (flaml, cards" in line for line in lines)
    assert ["Brier", "score,", "1", "cases", "0.100", "0.300"] in [line.split() for line in lines]
    assert any("Not in the Brier score: claims, stratified" in line for line in lines)
    quiet = [*summary(rows[:1], CONTENDERS)]
    assert not any("busy" in line for line in quiet)


def test_results_of_before_a_column_was_kept_are_still_read(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.csv")
    results.add(row("cards", "ecluse", 0.5))
    pl.read_csv(results.path).drop("processor_share", "stopped_perfect").write_csv(results.path)
    (one,) = read_results(results.path)
    assert one.average_precision == 0.5
    assert math.isnan(one.processor_share)
    assert not any("busy" in line for line in summary([one], CONTENDERS))


def test_the_installer_is_found_where_run_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = tmp_path / ".venv" / "bin" / "python"
    kept = tmp_path / ".tools" / "bin" / "uv"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"\./run"):
        installer(interpreter, tmp_path)
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert installer(interpreter, tmp_path) == str(kept)
    interpreter.parent.mkdir(parents=True)
    interpreter.with_name("uv").touch()
    assert installer(interpreter, tmp_path) == str(interpreter.with_name("uv"))


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
    assert clock.share < 0.6, "and the share of what it asked for is known"
    hanging = subprocess.Popen(["sleep", "60"])
    try:
        clock, began = WorkOf(hanging.pid), time.monotonic()
        time.sleep(1)
        assert clock.seconds() >= (time.monotonic() - began) / 2, "one that does nothing is ended too"
    finally:
        hanging.kill()
        hanging.wait()

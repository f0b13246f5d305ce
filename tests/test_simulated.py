"""What is learned from a sample says that its data is invented, in report, model and card; what is not does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl

from ecluse.apps.fraud.sample import SIMULATED, generate, is_sample, write_sample
from ecluse.apps.fraud.training.card import model_card
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.training import train
from ecluse.apps.plants import card as plants_card
from ecluse.apps.plants.demo import SIDE, draw_sample, is_drawn
from ecluse.tabular.dataset import open_table
from ecluse.web.i18n import Words


def test_a_sample_is_known_by_its_content_and_no_other_table_is(tmp_path: Path) -> None:
    frame = generate(1_000, 3)
    assert is_sample(frame)
    assert is_sample(frame.select("device_id", "amount").reverse())
    other = frame.with_columns(device_id=pl.format("D{}", pl.int_range(10**9, 10**9 + 1_000)))
    assert not is_sample(other)
    assert not is_sample(frame.drop("device_id"))
    assert not is_sample(frame.head(3))
    with open_table(write_sample(tmp_path, rows=1_000, score_rows=500).unlabelled) as table:
        assert is_sample(table.head(500))


def test_a_model_of_the_sample_says_that_its_data_is_simulated(tmp_path: Path) -> None:
    paths = write_sample(tmp_path, rows=3_000, score_rows=500)
    plan = TrainingPlan(target="is_fraud", budget_s=2.0, refit=False)
    with open_table(paths.labelled) as table:
        report = train(table, plan, tmp_path / "model", lambda *_: None)
    assert report.simulated is True
    assert report.warnings[0] == SIMULATED
    assert json.loads((tmp_path / "model" / "model.json").read_text())["simulated"] is True
    assert "**Simulated data.**" in (tmp_path / "model" / "model_card.md").read_text()
    assert "Simulated" not in model_card(replace(report, simulated=False, warnings=()))
    assert Words("fr").phrase(SIMULATED).startswith("Cette table est l’exemple")


def test_drawn_leaves_are_known_and_photographs_are_not() -> None:
    drawn = [(leaf.path, SIDE, SIDE) for leaf in draw_sample(each=20)]
    assert is_drawn([(f"demo/{path}", width, height) for path, width, height in drawn])
    assert not is_drawn([*drawn, ("healthy/IMG_1.jpg", SIDE, SIDE)])
    assert not is_drawn([("healthy/leaf_0001.jpg", SIDE, SIDE)])
    assert not is_drawn([(path, 4000, 3000) for path, _, _ in drawn])
    assert not is_drawn([])
    assert "SIMULATED" in vars(plants_card)

"""A command asks at a terminal what a label means, and elsewhere says what it knows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from ecluse.apps.fraud.commands.labels import asked_for_label, label_lines
from ecluse.apps.fraud.profiling.profile import profile_table
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.apps.fraud.training.request import TrainingRequest
from ecluse.tabular.dataset import open_table


def dataset(folder: Path, **columns: list[object]) -> Dataset:
    pl.DataFrame({"amount": [float(i % 37) + 0.5 for i in range(100)], **columns}).write_csv(folder / "t.csv")
    with open_table(folder / "t.csv") as table:
        return Dataset(filename="t.csv", state="ready", profile=profile_table(table).to_dict())


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal as standard input; what is written to it is what a person types."""
    keyboard, terminal = os.openpty()
    with os.fdopen(terminal, "r") as opened:
        monkeypatch.setattr(sys, "stdin", opened)
        yield keyboard
    os.close(keyboard)


def test_a_command_asks_at_a_terminal_for_the_label_and_its_value(tmp_path: Path, typed: int) -> None:
    table = dataset(tmp_path, verdict=["A"] * 80 + ["B"] * 20)
    os.write(typed, b"1\n1\n")
    asked = asked_for_label(table.profile, TrainingRequest("m"))
    assert (asked.target_column, asked.positive_value) == ("verdict", "A")


def test_a_command_asks_nothing_where_it_is_clear_or_no_terminal_is_there(tmp_path: Path, typed: int) -> None:
    clear = dataset(tmp_path, is_attack=[1] * 57 + [0] * 43)
    assert asked_for_label(clear.profile, TrainingRequest("m")).positive_value is None
    assert label_lines(clear.profile or {})[0].startswith("Fraud means is_attack = 1, 57.0 % of the rows.")


def test_what_is_not_clear_is_said_with_the_option(tmp_path: Path) -> None:
    unclear = dataset(tmp_path, Result=[-1] * 57 + [1] * 43)
    assert asked_for_label(unclear.profile, TrainingRequest("m")) == TrainingRequest("m")
    (line,) = label_lines(unclear.profile or {})
    assert line.startswith("Which value of Result means fraud is not clear (-1: 57.0%, 1: 43.0%): --positive")
    unnamed = dataset(tmp_path, is_attributed=[0] * 95 + [1] * 5)
    assert [text.split()[0] for text in label_lines(unnamed.profile or {})] == ["No", "is_attributed"]

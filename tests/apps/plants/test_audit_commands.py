"""The commands from an empty machine to a divided, exported set."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ecluse.apps.plants.demo import COPIES
from tests.application import run_ecluse


def plants(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = run_ecluse(home, {}, "plants", *arguments)
    assert "fault of ours" not in done.stderr, done.stderr
    return done


def told(home: Path, *arguments: str) -> dict[str, Any]:
    done = plants(home, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.nightly
def test_one_command_makes_a_set_that_is_audited_and_can_be_divided_and_exported(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = told(home, "demo", "--each", "20")
    assert made["set"] == "leaves"
    assert made["next"] == "ecluse plants train --name leaves"
    assert sum(made["labels"].values()) == 2 * 20 + COPIES - 1
    assert len(made["groups"]) == COPIES
    assert made["suspects"] == len(made["suspected"])
    again = plants(home, "audit", "leaves")
    assert f"Near duplicates: {2 * COPIES} images in {COPIES} groups." in again.stdout
    split = told(home, "split", "leaves", "--seed", "3", "--shares", "0.6/0.2/0.2")
    assert split["counts"]["test"].keys() == {"healthy", "spotted"}
    refused = plants(home, "split", "leaves", "--shares", "0.6/0.4")
    assert (refused.returncode, "Give a share above 0" in refused.stderr) == (1, True)
    assert told(home, "export", "leaves", str(tmp_path / "out"))["images"] == 2 * 20 + COPIES - 1
    assert plants(home, "export", "leaves", str(tmp_path / "out")).returncode == 1


def test_the_sample_can_be_written_to_a_folder_and_imported_from_there(tmp_path: Path) -> None:
    folder = tmp_path / "my leaves"
    done = plants(tmp_path / "home", "demo", str(folder), "--each", "20")
    assert done.stdout.splitlines()[-1] == f"Next: ecluse plants import '{folder}'"
    taken = told(tmp_path / "home", "import", str(folder))
    assert taken["set"] == "my leaves"
    assert taken["labels"].keys() == {"healthy", "spotted"}
    assert taken["contested"] == 1

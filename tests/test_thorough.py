"""What is left out of a quick run is known by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.thorough import THOROUGH, is_thorough


@pytest.mark.parametrize("module", THOROUGH)
def test_a_thorough_test_is_there_and_its_module_has_others(module: str) -> None:
    there = set(re.findall(r"^def (test_\w+)", (Path(__file__).parent / module).read_text(), re.MULTILINE))
    named = {name.partition("[")[0] for name in THOROUGH[module]}
    assert named <= there
    assert there - {name for name in THOROUGH[module] if "[" not in name}


def test_a_name_is_that_of_one_test_and_of_all_its_parameters() -> None:
    servers, name = "test_main_job.py", "test_two_models_train_side_by_side_on_two_workers"
    assert is_thorough(servers, f"{name}[cloud]")
    assert not is_thorough(servers, f"{name}_too")
    assert not is_thorough("test_jobs.py", name)

"""A wait gives up after work: a busy or a paused machine makes it longer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.support import wait


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that pass between looks, one after another; the last one goes on."""
    steps, now = [1.0], [0.0]

    def pause(_: float) -> None:
        now[0] += steps[0] if len(steps) == 1 else steps.pop(0)

    monkeypatch.setattr(wait, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=pause))
    monkeypatch.setattr(wait, "_share", lambda: 1.0)
    return steps


def count_looks(seconds: float) -> int:
    looked = []
    with pytest.raises(AssertionError, match="a thing"):
        wait.wait_until(lambda: looked.append(1), "a thing", seconds)
    return len(looked)


def test_a_wait_returns_the_value_or_names_what_never_came(looks: list[float]) -> None:
    values = iter([None, 0, "", "there"])
    assert wait.wait_until(lambda: next(values), "a value") == "there"
    assert count_looks(3) == 4


def test_a_pause_of_the_machine_counts_one_step(looks: list[float]) -> None:
    looks[:0] = [500.0, 3600.0]
    assert count_looks(3) == 4


def test_a_second_of_a_busy_machine_counts_its_share(
    looks: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "_share", lambda: 0.25)
    assert count_looks(3) == 13

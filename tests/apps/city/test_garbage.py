"""While a day is computed nobody looks for garbage, and afterwards as before, whatever came of the day."""

from __future__ import annotations

import gc

import pytest

from ecluse.apps.city.garbage import without_collecting


@pytest.fixture(autouse=True)
def _collecting() -> None:
    assert gc.isenabled()


def test_garbage_is_looked_for_again_after_the_day_and_after_one_that_fails() -> None:
    with without_collecting():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="a day that fails"), without_collecting():
        raise ValueError("a day that fails")
    assert gc.isenabled()


def test_a_day_within_another_leaves_it_as_it_is() -> None:
    with without_collecting():
        with without_collecting():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()

"""Spells of hours, against what one finds by walking along a row."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.city.streaks import longest_streaks, streaks

GRIDS = st.integers(1, 25).flatmap(
    lambda hours: st.lists(st.lists(st.booleans(), min_size=hours, max_size=hours), min_size=1, max_size=4)
)


@given(GRIDS, st.integers(1, 5))
def test_every_spell_is_found_once_in_order(grid: list[list[bool]], least: int) -> None:
    walked = []
    for row, hours in enumerate(grid):
        at = 0
        for holds, group in groupby(hours):
            length = len(list(group))
            if holds and length >= least:
                walked.append((row, at, at + length))
            at += length
    facts = np.array(grid)
    assert list(streaks(facts, least)) == walked
    longest = [
        max((end - begin for n, begin, end in streaks(facts) if n == row), default=0)
        for row in range(len(grid))
    ]
    assert longest_streaks(facts).tolist() == longest

"""Thresholds: set by name, each with a unit and a source, none that breaks a rule."""

from __future__ import annotations

from dataclasses import fields

import pytest

from ecluse.apps.city.thresholds import Thresholds
from ecluse.errors import SettingsError


def test_those_named_change_and_the_others_stay() -> None:
    assert Thresholds.changed({"rain": 4}) == Thresholds(rain=4)
    assert Thresholds.changed({"cold": -5}).cold == -5


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="'snow' is no threshold of the city; there are presaturated, "):
        Thresholds.changed({"snow": 3})


@pytest.mark.parametrize(
    "name", ["speed_street", "speed_floor", "capacity_occupancy", "alert_hours", "blocked"]
)
def test_what_divides_or_counts_hours_is_more_than_nothing(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}=0 must be more than 0 "):
        Thresholds.changed({name: 0})


def test_each_says_its_unit_and_where_it_comes_from() -> None:
    for item in fields(Thresholds):
        assert item.metadata["unit"], item.name
        assert len(item.metadata["source"]) > 10, item.name

"""Speeds from occupancy: what the curve gives, and which limit a road has on a day."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.city.speed import free_flow_speeds, kind_of_road, lost_time, speed
from ecluse.apps.city.thresholds import Thresholds

USUAL = Thresholds()


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("PE_Bagnolet", "ring"),
        ("PI_A13", "ring"),
        ("A6A_Y", "ring"),
        ("A3_bretelle_1", "axis"),
        ("AE_Auteuil_bretelle_9", "axis"),
        ("SI_Villette", "axis"),
        ("AV_Champs_Elysees", "axis"),
        ("Av_Champs_Élysées", "axis"),
        ("Bd_d'Indochine", "axis"),
        ("Bd_Amiral_Bruix", "axis"),
        ("VGP_Quai_des_Tuileries", "axis"),
        ("Royale", "axis"),
        ("Pt_Royal", "street"),
        ("Bd_Port_Royal", "street"),
        ("Bd_Victor", "axis"),
        ("Bd_Vincent_Auriol", "street"),
        ("Convention", "street"),
        ("Sts_Peres", "street"),
        ("Peletier", "street"),
        ("", "street"),
    ],
)
def test_a_label_tells_the_kind_of_road(label: str, kind: str) -> None:
    assert kind_of_road(label) == kind


def test_limits_change_on_the_days_on_which_they_were_lowered() -> None:
    labels = ["PE_Bagnolet", "Av_Foch", "Convention", None]
    by_day = {
        day: free_flow_speeds(labels, date.fromisoformat(day), USUAL).tolist()
        for day in ("2021-08-29", "2021-08-30", "2024-10-09", "2024-10-10")
    }
    assert by_day == {
        "2021-08-29": [70, 50, 50, 50],
        "2021-08-30": [70, 50, 30, 30],
        "2024-10-09": [70, 50, 30, 30],
        "2024-10-10": [50, 50, 30, 30],
    }


def test_speed_falls_to_its_floor() -> None:
    """A third of the way to 30 %: 50 exp(-1/3) = 35.8266; at 30 %: 50/e = 18.3940; at 70 % the curve is at 4.85."""
    occupancy = np.array([0.0, 10, 30, 70, 100, np.nan])
    facts = speed(occupancy, np.full(6, 50.0), USUAL)
    assert facts.tolist()[:-1] == pytest.approx([50, 35.8266, 18.3940, 5, 5], rel=1e-5)
    assert np.isnan(facts[-1])


def test_a_floor_above_the_limit_does_not_speed_traffic_up() -> None:
    assert speed(np.array([80.0]), np.array([4.0]), USUAL).tolist() == [4.0]


def test_time_is_lost_by_every_vehicle_of_the_hour() -> None:
    """1 km at 50/e instead of 50 km/h: 0.0543656 instead of 0.02 hours, for 600 vehicles 20.6194 hours."""
    values = [np.array([item]) for item in (600.0, 30.0, 1000.0, 50.0)]
    assert lost_time(*values, USUAL).tolist() == pytest.approx([20.6194], rel=1e-5)


@given(
    occupancy=st.floats(0, 100),
    more=st.floats(0, 100),
    free=st.floats(1, 130),
)
def test_a_busier_loop_never_loses_less(occupancy: float, more: float, free: float) -> None:
    higher = min(100.0, occupancy + more)
    lost = lost_time(
        np.full(2, 100.0), np.array([occupancy, higher]), np.full(2, 500.0), np.full(2, free), USUAL
    )
    assert 0 <= lost[0] <= lost[1]

"""Say whether so few road sensors report that a day's figures say little of the city."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: Below this share of the arcs of the network a day is said to rest on few.
FEW_ARCS: Final = 0.5


def rests_on_few(traffic: Mapping[str, Any] | None) -> bool:
    """Return whether fewer than `FEW_ARCS` of the arcs report, by the metrics of `traffic`; False where none does."""
    arcs_known = int((traffic or {}).get("arcs_known") or 0)
    reporting = int((traffic or {}).get("arcs_reporting") or 0)
    return 0 < reporting < FEW_ARCS * arcs_known

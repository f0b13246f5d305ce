"""Know the school holidays of Paris, which is in zone C.

From the calendar of the ministry (https://www.education.gouv.fr/calendrier-scolaire-100148), by the first and the last
day without school; weekends at either end belong to them. Before and after the table nothing is known.
"""

from __future__ import annotations

from datetime import date
from typing import Final

ZONE: Final = "C"
FIRST: Final = date(2021, 9, 2)
LAST: Final = date(2026, 7, 3)
HOLIDAYS: Final = (
    (date(2021, 10, 23), date(2021, 11, 7)),
    (date(2021, 12, 18), date(2022, 1, 2)),
    (date(2022, 2, 19), date(2022, 3, 6)),
    (date(2022, 4, 23), date(2022, 5, 8)),
    (date(2022, 7, 8), date(2022, 8, 31)),
    (date(2022, 10, 22), date(2022, 11, 6)),
    (date(2022, 12, 17), date(2023, 1, 2)),
    (date(2023, 2, 18), date(2023, 3, 5)),
    (date(2023, 4, 22), date(2023, 5, 8)),
    (date(2023, 7, 8), date(2023, 9, 3)),
    (date(2023, 10, 21), date(2023, 11, 5)),
    (date(2023, 12, 23), date(2024, 1, 7)),
    (date(2024, 2, 10), date(2024, 2, 25)),
    (date(2024, 4, 6), date(2024, 4, 21)),
    (date(2024, 7, 6), date(2024, 9, 1)),
    (date(2024, 10, 19), date(2024, 11, 3)),
    (date(2024, 12, 21), date(2025, 1, 5)),
    (date(2025, 2, 15), date(2025, 3, 2)),
    (date(2025, 4, 12), date(2025, 4, 27)),
    (date(2025, 7, 5), date(2025, 8, 31)),
    (date(2025, 10, 18), date(2025, 11, 2)),
    (date(2025, 12, 20), date(2026, 1, 4)),
    (date(2026, 2, 21), date(2026, 3, 8)),
    (date(2026, 4, 18), date(2026, 5, 3)),
)


def is_school_holiday(day: date) -> bool | None:
    """Return whether a day lies in the school holidays; None where the table does not reach."""
    if not FIRST <= day <= LAST:
        return None
    return any(first <= day <= last for first, last in HOLIDAYS)

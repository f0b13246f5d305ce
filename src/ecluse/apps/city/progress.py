"""Tell how far work is: a whole, or the part of a whole that it is."""

from __future__ import annotations

from collections.abc import Callable

#: Called with how far work is (0 to 1) and what is being done; what it raises ends the work.
Report = Callable[[float, str], None]


def unheard(fraction: float, message: str) -> None:
    """Report to nobody."""


def part_of(report: Report, begin: float, end: float) -> Report:
    """Return the report of work that is the part from `begin` to `end` of what `report` tells of."""
    return lambda fraction, message: report(begin + (end - begin) * fraction, message)

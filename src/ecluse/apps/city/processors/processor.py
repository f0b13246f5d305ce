"""Say what a kind of metrics of a day is: all that the house knows of one stands in its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.sections import Section
from ecluse.documents import Body

#: Computes the metrics of a day; it is given what the processors before it made, by kind.
Compute = Callable[[Inputs, Mapping[str, Metrics]], Metrics]


@dataclass(frozen=True)
class Processor:
    """A kind of metrics of a day: what computes it, how it is called, and its part of the report."""

    name: str
    #: What it is called within a sentence, such as "traffic" in "writing traffic": English, marked by `sentences.N_`.
    words: str
    compute: Compute
    #: Returns what the report keeps of the metrics, None where the day has none; by default all, under its name.
    summarise: Callable[[Body | None], Body] | None = None
    section: Section | None = None

    def summary(self, body: Body | None) -> Body:
        """Return what the report keeps of the metrics of a day."""
        if self.summarise is not None:
            return self.summarise(body)
        return {self.name: body} if self.section is not None else {}


def some(body: Body | None, names: tuple[str, ...]) -> Body | None:
    """Return these parts of the metrics; None where the day has none."""
    return None if body is None else {name: body.get(name) for name in names}


def listed(body: Body | None, name: str) -> list[Body]:
    """Return a list of the metrics; empty where the day has none."""
    rows: list[Body] = (body or {}).get(name) or []
    return rows

"""Describe a figure that models and runs are judged by: its name, its words, and which way it gets better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ecluse.shapes import Message

Better = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure as reports, runs and the API name it.

    `title` is what people call it, in English, marked for translation; `better` None where neither way is better.
    `is_summary`: commands, the API and the history of trainings show it.
    `style` and `digits` say how a value is written: a share in [0, 1] as per cent, or a number.
    """

    name: str
    title: Message
    better: Better | None
    style: Literal["share", "number"] = "number"
    digits: int = 3
    is_summary: bool = False

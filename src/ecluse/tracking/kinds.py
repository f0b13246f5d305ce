"""Say what an application's trainings are: their kinds in words, the figure they are judged by, how one is repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ecluse.application import application_named, part
from ecluse.catalog import Transaction
from ecluse.catalog.tables import Run
from ecluse.errors import CannotRepeat
from ecluse.sentences import _
from ecluse.shapes import Message


@dataclass(frozen=True)
class Fact:
    """What a run was made from: the English of what it is, its name (text, or a sentence), and its page."""

    label: str
    text: str
    href: str = ""


def _no_facts(transaction: Transaction, run: Run) -> Sequence[Fact]:
    return ()


def _never(run: Run) -> bool:
    return False


@dataclass(frozen=True)
class TrackedRuns:
    """What an application says of its trainings; texts are English, marked by `sentences.N_`."""

    #: Kinds of runs, and what to call each.
    kinds: Mapping[str, Message] = field(default_factory=dict)
    #: What a step of a curve is: "epoch".
    step: Message = ""
    #: The figures a run is judged by; the first of them that it has.
    main: tuple[str, ...] = ()
    facts: Callable[[Transaction, Run], Sequence[Fact]] = _no_facts
    may_repeat: Callable[[Run], bool] = _never
    #: Train once more what a run trained: `(runtime, user_id, run_id)` gives the new run, with `id` and `job_id`.
    repeat: Callable[[Any, str, str], Any] | None = None
    #: What a repeat is, for the page.
    repeat_words: Message = ""
    #: Reference of the command that repeats one and waits: `(runtime, user, run_id) -> Record`.
    repeat_command: str = ""


NOTHING = TrackedRuns()


def tracked_runs(application: str) -> TrackedRuns:
    """Find what an application says of its runs; one that is not installed says nothing."""
    owner = application_named(application)
    runs: TrackedRuns | None = None if owner is None else part(owner, "runs")
    return runs or NOTHING


def expect_ours(run: Run) -> None:
    """Make sure that code of ours made a run, which alone can make it again; `CannotRepeat` otherwise."""
    if run.nonce is not None:
        raise CannotRepeat(
            _("Run %(name)s was made by a program of your own. Start that program again.", name=run.id)
        )

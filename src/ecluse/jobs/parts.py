"""Let workers take the parts of jobs: each part of a kind is a kind of its own, which nobody queues but `Task.map`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ecluse.jobs.kinds import JobKind, PartFunction
from ecluse.jobs.task import Task, kind_of_part
from ecluse.sentences import unpack


def with_parts(kinds: Mapping[str, JobKind]) -> dict[str, JobKind]:
    """Return these kinds of job and those of their parts. A worker takes as many parts at once as jobs of the kind."""
    parts = {
        kind_of_part(name, part): _part_of(kind, function)
        for name, kind in kinds.items()
        for part, function in kind.parts.items()
    }
    return {**kinds, **parts}


def _part_of(kind: JobKind, function: PartFunction) -> JobKind:
    return JobKind(
        run=partial(_run_part, function),
        queue=kind.queue,
        at_once=kind.at_once,
        verb=kind.verb,
        stages=kind.stages,
        version=kind.version,
        is_of_installation=kind.is_of_installation,
    )


def _run_part(function: PartFunction, context: Any, task: Task, item: Any) -> None:
    task.return_from_part(lambda: function(context, task, unpack(item)))

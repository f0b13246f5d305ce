"""Track a training of your own: its parameters, its metrics by step, and the version that comes of it."""

from __future__ import annotations

import atexit
import math
import uuid
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ecluse.client.backend import Backend, Beginning, End, Ending, Point, Version
from ecluse.client.outbox import ENDED_EARLY, Outbox
from ecluse.client.surroundings import surroundings
from ecluse.errors import EcluseError, InvalidInput, ServerAway
from ecluse.registry import checked_name, split_owner
from ecluse.run_values import checked_name as checked_value_name
from ecluse.run_values import checked_values, flat_values
from ecluse.sentences import _

#: `Client.publish`.
Publish = Callable[..., Version]
#: The run that `ecluse.log` writes to.
current: Final[ContextVar[Run | None]] = ContextVar("current", default=None)
_open: Final[weakref.WeakSet[Run]] = weakref.WeakSet()

#: Characters of an error that a failed run keeps.
MOST_REASON: Final = 500


class Run:
    """A training that is tracked from now on. Use it with `with`, or call `end` yourself.

    It is done when the block ends, failed when that raises, cancelled on Ctrl-C. What it logs while the server is away
    waits on disk, and is sent at its end or by `ecluse runs send`.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, Any],
        publish: Publish,
    ) -> None:
        """Begin it; `ecluse.run` does."""
        from ecluse.client.places import waiting_folder

        checked_name(split_owner(name)[1])
        self.name = name
        self._publish = publish
        self._token: Any = None
        self._last: dict[str, float] = {}
        beginning = Beginning(name, uuid.uuid4().hex, _checked(parameters), surroundings() | _checked(tags))
        self._outbox = Outbox(backend, beginning, waiting_folder())
        _open.add(self)

    @property
    def id(self) -> str | None:
        """Return the id of the run; None while the server has not answered."""
        return self._outbox.run

    def __repr__(self) -> str:
        return f"Run({self.name!r}, id={self.id!r})"

    def log(self, step: int, /, **metrics: float) -> None:
        """Keep metrics of a step, such as an epoch; the same step logged again replaces them.

        >>> with ecluse.run("waves", rate=0.1) as run:
        ...     run.log(1, loss=0.7)
        ...     run.log(2, loss=0.4)
        """
        self._expect_open()
        point = Point(_step(step), _figures(metrics), datetime.now(UTC))
        self._last |= point.metrics
        self._outbox.add_point(point)

    def parameters(self, **parameters: Any) -> None:
        """Note parameters that were not known at the beginning."""
        self._expect_open()
        self._outbox.change(_checked(parameters), {})

    def tags(self, **tags: Any) -> None:
        """Note words about the training; None takes one away."""
        self._expect_open()
        gone = {checked_value_name(name): None for name, value in tags.items() if value is None}
        self._outbox.change({}, gone | _checked(tags))

    def publish(
        self,
        model: Any,
        name: str | None = None,
        *,
        example: Any = None,
        metrics: Mapping[str, float] | None = None,
        alias: str | None = None,
    ) -> Version:
        """Publish the model that the run has made, as `ecluse.publish` does, under the name of the run or another.

        The run names the version, where it bears its name, and goes on until it ends. Without `metrics`, the last
        of the run are those of the version.
        """
        self._expect_open()
        self._outbox.flush()
        if self.id is None or not self._outbox.is_empty:
            raise ServerAway(
                _("The server does not answer, so nothing was published. What the run logged waits on disk.")
            )
        figures = {name: value for name, value in self._last.items() if math.isfinite(value)}
        return self._publish(
            model,
            name or self.name,
            example=example,
            metrics=figures if metrics is None else metrics,
            alias=alias,
            run=self.id if name in (None, self.name) else None,
        )

    def end(self, status: Ending = "done", *, error: str | None = None, **metrics: float) -> None:
        """Say how it ended, with last figures beside those that were logged. A run that has ended stays so."""
        _open.discard(self)
        self._outbox.end(End(status, _figures(metrics), error))

    def __enter__(self) -> Self:
        self._token = current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        current.reset(self._token)
        if error is None:
            self.end()
        elif isinstance(error, KeyboardInterrupt | SystemExit):
            self.end("cancelled")
        else:
            self.end("failed", error=_reason(error))

    def _expect_open(self) -> None:
        if self._outbox.has_ended:
            raise InvalidInput(
                _("The run %(name)s has ended. Begin another: ecluse.run(…)", name=self.id or self.name)
            )


@atexit.register
def _end_open() -> None:
    """End the runs that a program leaves open, so that none seems to go on for ever."""
    for run in list(_open):
        run.end("failed", error=ENDED_EARLY)


def _reason(error: BaseException) -> str:
    """Return why a run failed, for its owner: the words of the error, without where it was raised."""
    said = str(error) if isinstance(error, EcluseError) else f"{type(error).__name__}: {error}"
    return said[:MOST_REASON].rstrip(": ")


def _step(step: int) -> int:
    if isinstance(step, bool) or not hasattr(step, "__index__"):
        raise InvalidInput(_("A metric's step is a whole number from 0, not %(value)s.", value=repr(step)))
    return step.__index__()


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return metrics as plain numbers; those of numpy and of tensors with one value are such."""
    figures = {}
    for name, value in metrics.items():
        if isinstance(value, bool | str) or not hasattr(value, "__float__"):
            text = repr(value)
            raise InvalidInput(
                _(
                    "The metric %(name)s is %(value)s, which is no number. Keep it as a tag.",
                    name=name,
                    value=text,
                )
            )
        figures[checked_value_name(name)] = float(value)
    return figures


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters or tags as a run keeps them, by the rule of the server: what waits on disk is not refused."""
    return checked_values(flat_values(_plain(values)))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as plain JSON: numbers of numpy as numbers, paths and other objects as their text."""
    plain: dict[str, Any] = {}
    for name, value in values.items():
        item = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
        if isinstance(item, Mapping):
            plain[name] = _plain(item)
        elif isinstance(item, list | tuple | set | frozenset):
            plain[name] = [str(each) for each in item]
        elif isinstance(item, float) and not math.isfinite(item):
            plain[name] = str(item)
        elif item is None or isinstance(item, str | int | float):
            plain[name] = item
        else:
            plain[name] = item.as_posix() if isinstance(item, Path) else str(item)[:500]
    return plain

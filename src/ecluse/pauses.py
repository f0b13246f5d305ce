"""Say how long to wait between attempts: longer each time, and never all clients at the same moment."""

from __future__ import annotations

import random
from collections.abc import Iterator


def growing_pauses(first: float, longest: float) -> Iterator[float]:
    """Yield the seconds between attempts without end: each is twice the last, up to `longest`, with jitter.

    The jitter takes up to half of a pause away, so that clients that failed together do not come back together.
    """
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
        pause = min(pause * 2, longest)

"""The scores of a large table are made once, whichever worker makes them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ecluse import checkpoints as checkpoints_module
from ecluse.apps.fraud.scoring.kept_scores import KeptScores, identity, scored_in_order
from ecluse.checkpoints import Checkpoints
from ecluse.runtime import Runtime

TABLE = pl.DataFrame({"id": [f"row {n}" for n in range(95)], "amount": [n / 7 for n in range(95)]})


def batches() -> Iterator[pl.DataFrame]:
    yield from TABLE.iter_slices(10)


class Worker:
    """Scores the batches of the table; what it has scored itself is in `scored`."""

    def __init__(self, runtime: Runtime, threads: int, of: str = "the same") -> None:
        self.scored: list[str] = []
        kept = KeptScores(Checkpoints(runtime, "user1", "job1"), of)
        self.results = scored_in_order(batches(), self.score, threads, kept)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        self.scored.append(batch["id"][0])
        reason = pl.when(pl.col("amount") > 10).then(pl.col("id")).alias("reason_1")
        return batch.select("id", (pl.col("amount") * 2).alias("fraud_probability"), reason)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints_module, "SAVED_EVERY", 0.0)
    monkeypatch.setattr(checkpoints_module, "TIMES_LONGER", 0.0)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_next_worker_scores_only_what_is_left(threads: int, runtime: Runtime) -> None:
    whole = pl.concat(Worker(runtime, threads, "another table").results)
    workers = [Worker(runtime, threads)]
    assert len([*islice(workers[0].results, 4)]) == 4
    workers[0].results.close()
    workers.append(Worker(runtime, threads))
    assert len([*islice(workers[1].results, 6)]) == 6
    workers[1].results.close()
    workers.append(Worker(runtime, threads))
    assert_frame_equal(pl.concat(workers[2].results), whole)
    # Those that were on the way when a worker stopped are lost: as many as it scores side by side.
    scored = [one for worker in workers for one in worker.scored]
    assert len(set(scored)) == 10
    assert len(scored) <= 10 + 2 * (threads if threads > 1 else 0)
    assert "row 0" not in workers[1].scored
    assert not {"row 0", "row 50"} & {*workers[2].scored}


def test_scores_of_other_work_or_damaged_ones_are_made_anew(runtime: Runtime) -> None:
    whole = pl.concat(Worker(runtime, 1).results)
    other = Worker(runtime, 1, "another model")
    pl.concat(other.results)
    assert len(other.scored) == 10
    first = next(iter(runtime.data.list("user_data/user1/checkpoints"))).key
    runtime.data.put(first, runtime.data.get(first)[:-1])
    again = Worker(runtime, 1, "another model")
    assert_frame_equal(pl.concat(again.results), whole)
    assert again.scored == ["row 0"]


def test_a_short_scoring_keeps_nothing(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints_module, "SAVED_EVERY", 3600.0)
    assert pl.concat(Worker(runtime, 2).results).height == TABLE.height
    assert not [*runtime.data.list("user_data/user1/checkpoints")]


def test_what_decides_the_scores_is_told_apart() -> None:
    alike = identity(["table", {"sheet": 1}, "model", "risky", None])
    assert alike == identity(["table", {"sheet": 1}, "model", "risky", None])
    assert alike != identity(["table", {"sheet": 1}, "model", "all", None])

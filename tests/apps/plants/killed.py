"""A training, or a worker, in a process of its own that ends by SIGKILL where it is told to."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from ecluse import checkpoints
from ecluse.apps.plants import trainer
from ecluse.apps.plants.plan import Plan
from ecluse.jobs import Task
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from ecluse.work import kinds
from tests.apps.plants.training_images import Notes, training_data


class Kept(Notes):
    """Checkpoints in a file."""

    def __init__(self, path: Path, reports: int) -> None:
        super().__init__(path.read_bytes() if path.exists() else None, cancelled=self._killed)
        self.path, self.most = path, reports

    def save(self, checkpoint: bytes) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_bytes(checkpoint)
        partial.replace(self.path)

    def _killed(self, notes: Notes) -> bool:
        if len(notes.epochs) == 1 and len(notes.reports) > self.most:
            os.kill(os.getpid(), signal.SIGKILL)
        return False


def train(plan: Plan, folder: Path, reports: int) -> None:
    """Until `reports` were made, then in the second epoch of this process the end; the weights, where none comes."""
    trainer.REPORTED_EVERY = 0.0  # type: ignore[misc]
    kept = folder / "checkpoint"
    notes = Kept(kept, reports)
    trained = trainer.train(plan, training_data(), notes, threads=2 if kept.exists() else 1)
    np.savez(folder / "learned.npz", **trained.state)  # type: ignore[arg-type]


def work(home: Path, job_id: str, at: float) -> None:
    """A worker that ends when a job tells of `at` of its work; until then each checkpoint is kept at once."""
    report = Task.report

    def reporting(task: Task, stage: str, fraction: float, message: str = "") -> None:
        if task.job_id == job_id and fraction >= at:
            os.kill(os.getpid(), signal.SIGKILL)
        report(task, stage, fraction, message)

    Task.report = reporting  # type: ignore[method-assign]
    checkpoints.SAVED_EVERY = 0.0
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        worker = Worker(runtime, kinds())
        worker.start()
        worker.run_until_stopped()

"""Teach a network on several GPUs: a process each, started by torchrun, over a folder that holds what they share.

The process of the job writes the training_data into a temporary folder and starts `torch.distributed.run`. The first of
the processes writes what it has to say as lines of `told`, and each checkpoint beside it; the job's process passes
both on, and ends the others when it is cancelled.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from ecluse.apps.plants.array_cache import ArrayCache
from ecluse.apps.plants.checkpoints import from_bytes
from ecluse.apps.plants.errors import PlantsError, TrainingDiverged, UnreadableImage
from ecluse.apps.plants.plan import Plan
from ecluse.apps.plants.recipe import Callbacks, Epoch, Example, TrainedClassifier, TrainingData
from ecluse.sentences import _, from_json, to_json
from ecluse.settings import surrounding

#: Seconds between two looks at what was told, and how long processes have to end by themselves.
LOOKED_EVERY: Final = 0.25
PATIENCE: Final = 5.0
logger = logging.getLogger(__name__)
#: What the processes may end with that a person can act on.
ERRORS: Final = {error.__name__: error for error in (TrainingDiverged, UnreadableImage)}


def train(
    plan: Plan, training_data: TrainingData, callbacks: Callbacks, processes: int, *, threads: int
) -> TrainedClassifier:
    """Learn as `trainer.train`, a batch of the plan's size in each process.

    Raises:
        TrainingDiverged: the loss is no longer a number.
        UnreadableImage: an image can no longer be read.
        PlantsError: the processes ended without a result.
    """
    with TemporaryDirectory(prefix="ecluse-training-") as name:
        folder = Path(name)
        _write(folder, plan, training_data, callbacks, max(1, threads // processes))
        with _started(folder, processes) as process:
            _pass_on(folder, process, callbacks)
        return _result(folder, plan, process.returncode)


def _write(folder: Path, plan: Plan, training_data: TrainingData, callbacks: Callbacks, threads: int) -> None:
    """Write all that the processes need, the images as they came."""
    parts: dict[str, list[Any]] = {"train": [], "validation": []}
    (folder / "images").mkdir()
    (folder / "messages").touch()
    for part, examples in (("train", training_data.train), ("validation", training_data.validation)):
        for number, example in enumerate(examples):
            (folder / "images" / example.sha256).write_bytes(example.read())
            parts[part].append([example.id, example.sha256, example.label])
            callbacks.report(
                "training",
                0.0,
                _("Reading image %(number)s of %(count)s", number=number + 1, count=len(examples)),
            )
    saved = callbacks.saved()
    if saved is not None:
        (folder / "checkpoint").write_bytes(saved)
    content = {"plan": plan.to_dict(), "labels": training_data.labels, "threads": threads, "job": os.getpid()}
    (folder / "training_data.json").write_text(json.dumps(content | parts), encoding="utf-8")


@contextmanager
def _started(folder: Path, processes: int) -> Iterator[subprocess.Popen[bytes]]:
    """torchrun and what it starts; none of them is left behind."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
        "-m", "ecluse.apps.plants.distributed", str(folder),
    ]  # fmt: skip
    environment = {"OMP_NUM_THREADS": "1"} | surrounding()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
    try:
        yield process
    finally:
        stop_group(process)


def stop_group(process: subprocess.Popen[bytes], patience: float = PATIENCE) -> None:
    """End a process and all it started: by asking, and after `patience` seconds by force.

    One that outlives even that, as in a call to a broken device, is named in the log: the job has its result.
    """
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):  # it has ended since it was asked
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):  # the next signal, or the warning, follows
            process.wait(patience)
    if process.poll() is None:
        logger.warning("Process %s of a training does not end; end it by hand.", process.pid)


def _pass_on(folder: Path, process: subprocess.Popen[bytes], callbacks: Callbacks) -> None:
    """Say to the job what the processes say, until they end; raises where the job is to stop."""
    last: tuple[str, float, str] = ("training", 0.0, _("Starting a process for each device"))
    with (folder / "messages").open(encoding="utf-8") as messages:
        ended = False
        while not ended:
            ended = process.poll() is not None
            for line in messages:
                message = json.loads(line)
                if "report" in message:
                    stage, fraction, text = message["report"]
                    last = stage, fraction, from_json(text)
                if "epoch" in message:
                    callbacks.epoch(Epoch(**message["epoch"]))
                if "saved" in message:
                    callbacks.save((folder / "checkpoint").read_bytes())
            callbacks.report(*last)
            if callbacks.asked_to_finish():
                (folder / "finish").touch()
            time.sleep(LOOKED_EVERY)


def _result(folder: Path, plan: Plan, returned: int) -> TrainedClassifier:
    failed = folder / "failed"
    if failed.exists():
        name, message = json.loads(failed.read_text(encoding="utf-8"))
        raise ERRORS[name](from_json(message))
    if returned != 0 or not (folder / "trained.json").exists():
        log = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise PlantsError(
            _(
                "The processes of the training ended with %(number)s: %(value)s",
                number=returned,
                value=" ".join(log[-3:]),
            )
        )
    trained = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
    last = from_bytes((folder / "checkpoint").read_bytes())
    return TrainedClassifier(
        plan.architecture, last.best, plan.transform, last.history, last.best_epoch,
        trained["device"], details=trained["details"],
    )  # fmt: skip


class _GroupCallbacks:
    """What one of the processes says: the first for all of them."""

    def __init__(self, folder: Path, job: int, rank: int) -> None:
        self.folder, self.job, self.first = folder, job, rank == 0
        self.starter = os.getppid()

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        """Raise where no one is left to report to: neither the job's process nor torchrun ends this one if killed."""
        if os.getppid() != self.starter or not _lives(self.job):
            raise SystemExit(3)
        self._say(report=(stage, fraction, to_json(message)))

    def epoch(self, epoch: Epoch) -> None:
        self._say(epoch=asdict(epoch))

    def asked_to_finish(self) -> bool:
        return (self.folder / "finish").exists()

    def save(self, checkpoint: bytes) -> None:
        partial = self.folder / "checkpoint.partial"
        partial.write_bytes(checkpoint)
        partial.replace(self.folder / "checkpoint")
        self._say(saved=True)

    def saved(self) -> bytes | None:
        path = self.folder / "checkpoint"
        return path.read_bytes() if path.exists() else None

    def cache(self, meaning: str) -> ArrayCache:
        """Of this process alone: a whole epoch is what the job goes on from."""
        return ArrayCache(meaning)

    def _say(self, **message: Any) -> None:
        if self.first:
            with (self.folder / "messages").open("a", encoding="utf-8") as messages:
                messages.write(json.dumps(message) + "\n")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:  # the answer, not a failure
        return False
    except PermissionError:  # its number is another user's process by now
        return False
    return True


def main(arguments: Sequence[str]) -> None:
    """One process of torchrun."""
    import torch
    from torch import distributed, nn

    from ecluse.apps.plants import trainer
    from ecluse.apps.plants.networks import Classifier

    folder = Path(arguments[0])
    content = json.loads((folder / "training_data.json").read_text(encoding="utf-8"))
    plan = Plan.from_dict(content["plan"])
    distributed.init_process_group("nccl" if plan.device == "cuda" else "gloo")
    place = (
        torch.device(plan.device, distributed.get_rank()) if plan.device == "cuda" else torch.device("cpu")
    )

    class Together(trainer.Group):
        rank, size = distributed.get_rank(), distributed.get_world_size()

        def sums(self, values: Sequence[float]) -> list[float]:
            added = torch.tensor(values, dtype=torch.float64, device=place)
            distributed.all_reduce(added)
            return [float(value) for value in added.tolist()]

        def joined(self, classifier: Classifier) -> nn.Module:
            return nn.parallel.DistributedDataParallel(
                classifier, device_ids=None if place.type == "cpu" else [self.rank]
            )

        def level(self, classifier: Classifier) -> None:
            for values in classifier.buffers():
                distributed.broadcast(values, 0)

    if plan.device == "cuda":
        torch.cuda.set_device(place)
    train, validation = (
        [
            Example(image_id, sha256, label, (folder / "images" / sha256).read_bytes)
            for image_id, sha256, label in content[part]
        ]
        for part in ("train", "validation")
    )
    callbacks = _GroupCallbacks(folder, content["job"], Together.rank)
    try:
        trained = trainer.train(
            plan, TrainingData(tuple(content["labels"]), train, validation), callbacks,
            threads=content["threads"], group=Together(),
        )  # fmt: skip
    except tuple(ERRORS.values()) as error:
        (folder / "failed").write_text(
            json.dumps([type(error).__name__, to_json(str(error))]), encoding="utf-8"
        )
        raise
    finally:
        distributed.destroy_process_group()
    if callbacks.first:
        result = {"device": trained.device, "details": trained.details}
        (folder / "trained.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Train and apply our own model for `benchmarks.fraud`, in a process of its own as each peer is.

    python -m benchmarks.fraud_ecluse train|apply task.json

The public path: `open_table`, `train`, then `load_model` and `score_table`. See `fraud_peers` for the files.
"""

from __future__ import annotations

import json
import pkgutil
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module  # noqa: TID251 (modules of ours)
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import ecluse.apps.fraud.families
from ecluse.apps.fraud.scoring.model import load_model
from ecluse.apps.fraud.scoring.scoring import score_frame, score_table
from ecluse.apps.fraud.training.training import TrainingPlan
from ecluse.apps.fraud.training.training import train as train_model
from ecluse.tabular.dataset import open_table


def main() -> None:
    verb, path = sys.argv[1:]
    task = json.loads(Path(path).read_text())
    # Families import their libraries when first used; done here, this does not count as training, as for the peers.
    for module in pkgutil.iter_modules(ecluse.apps.fraud.families.__path__, "ecluse.apps.fraud.families."):
        import_module(module.name)
    answer = {"train": train, "apply": apply}[verb](task)
    Path(task["answer"]).write_text(json.dumps(answer))


def train(task: dict[str, Any]) -> dict[str, Any]:
    destination = Path(task["folder"]) / "deployed"
    destination.mkdir(parents=True)
    plan = TrainingPlan(
        target=task["target"],
        positive_value="1",
        time_column=task["time"],
        identifier_columns=tuple(task["identifiers"]),
        budget_s=task["budget"],
        seed=task["seed"],
    )
    Path(task["begun"]).touch()
    wall, cpu = time.perf_counter(), cpu_seconds()
    with open_table(Path(task["train"])) as table:
        report = train_model(table, plan, destination, lambda stage, share, message: None)
    answer = {"train_s": time.perf_counter() - wall, "cpu_s": cpu_seconds() - cpu}
    size = sum(file.stat().st_size for file in destination.rglob("*") if file.is_file()) / 1e6
    return answer | {"model_mb": size, "whole_mb": size, "note": report.family}


def apply(task: dict[str, Any]) -> dict[str, float]:
    Path(task["begun"]).touch()
    start = time.perf_counter()
    model = load_model(Path(task["folder"]) / "deployed")
    answer = {"load_s": time.perf_counter() - start}

    def probabilities(path: str) -> np.ndarray[Any, Any]:
        with open_table(Path(path)) as table:
            batches = score_table(model, table, reasons_for=None)
            return np.concatenate([batch["fraud_probability"].to_numpy() for batch in batches])

    np.save(task["scores"], probabilities(task["test"]))
    frame = pl.read_csv(task["big"], infer_schema=False)
    answer["rows_per_s"] = frame.height / fastest(lambda: probabilities(task["big"]))
    answer["frame_rows_per_s"] = frame.height / fastest(lambda: score_frame(model, frame, reasons_for=None))
    return answer


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of up to three runs; one is enough where it takes long."""
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < 10:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()

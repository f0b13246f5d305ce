"""Train or score with one contender of `benchmarks.scoring`, in a process of its own.

    python -m benchmarks.scoring_contenders NAME train|score TABLE FOLDER BUDGET

prints one line of JSON: seconds, seconds of the processors, and the highest resident set (MB) of this process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

TARGET: Final = "is_fraud"
#: What no peer is given: an identifier tells nothing, and a date means work that ours does and theirs need not.
NOT_THEIRS: Final = ("row_id", "paid_at")


def main() -> None:
    name, action, table, folder, budget = sys.argv[1:]
    work = CONTENDERS[name][action](Path(table), Path(folder), float(budget))
    wall, processor = time.perf_counter(), time.process_time()
    work()
    seconds, processor = time.perf_counter() - wall, time.process_time() - processor
    print(json.dumps({"seconds": seconds, "processor_s": processor, "peak_mb": peak_memory()}))


# Ours


def train_ours(table: Path, folder: Path, budget: float) -> Callable[[], object]:
    from ecluse.apps.fraud.profiling.profile import profile_table
    from ecluse.apps.fraud.training.training import TrainingPlan, train
    from ecluse.tabular.dataset import open_table

    def work() -> None:
        with open_table(table) as opened:
            guesses = profile_table(opened).guesses
            plan = TrainingPlan(
                target=TARGET,
                time_column=guesses.timestamp.column if guesses.timestamp else None,
                customer_column=guesses.customer.column if guesses.customer else None,
                identifier_columns=tuple(guess.column for guess in guesses.identifiers),
                budget_s=budget,
            )
            train(opened, plan, folder, lambda stage, fraction, message: None)

    return work


def score_ours(table: Path, folder: Path, budget: float, *, reasons: str | None) -> Callable[[], object]:
    from ecluse.apps.fraud.scoring.model import load_model
    from ecluse.apps.fraud.scoring.results import write_scores
    from ecluse.apps.fraud.scoring.scoring import score_table
    from ecluse.tabular.dataset import open_table

    model = load_model(folder)

    def work() -> None:
        with open_table(table) as opened:
            reasons_for: Any = reasons
            write_scores(score_table(model, opened, reasons_for=reasons_for), folder / "scored.csv", "csv")

    return work


# Theirs: a table is read by pandas, and probabilities are kept in memory


def train_catboost(table: Path, folder: Path, budget: float) -> Callable[[], object]:
    import catboost

    def work() -> None:
        frame, labels = _labelled(table)
        model = catboost.CatBoostClassifier(allow_writing_files=False, verbose=False)
        model.fit(frame, labels, cat_features=_texts(frame))
        model.save_model(str(folder / "model.cbm"))

    return work


def score_catboost(table: Path, folder: Path, budget: float) -> Callable[[], object]:
    import catboost

    model = catboost.CatBoostClassifier().load_model(str(folder / "model.cbm"))
    return lambda: model.predict_proba(_read(table))[:, 1]


def train_lightgbm(table: Path, folder: Path, budget: float) -> Callable[[], object]:
    import lightgbm

    def work() -> None:
        frame, labels = _labelled(table)
        frame = frame.astype(dict.fromkeys(_texts(frame), "category"))
        model = lightgbm.LGBMClassifier(verbosity=-1).fit(frame, labels)
        model.booster_.save_model(str(folder / "model.txt"))

    return work


def score_lightgbm(table: Path, folder: Path, budget: float) -> Callable[[], object]:
    import lightgbm

    model = lightgbm.Booster(model_file=str(folder / "model.txt"))

    def work() -> object:
        frame = _read(table)
        return model.predict(frame.astype(dict.fromkeys(_texts(frame), "category")))

    return work


def copy(table: Path, folder: Path, budget: float) -> Callable[[], object]:
    """Read and write again: what any scorer has to do."""
    import polars as pl

    return lambda: pl.scan_csv(table, infer_schema=False).sink_csv(folder / "copy.csv")


def _read(table: Path) -> Any:
    import pandas as pd

    return pd.read_csv(table).drop(columns=list(NOT_THEIRS), errors="ignore")


def _labelled(table: Path) -> tuple[Any, Any]:
    frame = _read(table)
    labels = frame.pop(TARGET)
    return frame, labels


def _texts(frame: Any) -> list[str]:
    return [name for name in frame.columns if frame[name].dtype.kind not in "bif"]


CONTENDERS: Final[dict[str, dict[str, Callable[[Path, Path, float], Callable[[], object]]]]] = {
    "ours": {"train": train_ours, "score": partial(score_ours, reasons=None)},
    "ours, risky rows explained": {"score": partial(score_ours, reasons="risky")},
    "ours, all rows explained": {"score": partial(score_ours, reasons="all")},
    "catboost": {"train": train_catboost, "score": score_catboost},
    "lightgbm": {"train": train_lightgbm, "score": score_lightgbm},
    "copy": {"score": copy},
}


def peak_memory() -> float:
    """Return the highest resident set of this process in MB; on Linux without that of its parent before `exec`."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1e3
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()

"""Count how often intervals of 95 % hold the true figure of a ranking, by the number of frauds in the test part.

    python -m benchmarks.intervals [--tables 150] [--rows 600]

Scores of legitimate rows are normal with mean 0, those of frauds with the mean that gives the stated ROC AUC. The true
average precision and ROC AUC are those of a million rows. Each line: frauds, figure, its truth, and the share of the
simulated test parts whose interval holds it; below .95 an interval promises too much.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import norm

from ecluse.apps.fraud.evaluation.metrics import bootstrap_intervals
from ecluse.apps.fraud.measures import average_precision, roc_auc

ORDERS = (0.7, 0.9, 0.99)
FRAUDS = (8, 17, 60)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=int, default=150)
    parser.add_argument("--rows", type=int, default=600)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    print("frauds  figure             truth  held")
    for frauds in FRAUDS:
        for order in ORDERS:
            distance = float(norm.ppf(order) * 2**0.5)
            whole = 1_000_000
            truth = figures(*drawn(rng, round(whole * frauds / arguments.rows), whole, distance))
            held = np.zeros(2)
            for table in range(arguments.tables):
                labels, scores = drawn(rng, frauds, arguments.rows, distance)
                intervals = bootstrap_intervals(labels, scores, 0.5, seed=table)
                held += [
                    low <= figure <= high
                    for figure, (low, high) in zip(
                        truth, (intervals["average_precision"], intervals["roc_auc"]), strict=True
                    )
                ]
            for name, figure, count in zip(("average precision", "ROC AUC"), truth, held, strict=True):
                print(f"{frauds:6d}  {name:17s}  {figure:.3f}  {count / arguments.tables:.2f}", flush=True)


def drawn(rng: np.random.Generator, frauds: int, rows: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores in (0, 1) of so many rows."""
    labels = np.zeros(rows, dtype=np.int8)
    labels[:frauds] = 1
    return labels, norm.cdf(rng.normal(size=rows) + distance * labels)


def figures(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    return average_precision(labels, scores), roc_auc(labels, scores)


if __name__ == "__main__":
    main()

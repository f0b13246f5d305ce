"""Rows and reports with invented figures, for tests that look at pages without training anything."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from ecluse.apps.fraud.rows.tables import Dataset, FraudTraining, Prediction, ReferenceModel
from ecluse.catalog.tables import ModelVersion, Run

MOMENT = datetime(2025, 11, 21, 4, 10, tzinfo=UTC)
VERSIONS = ("v20251121_041000", "v20251103_091500")


def _column(name: str, kind: str, role: str, reason: str, **values: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "missing_share": 0.0,
        "distinct": 20_000,
        "minimum": None,
        "maximum": None,
        "mean": None,
        "top": [],
        "histogram": [],
        "guess_role": role,
        "reason": reason,
    } | values


def profile() -> dict[str, Any]:
    """What was found in an invented table of card payments."""
    falling = [round(4000 * math.exp(-i / 2)) for i in range(12)]
    columns = [
        _column(
            "transaction_id", "identifier", "identifier", "every value is different", top=[["T1", 0.00005]]
        ),
        _column(
            "timestamp",
            "datetime",
            "timestamp",
            'dates; the name contains "time"',
            minimum="2025-09-01T00:00:12",
            maximum="2025-10-31T23:58:40",
            histogram=[1500 + 300 * (i % 3) for i in range(12)],
        ),
        _column("customer_id", "category", "customer", "values repeat", distinct=812, top=[["C0007", 0.004]]),
        _column(
            "amount", "number", "feature", "", minimum=0.01, maximum=25_691.4, mean=61.2, histogram=falling
        ),
        _column(
            "merchant_country",
            "category",
            "feature",
            "",
            missing_share=0.003,
            distinct=61,
            top=[["FR", 0.78], ["BE", 0.06], ["ES", 0.04]],
            histogram=[15600, 1200, 800, 300, 90, 40],
        ),
        _column("is_fraud", "category", "target", "", distinct=2, top=[["0", 0.9918], ["1", 0.0082]]),
    ]
    guesses = {
        "target": {
            "column": "is_fraud",
            "reason": 'two values, 0.82 % "1"; the name contains "fraud"',
            "score": 0.98,
        },
        "identifiers": [{"column": "transaction_id", "reason": "every value is different", "score": 0.9}],
        "customer": {"column": "customer_id", "reason": "values repeat", "score": 0.8},
        "timestamp": {"column": "timestamp", "reason": "dates over 60 days", "score": 0.9},
        "positive_value": "1",
        "fraud_rate": 0.0082,
    }
    warnings = ["412 rows of the sample are exact duplicates."]
    return {"rows": 20_000, "columns": columns, "guesses": guesses, "warnings": warnings, "specs": []}


def unlabelled_profile() -> dict[str, Any]:
    """The same table without its label."""
    found = profile()
    found["columns"] = [column for column in found["columns"] if column["name"] != "is_fraud"]
    found["guesses"] |= {"target": None, "positive_value": None, "fraud_rate": None}
    return found | {"warnings": []}


def report() -> dict[str, Any]:
    """The performance report of an invented model."""
    pr = [
        {"recall": i / 60, "precision": 0.98 - 0.9 * (i / 60) ** 4, "threshold": 1 - i / 62}
        for i in range(1, 61)
    ]
    roc = [{"fpr": i / 40, "tpr": (i / 40) ** 0.15} for i in range(41)]
    names = [
        "amount / usual amount",
        "device_id seen before",
        "hour of timestamp",
        "merchant_country",
        "amount",
    ]
    return {
        "family": "lightgbm",
        "metrics": {
            "average_precision": 0.741,
            "roc_auc": 0.962,
            "precision": 0.79,
            "recall": 0.68,
            "f1": 0.73,
            "brier": 0.004,
            "calibration_error": 0.008,
        },
        "intervals": {
            "average_precision": [0.70, 0.77],
            "roc_auc": [0.95, 0.97],
            "precision": [0.75, 0.83],
            "recall": [0.64, 0.72],
        },
        "threshold": 0.62,
        "goal": {"kind": "f1", "value": None},
        "confusion": {"tp": 317, "fp": 84, "fn": 149, "tn": 56_312},
        "curves": {
            "pr": pr,
            "roc": roc,
            "calibration": [
                {"predicted": i / 20, "observed": i / 20 * 0.9 + 0.004, "rows": 400} for i in range(10)
            ],
        },
        "histogram": [
            {
                "low": i / 20,
                "high": (i + 1) / 20,
                "legitimate": round(20_000 / 2.4**i),
                "fraud": 4 + (i > 12) * 9 * (i - 11),
            }
            for i in range(20)
        ],
        "importances": [
            {"column": name.split(" ")[0], "feature": name, "share": share}
            for name, share in zip(names, (0.31, 0.22, 0.15, 0.09, 0.05), strict=True)
        ],
        "leaderboard": [
            {
                "family": "lightgbm",
                "params": {"num_leaves": 31, "learning_rate": 0.05},
                "validation_average_precision": 0.75,
                "seconds": 8.2,
            },
            {"family": "linear", "params": {}, "validation_average_precision": 0.53, "seconds": 1.1},
        ],
        "dropped": [{"column": "transaction_id", "reason": "all distinct: cannot generalise"}],
        "warnings": ["Fewer than 20 frauds in the test part."],
        "rows": {"train": 12_000, "validation": 4_000, "test": 4_000},
        "fraud_rate": {"train": 0.0081, "validation": 0.008, "test": 0.0085},
        "split": {"kind": "time", "description": "by timestamp: the last 20 % are the test part"},
        "seconds": 58.4,
        "budget_s": 60,
    }


def summary() -> dict[str, Any]:
    """The summary of an invented scoring, its four riskiest rows kept."""
    return {
        "rows": 5_000,
        "flagged": 3,
        "high": 3,
        "medium": 40,
        "low": 4_957,
        "histogram": [round(4_500 / 2**i) for i in range(19)] + [3],
        "top": [_scored(i, 0.99 - 0.13 * i) for i in range(4)],
    }


def _scored(i: int, probability: float) -> dict[str, Any]:
    return {
        "transaction_id": f"T29{i:04d}",
        "timestamp": f"2025-11-14 0{i}:12:00",
        "fraud_probability": round(probability, 6),
        "risk_level": "HIGH" if probability >= 0.62 else "MEDIUM",
        "is_fraud": int(probability >= 0.62),
        "reason_1": f"amount {38 - 9 * i} × usual",
        "reason_1_effect": 2.91 - 0.6 * i,
        "reason_2": "device_id not seen for this customer in training",
        "reason_2_effect": 1.62,
        "reason_3": "hour 3",
        "reason_3_effect": -0.41,
    }


def rows(user_id: str) -> list[Any]:
    """A user's tables, one training, two versions of a model and one scoring."""
    dataset = _dataset(user_id, "dlabelled", "transactions.csv", profile())
    unlabelled = _dataset(user_id, "dunlabelled", "to_score.csv", unlabelled_profile())
    broken = _dataset(user_id, "dbroken", "notes.csv", None)
    broken.state, broken.rows = "failed", None
    broken.error = "Line 1204 has 13 values; the header has 14."
    run = Run(
        id="r1",
        user_id=user_id,
        job_id="j1",
        application="fraud",
        kind="search",
        name="transactions",
        version=VERSIONS[0],
        status="done",
        metrics={"average_precision": 0.741},
        created_at=MOMENT,
    )
    training = FraudTraining(run_id="r1", dataset_id="dlabelled", target_column="is_fraud", plan={})
    return [dataset, unlabelled, broken, run, training, *versions(user_id), prediction(user_id)]


def versions(user_id: str) -> list[ModelVersion]:
    """Two versions of one model, newest first."""
    return [
        ModelVersion(
            id=f"v{i}",
            user_id=user_id,
            name="transactions",
            version=name,
            application="fraud",
            prefix=f"user_models/{user_id}/transactions/{name}",
            size_bytes=2_400_000,
            manifest_digest="9f2c41ab" * 8,
            dataset_id="dlabelled",
            report=report(),
            created_at=MOMENT - timedelta(days=18 * i),
        )
        for i, name in enumerate(VERSIONS)
    ]


def prediction(user_id: str) -> Prediction:
    """A finished scoring."""
    return Prediction(
        id="p1",
        user_id=user_id,
        job_id="j2",
        dataset_id="dunlabelled",
        model_name="transactions",
        version=VERSIONS[0],
        format="csv",
        key=f"user_data/{user_id}/predictions/p1.csv",
        size_bytes=400_000,
        sha256="0b" * 32,
        status="done",
        rows=5_000,
        flagged=3,
        summary=summary(),
        created_at=MOMENT,
        finished_at=MOMENT,
    )


def _dataset(user_id: str, dataset_id: str, filename: str, found: dict[str, Any] | None) -> Dataset:
    return Dataset(
        id=dataset_id,
        user_id=user_id,
        filename=filename,
        key=f"user_data/{user_id}/uploads/{filename}",
        url=f"memory:///user_data/{user_id}/uploads/{filename}",
        size_bytes=3_100_000,
        sha256="9f2c41ab" * 8,
        state="ready",
        rows=20_000,
        profile=found,
        created_at=MOMENT,
        last_used_at=MOMENT,
    )


def references() -> list[ReferenceModel]:
    """A reference with all that can be known of one, its relative, and one without sketches."""
    return [
        _reference(
            "harbour_bank_cards",
            transfer={
                "tables": {
                    "kestrel_cards": {
                        "similarity": 0.91,
                        "roc_auc": 0.88,
                        "average_precision": 0.31,
                        "fraud_rate": 0.02,
                    },
                    "tamarin_bank": {
                        "similarity": 0.7,
                        "roc_auc": 0.78,
                        "average_precision": 0.2,
                        "fraud_rate": 0.01,
                    },
                },
                "count": 2,
                "roc_auc": 0.83,
                "average_precision": 0.25,
                "fraud_rate": 0.015,
            },
        ),
        _reference("kestrel_cards", transfer={}),
        ReferenceModel(
            name="no_sketches",
            domain="loans",
            columns=["amount", "income"],
            performance={},
            prefix="automl_models/no_sketches",
            url="memory:///automl_models/no_sketches/v20251101_000000",
            created_at=MOMENT,
        ),
    ]


def _reference(name: str, transfer: dict[str, Any]) -> ReferenceModel:
    sketches = [
        _sketch("amount", "number", 0.6, quantiles=[round(1.35**i, 4) for i in range(21)]),
        _sketch("category", "category", 0.3, top=[["groceries", 0.6], ["travel", 0.3], ["fuel", 0.1]]),
        _sketch("card", "identifier", 0.1),
    ]
    return ReferenceModel(
        name=name,
        domain="cards",
        columns=[one["name"] for one in sketches],
        performance={
            "average_precision": 0.71,
            "roc_auc": 0.94,
            "precision": 0.6,
            "recall": 0.7,
            "intervals": {"average_precision": [0.65, 0.77], "roc_auc": [0.92, 0.96]},
            "test_rows": 1_200,
        },
        prefix=f"automl_models/{name}",
        url=f"memory:///automl_models/{name}/v20251101_000000",
        version="v20251101_000000",
        manifest_digest="9f2c41ab" * 8,
        size_bytes=310_000,
        target="is_fraud",
        rows=6_120,
        fraud_rate=0.012,
        sketches=sketches,
        transfer=transfer,
        created_at=MOMENT,
    )


def _sketch(name: str, kind: str, importance: float, **values: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "missing": 0.01,
        "zeros": 0.0,
        "whole": 0.0,
        "negative": 0.0,
        "distinct": 0.4,
        "quantiles": [],
        "top": [],
        "importance": importance,
    } | values


def unlabelled_tables(user_id: str) -> list[Dataset]:
    """A table that means the same as the cards among `references`, one of nothing known, one still being read."""
    amount = _sketch("tx_amt", "number", 0.0, quantiles=[round(1.34**i, 4) for i in range(21)])
    category = _sketch(
        "merch_category", "category", 0.0, top=[["groceries", 0.58], ["travel", 0.31], ["fuel", 0.11]]
    )
    other = _sketch("zzz", "identifier", 0.0)
    petals = _sketch("petal_length", "number", 0.0, quantiles=[4 + i / 10 for i in range(21)])
    genus = _sketch("genus", "category", 0.0, top=[["rosa", 0.5], ["iris", 0.5]])
    waiting = _dataset(user_id, "dwaiting", "waiting.csv", None)
    waiting.state, waiting.rows = "profiling", None
    return [
        _dataset(user_id, "dpayments", "payments.csv", _sketched(amount, category, other)),
        _dataset(user_id, "dplants", "plants.csv", _sketched(petals, genus)),
        waiting,
    ]


def _sketched(*sketches: dict[str, Any]) -> dict[str, Any]:
    """The profile of a table without a label, with the sketches of its columns."""
    columns = [_column(one["name"], one["kind"], "feature", "") for one in sketches]
    guesses = {"target": None, "identifiers": [], "customer": None, "timestamp": None}
    return {
        "rows": 20_000,
        "columns": columns,
        "guesses": guesses,
        "warnings": [],
        "specs": [],
        "sketches": list(sketches),
    }


def ensemble_report(*, abstained: bool = False) -> dict[str, Any]:
    """The report of an ensemble for `payments.csv`, of two references and anomaly, or of anomaly alone."""
    members = [
        _member("harbour_bank_cards", 0.75, "amount", "tx_amt", how="factor", factor=0.01),
        _member("withdrawn_cards", 0.25, "category", "merch_category", how="words", transfer={}),
    ]
    nothing = "Nothing was measured on this table: it has no labels. Label some rows to learn how good it is."
    alone = "No reference matches this table: rows are ranked by how unusual they are, not by fraud."
    far = "No reference is near enough: the nearest, harbour_bank_cards, reaches 0.30 of the 0.50 that a match needs."
    return {
        "format": 1,
        "kind": "ensemble",
        "metrics": {},
        "threshold": 0.28,
        "medium_threshold": 0.05,
        "warnings": [alone if abstained else nothing],
        "rows": {"sample": 4285},
        "fraud_rate": {"stated": 0.01, "estimated": None if abstained else 0.021},
        "alerts": {"high": 42, "medium": 107},
        "members": [] if abstained else members,
        "abstained": abstained,
        "reason": far if abstained else "harbour_bank_cards means the same",
        "matches": [],
        "weights": {"references": 0.0, "anomaly": 1.0} if abstained else {"references": 0.8, "anomaly": 0.2},
        "agreement": {"members": [], "anomaly": {}}
        if abstained
        else {
            "members": [{"first": "harbour_bank_cards", "second": "withdrawn_cards", "correlation": 0.74}],
            "anomaly": {"harbour_bank_cards": 0.31, "withdrawn_cards": None},
        },
        "required_columns": ["tx_amt", "merch_category"],
        "sample_histogram": {
            "edges": [i / 20 for i in range(21)],
            "counts": [4181, *[0] * 13, 62, *[0] * 4, 42],
        },
        "seconds": 2.0,
        "seed": 0,
    }


def learned() -> dict[str, Any]:
    """What 30 labels gave a version, as its report says it."""
    figures = {
        "labels": 30,
        "frauds": 6,
        "threshold": 0.28,
        "precision": {"value": 0.62, "low": 0.31, "high": 0.85},
        "recall": None,
        "average_precision": None,
        "fraud_rate": None,
        "notes": [],
    }
    return {
        "way": "recalibrated",
        "labels": 30,
        "frauds": 6,
        "report": {},
        "figures": figures,
        "from": VERSIONS[1],
        "table": "payments.csv",
    }


def _member(
    reference: str, weight: float, ours: str, theirs: str, transfer: dict[str, Any] | None = None, **how: Any
) -> dict[str, Any]:
    measured = {"tables": {"kestrel_cards": {"roc_auc": 0.93}}, "count": 1, "roc_auc": 0.93}
    pair = {"theirs": theirs, "ours": ours, "why": "both say km", "score": 0.96, "factor": 1.0} | how
    return {
        "reference": reference,
        "version": VERSIONS[1],
        "domain": "cards",
        "weight": weight,
        "similarity": 0.98,
        "lacking": 0.04,
        "mapping": [pair],
        "missing": ["card"],
        "transfer": measured if transfer is None else transfer,
        "performance": {"average_precision": 0.42},
    }

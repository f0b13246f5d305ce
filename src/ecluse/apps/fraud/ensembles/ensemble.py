"""Judge rows with the reference models that match a table and by how unusual each row is.

An `Ensemble` is what `building` writes and `load_ensemble` reads: the members with their weights, the description
of what is usual, and the scores of the sample they were fitted on. Everything a row is told comes from the row and
that state: its place among the sample's scores, not among the rows it happens to be scored with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.ensembles import transfer as transferring
from ecluse.apps.fraud.ensembles.anomaly import AnomalyModel, Ranks
from ecluse.apps.fraud.ensembles.transfer import Transfer
from ecluse.apps.fraud.scoring.columns import ANOMALY, REFERENCES, ScoreNames
from ecluse.apps.fraud.scoring.model import FraudModel, load_model
from ecluse.apps.fraud.tables.columns import parse_columns
from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.sentences import _

Floats = NDArray[np.float64]

FORMAT: Final = 1
KIND: Final = "ensemble"
MODEL_FILE: Final = "model.json"
STATE_FILE: Final = "ensemble_state.json"
INFO_FILE: Final = "ensemble_info.json"
MEMBERS_FOLDER: Final = "members"
DECIMALS: Final = 6


@dataclass(frozen=True)
class Member:
    """A reference's model. `weight` of the members sums to 1; `similarity` is that of the match, or less where the
    model misses more of what it looks at; `shift` is added to its log-odds so that their mean
    on the sample is the stated rate, `prior_shift` so that they fit the rate that was estimated (None: unknown)."""

    reference: str
    version: str
    weight: float
    similarity: float
    transfer: Transfer
    shift: float
    prior_shift: float | None
    ranks: Ranks
    model: FraudModel = field(repr=False)

    def margins(self, raw: pl.DataFrame) -> Floats:
        """(rows,) log-odds by the reference, without any shift."""
        rounded: Floats = np.round(transferring.margins(self.model, self.transfer.read(raw)), 9)
        return rounded


@dataclass(frozen=True)
class Judgement:
    """What is said of rows, each (rows,): shares in [0, 1], ranks among the sample's rows, NaN for unknown.

    `probability` are scores whose mean on the sample is the stated rate; only `calibrated` are probabilities.
    """

    probability: Floats
    variance: Floats
    stability: Floats
    anomaly: Floats
    combined: Floats
    calibrated: Floats


@dataclass(frozen=True)
class Ensemble:
    """The members and what is usual. Without members it judges by anomaly alone.

    `anomaly_weight` is the share of the anomaly score in the combined one; `shift` brings the mean probability on
    the sample to `fraud_rate`; `ranks` are the sample's combined log-odds.
    """

    members: tuple[Member, ...]
    anomaly: AnomalyModel
    anomaly_weight: float
    shift: float
    ranks: Ranks
    fraud_rate: float
    passed_on: tuple[str, ...]
    info: dict[str, Any] = field(repr=False)

    @property
    def names(self) -> ScoreNames:
        """Return how the columns of its scores are called."""
        return REFERENCES if self.members else ANOMALY

    def score(self, judged: Judgement) -> Floats:
        """(rows,) what orders the rows, on the scale of its column."""
        return judged.probability if self.members else judged.anomaly

    def stated(self, anomaly: Floats) -> Floats:
        """(rows,) anomaly scores of an ensemble without members, on a scale whose mean is the stated rate."""
        return _rounded(sigmoid(combined_margin((), (), 1.0, anomaly) + self.shift))

    @cached_property
    def required_columns(self) -> tuple[str, ...]:
        """Return the columns a table must have: those of the sample that are looked at."""
        read = [
            *self.anomaly.columns,
            *(name for member in self.members for name in member.transfer.required),
        ]
        return tuple(dict.fromkeys(read))

    def judge(self, raw: pl.DataFrame) -> Judgement:
        """Judge raw rows (strings or native values). A row's judgement depends on no other row."""
        parsed = parse_columns(raw, self.anomaly.specs)
        matrix = self.anomaly.description.read(parsed)
        margins = [member.margins(raw) for member in self.members]
        return self.judge_read(margins, self.anomaly.detector_scores(matrix))

    def judge_read(self, margins: Sequence[Floats], detected: Mapping[str, Floats]) -> Judgement:
        """Judge by the members' log-odds and the scores of the anomaly part's detectors."""
        anomaly = self.anomaly.together(detected)
        margin = combined_margin(self.members, margins, self.anomaly_weight, anomaly)
        shifted = [
            sigmoid(of_member + member.shift) for of_member, member in zip(margins, self.members, strict=True)
        ]
        ranks = [member.ranks.of(of_member) for of_member, member in zip(margins, self.members, strict=True)]
        weights = [member.weight for member in self.members]
        if not self.members:
            shifted = ranks = list(detected.values())
            weights = [1 / len(ranks)] * len(ranks)
        unknown = np.full(len(anomaly), np.nan)
        several = len(ranks) > 1
        return Judgement(
            probability=_rounded(sigmoid(margin + self.shift)),
            variance=_rounded(_variance(shifted, weights)) if several else unknown,
            stability=_rounded(1 - 2 * np.sqrt(_variance(ranks, weights))) if several else unknown,
            anomaly=anomaly,
            combined=_rounded(np.clip(self.ranks.of(margin), 0.0, 1.0)) if self.members else anomaly,
            calibrated=_rounded(self._calibrated(margins)) if self.members else unknown,
        )

    def _calibrated(self, margins: Sequence[Floats]) -> Floats:
        total = np.zeros(len(margins[0]))
        for member, margin in zip(self.members, margins, strict=True):
            if member.prior_shift is None:
                return np.full(len(total), np.nan)
            total += member.weight * (margin + member.prior_shift)
        return sigmoid(total)

    def state(self) -> dict[str, Any]:
        """Plain JSON values beside the members' and the anomaly part's own files."""
        return {
            "format": FORMAT,
            "anomaly_weight": self.anomaly_weight,
            "shift": self.shift,
            "ranks": _ranks_to_dict(self.ranks),
            "fraud_rate": self.fraud_rate,
            "members": [
                {
                    "reference": member.reference,
                    "version": member.version,
                    "weight": member.weight,
                    "similarity": member.similarity,
                    "transfer": member.transfer.to_dict(),
                    "shift": member.shift,
                    "prior_shift": member.prior_shift,
                    "ranks": _ranks_to_dict(member.ranks),
                }
                for member in self.members
            ],
        }


def load_ensemble(directory: Path) -> Ensemble:
    """Read an ensemble that `building.build_ensemble` has written. Raises ModelUnreadable."""
    try:
        model = json.loads((directory / MODEL_FILE).read_text(encoding="utf-8"))
        info = json.loads((directory / INFO_FILE).read_text(encoding="utf-8"))
        state = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
        known = model["kind"] == KIND and model["format"] == FORMAT and state["format"] == FORMAT
        if known:
            members = tuple(_member(each, directory) for each in state["members"])
            return Ensemble(
                members=members,
                anomaly=AnomalyModel.load(directory),
                anomaly_weight=float(state["anomaly_weight"]),
                shift=float(state["shift"]),
                ranks=_ranks_from_dict(state["ranks"]),
                fraud_rate=float(state["fraud_rate"]),
                passed_on=tuple(str(name) for name in model["passed_on"]),
                info=model | {"ensemble": info},
            )
    except (OSError, KeyError, TypeError, ValueError, InvalidInput) as error:
        if isinstance(error, ModelUnreadable):
            raise
        raise ModelUnreadable(
            _(
                "%(file)s or %(word)s is missing or damaged: %(error)s. Fetch the version again.",
                file=MODEL_FILE,
                word=STATE_FILE,
                error=repr(error),
            )
        ) from error
    raise ModelUnreadable(
        _("%(file)s is no ensemble that this version reads. Make the ensemble again.", file=MODEL_FILE)
    )


def _member(state: Mapping[str, Any], directory: Path) -> Member:
    reference = str(state["reference"])
    # The name is one segment: a folder elsewhere is never read.
    folder = directory / MEMBERS_FOLDER / Path(reference).name
    prior = state["prior_shift"]
    return Member(
        reference=reference,
        version=str(state["version"]),
        weight=float(state["weight"]),
        similarity=float(state["similarity"]),
        transfer=Transfer.from_dict(state["transfer"]),
        shift=float(state["shift"]),
        prior_shift=None if prior is None else float(prior),
        ranks=_ranks_from_dict(state["ranks"]),
        model=load_model(folder),
    )


def combined_margin(
    members: Sequence[Member], margins: Sequence[Floats], anomaly_weight: float, anomaly: Floats
) -> Floats:
    """(rows,) log-odds of members and anomaly together, before the shift to the stated rate."""
    total = anomaly_weight * log_odds(anomaly) if anomaly_weight else np.zeros(len(anomaly))
    for member, margin in zip(members, margins, strict=True):
        total = total + (1 - anomaly_weight) * member.weight * (margin + member.shift)
    rounded: Floats = np.round(total, 9)
    return rounded


def sigmoid(margins: Floats) -> Floats:
    probabilities: Floats = 1.0 / (1.0 + np.exp(-np.clip(margins, -500.0, 500.0)))
    return probabilities


def log_odds(shares: Floats) -> Floats:
    held = np.clip(shares, 1e-6, 1 - 1e-6)
    margins: Floats = np.log(held / (1 - held))
    return margins


def shift_to_rate(margins: Floats, rate: float) -> float:
    """Return what is added to log-odds so that the mean probability is `rate`, by bisection."""
    low, high = -100.0 - float(margins.max()), 100.0 - float(margins.min())
    for _turn in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if float(sigmoid(margins + middle).mean()) < rate else (low, middle)
    return round((low + high) / 2, 9)


def _variance(opinions: Sequence[Floats], weights: Sequence[float]) -> Floats:
    mean = np.zeros(len(opinions[0]))
    for opinion, weight in zip(opinions, weights, strict=True):
        mean += weight * opinion
    variance = np.zeros(len(mean))
    for opinion, weight in zip(opinions, weights, strict=True):
        variance += weight * (opinion - mean) ** 2
    return variance


def _rounded(values: Floats) -> Floats:
    rounded: Floats = np.round(values, DECIMALS)
    return rounded


def _ranks_to_dict(ranks: Ranks) -> dict[str, list[float]]:
    return {"knots": ranks.knots.tolist(), "shares": ranks.shares.tolist()}


def _ranks_from_dict(data: Mapping[str, Any]) -> Ranks:
    return Ranks(np.array(data["knots"], dtype=np.float64), np.array(data["shares"], dtype=np.float64))

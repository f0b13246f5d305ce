"""Say what it means to review the riskiest rows of a scored table: how many, from which score on, what to expect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Final, Literal

from ecluse.apps.fraud.evaluation.ranking import Cut, Ranking
from ecluse.apps.fraud.performance.ensemble import EnsembleReport
from ecluse.apps.fraud.performance.reports import AnyReport
from ecluse.apps.fraud.scoring.columns import ANOMALY, PROBABILITY, ScoreNames, names_of
from ecluse.intervals import expected_among, wilson
from ecluse.web.i18n import Words

#: What the probabilities of a version are: set right on rows it had not seen, or by a person's labels; scaled to a
#: stated fraud rate; or only places in an order, of rows that are unusual.
Meaning = Literal["calibrated", "labelled", "stated", "unusual"]


#: What the probabilities of a training may be off by on later rows, in log-odds, beside what few frauds leave open.
LATER_DOUBT: Final = 0.25
#: And those that labels have set right: the deviation held beforehand of a rate that was stated or suggested.
LABELLED_DOUBT: Final = 0.35
#: And the scores of references, scaled to a stated rate, where they fit the table wholly; more, the less they fit.
#: Of 24 simulated tables with a rate stated between a third and five times the true one, and the top 20 rows, 1, 3 and
#: 10 %, intervals with 1 + (1 - fit) held the number of frauds in 98 and 99 % (`docs/concepts/matching.md`).
STATED_DOUBT: Final = 1.0
#: Frauds that a report of before is taken to rest on where it does not say.
FEW_FRAUDS: Final = 20


@dataclass(frozen=True)
class Told:
    """A cut in words, as a page and its script show it. What is not known is empty."""

    alerts: int
    flagged: str
    share: str
    cut: str
    expected: str
    precision: str
    known_precision: str
    known_recall: str
    tied: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def meaning_of(report: AnyReport | None) -> Meaning:
    """Tell what the probabilities of a version are, from its report; None where the version is gone."""
    # A version that kept what it had says what the one it came from says.
    if report is not None and report.learned is not None and report.learned.has_new_scale:
        return "labelled"
    if not isinstance(report, EnsembleReport):
        return "calibrated"
    return "stated" if report.members else "unusual"


def meaning_of_scores(summary: Mapping[str, Any], report: AnyReport | None) -> Meaning:
    """Tell what the scores of a table are. Of a version that is gone, the columns of its scores tell an ensemble."""
    top = summary.get("top") or []
    if report is None and top and "combined_score" in top[0]:
        return "unusual"
    return "unusual" if score_names(summary) == ANOMALY else meaning_of(report)


def score_names(summary: Mapping[str, Any]) -> ScoreNames:
    """Return the names of the columns of a scoring; those of a probability where it has no row."""
    top = summary.get("top") or []
    return names_of(top[0]) if top else PROBABILITY


def doubt_of(report: AnyReport | None) -> float:
    """Return how far off the probabilities of a version may be together: a standard deviation in log-odds."""
    learned = None if report is None else report.learned
    if learned is not None and learned.has_new_scale:
        legitimate = learned.labels - learned.frauds
        return math.sqrt(LABELLED_DOUBT**2 + 1 / max(learned.frauds, 1) + 1 / max(legitimate, 1))
    if isinstance(report, EnsembleReport):
        return STATED_DOUBT + 1 - max((member.similarity for member in report.members), default=0.0)
    frauds = report.confusion.frauds if report is not None and report.confusion is not None else 0
    return math.sqrt(LATER_DOUBT**2 + 1 / (frauds or FEW_FRAUDS))


def cuts_of(summary: Mapping[str, Any]) -> list[Cut]:
    """Return the cuts that a scoring has counted, from one row on; for an older one, those within its kept rows."""
    if summary.get("budgets"):
        return [Cut(**cut) for cut in summary["budgets"]]
    scores = [float(row[names_of(row).score]) for row in summary.get("top") or []]
    sums = list(accumulate(scores))
    return [
        Cut(place + 1, score, sums[place], 0, 0)
        for place, score in enumerate(scores)
        if place + 1 == len(scores) or scores[place + 1] < score
    ]


def cut_at(ranking: Ranking | None, cuts: Sequence[Cut], alerts: int) -> Cut:
    """Return what exactly so many of the riskiest rows hold; of a scoring without a ranking, the last cut that fits."""
    return cuts[nearest(cuts, alerts)] if ranking is None else ranking.cut(alerts)


def nearest(cuts: Sequence[Cut], alerts: int) -> int:
    """Return the place of the last cut that flags no more rows than `alerts`; the first where each flags more."""
    return max((place for place, cut in enumerate(cuts) if cut.alerts <= alerts), default=0)


def tell(
    cut: Cut, summary: Mapping[str, Any], meaning: Meaning, say: Words, doubt: float = STATED_DOUBT
) -> Told:
    """Put a cut in words: what to expect where the probabilities say it, what is known where rows have labels.

    `doubt` is that of the probabilities (`doubt_of`).
    """
    expects = meaning != "unusual"
    known_precision = known_recall = ""
    if cut.labelled:
        known_precision = _share_of_labelled(cut.found, cut.labelled, say)
    if summary.get("frauds"):
        known_recall = _share_of_labelled(cut.found, int(summary["frauds"]), say)
    return Told(
        alerts=cut.alerts,
        flagged=say.num(cut.alerts),
        share=say.percent(cut.alerts / max(int(summary["rows"]), 1)),
        cut=say.threshold(cut.cut),
        expected=_expected(cut, doubt, say) if expects else "",
        precision=_expected_share(cut, doubt, say) if expects else "",
        known_precision=known_precision,
        known_recall=known_recall,
        tied=_tied(cut, say),
    )


def _expected(cut: Cut, doubt: float, say: Words) -> str:
    """`3 to 19, expected 14.3`, with the interval at 95 %."""
    low, high = expected_among(cut.expected, cut.alerts, doubt)
    expected = say.num(cut.expected, 1 if cut.expected < 100 else 0)
    return say._(
        "%(low)s to %(high)s, expected %(value)s", low=say.num(low), high=say.num(high), value=expected
    )


def _expected_share(cut: Cut, doubt: float, say: Words) -> str:
    low, high = expected_among(cut.expected, cut.alerts, doubt)
    return say._(
        "%(low)s to %(high)s, expected %(value)s",
        low=say.num(100 * low / cut.alerts),
        high=say.percent(high / cut.alerts, 0),
        value=say.percent(cut.expected / cut.alerts, 0),
    )


def _tied(cut: Cut, say: Words) -> str:
    if not cut.tied:
        return ""
    return say.ngettext(
        "%(count)s row has the score %(cut)s; the first of the table are taken.",
        "%(count)s rows have the score %(cut)s; the first of the table are taken.",
        cut.tied,
        cut=say.threshold(cut.cut),
    )


def _share_of_labelled(frauds: int, of: int, say: Words) -> str:
    """`12 of 15, 80 % (55 to 93 %)`, with the interval at 95 %."""
    low, high = wilson(frauds, of)
    return say._(
        "%(found)s of %(of)s, %(share)s (%(low)s to %(high)s)",
        found=say.num(frauds),
        of=say.num(of),
        share=say.percent(frauds / of, 0),
        low=say.num(low * 100),
        high=say.percent(high, 0),
    )

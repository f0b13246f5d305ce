"""Say what it means to review the riskiest rows of a scored table: how many, from which score on, what to expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Literal

from ecluse.fraud.ranking import Cut, Ranking
from ecluse.fraud.score_columns import names_of
from ecluse.intervals import wilson
from ecluse.web.i18n import Words

#: What the probabilities of a version are: set right on rows it had not seen, or by a person's labels; scaled to a
#: stated fraud rate; or only places in an order, of rows that are unusual.
Meaning = Literal["calibrated", "labelled", "stated", "unusual"]


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


def meaning_of(report: Mapping[str, Any]) -> Meaning:
    """What the probabilities of a version are, from its report."""
    # A version that kept what it had says what the one it came from says.
    if (report.get("learned") or {}).get("way", "kept") != "kept":
        return "labelled"
    if report.get("kind") != "ensemble":
        return "calibrated"
    return "stated" if report.get("members") else "unusual"


def cuts_of(summary: Mapping[str, Any]) -> list[Cut]:
    """The cuts that a scoring has counted, from one row on; for an older one, those within its kept rows."""
    if summary.get("budgets"):
        return [Cut(**one) for one in summary["budgets"]]
    scores = [float(row[names_of(row).score]) for row in summary.get("top") or []]
    sums = list(accumulate(scores))
    return [
        Cut(place + 1, score, sums[place], 0, 0)
        for place, score in enumerate(scores)
        if place + 1 == len(scores) or scores[place + 1] < score
    ]


def cut_at(ranking: Ranking | None, cuts: Sequence[Cut], alerts: int) -> Cut:
    """What exactly so many of the riskiest rows hold; of a scoring without a ranking, the last cut that fits."""
    return cuts[nearest(cuts, alerts)] if ranking is None else ranking.cut(alerts)


def nearest(cuts: Sequence[Cut], alerts: int) -> int:
    """The place of the last cut that flags no more rows than `alerts`; the first where each flags more."""
    return max((place for place, cut in enumerate(cuts) if cut.alerts <= alerts), default=0)


def tell(cut: Cut, summary: Mapping[str, Any], meaning: Meaning, say: Words) -> Told:
    """A cut in words: what to expect where the probabilities say it, what is known where rows have labels."""
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
        expected=say.num(cut.expected, 1 if cut.expected < 100 else 0) if expects else "",
        precision=say.percent(cut.expected / cut.alerts, 0) if expects else "",
        known_precision=known_precision,
        known_recall=known_recall,
        tied=_tied(cut, say),
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


def _share_of_labelled(found: int, of: int, say: Words) -> str:
    """`12 of 15, 80 % (55 to 93 %)`, with the interval at 95 %."""
    low, high = wilson(found, of)
    return say._(
        "%(found)s of %(of)s, %(share)s (%(low)s to %(high)s)",
        found=say.num(found),
        of=say.num(of),
        share=say.percent(found / of, 0),
        low=say.num(low * 100),
        high=say.percent(high, 0),
    )

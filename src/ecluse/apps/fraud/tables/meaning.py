"""Decide which value of a label means fraud.

`meaning_of` is the one place that decides: pages, commands, the API, trainings, references and outcomes ask it.
`ecluse.apps.fraud.tables.labels` then reads the values. Nothing heavy is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from ecluse.apps.fraud.words import name_words
from ecluse.errors import InvalidInput
from ecluse.sentences import Cell, _, listing, num

YES: Final = frozenset({"yes", "y", "true", "t", "1", "oui", "o", "vrai", "v"})
NO: Final = frozenset({"no", "n", "false", "f", "0", "non", "faux"})
#: What says fraud, or legitimate, whatever a label is called.
FRAUD: Final = YES | {"fraud", "fraudulent", "fraude", "frauduleux", "frauduleuse"}
LEGITIMATE: Final = NO | {"legitimate", "legit", "genuine", "légitime", "legitime"}
#: Further words of labels, each with a meaning of its own: an attack is fraud, and is not called phishing.
FRAUD_WORDS: Final = (FRAUD - YES) | {
    "abnormal", "anomalie", "anomalous", "anomaly", "anormal", "anormale", "arnaque", "attack", "attaque", "bad",
    "bot", "botnet", "chargeback", "chargedoff", "default", "defaulted", "défaut", "fake", "fraudster", "illicit",
    "illicite", "infected", "intrusion", "malicious", "malveillant", "malware", "outlier", "phishing", "positive",
    "scam", "spam", "suspect", "suspicious",
}  # fmt: skip
LEGITIMATE_WORDS: Final = (LEGITIMATE - NO) | {
    "benign", "bénin", "bonafide", "clean", "fullypaid", "good", "ham", "honest", "inlier", "licit", "licite",
    "negative", "nofraud", "nonfraude", "nonfraud", "nonfraudulent", "normal",
    "normale", "notfraud", "notfraudulent", "ok", "paid", "pasfraude", "regular", "repaid", "safe", "sain",
    "trusted", "valid", "valide",
}  # fmt: skip
#: Words of a column's name by which a yes speaks for the row: `is_legit`, `approved`.
_GOOD_NAMES: Final = (LEGITIMATE_WORDS - {"negative", "paid"}) | {
    "approved",
    "authentic",
    "accepted",
    "verified",
}
_NEGATIONS: Final = frozenset({"not", "non", "no", "pas"})
_BAD_NAME: Final = re.compile(
    r"fraud|fradul|scam|illicit|attack|attaque|phish|anomal|malici|malware|intrusion|suspicious|chargeback|charged"
    r"|default|abuse|outlier|spam"
)
#: Names of labels: those that contain a word for fraud, and those that are made of words for labels alone.
_FRAUD_NAME: Final = re.compile(r"fraud|fradul|scam|chargedback|illicit|arnaque")
_LABEL_NAMES: Final = frozenset(
    {
        "abuse", "anomalie", "anomaly", "attack", "attaque", "bad", "bot", "chargeback", "churn", "cible", "class",
        "classe", "default", "defaulted", "etiquette", "flag", "fake", "intrusion", "label", "malicious", "malware",
        "outcome", "outlier", "phishing", "response", "result", "resultat", "scam", "spam", "suspicious", "target",
        "y",
    }
)  # fmt: skip
_LABEL_WORDS: Final = _LABEL_NAMES - {"bad", "flag", "y", "result", "response", "bot"}
_FILLERS: Final = frozenset(
    {"is", "has", "est", "the", "true", "loan", "status", "final", "next", "month", "payment"}
)
_YES_NO_PREFIX: Final = frozenset({"is", "has", "est", "was"})
_HINTS_ONLY: Final = frozenset(
    {"flagged", "predicted", "prediction", "score", "suspected", "rule", "previous", "past", "historical"}
)
#: From this score on a name is taken for a label's; what the values say counts as much as a usual name.
LEAST_NAMED: Final = 0.2
VALUES_SAY: Final = 0.8
MOST_CANDIDATES: Final = 6
#: More values than these are no label.
MOST_VALUES: Final = 8
#: From this share on, what is taken for fraud is pointed out once more: fraud is rare as a rule.
MOST_FRAUD: Final = 0.5


@dataclass(frozen=True)
class Meaning:
    """Which value of a label means fraud, as it is written in the table, and its share of the rows with a label.

    `fraud` are all its spellings. Where it is not `sure`, a person has to say: `value` is then a guess, or None.
    `reason` says why, `values` are all of them with their shares, the most frequent first.
    """

    column: str
    value: str | None
    share: float | None
    sure: bool
    reason: str
    values: tuple[tuple[str, float], ...] = ()
    fraud: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "column": self.column,
            "value": self.value,
            "share": self.share,
            "sure": self.sure,
            "reason": self.reason,
            "values": [list(value) for value in self.values],
        }


def meaning_of(levels: Mapping[str, float], column: str, named: str | None = None) -> Meaning:
    """Return which of the values means fraud; `levels` has their counts, or their shares.

    What a person `named` counts first. Of values that say it of themselves, such as 0 and 1, yes and no, attack
    and normal, the affirmative one, however rare or frequent it is. Else the rarer of two is guessed, to be asked
    about; so is a no where the column's name speaks for the rows, as `is_legit` does.

    Raises InvalidInput where the column never holds what was named.
    """
    ranked = sorted(levels, key=lambda level: (-levels[level], level))
    total = sum(levels.values()) or 1.0
    values = tuple((level, levels[level] / total) for level in ranked)

    def meant(chosen: Sequence[str], sure: bool, reason: str) -> Meaning:
        share = sum(levels[level] for level in chosen) / total if chosen else None
        return Meaning(column, chosen[0] if chosen else None, share, sure, reason, values, tuple(chosen))

    if named is not None:
        chosen, own = _named(ranked, column, named), meaning_of(levels, column)
        return own if own.sure and own.fraud == tuple(chosen) else meant(chosen, True, _("it was named"))
    yes, no = answers(ranked)
    one_meaning = len(yes) == 1 or {plain(level) for level in yes} <= FRAUD
    if yes and no and one_meaning and len(yes) + len(no) == len(ranked):
        if speaks_for(column) and not are_words(ranked):
            return meant(no, False, _('the name "%(column)s" says the opposite of fraud', column=column))
        return meant(
            yes,
            True,
            _('"%(value)s" means yes, and "%(values)s" no', value=yes[0], values=no[0]),
        )
    if len(ranked) != 2:
        return meant(
            (), False, _("%(count)s values, and nothing says which one means fraud", count=len(ranked))
        )
    words_yes = [level for level in ranked if plain(level) in FRAUD_WORDS]
    words_no = [level for level in ranked if plain(level) in LEGITIMATE_WORDS]
    if len(words_yes) == 1:
        return meant(words_yes, True, _('"%(value)s" is a word for fraud', value=words_yes[0]))
    if len(words_no) == 1:
        other = [level for level in ranked if level not in words_no]
        return meant(other, True, _('"%(value)s" is a word for what is not fraud', value=words_no[0]))
    if values[0][1] == values[1][1]:
        return meant(
            (), False, _("two values, as frequent as each other, and nothing says which one means fraud")
        )
    return meant(ranked[-1:], False, _("the rarer of two values: a guess"))


@dataclass(frozen=True)
class Candidate:
    """A column that may be the label, with what it would mean; `score` ranks candidates, the likeliest first."""

    meaning: Meaning
    score: float

    @property
    def column(self) -> str:
        return self.meaning.column


def candidates(profile: Mapping[str, Any] | None) -> tuple[Candidate, ...]:
    """Find the columns of a profiled table that may be its label, the likeliest first: at most six.

    Any column of a few values may be. What counts: a name as labels have it; values that say fraud and not fraud;
    two values; the last place or the first; that one value is rare.
    """
    columns = list((profile or {}).get("columns", ()))
    likely = []
    for at, column in enumerate(columns):
        if column["missing_share"] > 0.5 or column["kind"] in ("datetime", "text"):
            continue
        meaning = meaning_in_profile(profile, str(column["name"]))
        if meaning is None:
            continue
        score, _rest = named_like_a_label(meaning.column)
        levels = [level for level, _ in meaning.values]
        score += 0.5 * are_opposites(levels) + 0.3 * (len(levels) == 2) + 0.1 * meaning.sure
        score += 0.25 * (at == len(columns) - 1) + 0.05 * (at == 0) + 0.05 * (meaning.values[-1][1] < 0.2)
        score += 0.1 * bool(_YES_NO_PREFIX & set(name_words(meaning.column)[:1]))
        likely.append(Candidate(meaning, round(score, 2)))
    return tuple(sorted(likely, key=lambda candidate: -candidate.score)[:MOST_CANDIDATES])


def named_like_a_label(column: str) -> tuple[float, str]:
    """Return how much the name of a column is that of a label, from 0 to 1, and why."""
    words = name_words(column)
    joined = "".join(words)
    core = set(words) - _FILLERS
    named = _FRAUD_NAME.search(joined)
    if named:
        score, why = 0.95, _('the name contains "%(word)s"', word=named[0])
    elif (core and core <= _LABEL_NAMES) or joined == "loanstatus":
        score, why = 0.85, _("the name is usual for a label")
    elif _LABEL_WORDS & set(words):
        score, why = 0.65, _('the name contains "%(word)s"', word=min(_LABEL_WORDS & set(words)))
    else:
        return 0.0, ""
    return (score - 0.4 if _HINTS_ONLY & set(words) else score), why


def require_meaning(meaning: Meaning) -> str:
    """Return the value that means fraud; InvalidInput with the way out where a person has to say which it is."""
    if meaning.sure and meaning.value is not None:
        return meaning.value
    held = [
        _('"%(value)s" (%(share)s)', value=Cell(value), share=_percent(share))
        for value, share in meaning.values[:6]
    ]
    if len(meaning.values) > len(held):
        held.append("…")
    raise InvalidInput(
        _(
            "Which value of %(column)s means fraud is not clear: it holds %(values)s. Name the "
            "value: in the form, with --positive VALUE, or as positive_value in the API.",
            column=meaning.column,
            values=listing(held),
        )
    )


def meaning_in_profile(
    profile: Mapping[str, Any] | None, column: str | None, named: str | None = None
) -> Meaning | None:
    """Return what a column of a profiled table means as a label; None where it has too many values to be one.

    Raises InvalidInput where the column never holds what was `named`.
    """
    described = next((each for each in (profile or {}).get("columns", ()) if each["name"] == column), None)
    if (
        described is None
        or not 2 <= described["distinct"] <= MOST_VALUES
        or len(described["top"]) < described["distinct"]
    ):
        return None
    return meaning_of({str(value): float(share) for value, share in described["top"]}, str(column), named)


def fraud_means(column: str, value: str, share: float | None) -> str:
    """Return the sentence that says what was learned, or is to be: `Fraud means is_attack = 1, 57.0 % of the rows.`"""
    if share is None:
        return _("Fraud means %(column)s = %(values)s.", column=column, values=value)
    return _(
        "Fraud means %(column)s = %(values)s, %(share)s of the rows.",
        column=column,
        values=value,
        share=_percent(share),
    )


def spelled_alike(values: Iterable[str]) -> dict[str, str]:
    """Return the first spelling of yes and of no for each value, where more than two values say one or the other."""
    listed = list(values)
    yes = [value for value in listed if plain(value) in FRAUD]
    no = [value for value in listed if plain(value) in LEGITIMATE]
    if len(listed) <= 2 or len(yes) + len(no) < len(listed):
        return {}
    return {value: same[0] for same in (yes, no) for value in same}


def answers(levels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the values that say fraud, and those that say legitimate, each in the given order."""
    yes = [level for level in levels if plain(level) in FRAUD | FRAUD_WORDS]
    no = [level for level in levels if plain(level) in LEGITIMATE | LEGITIMATE_WORDS]
    return yes, no


def are_opposites(levels: Sequence[str]) -> bool:
    """Tell whether of several values some are words for fraud, such as attack, and all others for what is not."""
    yes, no = answers(levels)
    return bool(yes and no) and len(yes) + len(no) == len(levels) and are_words(levels)


def are_words(levels: Sequence[str]) -> bool:
    """Tell whether a value says fraud, or its opposite, in a word of its own: yes and 1 do not."""
    return any(plain(level) in FRAUD_WORDS | LEGITIMATE_WORDS for level in levels)


def speaks_for(column: str) -> bool:
    """Tell whether a yes in a column of this name means that the row is in order."""
    words = name_words(column)
    pairs = pairwise(words)
    negated = any(first in _NEGATIONS and _BAD_NAME.search(second) for first, second in pairs)
    if negated or re.match(r"(?:is)?(?:non|not)(?:fraud|scam|suspicious|attack)", "".join(words)):
        return True
    return bool(_GOOD_NAMES & set(words)) and not _BAD_NAME.search("".join(words))


def are_numbers(levels: Sequence[str]) -> bool:
    """Tell whether every value is written as a number."""
    return all(re.fullmatch(r"[+-]?\d+(?:\.\d+)?", level.strip()) for level in levels)


def shown(levels: Sequence[str]) -> str:
    """Return the first values in quotation marks, as text out of a table."""
    return Cell(", ".join(f'"{level}"' for level in levels[:6]) + (", …" if len(levels) > 6 else ""))


def _named(ranked: Sequence[str], column: str, named: str) -> list[str]:
    """Return the values that the named one stands for, most frequent first; InvalidInput where it is none of them."""
    parsed = re.sub(r"\.0+$", "", named.strip()) if are_numbers([named]) else named.strip()
    same_letters = [level for level in ranked if level.lower() == parsed.lower()]
    candidates = [named, parsed, *(same_letters if len(same_letters) == 1 else ())]
    chosen = next((candidate for candidate in candidates if candidate in ranked), None)
    if chosen is None:
        raise InvalidInput(
            _(
                '%(column)s never holds "%(value)s". Its values: %(values)s.',
                column=column,
                value=Cell(named),
                values=shown(ranked),
            )
        )
    alike = spelled_alike(ranked)
    return [level for level in ranked if alike.get(level, level) == alike.get(chosen, chosen)]


def plain(level: str) -> str:
    """Return a value in lower case, with nothing between its words: `Not-Fraud` is `notfraud`."""
    return re.sub(r"([^\W\d_])[\s_-]+([^\W\d_])", r"\1\2", level.strip().lower())


def _percent(share: float) -> str:
    percent = 100 * share
    return num(percent, ".2f %" if percent < 1 else ".1f %")

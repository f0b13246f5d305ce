"""Ask at the terminal which column is the label, and which of its values means fraud; say what is known of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from ecluse.apps.fraud.tables.meaning import Candidate, Meaning, candidates, fraud_means, meaning_in_profile
from ecluse.apps.fraud.training.request import TrainingRequest
from ecluse.cli.output import say


def asked_for_label(profile: Mapping[str, Any] | None, request: TrainingRequest) -> TrainingRequest:
    """Return the request with what a person at the terminal answers where the label of a profiled table, or what it
    means, is not clear.

    Without a terminal it stays as it is: what is not clear is then refused, with the option that says it.
    """
    if profile is None or not sys.stdin.isatty():
        return request
    guess = profile["guesses"]["target"]
    target = request.target_column or (guess["column"] if guess else None)
    if target is None:
        target = _ask_column(candidates(profile))
    if target is None:
        return request
    request = replace(request, target_column=target)
    meaning = meaning_in_profile(profile, target, request.positive_value)
    if meaning is None or meaning.sure:
        return request
    return replace(request, positive_value=_ask_value(meaning))


def label_lines(profile: Mapping[str, Any]) -> list[str]:
    """Return what the label of a profiled table means; without one, the columns that may be it."""
    guess = profile["guesses"]["target"]
    if guess is not None:
        meaning = meaning_in_profile(profile, guess["column"])
        if meaning is None:
            return []
        if meaning.sure and meaning.value is not None:
            return [f"{fraud_means(meaning.column, meaning.value, meaning.share)} Why: {meaning.reason}."]
        return [
            f"Which value of {meaning.column} means fraud is not clear ({_values(meaning)}): --positive VALUE"
        ]
    likely = candidates(profile)
    listed = [f"  {candidate.column:<28} {_values(candidate.meaning)}" for candidate in likely]
    return ["No label was recognised. It may be one of these: --target COLUMN", *listed] if likely else []


def _ask_column(listed: tuple[Candidate, ...]) -> str | None:
    if not listed:
        return None
    say("Which column says what was fraud?")
    for number, candidate in enumerate(listed, 1):
        say(f"  {number}  {candidate.column:<28} {_values(candidate.meaning)}")
    number = click.prompt("Number of the column", type=click.IntRange(1, len(listed)), err=True)
    return listed[number - 1].column


def _ask_value(meaning: Meaning) -> str:
    say(f"Which value of {meaning.column} means fraud? {meaning.reason[:1].upper()}{meaning.reason[1:]}.")
    for number, (value, share) in enumerate(meaning.values, 1):
        say(f"  {number}  {value:<28} {share:.1%} of the rows")
    number = click.prompt("Number of the value", type=click.IntRange(1, len(meaning.values)), err=True)
    return meaning.values[number - 1][0]


def _values(meaning: Meaning) -> str:
    return ", ".join(f"{value}: {share:.1%}" for value, share in meaning.values[:4])

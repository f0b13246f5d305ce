"""What shows the codes of a second factor: a telephone whose clock the test moves on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyotp
import pytest

from ecluse.catalog.tables import now

STEP = 30


@dataclass
class Clock:
    """The time of the application's second factors."""

    moved: timedelta = timedelta()

    def __call__(self) -> datetime:
        return now() + self.moved

    def pass_steps(self, number: int = 1) -> None:
        self.moved += timedelta(seconds=STEP * number)

    def code(self, secret: str) -> str:
        """The code that is shown once the one of before is over."""
        self.pass_steps()
        return self.code_now(secret)

    def code_now(self, secret: str) -> str:
        return pyotp.TOTP(secret).at(self())


def fixed(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the second factors of this process go by."""
    clock = Clock()
    monkeypatch.setattr("ecluse.accounts.second_factors.now", clock)
    return clock


def secret_on(page: str) -> str:
    """The secret that a page shows."""
    shown = re.search(r">([A-Z2-7]{32})<", page)
    assert shown, page
    return shown[1]

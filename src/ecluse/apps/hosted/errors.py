"""Name the errors of hosted applications."""

from __future__ import annotations

from ecluse.errors import EcluseError, Overloaded


class AppAway(Overloaded):
    """The process of an application has ended, is begun again, or took too long; others are not concerned."""

    code = "application_away"


class AppFailed(EcluseError):
    """A function of an application raised an error; it says which, and in which line."""

    code, status = "application_failed", 422

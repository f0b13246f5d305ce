"""Read what an object store's error means: who refused what, and whether trying again may help.

obstore tells kinds of errors apart by class, but the status and the store's own code only in its text. The
text also holds the address that was asked, so nothing of it is shown but what is found here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from obstore import exceptions as obstore_errors

from ecluse.sentences import _

#: Errors that obstore raises; any other error comes from the caller's own chunks.
ANSWERS: Final = (obstore_errors.BaseError, OSError)

_STATUS: Final = re.compile(r"(?:status code: |status: )(\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>|x-ms-error-code: (\w+)")
#: Text in an error → what happened. The first match counts.
_REASONS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile("(ConnectionRefused)"), _("the connection was refused")),
    (re.compile("(dns error|failed to lookup address)"), _("its name was not found")),
    (
        re.compile("(InvalidCertificate|UnknownIssuer|InvalidContentType|received corrupt message)"),
        _("its certificate was not accepted"),
    ),
    (re.compile("(TimedOut|timed out|deadline has elapsed)"), _("no answer came in time")),
    (
        re.compile(
            "(ConnectionReset|IncompleteMessage|UnexpectedEof|BrokenPipe|closed before|end of file before)"
        ),
        _("the connection broke"),
    ),
)
_WRONG_KEYS: Final = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "AuthenticationFailed"}
    | {"AuthorizationFailure", "InvalidAuthenticationInfo", "AuthorizationHeaderMalformed"}
)
_WRONG_CLOCK: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound"})
#: Statuses after which trying again may help: too early, busy, in conflict with another request.
_AGAIN: Final = frozenset({408, 409, 425, 429})


@dataclass(frozen=True)
class Failure:
    """One error of a store. `status` and `code` are None where no answer came, or none that says it."""

    status: int | None
    code: str | None
    reason: str
    text: str

    @property
    def missing(self) -> bool:
        return self.status == 404

    @property
    def no_bucket(self) -> bool:
        return self.code in _NO_BUCKET

    @property
    def wrong_keys(self) -> bool:
        return self.code in _WRONG_KEYS

    @property
    def wrong_clock(self) -> bool:
        return self.code in _WRONG_CLOCK

    @property
    def no_keys(self) -> bool:
        """Return whether obstore looked for the keys of a machine in the cloud and found none."""
        return "169.254.169.254" in self.text or "metadata.google.internal" in self.text

    @property
    def forbidden(self) -> bool:
        return self.status in (401, 403)

    @property
    def out_of_range(self) -> bool:
        return self.status == 416 or "Wanted range starting at" in self.text

    @property
    def may_pass(self) -> bool:
        """Return whether the same request may succeed later."""
        if self.no_keys:
            return False
        return self.status is None or self.status >= 500 or self.status in _AGAIN


def read_failure(error: BaseException) -> Failure:
    """Return what an error raised by obstore says."""
    text = str(error)
    status = _STATUS.search(text)
    code = _CODE.search(text)
    number = int(status[1]) if status else _status_of_class(error)
    said = (code[1] or code[2]) if code else None
    return Failure(number, said, _reason(text, number, said), text)


def _status_of_class(error: BaseException) -> int | None:
    for kind, status in _CLASSES:
        if isinstance(error, kind):
            return status
    return None


_CLASSES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (FileNotFoundError, 404),
    (obstore_errors.AlreadyExistsError, 409),
    (obstore_errors.PreconditionError, 412),
    (obstore_errors.PermissionDeniedError, 403),
    (obstore_errors.UnauthenticatedError, 401),
    (obstore_errors.NotSupportedError, 501),
    (obstore_errors.InvalidPathError, 400),
    (obstore_errors.UnknownConfigurationKeyError, 400),
)


def _reason(text: str, status: int | None, code: str | None) -> str:
    for pattern, reason in _REASONS:
        if pattern.search(text):
            return reason
    if status is not None:
        return (
            _("it answered %(value)s", value=f"{status} {code}")
            if code
            else _("it answered %(value)s", value=status)
        )
    return _("the connection failed")

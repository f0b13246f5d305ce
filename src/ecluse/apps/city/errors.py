"""Name the errors that this application raises on purpose; `ecluse.errors` says what each of them has."""

from __future__ import annotations

from ecluse.errors import EcluseError


class CityError(EcluseError):
    code = "city_error"


class BadRaw(CityError, ValueError):
    """A raw file is not what its name says."""

    code, status = "bad_raw", 422


class MixedData(CityError, ValueError):
    """Invented data and measured would be mixed."""

    code, status = "mixed_data", 409


class NoSuchDay(CityError, LookupError):
    """Nothing is known of a day; the message names the nearest."""

    code, status = "no_such_day", 404

    def __init__(self, message: str, nearest: tuple[str, ...] = ()) -> None:
        """`nearest`: the dates around it that are known, the closest first."""
        super().__init__(message)
        self.nearest = nearest


class NoRawData(CityError, LookupError):
    """There is no raw data for a day."""

    code, status = "no_raw_data", 404


class FetchFailed(CityError, ConnectionError):
    """Open data did not come, or is not what was asked for."""

    code, status = "fetch_failed", 502

"""Make the bucket of a store where there is none."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from ecluse.errors import StoreUnavailable
from ecluse.settings import Access, S3Settings

_SECONDS: Final = 30
#: Where AWS makes a bucket without being told.
_HOME_REGION: Final = "us-east-1"


def ensure_bucket(url: str, access: Access) -> bool:
    """Make the bucket of `s3://bucket/…`; whether it was missing. Stores of other schemes are left alone.

    The key needs the right to make buckets, which the application itself does without.

    Raises:
        StoreUnavailable: the store refuses, or does not answer.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return False
    s3 = access.to_bucket(parts.netloc)
    request = urllib.request.Request(_signed(parts.netloc, s3), method="PUT", data=_where(s3))  # noqa: S310
    try:
        urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310 (the endpoint is checked)
    except urllib.error.HTTPError as error:
        with error:
            told = error.read().decode("utf-8", "replace")
        code = re.search(r"<Code>(\w+)</Code>", told)
        if error.code == 409 and (
            code is None or code[1] in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")
        ):
            return False  # one that is someone else's refuses the first write
        if error.code in (401, 403):
            raise StoreUnavailable(
                f"The store s3://{parts.netloc} refused access to '/'. Check keys and rights: ecluse doctor"
            ) from None
        raise StoreUnavailable(_silent(parts.netloc, code[1] if code else f"HTTP {error.code}")) from None
    except OSError as error:
        raise StoreUnavailable(_silent(parts.netloc, str(getattr(error, "reason", error)))) from None
    return True


def _signed(bucket: str, s3: S3Settings) -> str:
    options: dict[str, Any] = {"region": s3.region, "virtual_hosted_style_request": s3.endpoint is None}
    if s3.endpoint:
        options["endpoint"] = s3.endpoint
    if s3.access_key:
        options |= {"access_key_id": s3.access_key, "secret_access_key": str(s3.secret_key)}
    if s3.session_token:
        options["session_token"] = str(s3.session_token)
    return obstore.sign(S3Store(bucket, **options), "PUT", "", timedelta(seconds=2 * _SECONDS))


def _where(s3: S3Settings) -> bytes | None:
    if s3.endpoint or s3.region == _HOME_REGION:
        return None
    return (
        '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<LocationConstraint>{s3.region}</LocationConstraint></CreateBucketConfiguration>"
    ).encode()


def _silent(bucket: str, reason: str) -> str:
    return f"The store s3://{bucket} did not answer as it should for '/': {reason}. See: ecluse doctor"

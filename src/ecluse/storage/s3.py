"""Do to a bucket on S3 what obstore cannot: make it, and end uploads that no one will finish.

The requests are signed here with SigV4. Where a key lacks the right, a clean-up says once what to set at the provider
instead, and goes on.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from ecluse.errors import StoreUnavailable
from ecluse.storage.access import S3Settings
from ecluse.storage.administration import SECONDS, make_bucket_by, quoted_query, reason_of, unanswered
from ecluse.storage.backend import Method, StaleUploads

logger = logging.getLogger(__name__)

#: Where AWS makes a bucket without being told.
_HOME_REGION: Final = "us-east-1"
_EMPTY: Final = hashlib.sha256(b"").hexdigest()
#: Refused for want of a right, or not known there; anything else may pass.
_NOT_ALLOWED: Final = frozenset({401, 403, 405, 501})


class S3Administration:
    """A bucket of S3 or a store that speaks like it; `signer` is obstore's, with whatever keys it found."""

    def __init__(self, bucket: str, s3: S3Settings, signer: Any) -> None:
        self._bucket = bucket
        self._s3 = s3
        self._signer = signer
        self._url = f"s3://{bucket}/"
        self._warned = False

    def sign(self, path: str, method: Method, expires: timedelta) -> str | None:
        return None

    def make_bucket(self) -> bool:
        """Make the bucket. The key needs the right to do so, which the application itself does not need."""
        import obstore  # a home in folders never loads it

        address = obstore.sign(self._signer, "PUT", "", timedelta(seconds=2 * SECONDS))
        request = urllib.request.Request(address, method="PUT", data=self._where())  # noqa: S310 (checked endpoint)
        return make_bucket_by(request, self._url)

    def unfinished(self, prefix: str, before: datetime, *, remove: bool) -> StaleUploads:
        uploads = StaleUploads(0, 0)
        if self._s3.anonymous or not self._s3.access_key:
            return uploads  # the keys of a machine's role are obstore's alone; a rule in the bucket does it
        try:
            for key, upload, begun in self._unfinished(f"{prefix}/" if prefix else ""):
                if begun < before:
                    size = self._size_of(key, upload)
                    if size is not None and (not remove or self._abort(key, upload)):
                        uploads += StaleUploads(1, size)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in _NOT_ALLOWED:
                raise StoreUnavailable(unanswered(self._url, f"HTTP {error.code}")) from None
            self._say_what_to_set(error.code)
        except (OSError, HTTPException, ElementTree.ParseError) as error:
            raise StoreUnavailable(unanswered(self._url, reason_of(error))) from error
        return uploads

    def _say_what_to_set(self, status: int) -> None:
        """Once: a clean-up comes again and again."""
        if not self._warned:
            logger.warning(
                "Unfinished uploads in %s cannot be removed (HTTP %s). Set a rule in the bucket that aborts "
                "incomplete multipart uploads after a day, or allow s3:ListBucketMultipartUploads and "
                "s3:AbortMultipartUpload.",
                self._url,
                status,
            )
        self._warned = True

    def _abort(self, key: str, upload: str) -> bool:
        """Abort an upload; False if another clean-up, or its own writer, has ended it already."""
        try:
            self._ask("DELETE", key, {"uploadId": upload})
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            error.close()
            return False
        return True

    def _size_of(self, key: str, upload: str) -> int | None:
        """Return the bytes of the parts that were stored; None where another has ended the upload meanwhile.

        0 where the key may not list parts (s3:ListMultipartUploadParts): it may still end the upload.
        """
        query, size = {"uploadId": upload}, 0
        while True:
            try:
                parts = _untagged(self._ask("GET", key, query))
            except urllib.error.HTTPError as error:
                error.close()
                if error.code in _NOT_ALLOWED:
                    return size
                if error.code != 404:
                    raise
                return None
            size += sum(int(part.findtext("Size", "0")) for part in parts.findall("Part"))
            if parts.findtext("IsTruncated") != "true":
                return size
            query["part-number-marker"] = parts.findtext("NextPartNumberMarker", "")

    def _unfinished(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        """Key, upload id and beginning of each upload in parts that is neither complete nor aborted."""
        query = {"uploads": "", "prefix": prefix}
        while True:
            listing = _untagged(self._ask("GET", "", query))
            for upload in listing.findall("Upload"):
                begun = datetime.fromisoformat(upload.findtext("Initiated", ""))
                yield upload.findtext("Key", ""), upload.findtext("UploadId", ""), begun
            if listing.findtext("IsTruncated") != "true":
                return
            query["key-marker"] = listing.findtext("NextKeyMarker", "")
            query["upload-id-marker"] = listing.findtext("NextUploadIdMarker", "")

    def _ask(self, method: str, key: str, query: Mapping[str, str]) -> bytes:
        """Return the body of the answer to one signed request without a body."""
        if self._s3.endpoint:
            root, path = (
                self._s3.endpoint.rstrip("/"),
                f"/{self._bucket}/{key}" if key else f"/{self._bucket}",
            )
        else:
            root, path = f"https://{self._bucket}.s3.{self._s3.region}.amazonaws.com", f"/{key}"
        address = f"{root}{quote(path)}?{quoted_query(query)}"
        headers = signed_headers(method, address, self._s3, datetime.now(UTC))
        request = urllib.request.Request(address, method=method, headers=headers)  # noqa: S310 (checked endpoint)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return bytes(answer.read())

    def _where(self) -> bytes | None:
        if self._s3.endpoint or self._s3.region == _HOME_REGION:
            return None
        return (
            '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<LocationConstraint>{self._s3.region}</LocationConstraint></CreateBucketConfiguration>"
        ).encode()


def signed_headers(method: str, address: str, s3: S3Settings, moment: datetime) -> dict[str, str]:
    """Return the headers of a request without a body, its query in order, as AWS Signature Version 4 asks for them."""
    parts = urlsplit(address)
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    if s3.session_token:
        headers["x-amz-security-token"] = str(s3.session_token)
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join([method, parts.path, parts.query, listed, names, _EMPTY])
    scope = f"{stamp[:8]}/{s3.region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    key = f"AWS4{s3.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={s3.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def _untagged(body: bytes) -> ElementTree.Element:
    """Parse a store's XML answer and strip the namespace from the element names."""
    root = ElementTree.fromstring(body)  # noqa: S314 (the operator's own store)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root

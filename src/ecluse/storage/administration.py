"""Do to a bucket what obstore cannot: make it, end uploads that no one will finish, sign for Azure.

The requests are few and small, so they are signed here: with SigV4 for S3 and with the account's key for
Azure. Where a key lacks the right, a clean-up says once what to set at the provider instead, and goes on.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPException, IncompleteRead
from typing import Final, Protocol
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import obstore
from obstore.store import S3Store

from ecluse.errors import CannotSign, StoreUnavailable
from ecluse.sentences import _
from ecluse.settings import AzureSettings, S3Settings
from ecluse.storage.backend import Method, StaleUploads

logger = logging.getLogger(__name__)

_SECONDS: Final = 30
#: Where AWS makes a bucket without being told.
_HOME_REGION: Final = "us-east-1"
#: The version of Azure's protocol that is signed for.
_VERSION: Final = "2021-12-02"
_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"
#: A signed address holds from a while ago, for the clocks of two machines differ.
_SKEW: Final = timedelta(minutes=5)
_EMPTY: Final = hashlib.sha256(b"").hexdigest()
#: Refused for want of a right, or not known there; anything else may pass.
_NOT_ALLOWED: Final = frozenset({401, 403, 405, 501})
_EXISTS: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists", "ContainerAlreadyExists"})


class Administration(Protocol):
    """What a provider does to a bucket beyond objects."""

    def sign(self, path: str, method: Method, expires: timedelta) -> str | None:
        """Return a signed address, where obstore's own would not hold."""

    def make_bucket(self) -> bool:
        """Make it; False where it is there already."""

    def unfinished(self, prefix: str, before: datetime, *, remove: bool) -> StaleUploads:
        """Count, and with `remove` abort, the uploads in parts under `prefix` that began before that moment."""


class S3Administration:
    """A bucket of S3 or a store that speaks like it; `signer` is obstore's, with whatever keys it found."""

    def __init__(self, bucket: str, s3: S3Settings, signer: S3Store) -> None:
        self._bucket = bucket
        self._s3 = s3
        self._signer = signer
        self._url = f"s3://{bucket}/"
        self._warned = False

    def sign(self, path: str, method: Method, expires: timedelta) -> str | None:
        return None

    def make_bucket(self) -> bool:
        """Make the bucket. The key needs the right to do so, which the application itself does not need."""
        address = obstore.sign(self._signer, "PUT", "", timedelta(seconds=2 * _SECONDS))
        request = urllib.request.Request(address, method="PUT", data=self._where())  # noqa: S310 (checked endpoint)
        return _make_by(request, self._url)

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
                raise StoreUnavailable(_silent(self._url, f"HTTP {error.code}")) from None
            self._say_what_to_set(error.code)
        except (OSError, HTTPException, ElementTree.ParseError) as error:
            raise StoreUnavailable(_silent(self._url, _word(error))) from error
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
        address = f"{root}{quote(path)}?{_query(query)}"
        headers = signed_headers(method, address, self._s3, datetime.now(UTC))
        request = urllib.request.Request(address, method=method, headers=headers)  # noqa: S310 (checked endpoint)
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return bytes(answer.read())

    def _where(self) -> bytes | None:
        if self._s3.endpoint or self._s3.region == _HOME_REGION:
            return None
        return (
            '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<LocationConstraint>{self._s3.region}</LocationConstraint></CreateBucketConfiguration>"
        ).encode()


class AzureAdministration:
    """A container of Azure. Uploads that were not finished go by themselves within a week."""

    def __init__(self, container: str, azure: AzureSettings) -> None:
        self._container = container
        self._azure = azure
        self._root = (azure.endpoint or f"https://{azure.account}.blob.core.windows.net").rstrip("/")

    def sign(self, path: str, method: Method, expires: timedelta) -> str | None:
        """Return a service SAS. obstore signs the path as it is quoted, and Azure asks for it as it reads."""
        if self._azure.key is None:
            if quote(path) == path:
                return None
            raise CannotSign(
                _(
                    "%(store)s has an address that can only be signed with the account's key. Set "
                    "AZURE_STORAGE_KEY.",
                    store=f"az://{self._container}/{path}",
                )
            )
        now = datetime.now(UTC)
        fields = {
            "sp": {"GET": "r", "PUT": "cw"}[method],
            "st": (now - _SKEW).strftime(_STAMP),
            "se": (now + expires).strftime(_STAMP),
            "sv": _VERSION,
            "sr": "b",
        }
        resource = f"/blob/{self._azure.account}/{self._container}/{path}"
        text = [fields["sp"], fields["st"], fields["se"], resource, "", "", "", _VERSION, "b", *[""] * 7]
        fields["sig"] = self._signature("\n".join(text))
        return f"{self._root}/{self._container}/{quote(path)}?{_query(fields)}"

    def make_bucket(self) -> bool:
        account, url = self._azure.account, f"az://{self._container}/"
        if self._azure.key is None:
            raise StoreUnavailable(
                _(
                    "The container of %(store)s cannot be made without the account's key. Make it with "
                    "Azure's own tool: az storage container create --name %(name)s --account-name %(word)s",
                    store=url,
                    name=self._container,
                    word=account,
                )
            )
        path = f"{urlsplit(self._root).path}/{self._container}"
        headers = {"x-ms-date": format_datetime(datetime.now(UTC), usegmt=True), "x-ms-version": _VERSION}
        listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        text = f"PUT{_NO_HEADERS}{listed}/{account}{path}\nrestype:container"
        headers |= {"Authorization": f"SharedKey {account}:{self._signature(text)}", "Content-Length": "0"}
        address = f"{self._root}/{self._container}?restype=container"
        return _make_by(urllib.request.Request(address, method="PUT", headers=headers), url)  # noqa: S310

    def unfinished(self, prefix: str, before: datetime, *, remove: bool) -> StaleUploads:
        return StaleUploads(0, 0)

    def _signature(self, text: str) -> str:
        key = base64.b64decode(str(self._azure.key))
        return base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode()


class GoogleAdministration:
    """A bucket of Google Cloud Storage, which is made and ruled with Google's own tool."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    def sign(self, path: str, method: Method, expires: timedelta) -> str | None:
        return None

    def make_bucket(self) -> bool:
        raise StoreUnavailable(
            _(
                "The bucket of %(store)s cannot be made from here. Make it with Google's own tool: "
                "gcloud storage buckets create %(name)s",
                store=f"gs://{self._bucket}/",
                name=f"gs://{self._bucket}",
            )
        )

    def unfinished(self, prefix: str, before: datetime, *, remove: bool) -> StaleUploads:
        return StaleUploads(0, 0)


#: The headers that a shared key signs and these requests do not send, from Content-Encoding to Range.
_NO_HEADERS: Final = "\n" * 12


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


def _query(parts: Mapping[str, str]) -> str:
    return "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(parts.items())
    )


def _make_by(request: urllib.request.Request, url: str) -> bool:
    """Send a request that makes a bucket; False if the bucket exists already."""
    try:
        urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310 (the endpoint is checked)
    except urllib.error.HTTPError as error:
        with error:
            code_element = re.search(r"<Code>(\w+)</Code>", _body(error))
        code = code_element[1] if code_element else f"HTTP {error.code}"
        if code in _EXISTS or (error.code == 409 and code_element is None):
            return False  # one that is someone else's refuses the first write
        if error.code in (401, 403):
            raise StoreUnavailable(
                _(
                    "The store %(store)s refused access to %(key)s. Check keys and rights: ecluse doctor",
                    store=url,
                    key="'/'",
                )
            ) from None
        raise StoreUnavailable(_silent(url, code)) from None
    except (OSError, HTTPException) as error:
        raise StoreUnavailable(_silent(url, _word(error))) from None
    return True


def _body(error: urllib.error.HTTPError) -> str:
    """Read the body of an error answer, as much of it as arrives."""
    try:
        return error.read().decode("utf-8", "replace")
    except IncompleteRead as broken:
        return broken.partial.decode("utf-8", "replace")


def _silent(url: str, reason: str) -> str:
    return _(
        "The store %(store)s did not answer as it should for %(key)s: %(error)s. See: ecluse doctor",
        store=url,
        key="'/'",
        error=reason,
    )


def _word(error: Exception) -> str:
    """Return why a request failed, without the address, which may be a signed one."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or type(error).__name__)

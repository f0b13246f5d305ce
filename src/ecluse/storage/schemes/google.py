"""Describe stores in Google Cloud Storage: gs://bucket/prefix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ecluse.errors import StoreUnavailable
from ecluse.sentences import _
from ecluse.settings import Access, Scheme, Section
from ecluse.storage.backend import Method, StaleUploads
from ecluse.storage.schemes.addresses import split_bucket
from ecluse.storage.store import ObjectStore

_CREDENTIALS: Final = "GOOGLE_APPLICATION_CREDENTIALS"


@dataclass(frozen=True)
class GoogleSettings:
    """How to reach Google Cloud Storage. Without a key file: the ambient identity."""

    credentials_file: str | None = None


class _Administration:
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


def _read(env: Mapping[str, str]) -> GoogleSettings:
    return GoogleSettings(env.get(_CREDENTIALS))


def _open(url: str, access: Access, patience: timedelta) -> ObjectStore:
    from obstore.store import GCSStore

    from ecluse.storage.bucket import Bucket
    from ecluse.storage.client import open_clients
    from ecluse.storage.remote import RemoteBackend

    bucket, prefix = split_bucket(url)
    google = access.of(GoogleSettings)
    options: dict[str, Any] = {}
    if google.credentials_file:
        options["application_credentials"] = google.credentials_file
    place = Bucket(
        f"gs://{bucket}/",
        "Google Cloud Storage",
        patience,
        how_to_set_keys=_("Set %(name)s to the file of a service account's key.", name=_CREDENTIALS),
        administration=_Administration(bucket),
    )
    return ObjectStore(RemoteBackend(*open_clients(GCSStore, bucket, options, None, patience), place), prefix)


SCHEME: Final = Scheme(
    "gs",
    "gs://bucket/prefix",
    "Google Cloud Storage",
    _open,
    section=Section(
        GoogleSettings,
        {_CREDENTIALS: "File with the key of a service account for gs://bucket. Default: ambient"},
        _read,
    ),
    keys=_CREDENTIALS,
    signs=True,
    offer=lambda _url, _access: "gcs-standard",
)

"""Open a store by its URL: one function per scheme, in the table `SCHEMES`, the only list of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

from ecluse.errors import SettingsError
from ecluse.sentences import _
from ecluse.settings import Access, S3Settings
from ecluse.storage.administration import AzureAdministration, GoogleAdministration, S3Administration
from ecluse.storage.posix import PosixBackend
from ecluse.storage.remote import RemoteBackend
from ecluse.storage.store import ObjectStore

#: A page reports a store that does not answer after about this time.
PATIENCE: Final = timedelta(seconds=12)
#: How long work in the background waits for a store to come back.
LONG_PATIENCE: Final = timedelta(seconds=120)
#: How long sending one part of 8 MiB of a person's upload to the store may take (9 kB/s). Whether the store answers
#: at all is checked separately.
SENDING: Final = timedelta(minutes=15)
#: A part that failed is sent again within this many times the patience, as sending it took some of that time.
RETRIES: Final = 3


def open_store(
    url: str, access: Access | None = None, *, patience: timedelta = PATIENCE, make: bool = True
) -> ObjectStore:
    """Return the store at `file:///folder`, `memory://`, `s3://bucket/prefix`, `gs://…` or `az://…`.

    Keys come from `access`. A store that does not answer is tried again for `patience`. The folder of a
    `file://` store is made; without `make`, one that is missing reads as a store that is away.

    Raises:
        SettingsError: the scheme is not known, or the address lacks what its scheme needs.
        StoreUnavailable: a local folder cannot be made.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        schemes = ", ".join(f"{name}://" for name in SCHEMES)
        raise SettingsError(
            _(
                "Stores of scheme %(value)s are not known; an address starts with one of %(values)s.",
                value=repr(scheme),
                values=schemes,
            )
        )
    store = SCHEMES[scheme](url, access or Access(), patience)
    if make and scheme == "file":
        store.ensure_bucket()
    return store


def ensure_bucket(url: str, access: Access) -> bool:
    """Make the bucket, container or folder of a store's address; whether it was missing."""
    return open_store(url, access, make=False).ensure_bucket()


def lacks_folder(url: str) -> bool:
    """Return whether a `file://` address leads to no folder: it was never made, or its disk is not mounted."""
    parts = urlsplit(url)
    return parts.scheme == "file" and not Path(unquote(parts.path)).is_dir()


def _open_file(url: str, _access: Access, _patience: timedelta) -> ObjectStore:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise SettingsError(
            _("Store address %(value)s is not an absolute folder; use file:///folder.", value=repr(url))
        )
    return ObjectStore(PosixBackend(Path(unquote(parts.path)), url if url.endswith("/") else f"{url}/"))


def _open_memory(url: str, _access: Access, patience: timedelta) -> ObjectStore:
    unsigned = _("Objects in memory have no signed addresses. Use an object store (s3://, gs:// or az://).")
    root = url if url.endswith("/") else f"{url}/"
    backend = RemoteBackend(MemoryStore(), root, place="memory", patience=patience, unsigned=unsigned)
    return ObjectStore(backend)


def _open_s3(url: str, access: Access, patience: timedelta) -> ObjectStore:
    bucket, prefix = _bucket(url)
    s3 = access.to_bucket(bucket)
    options: dict[str, Any] = {"region": s3.region, "virtual_hosted_style_request": s3.endpoint is None}
    if s3.endpoint:
        options["endpoint"] = s3.endpoint
    if s3.anonymous:
        options["skip_signature"] = True
    elif s3.access_key:
        options |= {"access_key_id": s3.access_key, "secret_access_key": str(s3.secret_key)}
        if s3.session_token:
            options["session_token"] = str(s3.session_token)
    store = S3Store(bucket, **options, **_line(s3.endpoint, patience))
    sending = S3Store(bucket, **options, **_line(s3.endpoint, RETRIES * patience, SENDING))
    backend = RemoteBackend(
        store,
        f"s3://{bucket}/",
        place=s3.endpoint or f"AWS in {s3.region}",
        patience=patience,
        unsigned=_unsigned(bucket, s3),
        administration=S3Administration(bucket, s3, store),
        sending=sending,
    )
    return ObjectStore(backend, prefix)


def _open_google(url: str, access: Access, patience: timedelta) -> ObjectStore:
    bucket, prefix = _bucket(url)
    options: dict[str, Any] = {}
    if access.google.credentials_file:
        options["application_credentials"] = access.google.credentials_file
    backend = RemoteBackend(
        GCSStore(bucket, **options, **_line(None, patience)),
        f"gs://{bucket}/",
        place="Google Cloud Storage",
        patience=patience,
        administration=GoogleAdministration(bucket),
        sending=GCSStore(bucket, **options, **_line(None, RETRIES * patience, SENDING)),
    )
    return ObjectStore(backend, prefix)


def _open_azure(url: str, access: Access, patience: timedelta) -> ObjectStore:
    container, prefix = _bucket(url)
    azure = access.azure
    if not azure.account:
        raise SettingsError(
            _("Store address %(value)s needs an account: set AZURE_STORAGE_ACCOUNT.", value=repr(url))
        )
    options: dict[str, Any] = {"account_name": azure.account}
    if azure.key:
        options["account_key"] = str(azure.key)
    if azure.endpoint:
        options["endpoint"] = azure.endpoint
    backend = RemoteBackend(
        AzureStore(container, **options, **_line(azure.endpoint, patience)),
        f"az://{container}/",
        place=azure.endpoint or f"the account {azure.account}",
        patience=patience,
        administration=AzureAdministration(container, azure),
        sending=AzureStore(container, **options, **_line(azure.endpoint, RETRIES * patience, SENDING)),
        from_start=True,
        deleted_at_once=100,  # Azure deletes them one by one before it answers
    )
    return ObjectStore(backend, prefix)


def _bucket(url: str) -> tuple[str, str]:
    """Return the bucket of an address, and the prefix behind it."""
    parts = urlsplit(url)
    if not parts.netloc:
        raise SettingsError(
            _(
                "Store address %(value)s names no bucket; use %(word)s.",
                value=repr(url),
                word=f"{parts.scheme}://bucket/prefix",
            )
        )
    return parts.netloc, parts.path.strip("/")


def _unsigned(bucket: str, s3: S3Settings) -> str | None:
    if not s3.anonymous:
        return None
    return _(
        "%(store)s is used without keys (S3_ANONYMOUS), and keys make the signature. Set an access key.",
        store=f"s3://{bucket}",
    )


def _line(endpoint: str | None, patience: timedelta, silence: timedelta | None = None) -> dict[str, Any]:
    """Return obstore's timeouts and retries. Retries end by time, not by their number.

    `timeout` covers a whole body, so it is long; a line that falls silent is noticed by `read_timeout`. That one goes
    on while a body is sent: a part that a slow store takes longer for reads as silence (hence `silence`).
    """
    silence = silence or min(max(patience, timedelta(seconds=10)), timedelta(seconds=60))
    return {
        "client_options": {
            "allow_http": (endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=3),
            "timeout": max(timedelta(seconds=300), silence),
            "read_timeout": silence,
        },
        "retry_config": {
            "max_retries": 1000,
            "backoff": {
                "init_backoff": timedelta(milliseconds=500),
                "max_backoff": timedelta(seconds=10),
                "base": 2,
            },
            "retry_timeout": patience,
        },
    }


SCHEMES: Final[dict[str, Callable[[str, Access, timedelta], ObjectStore]]] = {
    "file": _open_file,
    "memory": _open_memory,
    "s3": _open_s3,
    "gs": _open_google,
    "az": _open_azure,
}

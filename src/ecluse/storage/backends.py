"""Open a store by its URL: one function per scheme, in the table `SCHEMES`, the only list of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from obstore.store import LocalStore, MemoryStore, S3Store

from ecluse.errors import SettingsError, StoreUnavailable
from ecluse.settings import Access
from ecluse.storage.store import ObjectStore

#: A store that is away is reported within this time instead of hanging a page.
PATIENCE: Final = timedelta(seconds=12)
#: How long work in the background waits for a store to come back.
LONG_PATIENCE: Final = timedelta(seconds=120)


def open_store(url: str, access: Access | None = None, *, patience: timedelta = PATIENCE) -> ObjectStore:
    """The store at `file:///folder`, `memory://` or `s3://bucket/prefix`; keys come from `access`.

    A store that does not answer is tried again for `patience`.

    Raises:
        SettingsError: the scheme is not known, or the address lacks what its scheme needs.
        StoreUnavailable: a local folder cannot be made.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise SettingsError(
            f"Stores of scheme {scheme!r} are not known; an address starts with one of {known}."
        )
    return SCHEMES[scheme](url, access or Access(), patience)


def _open_file(url: str, _: Access, __: timedelta) -> ObjectStore:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise SettingsError(f"Store address {url!r} is not an absolute folder; use file:///folder.")
    folder = Path(unquote(parts.path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"The folder {folder} cannot be made: {error.strerror}.") from error
    return ObjectStore(LocalStore(str(folder)), url)


def _open_memory(url: str, _: Access, __: timedelta) -> ObjectStore:
    return ObjectStore(MemoryStore(), url)


def _open_s3(url: str, access: Access, patience: timedelta) -> ObjectStore:
    parts = urlsplit(url)
    if not parts.netloc:
        raise SettingsError(f"Store address {url!r} names no bucket; use s3://bucket/prefix.")
    s3 = access.to_bucket(parts.netloc)
    options: dict[str, Any] = {"region": s3.region, "virtual_hosted_style_request": s3.endpoint is None}
    if s3.endpoint:
        options["endpoint"] = s3.endpoint
    if s3.access_key:
        options |= {"access_key_id": s3.access_key, "secret_access_key": str(s3.secret_key)}
    if s3.session_token:
        options["session_token"] = str(s3.session_token)
    backend = S3Store(
        parts.netloc,
        **options,
        client_options={
            "allow_http": (s3.endpoint or "").startswith("http://"),
            "connect_timeout": "3s",
            "timeout": "300s",
        },
        retry_config={
            "max_retries": 5,
            "backoff": {
                "init_backoff": timedelta(milliseconds=200),
                "max_backoff": timedelta(seconds=4),
                "base": 2,
            },
            "retry_timeout": patience,
        },
    )
    return ObjectStore(backend, f"s3://{parts.netloc}", parts.path.strip("/"))


SCHEMES: Final[dict[str, Callable[[str, Access, timedelta], ObjectStore]]] = {
    "file": _open_file,
    "memory": _open_memory,
    "s3": _open_s3,
}

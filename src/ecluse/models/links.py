"""Hand out one file of a version by an address that anyone can use until it expires."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ecluse.catalog import audit
from ecluse.catalog.tables import ModelVersion, now
from ecluse.errors import VersionNotFound
from ecluse.models.versions import check_intact, manifest_of
from ecluse.registry import ManifestFile
from ecluse.runtime import Runtime
from ecluse.sentences import _


@dataclass(frozen=True)
class SignedLink:
    """An address of one file. Whoever uses it compares what arrives with `file.sha256`; we are not in between."""

    file: ManifestFile
    url: str
    expires_at: datetime


def signed_link(runtime: Runtime, row: ModelVersion, path: str, expires: timedelta) -> SignedLink:
    """Return an address by which anyone may download one file until it expires; that it was made is recorded.

    Raises:
        CannotSign: the store has no such addresses, or none that last so long.
        DigestMismatch: a verification has found the version damaged.
        VersionNotFound: the version has no such file.
    """
    check_intact(row)
    file = next((file for file in manifest_of(runtime, row).files if file.path == path), None)
    if file is None:
        raise VersionNotFound(
            _(
                "%(name)s has no file %(file)s. See: ecluse models show %(model)s",
                name=f"{row.name} {row.version}",
                file=repr(path),
                model=f"{row.name}@{row.version}",
            )
        )
    located = runtime.stores.locate(f"{row.url}/{path}")
    expires_at = now() + expires
    url = located.store.sign(located.key, "GET", expires)
    with runtime.catalog.write() as transaction:
        subject = f"{row.name} {row.version} {path}"
        audit.record(transaction, row.user_id, "model.link", subject, expires_at=expires_at.isoformat())
    return SignedLink(file, url, expires_at)

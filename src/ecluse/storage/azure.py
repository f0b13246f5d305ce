"""Do to a container of Azure what obstore cannot: make it, and sign addresses of names that are quoted in addresses.

Both are signed here with the account's key.
"""

from __future__ import annotations

import base64
import hmac
import urllib.request
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final
from urllib.parse import quote, urlsplit

from ecluse.errors import CannotSign, StoreUnavailable
from ecluse.sentences import _
from ecluse.storage.access import AzureSettings
from ecluse.storage.administration import make_bucket_by, quoted_query
from ecluse.storage.backend import Method, StaleUploads

#: The version of Azure's protocol that is signed for.
_VERSION: Final = "2021-12-02"
_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"
#: A signed address holds from a while ago, for the clocks of two machines differ.
_SKEW: Final = timedelta(minutes=5)
#: The headers that a shared key signs and these requests do not send, from Content-Encoding to Range.
_NO_HEADERS: Final = "\n" * 12


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
        return f"{self._root}/{self._container}/{quote(path)}?{quoted_query(fields)}"

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
        return make_bucket_by(urllib.request.Request(address, method="PUT", headers=headers), url)  # noqa: S310

    def unfinished(self, prefix: str, before: datetime, *, remove: bool) -> StaleUploads:
        return StaleUploads(0, 0)

    def _signature(self, text: str) -> str:
        key = base64.b64decode(str(self._azure.key))
        return base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode()

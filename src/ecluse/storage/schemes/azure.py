"""Describe stores in Azure Blob Storage: az://container/prefix."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from ecluse.errors import SettingsError
from ecluse.sentences import _
from ecluse.settings import Access, Scheme, Secret, Section
from ecluse.settings.values import is_base64, web_address
from ecluse.storage.access import AzureSettings
from ecluse.storage.schemes.addresses import split_bucket
from ecluse.storage.store import ObjectStore

_ACCOUNT: Final = "AZURE_STORAGE_ACCOUNT"
_KEY: Final = "AZURE_STORAGE_KEY"
_ENDPOINT: Final = "AZURE_STORAGE_ENDPOINT"


def _read(env: Mapping[str, str]) -> AzureSettings:
    key, endpoint = env.get(_KEY), env.get(_ENDPOINT)
    if key is not None and not is_base64(key):
        raise SettingsError(
            f"{_KEY} is no key of a storage account, which is written in base64. Copy it from the account's "
            "access keys: key1 or key2, whole, without the rest of a connection string."
        )
    return AzureSettings(
        account=env.get(_ACCOUNT),
        key=None if key is None else Secret(key),
        endpoint=None if endpoint is None else web_address(_ENDPOINT, endpoint),
    )


def _open(url: str, access: Access, patience: timedelta) -> ObjectStore:
    from obstore.store import AzureStore

    from ecluse.storage.azure import AzureAdministration
    from ecluse.storage.bucket import Bucket
    from ecluse.storage.client import open_clients
    from ecluse.storage.remote import RemoteBackend

    container, prefix = split_bucket(url)
    azure = access.of(AzureSettings)
    if not azure.account:
        raise SettingsError(
            _("Store address %(value)s needs an account: set AZURE_STORAGE_ACCOUNT.", value=repr(url))
        )
    options: dict[str, Any] = {"account_name": azure.account}
    if azure.key:
        options["account_key"] = str(azure.key)
    if azure.endpoint:
        options["endpoint"] = azure.endpoint
    place = Bucket(
        f"az://{container}/",
        azure.endpoint or f"the account {azure.account}",
        patience,
        how_to_set_keys=_("Set %(name)s to a key of the account.", name=_KEY),
        administration=AzureAdministration(container, azure),
        from_start=True,
        deleted_at_once=100,  # Azure deletes them one by one before it answers
    )
    clients = open_clients(AzureStore, container, options, azure.endpoint, patience)
    return ObjectStore(RemoteBackend(*clients, place), prefix)


def _server(_url: str, access: Access) -> object:
    azure = access.of(AzureSettings)
    return azure.account, azure.endpoint


SCHEME: Final = Scheme(
    "az",
    "az://container/prefix",
    "Azure Blob Storage",
    _open,
    section=Section(
        AzureSettings,
        {
            _ACCOUNT: "Storage account for az://container",
            _KEY: "Key of that account. Default: the ambient identity",
            _ENDPOINT: "Endpoint of the blob service, such as http://127.0.0.1:10000/devstoreaccount1",
        },
        _read,
    ),
    keys=_KEY,
    signs=True,
    server=_server,
    offer=lambda _url, _access: "azure-hot",
)

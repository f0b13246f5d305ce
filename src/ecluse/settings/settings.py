"""Decide every setting once, from the environment, and say where each value came from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from ecluse import logs
from ecluse.addresses import NO_PROXIES, Proxies
from ecluse.errors import SettingsError
from ecluse.sentences import _
from ecluse.settings.accounts import AccountsSettings, read_accounts
from ecluse.settings.databases import read_database_url, read_jobs_url, sqlite_file
from ecluse.settings.documents import DocumentsSettings, read_documents
from ecluse.settings.providers import detect_providers
from ecluse.settings.schemes import Access, local_folder, read_access, scheme_of
from ecluse.settings.stores import AREAS, Area, read_areas, read_places, read_store_url
from ecluse.settings.values import (
    GIB,
    Detected,
    Secret,
    first_set,
    fits_a_header,
    flag,
    folder_at,
    listening_address,
    number_of_bytes,
    one_of,
    web_address,
    without_password,
)
from ecluse.settings.variables import read_sections

S = TypeVar("S")
#: What is not started where other machines reach it, unless it is accepted by name.
RISKS: Final = ("no-https", "open-sign-up", "no-administrator")
_SHORTEST_TOKEN: Final = 16


@dataclass(frozen=True)
class Settings:
    """Everything a process needs to know, decided once."""

    home: Path
    store_url: str
    database_url: Secret
    jobs_url: Secret
    documents: DocumentsSettings
    access: Access = field(default_factory=Access)
    #: The areas that have a store of their own; see `area_url`.
    areas: Mapping[Area, str] = field(default_factory=dict)
    #: The group of the home may read and write it.
    home_shared: bool = False
    cache_max_bytes: int = 10 * GIB
    upload_max_bytes: int = 5 * GIB
    #: None: as `confined.usual_memory` says of this machine.
    reader_max_bytes: int | None = None
    public_url: str | None = None
    #: Whose word on who asks is believed.
    proxies: Proxies = NO_PROXIES
    user: str | None = None
    #: What is accepted where other machines reach this; of `RISKS`.
    accepted_risks: frozenset[str] = frozenset()
    fetch_private: bool = False
    #: How the log is written, and what of it.
    log_form: logs.Form = "people"
    log_level: logs.Level = "info"
    #: Where a worker answers about itself; None: nowhere.
    worker_address: tuple[str, int] | None = None
    #: With it alone are the figures of a process read; None: by whoever reaches it without a proxy, from near.
    metrics_token: Secret | None = None
    #: A collector of traces (OTLP over HTTP); None: nothing is followed.
    traces: str | None = None
    #: Keys of secrets, and of whom a second factor is asked.
    accounts: AccountsSettings = field(default_factory=AccountsSettings)
    #: Addresses below which every member may import.
    import_from: tuple[str, ...] = ()
    #: What applications have read of the environment, by its type; see `of`.
    sections: Mapping[type, Any] = field(default_factory=dict)
    detected: tuple[Detected, ...] = ()

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, *, home: Path | None = None
    ) -> Settings:
        """Decide every setting from `environ` (default: the process's own).

        Raises:
            SettingsError: a value cannot be read, is missing, or contradicts another.
        """
        env = {k: v.strip() for k, v in (os.environ if environ is None else environ).items() if v.strip()}
        folder, home_reason = _read_home(env, home)
        store, store_reason = read_store_url(env, folder)
        database, database_reason = read_database_url(env, folder)
        jobs, jobs_reason = read_jobs_url(env, folder, database)
        documents, documents_reason = read_documents(env, database)
        access, areas = read_access(env), read_areas(env)
        detected = [
            Detected("home", str(folder), home_reason),
            Detected("store", store, store_reason),
            *(Detected(area, url, reason) for area, (url, reason) in areas.items()),
            Detected("database", without_password(database), database_reason),
            Detected("jobs", without_password(jobs), jobs_reason),
            Detected("documents", documents.place, documents_reason),
        ]
        proxies, named = _read_proxies(env)
        if named:
            detected.append(Detected("proxies", str(proxies), named))
        detected += _detect_schemes([store, *(url for url, _ in areas.values())], access, env)
        accounts = read_accounts(env, folder, database)
        detected += detect_providers(accounts.providers)
        if import_from := read_places(env, "ECLUSE_IMPORT_FROM"):
            detected.append(Detected("imports", ", ".join(import_from), "ECLUSE_IMPORT_FROM"))
        return cls(
            home=folder,
            store_url=store,
            database_url=Secret(database),
            jobs_url=Secret(jobs),
            documents=documents,
            access=access,
            areas={area: url for area, (url, _) in areas.items()},
            home_shared=flag(env, "ECLUSE_HOME_SHARED", default=False) is True,
            cache_max_bytes=number_of_bytes(env, "ECLUSE_CACHE_MAX_BYTES", 10 * GIB),
            upload_max_bytes=number_of_bytes(env, "ECLUSE_UPLOAD_MAX_BYTES", 5 * GIB),
            reader_max_bytes=number_of_bytes(env, "ECLUSE_READER_MAX_BYTES", 0) or None,
            public_url=_read_public_url(env),
            proxies=proxies,
            user=env.get("ECLUSE_USER"),
            accepted_risks=_read_risks(env),
            fetch_private=flag(env, "ECLUSE_FETCH_PRIVATE", default=False) is True,
            log_form=one_of(env, "ECLUSE_LOG", logs.FORMS, "people"),
            log_level=one_of(env, "ECLUSE_LOG_LEVEL", logs.LEVELS, "info"),
            worker_address=listening_address(env, "ECLUSE_WORKER_ADDRESS"),
            metrics_token=_read_metrics_token(env),
            traces=_read_traces(env),
            accounts=accounts,
            import_from=import_from,
            sections=read_sections(env),
            detected=tuple(detected),
        )

    @property
    def is_https(self) -> bool:
        """Return whether the address that people use is one of https."""
        return bool(self.public_url and self.public_url.startswith("https:"))

    def of(self, kind: type[S]) -> S:
        """Return what an application has read of the environment: `settings.of(MySettings)`."""
        section: S = self.sections.get(kind) or kind()
        return section

    def having(self, *values: object) -> Settings:
        """Return the same settings with these in place of what applications have read."""
        return replace(self, sections={**self.sections, **{type(value): value for value in values}})

    def area_url(self, area: Area) -> str | None:
        """Return the store of an area; None for raw data that lies in `raw/` of the data's store."""
        if area in self.areas:
            return self.areas[area]
        return None if area == "raw" else self.store_url

    def local_places(self) -> dict[str, Path]:
        """Return what is written to disks of this machine, and the folder or file, whether it is there or not.

        Raw data with a store of its own may lie where it is only read.
        """
        stores = {area: self.area_url(area) or "" for area in AREAS if area != "raw"}
        databases = {"catalog": self.database_url, "jobs": self.jobs_url, "documents": self.documents.sql_url}
        return {
            "home": self.home,
            **{name: file for name, url in databases.items() if (file := sqlite_file(url)) is not None},
            **{area: folder for area, url in stores.items() if (folder := local_folder(url)) is not None},
            "scratch": self.home / "scratch",
            "cache": self.home / "cache",
            "temporary files": Path(tempfile.gettempdir()),
        }


def _detect_schemes(urls: Iterable[str], access: Access, env: Mapping[str, str]) -> Iterator[Detected]:
    """Say what was read for the schemes of these addresses, once for each."""
    used = {scheme.name: scheme for url in urls if (scheme := scheme_of(url)) is not None}
    for scheme in used.values():
        yield from scheme.detect(access, env)


def _read_home(env: Mapping[str, str], home: Path | None) -> tuple[Path, str]:
    if home is not None:
        return folder_at("--home", home), "--home"
    if "ECLUSE_HOME" in env:
        return folder_at("ECLUSE_HOME", Path(env["ECLUSE_HOME"])), "ECLUSE_HOME"
    return Path(".ecluse").absolute(), _("default: .ecluse in the current folder")


def _read_metrics_token(env: Mapping[str, str]) -> Secret | None:
    token = env.get("ECLUSE_METRICS_TOKEN")
    if token is None:
        return None
    if len(token) < _SHORTEST_TOKEN or not fits_a_header(token):
        raise SettingsError(
            f"ECLUSE_METRICS_TOKEN must be {_SHORTEST_TOKEN} visible ASCII characters or more, such as what this "
            "prints: openssl rand -hex 32"
        )
    return Secret(token)


def _read_traces(env: Mapping[str, str]) -> str | None:
    name = "OTEL_EXPORTER_OTLP_ENDPOINT"
    return web_address(name, env[name]) if name in env else None


def _read_public_url(env: Mapping[str, str]) -> str | None:
    url = env.get("ECLUSE_PUBLIC_URL")
    return None if url is None else web_address("ECLUSE_PUBLIC_URL", url).rstrip("/")


def _read_risks(env: Mapping[str, str]) -> frozenset[str]:
    names = frozenset(name for name in map(str.strip, env.get("ECLUSE_ACCEPT_RISKS", "").split(",")) if name)
    if unknown := sorted(names - set(RISKS)):
        raise SettingsError(
            f"ECLUSE_ACCEPT_RISKS={unknown[0]} is no risk. Write one or more of these, with commas between them: "
            f"{', '.join(RISKS)}."
        )
    return names


def _read_proxies(env: Mapping[str, str]) -> tuple[Proxies, str]:
    """Return the trusted proxies, and the variable that names them."""
    written, name = first_set(env, ("ECLUSE_TRUSTED_PROXIES", "FORWARDED_ALLOW_IPS"))
    if written is None:
        return Proxies(), ""
    try:
        return Proxies.parse(written), name
    except ValueError as error:
        raise SettingsError(
            f"{name}={written} names no addresses: {error}. Write addresses or networks with commas between them, such "
            "as 127.0.0.1,10.0.0.0/8; or * where only a proxy can reach the port."
        ) from None

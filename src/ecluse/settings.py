"""Read the environment once, at the edge, into a frozen `Settings` that says where each value came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from ecluse.errors import SettingsError

GIB: Final = 1024**3

#: Every environment variable Écluse reads, with what it does. `docs/reference/settings.md` is made from it.
VARIABLES: Final[dict[str, str]] = {
    "ECLUSE_HOME": "Folder of everything local: databases, the local store, the cache. Default: .ecluse",
    "ECLUSE_STORE_URL": "Object store: file:///folder, memory://, s3://bucket/prefix. Default: file://{home}/store",
    "DATABASE_URL": "Catalog: sqlite:///file or postgresql+psycopg://… Default: sqlite:///{home}/catalog.db",
    "ECLUSE_JOBS_URL": "Database of the job engine. Default: DATABASE_URL on PostgreSQL, else {home}/jobs.db",
    "STORAGE_TYPE": "local or s3; used when ECLUSE_STORE_URL is not set",
    "USE_S3": "true or false; the same choice under the name older applications use",
    "AWS_S3_BUCKET": "Bucket for s3 when ECLUSE_STORE_URL is not set",
    "S3_MODEL_BUCKET": "The same, under another common name",
    "S3_ENDPOINT": "Endpoint of an S3-compatible store, such as http://127.0.0.1:8333",
    "AWS_ENDPOINT_URL": "The same, under the name the AWS tools use",
    "S3_ACCESS_KEY": "Access key of that store",
    "S3_SECRET_KEY": "Secret key of that store",
    "AWS_ACCESS_KEY_ID": "Access key; S3_ACCESS_KEY wins when both are set",
    "AWS_SECRET_ACCESS_KEY": "Secret key; S3_SECRET_KEY wins when both are set",
    "AWS_SESSION_TOKEN": "Session token of temporary AWS credentials",
    "AWS_REGION": "Region. Default: us-east-1",
    "AWS_DEFAULT_REGION": "The same, under its older name; AWS_REGION wins",
    "ECLUSE_CACHE_MAX_BYTES": "Bound of the local cache of models, in bytes. Default: 10 GiB",
    "ECLUSE_UPLOAD_MAX_BYTES": "Largest accepted upload, in bytes. Default: 5 GiB, what S3 copies at once",
    "ECLUSE_PUBLIC_URL": "Address people use when a proxy stands in front, such as https://ecluse.example.org",
    "ECLUSE_USER": "E-mail address the commands act for. Default: the first administrator",
    "ECLUSE_TRACE": "Set to 1: a command stopped by a fault of ours shows where",
    "ECLUSE_OPEN_SIGN_UP": "true: anyone who reaches the page may make an account. Default: true",
}

StoreKind = Literal["file", "memory", "s3"]


class Secret(str):
    """A string that never shows itself in a representation, a log line or a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('…')"


@dataclass(frozen=True)
class Detected:
    """One setting as it was decided: its value fit to be shown, and the reason."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class S3Settings:
    """How to reach an S3-compatible store. Without keys: the ambient AWS credentials."""

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = field(default=None, repr=False)
    secret_key: Secret | None = field(default=None, repr=False)
    session_token: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Settings:
    """Everything a process needs to know, decided once."""

    home: Path
    store_url: str
    database_url: Secret
    jobs_url: Secret
    s3: S3Settings = S3Settings()
    cache_max_bytes: int = 10 * GIB
    upload_max_bytes: int = 5 * GIB
    public_url: str | None = None
    user: str | None = None
    open_sign_up: bool = True
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
        folder, home_reason = _home(env, home)
        store, store_reason = _store_url(env, folder)
        database, database_reason = _database_url(env, folder)
        jobs, jobs_reason = _jobs_url(env, folder, database)
        s3 = _s3(env)
        detected = [
            Detected("home", str(folder), home_reason),
            Detected("store", store, store_reason),
            Detected("database", without_password(database), database_reason),
            Detected("jobs", without_password(jobs), jobs_reason),
        ]
        if store.startswith("s3:"):
            detected += _describe_s3(env, s3)
        return cls(
            home=folder,
            store_url=store,
            database_url=Secret(database),
            jobs_url=Secret(jobs),
            s3=s3,
            cache_max_bytes=_bytes(env, "ECLUSE_CACHE_MAX_BYTES", 10 * GIB),
            upload_max_bytes=_bytes(env, "ECLUSE_UPLOAD_MAX_BYTES", 5 * GIB),
            public_url=_public_url(env),
            user=env.get("ECLUSE_USER"),
            open_sign_up=_flag(env, "ECLUSE_OPEN_SIGN_UP", default=True) is not False,
            detected=tuple(detected),
        )

    @property
    def store_kind(self) -> StoreKind:
        scheme = self.store_url.split(":", 1)[0]
        return "s3" if scheme == "s3" else "memory" if scheme == "memory" else "file"


def without_password(url: str) -> str:
    """The URL as it may be shown: a password becomes three dots."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{parts.username}:…@{host}{port}").geturl()


def _home(env: Mapping[str, str], home: Path | None) -> tuple[Path, str]:
    if home is not None:
        return home.expanduser().absolute(), "--home"
    if "ECLUSE_HOME" in env:
        return Path(env["ECLUSE_HOME"]).expanduser().absolute(), "ECLUSE_HOME"
    return Path(".ecluse").absolute(), "default: .ecluse in the current folder"


def _store_url(env: Mapping[str, str], home: Path) -> tuple[str, str]:
    if "ECLUSE_STORE_URL" in env:
        return _checked_store_url(env["ECLUSE_STORE_URL"]), "ECLUSE_STORE_URL"
    local = f"file://{quote(str(home / 'store'))}"
    choice, reason = _wants_s3(env)
    bucket = env.get("AWS_S3_BUCKET") or env.get("S3_MODEL_BUCKET")
    if choice is False:
        return local, reason
    if bucket is None:
        if choice:
            raise SettingsError(
                f"{reason} asks for S3, but no bucket is named. Set AWS_S3_BUCKET or S3_MODEL_BUCKET, or "
                "ECLUSE_STORE_URL=s3://bucket/prefix."
            )
        return local, "default: no store is configured"
    named = "AWS_S3_BUCKET" if "AWS_S3_BUCKET" in env else "S3_MODEL_BUCKET"
    return _checked_store_url(f"s3://{bucket}"), f"{reason} and {named}" if choice else f"{named} is set"


def _wants_s3(env: Mapping[str, str]) -> tuple[bool | None, str]:
    """What STORAGE_TYPE and USE_S3 say together: S3, local, or nothing."""
    kinds = {"s3": True, "local": False, "file": False}
    kind = env.get("STORAGE_TYPE", "").lower()
    if kind and kind not in kinds:
        raise SettingsError(
            f"STORAGE_TYPE={kind} is not known; use local or s3, or ECLUSE_STORE_URL with a full address."
        )
    by_kind, by_flag = kinds.get(kind), _flag(env, "USE_S3", default=None)
    if by_kind is not None and by_flag is not None and by_kind != by_flag:
        raise SettingsError(
            f"STORAGE_TYPE={kind} and USE_S3={env['USE_S3']} contradict each other. Unset one of them."
        )
    if by_kind is not None:
        return by_kind, f"STORAGE_TYPE={kind}"
    return by_flag, f"USE_S3={env.get('USE_S3', '')}"


def _checked_store_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("file", "memory", "s3"):
        raise SettingsError(
            f"Store address {url!r} is not known; use file:///folder, memory:// or s3://bucket/prefix."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError(
            "A store address carries no keys and no query. Put keys into AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (or S3_ACCESS_KEY and S3_SECRET_KEY)."
        )
    if parts.scheme == "s3" and not parts.netloc:
        raise SettingsError(f"Store address {url!r} names no bucket; use s3://bucket/prefix.")
    if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise SettingsError(f"Store address {url!r} is not an absolute folder; use file:///folder.")
    return url.rstrip("/") if parts.scheme != "memory" else "memory://"


def _database_url(env: Mapping[str, str], home: Path) -> tuple[str, str]:
    if "DATABASE_URL" in env:
        return _with_driver(env["DATABASE_URL"]), "DATABASE_URL"
    return f"sqlite:///{home / 'catalog.db'}", "default: no database is configured"


def _jobs_url(env: Mapping[str, str], home: Path, database: str) -> tuple[str, str]:
    if "ECLUSE_JOBS_URL" in env:
        return _with_driver(env["ECLUSE_JOBS_URL"]), "ECLUSE_JOBS_URL"
    if database.startswith("postgresql"):
        return database, "the same PostgreSQL as the catalog"
    return f"sqlite:///{home / 'jobs.db'}", "default: a file of its own"


def _with_driver(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    if scheme == "sqlite" and rest:
        return url
    raise SettingsError(
        f"Database address with scheme {scheme!r} is not known; use sqlite:///file or postgresql+psycopg://user@host/name."
    )


def _s3(env: Mapping[str, str]) -> S3Settings:
    access, secret = _key_pair(env)
    endpoint = env.get("S3_ENDPOINT") or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
        raise SettingsError(f"S3_ENDPOINT={endpoint} is not an address; it starts with http:// or https://.")
    token = env.get("AWS_SESSION_TOKEN")
    return S3Settings(
        endpoint=endpoint,
        region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1",
        access_key=access,
        secret_key=None if secret is None else Secret(secret),
        session_token=None if token is None else Secret(token),
    )


def _key_pair(env: Mapping[str, str]) -> tuple[str | None, str | None]:
    for access, secret in (
        ("S3_ACCESS_KEY", "S3_SECRET_KEY"),
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ):
        if (access in env) != (secret in env):
            present, missing = (access, secret) if access in env else (secret, access)
            raise SettingsError(f"{present} is set but {missing} is not. Set both, or neither.")
        if access in env:
            return env[access], env[secret]
    return None, None


def _describe_s3(env: Mapping[str, str], s3: S3Settings) -> list[Detected]:
    keys = "S3_ACCESS_KEY" if "S3_ACCESS_KEY" in env else "AWS_ACCESS_KEY_ID"
    shown = "ambient credentials" if s3.access_key is None else f"{s3.access_key[:4]}…"
    return [
        Detected("endpoint", s3.endpoint or "AWS", "S3_ENDPOINT" if s3.endpoint else "default"),
        Detected(
            "region", s3.region, "AWS_REGION" if "AWS_REGION" in env else "AWS_DEFAULT_REGION or default"
        ),
        Detected("keys", shown, "no keys are set" if s3.access_key is None else keys),
    ]


def _public_url(env: Mapping[str, str]) -> str | None:
    url = env.get("ECLUSE_PUBLIC_URL")
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
        raise SettingsError(f"ECLUSE_PUBLIC_URL={url} is not an address such as https://ecluse.example.org.")
    return None if url is None else url.rstrip("/")


def _flag(env: Mapping[str, str], name: str, *, default: bool | None) -> bool | None:
    value = env.get(name)
    if value is None:
        return default
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off"):
        return False
    raise SettingsError(f"{name}={value} is neither true nor false.")


def _bytes(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name)
    if value is None:
        return default
    if not value.isdigit() or int(value) < 1:
        raise SettingsError(f"{name}={value} is not a number of bytes, such as {default}.")
    return int(value)

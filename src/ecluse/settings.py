"""Read the environment once, at the edge, into a frozen `Settings` that says where each value came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from ecluse.errors import SettingsError

GIB: Final = 1024**3
#: The most S3 copies at once, and so the most an upload may be there: it is copied into place when complete.
S3_COPY_MAX_BYTES: Final = 5 * GIB

#: Every environment variable Écluse reads, with what it does. `docs/reference/settings.md` is made from it.
VARIABLES: Final[dict[str, str]] = {
    "ECLUSE_HOME": "Folder of everything local: databases, the local store, the cache. Default: .ecluse",
    "ECLUSE_STORE_URL": "Object store: file:///folder, memory:// or s3://bucket/prefix. Default: file://{home}/store",
    "DATABASE_URL": "Catalog: sqlite:///file or postgresql+psycopg://… Default: sqlite:///{home}/catalog.db",
    "ECLUSE_JOBS_URL": "Database of the job engine. Default: DATABASE_URL on PostgreSQL, else {home}/jobs.db",
    "STORAGE_TYPE": "local or s3; used when ECLUSE_STORE_URL is not set",
    "USE_S3": "true or false; the same choice under the name older applications use",
    "AWS_S3_BUCKET": "Bucket for s3 when ECLUSE_STORE_URL is not set",
    "S3_MODEL_BUCKET": "The same, under another common name",
    "S3_ENDPOINT": "Endpoint of an S3-compatible store, such as http://127.0.0.1:8333",
    "AWS_ENDPOINT_URL_S3": "The same, under the name the AWS tools use; S3_ENDPOINT wins",
    "AWS_ENDPOINT_URL": "The same for every AWS service; the two above win",
    "S3_ACCESS_KEY": "Access key of that store",
    "S3_SECRET_KEY": "Secret key of that store",
    "AWS_ACCESS_KEY_ID": "Access key; S3_ACCESS_KEY wins when both are set",
    "AWS_SECRET_ACCESS_KEY": "Secret key; S3_SECRET_KEY wins when both are set",
    "AWS_SESSION_TOKEN": "Session token that belongs to AWS_ACCESS_KEY_ID; not sent with S3_ACCESS_KEY",
    "AWS_REGION": "Region. Default: us-east-1",
    "AWS_DEFAULT_REGION": "The same, under its older name; AWS_REGION wins",
    "ECLUSE_CACHE_MAX_BYTES": "Bound of the local cache of models, in bytes. Default: 10 GiB",
    "ECLUSE_UPLOAD_MAX_BYTES": "Largest accepted upload, in bytes; on S3 at most 5 GiB. Default: 5 GiB",
    "ECLUSE_PUBLIC_URL": "Address people use when a proxy stands in front, such as https://ecluse.example.org",
    "ECLUSE_USER": "E-mail address the commands act for. Default: the first administrator",
    "ECLUSE_TRACE": "1, true, yes or on: a command stopped by a fault of ours shows where. Default: off",
    "ECLUSE_OPEN_SIGN_UP": "true: anyone who reaches the page may make an account. Default: true",
}

_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("0", "false", "no", "off")


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
            upload_max_bytes=_upload_max_bytes(env, store),
            public_url=_public_url(env),
            user=env.get("ECLUSE_USER"),
            open_sign_up=_flag(env, "ECLUSE_OPEN_SIGN_UP", default=True) is not False,
            detected=tuple(detected),
        )


def shows_traces(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a fault of ours is to be shown with its traceback (`ECLUSE_TRACE`)."""
    env = os.environ if environ is None else environ
    return env.get("ECLUSE_TRACE", "").strip().lower() in _TRUE


def without_password(url: str) -> str:
    """The address as it may be shown: its password becomes three dots."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    _, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{parts.username}:…@{host}").geturl()


def _split(name: str, url: str) -> SplitResult:
    """The parts of the address in the variable `name`; the message never shows it, for it may hold a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise SettingsError(
            f"{name} cannot be read as an address: its host or port is malformed. In a password, write "
            "[ as %5B, ] as %5D, / as %2F, : as %3A and @ as %40."
        ) from None
    return parts


def _home(env: Mapping[str, str], home: Path | None) -> tuple[Path, str]:
    if home is not None:
        return _folder("--home", home), "--home"
    if "ECLUSE_HOME" in env:
        return _folder("ECLUSE_HOME", Path(env["ECLUSE_HOME"])), "ECLUSE_HOME"
    return Path(".ecluse").absolute(), "default: .ecluse in the current folder"


def _folder(name: str, path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise SettingsError(
            f"{name}={path} names the home folder of a person who is not known here."
        ) from None


def _store_url(env: Mapping[str, str], home: Path) -> tuple[str, str]:
    if "ECLUSE_STORE_URL" in env:
        return _checked_store_url("ECLUSE_STORE_URL", env["ECLUSE_STORE_URL"]), "ECLUSE_STORE_URL"
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
    return _checked_store_url(
        named, f"s3://{bucket}"
    ), f"{reason} and {named}" if choice else f"{named} is set"


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


def _checked_store_url(name: str, url: str) -> str:
    """What holds for a store of any scheme; the rest is checked where the store is opened."""
    parts = _split(name, url)
    scheme, divider, place = url.partition("://")
    keys = "@" in (parts.netloc if divider else url)
    if keys or parts.query or parts.fragment:
        raise SettingsError(
            f"{name}: a store address carries no keys and no query. Put keys into AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (or S3_ACCESS_KEY and S3_SECRET_KEY)."
        )
    if not scheme or not divider:
        raise SettingsError(
            f"{name}={url} is not a store address such as file:///folder or s3://bucket/prefix."
        )
    return f"{scheme.lower()}://{place.rstrip('/') or place[:1]}"


def _database_url(env: Mapping[str, str], home: Path) -> tuple[str, str]:
    if "DATABASE_URL" in env:
        return _with_driver("DATABASE_URL", env["DATABASE_URL"]), "DATABASE_URL"
    return f"sqlite:///{home / 'catalog.db'}", "default: no database is configured"


def _jobs_url(env: Mapping[str, str], home: Path, database: str) -> tuple[str, str]:
    if "ECLUSE_JOBS_URL" in env:
        return _with_driver("ECLUSE_JOBS_URL", env["ECLUSE_JOBS_URL"]), "ECLUSE_JOBS_URL"
    if database.startswith("postgresql"):
        return database, "the same PostgreSQL as the catalog"
    return f"sqlite:///{home / 'jobs.db'}", "default: a file of its own"


def _with_driver(name: str, url: str) -> str:
    parts = _split(name, url)
    _, _, rest = url.partition("://")
    if parts.scheme in ("postgres", "postgresql", "postgresql+psycopg") and rest:
        if rest.count("@") > parts.netloc.count("@") or parts.netloc.count("@") > 1:
            raise SettingsError(
                f"{name} cannot be read as an address: where the password ends is not clear. In it, write "
                "@ as %40, / as %2F, ? as %3F and # as %23."
            )
        for key, _ in parse_qsl(parts.query):
            if "password" in key:
                raise SettingsError(
                    f"{name} carries {key}= in its query, where messages would show it. Write a password before "
                    "the host, as user:password@host; a key file goes without one."
                )
        return f"postgresql+psycopg://{rest}"
    if parts.scheme == "sqlite" and not parts.netloc and parts.path and rest:
        return f"sqlite://{rest}"
    raise SettingsError(
        f"{name}, with the scheme {parts.scheme!r}, is not known; use sqlite:///file or "
        "postgresql+psycopg://user@host/name."
    )


def _s3(env: Mapping[str, str]) -> S3Settings:
    endpoint, named = _first(env, _ENDPOINTS)
    region, _ = _first(env, _REGIONS)
    access, secret, token = _keys(env)
    return S3Settings(
        endpoint=None if endpoint is None else _web_address(named, endpoint),
        region=region or "us-east-1",
        access_key=access,
        secret_key=secret,
        session_token=token,
    )


_ENDPOINTS: Final = ("S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> tuple[str | None, str]:
    """The value of the first of these variables that is set, and its name; else None and "default"."""
    return next(((env[name], name) for name in names if name in env), (None, "default"))


def _keys(env: Mapping[str, str]) -> tuple[str | None, Secret | None, Secret | None]:
    """Access key, secret key and session token; the token belongs to the AWS pair and goes with no other."""
    for access, secret, token in (
        ("S3_ACCESS_KEY", "S3_SECRET_KEY", None),
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", env.get("AWS_SESSION_TOKEN")),
    ):
        if (access in env) != (secret in env):
            present, missing = (access, secret) if access in env else (secret, access)
            raise SettingsError(f"{present} is set but {missing} is not. Set both, or neither.")
        if access in env:
            return env[access], Secret(env[secret]), None if token is None else Secret(token)
    return None, None, None


def _describe_s3(env: Mapping[str, str], s3: S3Settings) -> list[Detected]:
    keys = "S3_ACCESS_KEY" if "S3_ACCESS_KEY" in env else "AWS_ACCESS_KEY_ID"
    shown = "ambient credentials" if s3.access_key is None else f"{s3.access_key[:4]}…"
    return [
        Detected("endpoint", s3.endpoint or "AWS", _first(env, _ENDPOINTS)[1]),
        Detected("region", s3.region, _first(env, _REGIONS)[1]),
        Detected("keys", shown, "no keys are set" if s3.access_key is None else keys),
    ]


def _public_url(env: Mapping[str, str]) -> str | None:
    url = env.get("ECLUSE_PUBLIC_URL")
    return None if url is None else _web_address("ECLUSE_PUBLIC_URL", url).rstrip("/")


def _web_address(name: str, url: str) -> str:
    parts = _split(name, url)
    if "@" in url:
        raise SettingsError(
            f"{name} carries a user name or a password; an address goes without: https://host:port."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{name}={url} is not an address; it starts with http:// or https://.")
    return url


def _flag(env: Mapping[str, str], name: str, *, default: bool | None) -> bool | None:
    value = env.get(name)
    if value is None:
        return default
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise SettingsError(f"{name}={value} is neither true nor false.")


def _bytes(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name)
    if value is None:
        return default
    # isdigit alone also takes ², and int alone _ and digits of other scripts. Above 18 digits is a slip.
    if not (value.isascii() and value.isdigit() and len(value) <= 18) or int(value) < 1:
        raise SettingsError(f"{name}={value} is not a number of bytes, such as {default}.")
    return int(value)


def _upload_max_bytes(env: Mapping[str, str], store: str) -> int:
    limit = _bytes(env, "ECLUSE_UPLOAD_MAX_BYTES", S3_COPY_MAX_BYTES)
    if store.startswith("s3:") and limit > S3_COPY_MAX_BYTES:
        raise SettingsError(
            f"ECLUSE_UPLOAD_MAX_BYTES={limit} is more than S3 copies at once. Use at most {S3_COPY_MAX_BYTES}."
        )
    return limit

"""Read the environment once, at the edge, into a frozen `Settings` that says where each value came from."""

from __future__ import annotations

import base64
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from ecluse.addresses import NO_PROXIES, Proxies
from ecluse.application import guarded, parts
from ecluse.errors import SettingsError

GIB: Final = 1024**3
S = TypeVar("S")
#: What is stored, by kind; each may have a store of its own. "raw" is what sources deliver, as they deliver it.
Area = Literal["models", "images", "data", "raw"]
AREAS: Final[tuple[Area, ...]] = get_args(Area)
#: What keeps the documents.
DatabaseType = Literal["sql", "mongodb", "dynamodb"]
DATABASE_TYPES: Final[tuple[DatabaseType, ...]] = get_args(DatabaseType)

#: Every environment variable that the core reads, with what it does. `docs/reference/settings.md` is made from
#: `variables`: these and those of the applications.
VARIABLES: Final[dict[str, str]] = {
    "ECLUSE_HOME": "Folder of everything local: databases, the local store, the cache. Default: .ecluse",
    "ECLUSE_HOME_SHARED": "true: the group of that folder may read and write it. Default: false, and one that others "
    "can read is narrowed to its owner",
    "ECLUSE_STORE_URL": "Object store: file:///folder, memory://, s3://bucket/prefix, gs://bucket or az://container. "
    "Default: file://{home}/store",
    "ECLUSE_MODELS_URL": "Store of the models. Default: ECLUSE_STORE_URL",
    "ECLUSE_IMAGES_URL": "Store of the images. Default: ECLUSE_STORE_URL",
    "ECLUSE_DATA_URL": "Store of uploaded tables and results. Default: ECLUSE_STORE_URL",
    "ECLUSE_RAW_URL": "Store or folder of raw data, as sources deliver it. Default: raw/ in the store of the data",
    "DATABASE_URL": "Catalog: sqlite:///file or postgresql+psycopg://… Default: sqlite:///{home}/catalog.db",
    "ECLUSE_JOBS_URL": "Where an older Écluse kept its jobs, taken over once. Default: as it was then",
    "DATABASE_TYPE": "Database of the documents: sql (that of the catalog), mongodb or dynamodb. Default: sql",
    "USE_DYNAMODB": "true or false; the same choice under the name older applications use",
    "MONGODB_URL": "MongoDB of the documents, such as mongodb://user:password@host/?replicaSet=rs0",
    "MONGODB_DATABASE": "Database in it. Default: that of the address, else ecluse",
    "DYNAMODB_METRICS_TABLE": "DynamoDB table of the documents that are no reports. Default: ecluse_metrics",
    "DYNAMODB_REPORTS_TABLE": "DynamoDB table of the reports. Default: ecluse_reports",
    "DYNAMODB_ENDPOINT": "Endpoint of a DynamoDB that is not that of AWS, such as http://127.0.0.1:8000",
    "AWS_ENDPOINT_URL_DYNAMODB": "The same, under the name the AWS tools use; DYNAMODB_ENDPOINT wins",
    "AWS_EXECUTION_ENV": "Set by AWS where it runs a function or a container. Then, unless other variables choose: "
    "stores on S3, in the buckets named, and documents in DynamoDB",
    "STORAGE_TYPE": "local or s3; used when ECLUSE_STORE_URL is not set",
    "USE_S3": "true or false; the same choice under the name older applications use",
    "AWS_S3_BUCKET": "Bucket for s3 when ECLUSE_STORE_URL is not set",
    "S3_MODEL_BUCKET": "The same, under another common name",
    "S3_BUCKET_MODELS": "Bucket of the models, when ECLUSE_MODELS_URL is not set",
    "S3_BUCKET_IMAGES": "Bucket of the images, when ECLUSE_IMAGES_URL is not set",
    "S3_BUCKET_DATA": "Bucket of the data, when ECLUSE_DATA_URL is not set",
    "S3_RAW_BUCKET": "Bucket of the raw data, when ECLUSE_RAW_URL is not set",
    "S3_RAW_PREFIX": "Prefix in S3_RAW_BUCKET",
    "S3_ENDPOINT": "Endpoint of an S3-compatible store, such as http://127.0.0.1:8333",
    "AWS_ENDPOINT_URL_S3": "The same, under the name the AWS tools use; S3_ENDPOINT wins",
    "AWS_ENDPOINT_URL": "The same for every AWS service; the two above win",
    "S3_ACCESS_KEY": "Access key of that store",
    "S3_SECRET_KEY": "Secret key of that store",
    "AWS_ACCESS_KEY_ID": "Access key; S3_ACCESS_KEY wins when both are set",
    "AWS_SECRET_ACCESS_KEY": "Secret key; S3_SECRET_KEY wins when both are set",
    "AWS_SESSION_TOKEN": "Session token that belongs to AWS_ACCESS_KEY_ID; not sent with S3_ACCESS_KEY",
    "S3_ANONYMOUS": "true: requests are not signed, for public buckets. Default: false",
    "ECLUSE_OTHER_S3_BUCKETS": "Buckets, separated by commas, that live at ECLUSE_OTHER_S3_ENDPOINT: for migrations",
    "ECLUSE_OTHER_S3_ENDPOINT": "Endpoint of a second S3-compatible store. Default: AWS",
    "ECLUSE_OTHER_S3_ACCESS_KEY": "Access key of that second store",
    "ECLUSE_OTHER_S3_SECRET_KEY": "Secret key of that second store",
    "ECLUSE_OTHER_S3_REGION": "Region of that second store. Default: us-east-1",
    "AZURE_STORAGE_ACCOUNT": "Storage account for az://container",
    "AZURE_STORAGE_KEY": "Key of that account. Default: the ambient identity",
    "AZURE_STORAGE_ENDPOINT": "Endpoint of the blob service, such as http://127.0.0.1:10000/devstoreaccount1",
    "GOOGLE_APPLICATION_CREDENTIALS": "File with the key of a service account for gs://bucket. Default: ambient",
    "AWS_REGION": "Region. Default: us-east-1",
    "AWS_DEFAULT_REGION": "The same, under its older name; AWS_REGION wins",
    "ECLUSE_CACHE_MAX_BYTES": "Bound of the local cache of models, in bytes. Default: 10 GiB",
    "ECLUSE_UPLOAD_MAX_BYTES": "Largest accepted upload, in bytes. Default: 5 GiB",
    "ECLUSE_READER_MAX_BYTES": "Memory that reading one uploaded file may take, in bytes; a file that needs more is "
    "refused. Default: half of the memory of the machine or container, 1 GiB at least, 8 GiB at most",
    "ECLUSE_PUBLIC_URL": "Address people use when a proxy stands in front, such as https://ecluse.example.org",
    "ECLUSE_TRUSTED_PROXIES": "Addresses and networks, separated by commas, of the proxies in front, whose "
    "X-Forwarded-For and X-Forwarded-Proto are believed, such as 127.0.0.1 or 10.0.0.0/8; * where only a proxy can "
    "reach the port. Default: none",
    "FORWARDED_ALLOW_IPS": "The same, under the name uvicorn uses; ECLUSE_TRUSTED_PROXIES wins",
    "ECLUSE_FETCH_PRIVATE": "true: lists of images may name addresses of this machine and of private networks. "
    "Default: false",
    "ECLUSE_IMPORT_FROM": "Stores and folders, separated by commas, that every member may import images from, such as "
    "s3://photos/public,file:///srv/photos. Default: none; members import what they upload and what is theirs",
    "ECLUSE_USER": "E-mail address the commands act for. Default: the first administrator",
    "ECLUSE_TRACE": "1, true, yes or on: a command stopped by a fault of ours shows where. Default: off",
    "ECLUSE_OPEN_SIGN_UP": "true: anyone who reaches the page may make an account; false: nobody by the page. Default: "
    "true for pages that this machine alone reaches; for others the first account alone, with a secret that the "
    "terminal printed",
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
    anonymous: bool = False


@dataclass(frozen=True)
class AzureSettings:
    """How to reach Azure Blob Storage. Without a key: the ambient identity."""

    account: str | None = None
    key: Secret | None = field(default=None, repr=False)
    endpoint: str | None = None


@dataclass(frozen=True)
class GoogleSettings:
    """How to reach Google Cloud Storage. Without a key file: the ambient identity."""

    credentials_file: str | None = None


@dataclass(frozen=True)
class Access:
    """How to reach the stores of every scheme. `other` is a second S3 store, for `other_buckets` alone."""

    s3: S3Settings = S3Settings()
    azure: AzureSettings = AzureSettings()
    google: GoogleSettings = GoogleSettings()
    other: S3Settings | None = None
    other_buckets: frozenset[str] = frozenset()

    def to_bucket(self, bucket: str) -> S3Settings:
        """Return how to reach one S3 bucket."""
        return self.other if self.other is not None and bucket in self.other_buckets else self.s3


@dataclass(frozen=True)
class MongoDBSettings:
    """How to reach MongoDB. `hosts`: the address as it may be shown."""

    url: Secret | None = field(default=None, repr=False)
    database: str = "ecluse"

    @property
    def hosts(self) -> str:
        """Scheme and hosts: no name, no password and no option."""
        scheme, _, rest = (self.url or "mongodb://").partition("://")
        return f"{scheme}://{re.split('[/?]', rest)[0].rpartition('@')[2]}"


@dataclass(frozen=True)
class DynamoDBSettings:
    """How to reach DynamoDB, and its tables. Without keys: the ambient AWS credentials."""

    metrics_table: str = "ecluse_metrics"
    reports_table: str = "ecluse_reports"
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = field(default=None, repr=False)
    secret_key: Secret | None = field(default=None, repr=False)
    session_token: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DocumentsSettings:
    """Which database keeps the documents, and how to reach each of them."""

    sql_url: Secret
    database: DatabaseType = "sql"
    mongodb: MongoDBSettings = MongoDBSettings()
    dynamodb: DynamoDBSettings = DynamoDBSettings()

    @property
    def place(self) -> str:
        """Where the documents are, as it may be shown; an address that `ecluse documents copy` takes."""
        match self.database:
            case "sql":
                return without_password(self.sql_url)
            case "mongodb":
                return f"{self.mongodb.hosts}/{self.mongodb.database}"
            case "dynamodb":
                tables = self.dynamodb
                return f"dynamodb://{tables.region}/{tables.metrics_table},{tables.reports_table}"

    def at(self, name: str, place: str) -> DocumentsSettings:
        """Return the same for another place: sql, mongodb or dynamodb as configured, or an address; `name` is who gave
        it.

        Raises:
            SettingsError: this is no such place.
        """
        if place in DATABASE_TYPES:
            return _configured(replace(self, database=place))
        if place.startswith(("mongodb:", "mongodb+srv:")):
            url = _mongodb_url(name, place)
            database = _mongodb_database(name, url, None)
            return replace(self, database="mongodb", mongodb=MongoDBSettings(Secret(url), database))
        if place.startswith("dynamodb:"):
            return replace(self, database="dynamodb", dynamodb=_dynamodb_at(name, place, self.dynamodb))
        if "://" not in place:
            raise SettingsError(
                f"{name}: {place!r} is no database of documents. Write sql, mongodb or dynamodb, or an address: "
                "sqlite:///file, postgresql://host/name, mongodb://host/name or dynamodb://region/metrics,reports."
            )
        return replace(self, database="sql", sql_url=Secret(_with_driver(name, place)))


@dataclass(frozen=True)
class Section:
    """What an application reads of the environment: its variables with what each does, and the value made of them.

    `kind()` is the value where nothing is set. `read` is given the variables that are set, without blanks around them;
    it raises SettingsError for one that cannot be used.
    """

    kind: type
    variables: Mapping[str, str]
    read: Callable[[Mapping[str, str]], Any]


def sections() -> list[Section]:
    """Return the sections of the applications that are installed."""
    return [section for _, section in parts("settings")]


def variables() -> dict[str, str]:
    """Return every environment variable that is read, those of the applications last, with what it does."""
    every = dict(VARIABLES)
    for section in sections():
        for name, text in section.variables.items():
            every.setdefault(name, text)
    return every


def _read_sections(env: Mapping[str, str]) -> dict[type, Any]:
    """Read what each application takes from the environment; what fails counts as not set."""
    values = {}
    for application, section in parts("settings"):
        with guarded(application, "settings", passing=(SettingsError,)):
            values[section.kind] = section.read(env)
    return values


@dataclass(frozen=True)
class Settings:
    """Everything a process needs to know, decided once."""

    home: Path
    store_url: str
    database_url: Secret
    jobs_url: Secret
    documents: DocumentsSettings
    access: Access = Access()
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
    #: None: what the pages are reached by decides.
    open_sign_up: bool | None = None
    fetch_private: bool = False
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
        folder, home_reason = _home(env, home)
        store, store_reason = _store_url(env, folder)
        database, database_reason = _database_url(env, folder)
        jobs, jobs_reason = _jobs_url(env, folder, database)
        documents, documents_reason = _documents(env, database)
        access, areas = _access(env), _areas(env)
        detected = [
            Detected("home", str(folder), home_reason),
            Detected("store", store, store_reason),
            *(Detected(area, url, reason) for area, (url, reason) in areas.items()),
            Detected("database", without_password(database), database_reason),
            Detected("jobs", without_password(jobs), jobs_reason),
            Detected("documents", documents.place, documents_reason),
        ]
        proxies, named = _proxies(env)
        if named:
            detected.append(Detected("proxies", str(proxies), named))
        urls = [store, *(url for url, _ in areas.values())]
        if any(url.startswith("s3:") for url in urls):
            detected += _describe_s3(env, access.s3)
        if import_from := _places(env, "ECLUSE_IMPORT_FROM"):
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
            cache_max_bytes=_bytes(env, "ECLUSE_CACHE_MAX_BYTES", 10 * GIB),
            upload_max_bytes=_bytes(env, "ECLUSE_UPLOAD_MAX_BYTES", 5 * GIB),
            reader_max_bytes=_bytes(env, "ECLUSE_READER_MAX_BYTES", 0) or None,
            public_url=_public_url(env),
            proxies=proxies,
            user=env.get("ECLUSE_USER"),
            open_sign_up=flag(env, "ECLUSE_OPEN_SIGN_UP", default=None),
            fetch_private=flag(env, "ECLUSE_FETCH_PRIVATE", default=False) is True,
            import_from=import_from,
            sections=_read_sections(env),
            detected=tuple(detected),
        )

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
            **{name: file for name, url in databases.items() if (file := _sqlite_file(url)) is not None},
            **{
                area: Path(unquote(urlsplit(url).path))
                for area, url in stores.items()
                if url.startswith("file:")
            },
            "scratch": self.home / "scratch",
            "cache": self.home / "cache",
            "temporary files": Path(tempfile.gettempdir()),
        }


def _sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite database; None for any other, and for one in memory."""
    scheme, _, rest = url.partition("://")
    path = rest.partition("?")[0].removeprefix("/")
    is_file = scheme.partition("+")[0] == "sqlite" and path not in ("", ":memory:")
    return Path(path).absolute() if is_file else None


def shows_traces(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether a fault of ours is to be shown with its traceback (`ECLUSE_TRACE`)."""
    env = os.environ if environ is None else environ
    return env.get("ECLUSE_TRACE", "").strip().lower() in _TRUE


def read_variables(path: Path) -> dict[str, str]:
    """Return the variables of a file such as `cloud.env`: NAME=value, one a line, as a shell reads them.

    Raises:
        SettingsError: it cannot be read, or a line sets nothing; no message shows a value.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(
            f"{path} cannot be read: {said}. Name a file with lines such as DATABASE_URL=…"
        ) from None
    variables: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        assignment = line.strip().removeprefix("export ").strip()
        if not assignment or assignment.startswith("#"):
            continue
        name, divider, value = assignment.partition("=")
        try:
            parts = shlex.split(value)
        except ValueError:
            parts = ["", ""]
        if not divider or not _VARIABLE.fullmatch(name) or len(parts) > 1:
            raise SettingsError(
                f"{path}, line {number}, sets no variable. Write NAME=value; a value with blanks stands in quotes."
            )
        variables[name] = parts[0] if parts else ""
    return variables


_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def inherited(names: Iterable[str]) -> dict[str, str]:
    """Return those of these variables that this process has, for a process that it starts and that is to have no
    others.
    """
    return {name: os.environ[name] for name in names if name in os.environ}


def surrounding(*, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the variables of this process but those that begin so, for a process that it starts."""
    return {name: value for name, value in os.environ.items() if not name.startswith(without)}


def replace_variables(variables: Mapping[str, str | None], *, without: tuple[str, ...]) -> None:
    """Set variables for this process and those it starts; None, and all others that begin so, are unset."""
    for name in [name for name in os.environ if name.startswith(without) or name in variables]:
        del os.environ[name]
    os.environ.update({name: value for name, value in variables.items() if value is not None})


def adopt(variables: Mapping[str, str]) -> None:
    """Set variables for this process and those it starts.

    Raises:
        SettingsError: one of them is set to something else; which is meant, only the person can say.
    """
    for name, value in variables.items():
        if (current := os.environ.get(name, "").strip()) and current != value:
            raise SettingsError(
                f"{name} is set in the environment and points elsewhere. Unset it, or leave --servers out."
            )
    os.environ.update(variables)


def store_or_folder(name: str, place: str) -> str:
    """Return the store address of `place`, which may also be the path of a local folder. `name`: who gave it.

    Raises:
        SettingsError: it is no address, is empty, or carries a key.
    """
    if not place.strip():
        raise SettingsError(f"{name} is empty. Name a store or a folder.")
    if "://" in place:
        return _checked_store_url(name, place)
    if _HALF_AN_ADDRESS.match(place):
        raise SettingsError(
            f"{name}={place} is neither the address of a store, such as s3://bucket/prefix, nor the path of a folder. "
            f"If a folder is called so, write ./{place}"
        )
    return f"file://{quote(str(_folder(name, Path(place))))}"


#: A scheme with one slash or none, which no one means as the name of a folder.
_HALF_AN_ADDRESS: Final = re.compile(r"(?:s3|gs|az|file|memory|https?):", re.IGNORECASE)


def without_password(url: str) -> str:
    """Return the address as it may be shown: its password becomes three dots."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    _, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{parts.username}:…@{host}").geturl()


def _split(name: str, url: str) -> SplitResult:
    """Split the address in the variable `name`. Errors never show the address, as it may hold a password."""
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
        areas = _areas(env)
        if choice and not {"models", "images", "data"} <= areas.keys():
            raise SettingsError(
                f"{reason} asks for S3, but no bucket is named. Set AWS_S3_BUCKET or S3_MODEL_BUCKET, or "
                "ECLUSE_STORE_URL=s3://bucket/prefix; or one for each area: S3_BUCKET_MODELS, S3_BUCKET_IMAGES "
                "and S3_BUCKET_DATA."
            )
        if choice:
            return areas["data"][0], f"{reason}, and the bucket of the data"
        return local, "default: no store is configured"
    named = "AWS_S3_BUCKET" if "AWS_S3_BUCKET" in env else "S3_MODEL_BUCKET"
    return _checked_store_url(
        named, f"s3://{bucket}"
    ), f"{reason} and {named}" if choice else f"{named} is set"


#: Area → the variable with its full address, and the one with its bucket.
_AREA_NAMES: Final[dict[Area, tuple[str, str]]] = {
    "models": ("ECLUSE_MODELS_URL", "S3_BUCKET_MODELS"),
    "images": ("ECLUSE_IMAGES_URL", "S3_BUCKET_IMAGES"),
    "data": ("ECLUSE_DATA_URL", "S3_BUCKET_DATA"),
    "raw": ("ECLUSE_RAW_URL", "S3_RAW_BUCKET"),
}


def _areas(env: Mapping[str, str]) -> dict[Area, tuple[str, str]]:
    """Return the areas with a store of their own: its address, and the variable that says so."""
    areas: dict[Area, tuple[str, str]] = {}
    local = _wants_s3(env)[0] is False
    for area, (full, bucket) in _AREA_NAMES.items():
        if full in env:
            checked = store_or_folder if area == "raw" else _checked_store_url
            areas[area] = checked(full, env[full]), full
        elif bucket in env and not local:
            prefix = env.get("S3_RAW_PREFIX", "").strip("/") if area == "raw" else ""
            areas[area] = _checked_store_url(bucket, f"s3://{env[bucket]}/{prefix}"), bucket
    return areas


def _wants_s3(env: Mapping[str, str]) -> tuple[bool | None, str]:
    """Return what STORAGE_TYPE and USE_S3 say together: S3, local, or nothing."""
    kinds = {"s3": True, "local": False, "file": False}
    kind = env.get("STORAGE_TYPE", "").lower()
    if kind and kind not in kinds:
        raise SettingsError(
            f"STORAGE_TYPE={kind} is not known; use local or s3, or ECLUSE_STORE_URL with a full address."
        )
    by_kind, by_flag = kinds.get(kind), flag(env, "USE_S3", default=None)
    if by_kind is None and by_flag is None and _IN_AWS in env:
        return True, f"{_IN_AWS}={env[_IN_AWS]}"
    if by_kind is not None and by_flag is not None and by_kind != by_flag:
        raise SettingsError(
            f"STORAGE_TYPE={kind} and USE_S3={env['USE_S3']} contradict each other. Unset one of them."
        )
    if by_kind is not None:
        return by_kind, f"STORAGE_TYPE={kind}"
    return by_flag, f"USE_S3={env.get('USE_S3', '')}"


def _checked_store_url(name: str, url: str) -> str:
    """Return what holds for a store of any scheme; the rest is checked where the store is opened."""
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


#: AWS sets it where it runs a function or a container.
_IN_AWS: Final = "AWS_EXECUTION_ENV"


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


def _documents(env: Mapping[str, str], database: str) -> tuple[DocumentsSettings, str]:
    chosen, reason = _database_type(env)
    url = _mongodb_url("MONGODB_URL", env["MONGODB_URL"]) if "MONGODB_URL" in env else None
    named = env.get("MONGODB_DATABASE")
    mongodb = MongoDBSettings(
        None if url is None else Secret(url), _mongodb_database("MONGODB_DATABASE", url or "", named)
    )
    documents = DocumentsSettings(Secret(database), chosen, mongodb, _dynamodb(env))
    return _configured(documents), reason


def _database_type(env: Mapping[str, str]) -> tuple[DatabaseType, str]:
    """Return what DATABASE_TYPE and USE_DYNAMODB say together, and else where this runs."""
    kind = env.get("DATABASE_TYPE", "").lower()
    types = {name: name for name in DATABASE_TYPES}
    if kind and kind not in types:
        raise SettingsError(
            f"DATABASE_TYPE={kind} is not known; use {', '.join(DATABASE_TYPES[:-1])} or {DATABASE_TYPES[-1]}."
        )
    by_flag = flag(env, "USE_DYNAMODB", default=None)
    if kind and by_flag is not None and by_flag != (kind == "dynamodb"):
        raise SettingsError(
            f"DATABASE_TYPE={kind} and USE_DYNAMODB={env['USE_DYNAMODB']} contradict each other. Unset one of them."
        )
    if kind:
        return types[kind], f"DATABASE_TYPE={kind}"
    if by_flag is not None:
        return "dynamodb" if by_flag else "sql", f"USE_DYNAMODB={env['USE_DYNAMODB']}"
    if _IN_AWS in env:
        return "dynamodb", f"{_IN_AWS}={env[_IN_AWS]}"
    return "sql", "default: the database of the catalog"


def _configured(documents: DocumentsSettings) -> DocumentsSettings:
    if documents.database == "mongodb" and documents.mongodb.url is None:
        raise SettingsError(
            "Documents are to be in MongoDB, and its address is not set. Set MONGODB_URL=mongodb://host:27017."
        )
    return documents


def _mongodb_url(name: str, url: str) -> str:
    """Return an address with one host or several, which `urlsplit` does not read; no message shows it."""
    scheme, _, rest = url.partition("://")
    place = re.split("[/?]", rest)[0]
    if scheme not in ("mongodb", "mongodb+srv") or not place.rpartition("@")[2]:
        raise SettingsError(
            f"{name} is no address of a MongoDB, such as mongodb://host:27017 or mongodb+srv://host."
        )
    if place.count("@") > 1 or "@" in rest[len(place) :].partition("?")[0]:
        raise SettingsError(
            f"{name} cannot be read as an address: where the password ends is not clear. In it, write @ as %40, "
            "/ as %2F, ? as %3F and # as %23."
        )
    return url


def _mongodb_database(name: str, url: str, given: str | None) -> str:
    """Return the database named, else that of the address."""
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    database = given or path or "ecluse"
    if len(database) > 63 or re.search(r'[/\\. "$*<>:|?\x00]', database):
        raise SettingsError(f"{name}: {database!r} is no name of a database in MongoDB, such as ecluse.")
    return database


_TABLE_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{3,255}")


def _dynamodb(env: Mapping[str, str]) -> DynamoDBSettings:
    endpoint, named = _first(env, ("DYNAMODB_ENDPOINT", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"))
    region, _ = _first(env, _REGIONS)
    # The pair S3_ACCESS_KEY is that of a store, which need not be AWS; a database in AWS is not opened with it.
    access, secret, token = _keys({name: env[name] for name in env if not name.startswith("S3_")})
    default = DynamoDBSettings()
    return _tables(
        "DYNAMODB_METRICS_TABLE or DYNAMODB_REPORTS_TABLE",
        DynamoDBSettings(
            metrics_table=env.get("DYNAMODB_METRICS_TABLE", default.metrics_table),
            reports_table=env.get("DYNAMODB_REPORTS_TABLE", default.reports_table),
            endpoint=None if endpoint is None else web_address(named, endpoint),
            region=region or default.region,
            access_key=access,
            secret_key=secret,
            session_token=token,
        ),
    )


def _dynamodb_at(name: str, place: str, there: DynamoDBSettings) -> DynamoDBSettings:
    """Return the tables and the region of an address; keys and endpoint are those of the settings."""
    match = re.fullmatch(r"dynamodb://([a-z0-9-]+)(?:/([^/,]+),([^/,]+))?", place)
    if match is None:
        raise SettingsError(
            f"{name} is no address of documents in DynamoDB. Write dynamodb://region/metrics,reports with the names of "
            "the two tables; keys are those of the environment."
        )
    metrics, reports = match[2] or there.metrics_table, match[3] or there.reports_table
    return _tables(name, replace(there, region=match[1], metrics_table=metrics, reports_table=reports))


def _tables(name: str, there: DynamoDBSettings) -> DynamoDBSettings:
    for table in (there.metrics_table, there.reports_table):
        if not _TABLE_NAME.fullmatch(table):
            raise SettingsError(
                f"{name}: {table!r} is no name of a table in DynamoDB: 3 to 255 letters, digits and _ . -"
            )
    if there.metrics_table == there.reports_table:
        raise SettingsError(f"{name}: both tables are {there.metrics_table!r}. Name two.")
    return there


def _access(env: Mapping[str, str]) -> Access:
    buckets = frozenset(
        name for part in env.get("ECLUSE_OTHER_S3_BUCKETS", "").split(",") if (name := part.strip())
    )
    key = env.get("AZURE_STORAGE_KEY")
    if key is not None and not _is_base64(key):
        raise SettingsError(
            "AZURE_STORAGE_KEY is no key of a storage account, which is written in base64. Copy it from the account's "
            "access keys: key1 or key2, whole, without the rest of a connection string."
        )
    azure_endpoint = env.get("AZURE_STORAGE_ENDPOINT")
    return Access(
        s3=_s3(env),
        azure=AzureSettings(
            account=env.get("AZURE_STORAGE_ACCOUNT"),
            key=None if key is None else Secret(key),
            endpoint=None
            if azure_endpoint is None
            else web_address("AZURE_STORAGE_ENDPOINT", azure_endpoint),
        ),
        google=GoogleSettings(env.get("GOOGLE_APPLICATION_CREDENTIALS")),
        other=_other_s3(env) if buckets else None,
        other_buckets=buckets,
    )


#: What a variable of the second S3 store stands for, when that store is read like the first.
_OTHER_NAMES: Final = {
    "ECLUSE_OTHER_S3_ENDPOINT": "S3_ENDPOINT",
    "ECLUSE_OTHER_S3_ACCESS_KEY": "S3_ACCESS_KEY",
    "ECLUSE_OTHER_S3_SECRET_KEY": "S3_SECRET_KEY",
    "ECLUSE_OTHER_S3_REGION": "AWS_REGION",
}


def _other_s3(env: Mapping[str, str]) -> S3Settings:
    """Return the second S3 store, that of `ECLUSE_OTHER_S3_BUCKETS`."""
    try:
        return _s3({name: env[variable] for variable, name in _OTHER_NAMES.items() if variable in env})
    except SettingsError as error:
        raise SettingsError(f"The second S3 store, ECLUSE_OTHER_S3_…: {error}") from None


def _s3(env: Mapping[str, str]) -> S3Settings:
    endpoint, named = _first(env, _ENDPOINTS)
    region, _ = _first(env, _REGIONS)
    access, secret, token = _keys(env)
    return S3Settings(
        endpoint=None if endpoint is None else web_address(named, endpoint),
        region=region or "us-east-1",
        access_key=access,
        secret_key=secret,
        session_token=token,
        anonymous=bool(flag(env, "S3_ANONYMOUS", default=False)),
    )


_ENDPOINTS: Final = ("S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> tuple[str | None, str]:
    """Return the value of the first of these variables that is set, and its name; else None and "default"."""
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
    return None if url is None else web_address("ECLUSE_PUBLIC_URL", url).rstrip("/")


def _proxies(env: Mapping[str, str]) -> tuple[Proxies, str]:
    """Return the trusted proxies, and the variable that names them."""
    written, name = _first(env, ("ECLUSE_TRUSTED_PROXIES", "FORWARDED_ALLOW_IPS"))
    if written is None:
        return Proxies(), ""
    try:
        return Proxies.parse(written), name
    except ValueError as error:
        raise SettingsError(
            f"{name}={written} names no addresses: {error}. Write addresses or networks with commas between them, such "
            "as 127.0.0.1,10.0.0.0/8; or * where only a proxy can reach the port."
        ) from None


def fits_a_header(secret: str) -> bool:
    """Return whether a header can carry it: one that it cannot carry would stand in the message of the fault."""
    return all("!" <= character <= "~" for character in secret)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def web_address(name: str, url: str) -> str:
    """Return an address that starts with http:// or https:// and carries no password. Raises SettingsError."""
    parts = _split(name, url)
    if "@" in url:
        raise SettingsError(
            f"{name} carries a user name or a password; an address goes without: https://host:port."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{name}={url} is not an address; it starts with http:// or https://.")
    return url


def _places(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the stores and folders that a variable lists."""
    listed = [part.strip() for part in env.get(name, "").split(",")]
    return tuple(store_or_folder(name, part) for part in listed if part)


def flag(env: Mapping[str, str], name: str, *, default: bool | None) -> bool | None:
    """Read a variable that is true or false. Raises SettingsError where it is neither."""
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

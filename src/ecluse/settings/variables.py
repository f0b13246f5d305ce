"""List every environment variable that is read, with what it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ecluse.application import guarded, parts
from ecluse.errors import SettingsError
from ecluse.settings import providers
from ecluse.settings.schemes import schemes
from ecluse.settings.values import Section

#: Every environment variable that the core reads, with what it does; those of a scheme of storage stand with it.
#: `docs/reference/settings.md` is made from `variables`.
VARIABLES: Final[dict[str, str]] = {
    "ECLUSE_HOME": "Folder of everything local: databases, the local store, the cache. Default: .ecluse",
    "ECLUSE_HOME_SHARED": "true: the group of that folder may read and write it. Default: false, and one that others "
    "can read is narrowed to its owner",
    "ECLUSE_STORE_URL": "Object store: {forms}. Default: file://{home}/store",
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
    "AWS_ENDPOINT_URL": "Endpoint of every AWS service; S3_ENDPOINT and AWS_ENDPOINT_URL_S3 win for stores on S3",
    "AWS_ACCESS_KEY_ID": "Access key; S3_ACCESS_KEY wins when both are set",
    "AWS_SECRET_ACCESS_KEY": "Secret key; S3_SECRET_KEY wins when both are set",
    "AWS_SESSION_TOKEN": "Session token that belongs to AWS_ACCESS_KEY_ID; not sent with S3_ACCESS_KEY",
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
    "ECLUSE_URL": "Server that `import ecluse`, and commands that can, work against, such as https://ml.example.org. "
    "Default: the one signed in to last; without one, the folder of this machine",
    "ECLUSE_TOKEN": "Token for that server. Default: the one that was kept by `ecluse login`",
    "XDG_CONFIG_HOME": "Folder in which `ecluse login` keeps tokens. Default: ~/.config",
    "XDG_STATE_HOME": "Folder in which runs wait for a server that is away. Default: ~/.local/state",
    "ECLUSE_WORKER_ADDRESS": "Address at which a worker answers /livez, /readyz and /metrics, such as 127.0.0.1:9464, "
    "or 0.0.0.0:9464 in a container. Default: none, it listens nowhere",
    "ECLUSE_METRICS_TOKEN": "Token with which Prometheus reads /metrics (Authorization: Bearer …), 16 characters or "
    "more. Default: none; then who asks from this machine or a private network, through no proxy, reads them",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Collector that traces are sent to (OTLP over HTTP), such as http://127.0.0.1:4318; "
    "needs ecluse[tracing]. OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER are read by "
    "OpenTelemetry itself. Default: none, nothing is followed",
    "ECLUSE_LOG": "How lines of the log are written: people, or json (an object a line). Default: people",
    "ECLUSE_LOG_LEVEL": "What is written: debug, info (requests, jobs as they begin and end), warning or error. "
    "Default: info",
    "ECLUSE_TRACE": "1, true, yes or on: a command stopped by a fault of ours shows where. Default: off",
    "ECLUSE_ACCEPT_RISKS": "What is started all the same where other machines reach it, with commas between: no-https "
    "(ECLUSE_PUBLIC_URL is no https address), open-sign-up, no-administrator (nobody administers yet). Default: none, "
    "and the start is refused",
    "ECLUSE_SECRET_KEYS": "Keys, with commas between, with which the secrets of second factors are encrypted in the "
    "catalog: the first encrypts, each decrypts. Make one: ecluse secret-key. Default: where the catalog is on this "
    "machine, the file secret.key in ECLUSE_HOME, made when it is first needed",
    "ECLUSE_SECOND_FACTOR": "Who has to have a second factor: nobody, administrators or everyone. Default: nobody, and "
    "everyone may",
    "ECLUSE_SMTP_URL": "Server that mail is sent by: smtp://host:587 (encrypted by STARTTLS, or it is not sent; plain "
    "at 127.0.0.1) or smtps://host:465. Needs ECLUSE_MAIL_FROM and ECLUSE_PUBLIC_URL. Default: none; no mail is sent",
    "ECLUSE_SMTP_USER": "Name at that server; with ECLUSE_SMTP_PASSWORD",
    "ECLUSE_SMTP_PASSWORD": "Password at that server",
    "ECLUSE_SMTP_PLAIN": "true: mail goes to ECLUSE_SMTP_URL unencrypted, also to another machine. Default: false",
    "ECLUSE_MAIL_FROM": "Address that mail comes from, such as ecluse@example.org",
    "ECLUSE_SIGN_UP": "Who may make an account by the page: open (whoever reaches it), invitation (whoever has a link "
    "of an administrator or of an owner of an organisation) or closed (nobody). Administrators make accounts in any "
    "case. Default: open for pages that this machine alone reaches; for others the first account alone, with a secret "
    "that the terminal printed",
    "ECLUSE_SIGN_UP_PLAN": "Plan of an account that a person makes without an invitation, such as trial; the "
    "first account has none. See: ecluse plans list. Default: none, without limits",
    "ECLUSE_OPEN_SIGN_UP": "true: as ECLUSE_SIGN_UP=open; false: as ECLUSE_SIGN_UP=closed. An older name",
    "ECLUSE_OIDC_PROVIDERS": "Names of the providers of OpenID Connect by which people may sign in, with commas "
    "between, such as keycloak,google; of each, ECLUSE_OIDC_NAME_… says the rest (docs/guides/sign-in.md). "
    "Default: none",
}


def sections() -> list[Section]:
    """Return the sections of the applications that are installed."""
    return [section for _, section in parts("settings")]


def variables() -> dict[str, str]:
    """Return every environment variable that is read, with what it does: of the core, of schemes, of applications."""
    forms = ", ".join(scheme.form for scheme in schemes())
    read = {name: text.replace("{forms}", forms) for name, text in VARIABLES.items()}
    for last, text in providers.VARIABLES.items():
        read[providers.variable_of("name", last)] = f"Of the provider NAME. {text}"
    of_schemes = (scheme.section for scheme in schemes() if scheme.section is not None)
    for section in (*of_schemes, *sections()):
        for name, text in section.variables.items():
            read.setdefault(name, text)
    return read


def read_sections(env: Mapping[str, str]) -> dict[type, Any]:
    """Read what each application takes from the environment; what fails counts as not set."""
    values = {}
    for application, section in parts("settings"):
        with guarded(application, "settings", passing=(SettingsError,)):
            values[section.kind] = section.read(env)
    return values

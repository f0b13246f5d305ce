"""Describe stores on S3 and on servers that speak like it: s3://bucket/prefix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from ecluse.errors import SettingsError
from ecluse.sentences import _
from ecluse.settings import Access, Detected, Scheme, Section
from ecluse.settings.aws import REGIONS, read_keys
from ecluse.settings.values import first_set, flag, web_address
from ecluse.storage.access import S3Settings
from ecluse.storage.schemes.addresses import split_bucket
from ecluse.storage.store import ObjectStore

_ENDPOINTS: Final = ("S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
#: What a variable of the second S3 store stands for, when that store is read like the first.
_OTHER_NAMES: Final = {
    "ECLUSE_OTHER_S3_ENDPOINT": "S3_ENDPOINT",
    "ECLUSE_OTHER_S3_ACCESS_KEY": "S3_ACCESS_KEY",
    "ECLUSE_OTHER_S3_SECRET_KEY": "S3_SECRET_KEY",
    "ECLUSE_OTHER_S3_REGION": "AWS_REGION",
}
#: Endpoints of S3-compatible providers with a list price, by the end of their host name.
_OFFERS: Final = {
    ".r2.cloudflarestorage.com": "cloudflare-r2",
    ".backblazeb2.com": "backblaze-b2",
    ".amazonaws.com": "s3-standard",
}


def _read(env: Mapping[str, str]) -> S3Settings:
    named = (name.strip() for name in env.get("ECLUSE_OTHER_S3_BUCKETS", "").split(","))
    buckets = frozenset(filter(None, named))
    return _read_store(env, _read_other(env) if buckets else None, buckets)


def _read_store(
    env: Mapping[str, str], other: S3Settings | None = None, other_buckets: frozenset[str] = frozenset()
) -> S3Settings:
    endpoint, named = first_set(env, _ENDPOINTS)
    region, _name = first_set(env, REGIONS)
    access, secret, token = read_keys(env)
    return S3Settings(
        endpoint=None if endpoint is None else web_address(named, endpoint),
        region=region or "us-east-1",
        access_key=access,
        secret_key=secret,
        session_token=token,
        anonymous=bool(flag(env, "S3_ANONYMOUS", default=False)),
        other=other,
        other_buckets=other_buckets,
    )


def _read_other(env: Mapping[str, str]) -> S3Settings:
    """Read the second S3 store, that of `ECLUSE_OTHER_S3_BUCKETS`."""
    try:
        return _read_store(
            {name: env[variable] for variable, name in _OTHER_NAMES.items() if variable in env}
        )
    except SettingsError as error:
        raise SettingsError(f"The second S3 store, ECLUSE_OTHER_S3_…: {error}") from None


def _detect(access: Access, env: Mapping[str, str]) -> Iterator[Detected]:
    s3 = access.of(S3Settings)
    keys = "S3_ACCESS_KEY" if "S3_ACCESS_KEY" in env else "AWS_ACCESS_KEY_ID"
    shown = _("ambient credentials") if s3.access_key is None else f"{s3.access_key[:4]}…"
    yield Detected("endpoint", s3.endpoint or "AWS", first_set(env, _ENDPOINTS)[1])
    yield Detected("region", s3.region, first_set(env, REGIONS)[1])
    yield Detected("keys", shown, _("no keys are set") if s3.access_key is None else keys)


def _open(url: str, access: Access, patience: timedelta) -> ObjectStore:
    from obstore.store import S3Store

    from ecluse.storage.bucket import Bucket
    from ecluse.storage.client import open_clients
    from ecluse.storage.remote import RemoteBackend
    from ecluse.storage.s3 import S3Administration

    bucket, prefix = split_bucket(url)
    s3 = access.of(S3Settings).to_bucket(bucket)
    quick, sending = open_clients(S3Store, bucket, _options(s3), s3.endpoint, patience)
    place = Bucket(
        f"s3://{bucket}/",
        s3.endpoint or f"AWS in {s3.region}",
        patience,
        unsigned=_unsigned(bucket, s3),
        how_to_set_keys=_(
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or S3_ANONYMOUS=true where no keys are needed."
        ),
        administration=S3Administration(bucket, s3, quick),
    )
    return ObjectStore(RemoteBackend(quick, sending, place), prefix)


def _options(s3: S3Settings) -> dict[str, Any]:
    options: dict[str, Any] = {"region": s3.region, "virtual_hosted_style_request": s3.endpoint is None}
    if s3.endpoint:
        options["endpoint"] = s3.endpoint
    if s3.anonymous:
        options["skip_signature"] = True
    elif s3.access_key:
        options |= {"access_key_id": s3.access_key, "secret_access_key": str(s3.secret_key)}
        if s3.session_token:
            options["session_token"] = str(s3.session_token)
    return options


def _unsigned(bucket: str, s3: S3Settings) -> str | None:
    if not s3.anonymous:
        return None
    return _(
        "%(store)s is used without keys (S3_ANONYMOUS), and keys make the signature. Set an access key.",
        store=f"s3://{bucket}",
    )


def _server(url: str, access: Access) -> object:
    return access.of(S3Settings).to_bucket(urlsplit(url).netloc).endpoint


def _offer(url: str, access: Access) -> str | None:
    endpoint = access.of(S3Settings).to_bucket(urlsplit(url).netloc).endpoint
    host = "s3.amazonaws.com" if endpoint is None else f".{urlsplit(endpoint).hostname or ''}"
    return next((offer for end, offer in _OFFERS.items() if host.endswith(end)), None)


SCHEME: Final = Scheme(
    "s3",
    "s3://bucket/prefix",
    "S3, or a server that speaks like it",
    _open,
    section=Section(
        S3Settings,
        {
            "S3_ENDPOINT": "Endpoint of an S3-compatible store, such as http://127.0.0.1:8333",
            "AWS_ENDPOINT_URL_S3": "The same, under the name the AWS tools use; S3_ENDPOINT wins",
            "S3_ACCESS_KEY": "Access key of that store",
            "S3_SECRET_KEY": "Secret key of that store",
            "S3_ANONYMOUS": "true: requests are not signed, for public buckets. Default: false",
            "ECLUSE_OTHER_S3_BUCKETS": "Buckets, separated by commas, that live at ECLUSE_OTHER_S3_ENDPOINT: for "
            "migrations",
            "ECLUSE_OTHER_S3_ENDPOINT": "Endpoint of a second S3-compatible store. Default: AWS",
            "ECLUSE_OTHER_S3_ACCESS_KEY": "Access key of that second store",
            "ECLUSE_OTHER_S3_SECRET_KEY": "Secret key of that second store",
            "ECLUSE_OTHER_S3_REGION": "Region of that second store. Default: us-east-1",
        },
        _read,
    ),
    detect=_detect,
    keys="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or S3_ACCESS_KEY and S3_SECRET_KEY)",
    signs=True,
    server=_server,
    offer=_offer,
)

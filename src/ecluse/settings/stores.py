"""Decide which store keeps each area, from full addresses or from the names of buckets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import quote

from ecluse.errors import SettingsError
from ecluse.sentences import _
from ecluse.settings.aws import IN_AWS
from ecluse.settings.schemes import SCHEMES, key_variables, schemes
from ecluse.settings.values import flag, folder_at, split_address

#: What is stored, by kind; each may have a store of its own. "raw" is what sources deliver, as they deliver it.
Area = Literal["models", "images", "data", "raw"]
AREAS: Final[tuple[Area, ...]] = get_args(Area)
#: Area → the variable with its full address, and the one with its bucket.
_AREA_NAMES: Final[dict[Area, tuple[str, str]]] = {
    "models": ("ECLUSE_MODELS_URL", "S3_BUCKET_MODELS"),
    "images": ("ECLUSE_IMAGES_URL", "S3_BUCKET_IMAGES"),
    "data": ("ECLUSE_DATA_URL", "S3_BUCKET_DATA"),
    "raw": ("ECLUSE_RAW_URL", "S3_RAW_BUCKET"),
}


def read_store_url(env: Mapping[str, str], home: Path) -> tuple[str, str]:
    """Return the address of the store of all areas that have none of their own, and what says so."""
    if "ECLUSE_STORE_URL" in env:
        return checked_store_url("ECLUSE_STORE_URL", env["ECLUSE_STORE_URL"]), "ECLUSE_STORE_URL"
    local = f"file://{quote(str(home / 'store'))}"
    choice, reason = _wants_s3(env)
    bucket = env.get("AWS_S3_BUCKET") or env.get("S3_MODEL_BUCKET")
    if choice is False:
        return local, reason
    if bucket is None:
        areas = read_areas(env)
        if choice and not {"models", "images", "data"} <= areas.keys():
            raise SettingsError(
                f"{reason} asks for S3, but no bucket is named. Set AWS_S3_BUCKET or S3_MODEL_BUCKET, or "
                "ECLUSE_STORE_URL=s3://bucket/prefix; or one for each area: S3_BUCKET_MODELS, S3_BUCKET_IMAGES "
                "and S3_BUCKET_DATA."
            )
        if choice:
            return areas["data"][0], _("%(setting)s, and the bucket of the data", setting=reason)
        return local, _("default: no store is configured")
    named = "AWS_S3_BUCKET" if "AWS_S3_BUCKET" in env else "S3_MODEL_BUCKET"
    return checked_store_url(named, f"s3://{bucket}"), _(
        "%(setting)s and %(other)s", setting=reason, other=named
    ) if choice else _("%(setting)s is set", setting=named)


def read_areas(env: Mapping[str, str]) -> dict[Area, tuple[str, str]]:
    """Return the areas with a store of their own: its address, and the variable that says so."""
    areas: dict[Area, tuple[str, str]] = {}
    local = _wants_s3(env)[0] is False
    for area, (full, bucket) in _AREA_NAMES.items():
        if full in env:
            checked = store_or_folder if area == "raw" else checked_store_url
            areas[area] = checked(full, env[full]), full
        elif bucket in env and not local:
            prefix = env.get("S3_RAW_PREFIX", "").strip("/") if area == "raw" else ""
            areas[area] = checked_store_url(bucket, f"s3://{env[bucket]}/{prefix}"), bucket
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
    if by_kind is None and by_flag is None and IN_AWS in env:
        return True, f"{IN_AWS}={env[IN_AWS]}"
    if by_kind is not None and by_flag is not None and by_kind != by_flag:
        raise SettingsError(
            f"STORAGE_TYPE={kind} and USE_S3={env['USE_S3']} contradict each other. Unset one of them."
        )
    if by_kind is not None:
        return by_kind, f"STORAGE_TYPE={kind}"
    return by_flag, f"USE_S3={env.get('USE_S3', '')}"


def store_or_folder(name: str, place: str) -> str:
    """Return the store address of `place`, which may also be the path of a local folder. `name`: who gave it.

    Raises:
        SettingsError: it is no address, is empty, or carries a key.
    """
    if not place.strip():
        raise SettingsError(f"{name} is empty. Name a store or a folder.")
    if "://" in place:
        return checked_store_url(name, place)
    if _is_half_an_address(place):
        raise SettingsError(
            f"{name}={place} is neither the address of a store, such as s3://bucket/prefix, nor the path of a folder. "
            f"If a folder is called so, write ./{place}"
        )
    return f"file://{quote(str(folder_at(name, Path(place))))}"


def _is_half_an_address(place: str) -> bool:
    """Return whether a scheme stands before one slash or none, which no one means as the name of a folder."""
    scheme, colon, _rest = place.lower().partition(":")
    return bool(colon) and scheme in (*SCHEMES, "http", "https")


def read_places(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the stores and folders that a variable lists."""
    listed = [part.strip() for part in env.get(name, "").split(",")]
    return tuple(store_or_folder(name, part) for part in listed if part)


def checked_store_url(name: str, url: str) -> str:
    """Return what holds for a store of any scheme; the rest is checked where the store is opened."""
    parts = split_address(name, url)
    scheme, divider, place = url.partition("://")
    keys = "@" in (parts.netloc if divider else url)
    if keys or parts.query or parts.fragment:
        variables = key_variables(url)
        way_out = f" Put keys into {variables}." if variables else ""
        raise SettingsError(f"{name}: a store address carries no keys and no query.{way_out}")
    if not scheme or not divider:
        forms = ", ".join(scheme.form for scheme in schemes())
        raise SettingsError(f"{name}={url} is not a store address: {forms}.")
    return f"{scheme.lower()}://{place.rstrip('/') or place[:1]}"

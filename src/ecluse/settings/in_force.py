"""Say of every setting what holds and where it comes from, fit to be shown: of secrets nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import attrgetter

from ecluse.sentences import _
from ecluse.settings import providers
from ecluse.settings.settings import Settings
from ecluse.settings.values import DEFAULT, Detected
from ecluse.settings.variables import variables

#: Settings that are shown with their value: the variable, and how they are called in `Settings`.
_SHOWN = {
    "ECLUSE_PUBLIC_URL": "public_url",
    "ECLUSE_SIGN_UP": "accounts.sign_up",
    "ECLUSE_SIGN_UP_PLAN": "accounts.sign_up_plan",
    "ECLUSE_ACCEPT_RISKS": "accepted_risks",
    "ECLUSE_SECOND_FACTOR": "accounts.second_factor",
    "ECLUSE_UPLOAD_MAX_BYTES": "upload_max_bytes",
    "ECLUSE_READER_MAX_BYTES": "reader_max_bytes",
    "ECLUSE_CACHE_MAX_BYTES": "cache_max_bytes",
    "ECLUSE_HOME_SHARED": "home_shared",
    "ECLUSE_FETCH_PRIVATE": "fetch_private",
    "ECLUSE_USER": "user",
    "ECLUSE_LOG": "log_form",
    "ECLUSE_LOG_LEVEL": "log_level",
}

#: Variables that hold no secret, and are shown as they are set: no address here takes a user name or a password.
_AS_SET = {
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_REGION",
    "AWS_S3_BUCKET",
    "DATABASE_TYPE",
    "DYNAMODB_METRICS_TABLE",
    "DYNAMODB_REPORTS_TABLE",
    "ECLUSE_MAIL_FROM",
    "ECLUSE_OIDC_PROVIDERS",
    "ECLUSE_SMTP_PLAIN",
    "ECLUSE_SMTP_URL",
    "ECLUSE_SMTP_USER",
    "ECLUSE_TRACE",
    "MONGODB_DATABASE",
    "S3_BUCKET_DATA",
    "S3_BUCKET_IMAGES",
    "S3_BUCKET_MODELS",
    "S3_MODEL_BUCKET",
    "S3_RAW_BUCKET",
    "S3_RAW_PREFIX",
    "STORAGE_TYPE",
    "USE_DYNAMODB",
    "USE_S3",
}

#: The folder is shown by what was detected, which `--home` overrides.
_DETECTED = {"ECLUSE_HOME"}

#: The name of before of a setting, which says the same.
_OF_BEFORE = {"ECLUSE_SIGN_UP": "ECLUSE_OPEN_SIGN_UP"}


def in_force(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Detected]:
    """List the settings in force: what was detected, those with plain values, then the other variables that are set.

    Of these the names alone, unless it is certain that they hold no secret.
    """
    env = os.environ if environ is None else environ
    plain = [
        Detected(name, _text(attrgetter(attribute)(settings)), _source(name, env))
        for name, attribute in _SHOWN.items()
    ]
    of_providers = {
        providers.variable_of(each.name, last): last
        for each in settings.accounts.providers
        for last in providers.VARIABLES
    }
    plain_ones = _AS_SET | {name for name, last in of_providers.items() if last != "client_secret"}
    listed = {*_SHOWN, *_OF_BEFORE.values(), *_DETECTED, *(each.reason for each in settings.detected)}
    others = [
        Detected(name, env[name].strip() if name in plain_ones else _("set, not shown"), _("environment"))
        for name in (*variables(), *of_providers)
        if name not in listed and env.get(name, "").strip()
    ]
    return [*settings.detected, *plain, *others]


def _source(name: str, env: Mapping[str, str]) -> str:
    names = (name, _OF_BEFORE.get(name, name))
    return next((each for each in names if env.get(each, "").strip()), DEFAULT)


def _text(value: object) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(str, value))) or "–"
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None else str(value)

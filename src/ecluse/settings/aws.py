"""Read the keys and the region of AWS, which stores on S3 and documents in DynamoDB share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ecluse.errors import SettingsError
from ecluse.settings.values import Secret

#: AWS sets it where it runs a function or a container.
IN_AWS: Final = "AWS_EXECUTION_ENV"
REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")


def read_keys(env: Mapping[str, str]) -> tuple[str | None, Secret | None, Secret | None]:
    """Return access key, secret key and session token; the token belongs to the AWS pair and goes with no other."""
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

"""Read what the environment says of the MLflow server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ecluse.errors import SettingsError
from ecluse.settings import Secret, Section, fits_a_header, flag, web_address

VARIABLES: Final[dict[str, str]] = {
    "ECLUSE_MLFLOW_URL": "MLflow server that finished trainings are exported to, such as http://127.0.0.1:5000. "
    "Default: none",
    "ECLUSE_MLFLOW_TOKEN": "Token sent to it; for the server of `ecluse mlflow serve` an API token of an administrator",
    "ECLUSE_MLFLOW_MEMBERS": "true: the server of `ecluse mlflow serve` lets every member in, who sees the runs of "
    "all. Default: false",
}


@dataclass(frozen=True)
class MlflowSettings:
    """Which MLflow server trainings are exported to, and whom the one that is started here lets in."""

    url: str | None = None
    token: Secret | None = field(default=None, repr=False)
    members: bool = False


def read(env: Mapping[str, str]) -> MlflowSettings:
    """Read the variables of `VARIABLES`. Raises SettingsError for one that cannot be used."""
    url, token = env.get("ECLUSE_MLFLOW_URL"), env.get("ECLUSE_MLFLOW_TOKEN")
    if token is not None and not fits_a_header(token):
        raise SettingsError(
            "ECLUSE_MLFLOW_TOKEN holds blanks or characters that no token has. Copy it again."
        )
    return MlflowSettings(
        url=None if url is None else web_address("ECLUSE_MLFLOW_URL", url).rstrip("/"),
        token=None if token is None else Secret(token),
        members=flag(env, "ECLUSE_MLFLOW_MEMBERS", default=False) is True,
    )


SECTION: Final = Section(MlflowSettings, VARIABLES, read)

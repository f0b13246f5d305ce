"""Name the errors that this application raises on purpose; `ecluse.errors` says what each of them has."""

from __future__ import annotations

from ecluse.errors import EcluseError


class MlflowError(EcluseError):
    code = "mlflow_error"


class MlflowMissing(MlflowError, LookupError):
    """The extra ecluse[mlflow] is not installed."""

    code, status = "mlflow_missing", 501


class MlflowUnavailable(MlflowError, ConnectionError):
    """The MLflow server does not answer, or refuses."""

    code, status = "mlflow_unavailable", 503

"""Name the errors that this application raises on purpose; `ecluse.errors` says what each of them has."""

from __future__ import annotations

from ecluse.errors import EcluseError


class FraudError(EcluseError):
    code = "fraud_error"
    status = 422


class UnusableTarget(FraudError, ValueError):
    """The target column cannot be learned."""

    code = "unusable_target"


class ColumnsMissing(FraudError, LookupError):
    """The table to score lacks columns of the model."""

    code = "columns_missing"


class TrainingTooSlow(FraudError):
    """A training took many times its budget; nothing is published."""

    code = "training_too_slow"
    status = 503
